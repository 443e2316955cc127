"""Helpers of the benchmarks: the machine's name, spread, tables, and a video with one face."""

import os
import platform
import statistics
import tarfile
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import skimage.data

CACHE = Path(tempfile.gettempdir()) / "emoscope-bench"
SHARED = Path(__file__).resolve().parents[2] / "shared"
_ARCHIVES = {
    "ferplus": SHARED / "data" / "ferplus-train-valid.tar.gz",
    "ravdess": SHARED / "data" / "ravdess-speech-actors01-20.tar",
}


def machine() -> str:
    """Processor, cores, Python: the line under every table."""
    cpu = platform.processor() or "unknown processor"
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].partition(":")[2].strip() if names else cpu
    return f"{cpu}, {os.cpu_count()} cores, Python {platform.python_version()}"


def unpacked(name: str) -> Path:
    """The folder of the corpus "ferplus" or "ravdess", as it lies in its archive."""
    folder = CACHE / name
    if not folder.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        with (
            tarfile.open(_ARCHIVES[name]) as archive,
            tempfile.TemporaryDirectory(dir=CACHE) as part,
        ):
            archive.extractall(part, filter="data")
            (Path(part) / name).replace(folder)
    return folder


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """Median (minimum to maximum)."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):{form}} ({low:{form}} to {high:{form}})"


def percent(value: float, interval: tuple[float, float]) -> str:
    """A share and its interval, without the sign of percent."""
    return "{:.1f} ({:.1f} to {:.1f})".format(*(100 * part for part in (value, *interval)))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def face_film(seconds: int = 20, fps: int = 30, bit_rate: int = 3_000_000) -> Path:
    """A 1280 x 720 H.264 film of a portrait that drifts and zooms, with grain, at the bit rate of
    common web video."""
    path = CACHE / f"face-{seconds}s-{fps}fps-{bit_rate // 1000}k.mp4"
    if path.is_file():
        return path
    CACHE.mkdir(exist_ok=True)
    portrait = skimage.data.astronaut()  # type: ignore[no-untyped-call]
    grain = np.random.default_rng(0).normal(0, 4, (800, 1400, 3))
    part = path.with_suffix(".part")
    with av.open(str(part), "w", format="mp4") as film:
        stream = film.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        stream.bit_rate, stream.options = bit_rate, {"preset": "veryfast"}
        for i in range(seconds * fps):
            angle = 2 * np.pi * i / (8 * fps)
            zoom = 1.6 + 0.3 * np.sin(angle)
            x, y = 225 + 25 * np.sin(2 * angle), 165 + 8 * np.cos(angle)
            matrix = np.array([[zoom, 0, 640 - zoom * x], [0, zoom, 330 - zoom * y]])
            view = cv2.warpAffine(portrait, matrix, (1280, 720), borderMode=cv2.BORDER_REFLECT)
            dx, dy = (i * 3) % 100, (i * 2) % 70
            noisy = np.clip(view + grain[dy : dy + 720, dx : dx + 1280], 0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(noisy, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, fps)
            film.mux(stream.encode(frame))
        film.mux(stream.encode())
    part.replace(path)
    return path
