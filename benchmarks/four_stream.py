"""Four streams of a face, live: a slide of the window, and where the time of `analyze` goes.

    python benchmarks/four_stream.py [--repeats 3] [--width 0.25] [--clips FOLDER]

Process time; OpenCV, BLAS and ONNX Runtime on one thread. A slide is what it takes to have the next
window's streams: the new frames pushed into a `ClipStream`, or `build_clip` of all of them, after a
look whether the two agree. They take turns, slide by slide; a ratio is of one repeat.

Shares are of one `analyze` by an exported four-stream bundle with random weights. Decoding is all
that is done outside the thread of the analysis, conversion to RGB included; faces are detection,
following and cutting out; dynamic images are the sums and what is made of them. Wall times are
those of a machine that others use as well: film seconds a CPU second tell what a whole core does.
Windows in which a face is not seen throughout, or that the end cuts short, are built anew either
way.
"""

import argparse
import itertools
import pkgutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import skimage.data
import threadpoolctl  # type: ignore[import-untyped]
import torch
from measuring import machine, spread, table

from emoscope import Analyzer, models
from emoscope.analysis.bundle import Bundle, BundleCard, load_bundle
from emoscope.core.clipspec import ClipSpec, Window
from emoscope.media.clip_stream import ClipStream
from emoscope.media.clips import Clip, build_clip
from emoscope.media.video import probe, read_frames
from emoscope.training.export.bundle import export_bundle

CLIPS = Path(__file__).parents[1] / ".." / "shared" / "clips"
LABELS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
SLIDES = 8  # a repeat
STAGES = ("decode", "faces", "flow", "dynamic images", "network", "other")
Picture = npt.NDArray[np.uint8]


def faces(count: int) -> list[Picture]:
    """Crops of 160 x 160 px of a portrait that sways, with grain."""
    portrait = skimage.data.astronaut()  # type: ignore[no-untyped-call]
    rng = np.random.default_rng(0)
    crops = []
    for i in range(count):
        x, y = 145 + 4 * np.sin(i / 3), 45 + 3 * np.cos(i / 4)
        matrix = np.array([[1, 0, -x], [0, 1, -y]])
        crop = cv2.warpAffine(portrait, matrix, (160, 160)) + rng.normal(0, 2, (160, 160, 3))
        crops.append(np.clip(crop, 0, 255).astype(np.uint8))
    return crops


def slides(spec: ClipSpec, stride: int, repeats: int) -> list[str]:
    """CPU milliseconds of a slide by `stride` frames: pushed, built anew, the ratio."""
    rate_hz = spec.rate_hz
    assert rate_hz is not None  # as of every spec that a ClipStream serves
    window = Window(length_s=spec.window.length_s, stride_s=stride / rate_hz)
    spec = spec.model_copy(update={"window": window})
    stream, frames = ClipStream(spec), faces(spec.length + (repeats + 1) * SLIDES * stride)
    times_s = [i / rate_hz for i in range(spec.length)]
    for frame in frames[: spec.length]:
        stream.push(frame)
    pushed, built = [], []
    ends = itertools.count(spec.length + stride, stride)
    for repeat in range(repeats + 1):
        spent = np.zeros(3)
        for end in itertools.islice(ends, SLIDES):
            begun_s = time.process_time()
            (*_, slid) = [stream.push(frame) for frame in frames[end - stride : end]]
            between_s = time.process_time()
            anew = build_clip(Clip(frames[end - spec.length : end], times_s), spec)
            spent[:2] += between_s - begun_s, time.process_time() - between_s
            assert slid is not None
            for name, values in anew.items():
                np.testing.assert_allclose(slid[name], values, rtol=1e-5, atol=1e-5)
        if repeat:
            pushed.append(1000 * spent[0] / SLIDES)
            built.append(1000 * spent[1] / SLIDES)
    ratios = [anew / slid for slid, anew in zip(pushed, built, strict=True)]
    step = "1 frame" if stride == 1 else f"{stride} frames"
    return [step, spread(pushed, ".1f"), spread(built, ".1f"), spread(ratios, ".1f")]


def four_stream(width: float) -> Bundle:
    """Exported, opened in one thread."""
    torch.manual_seed(0)
    model: Any = models.create("four-stream", num_classes=len(LABELS), width=width)
    card = BundleCard(
        name="benchmark",
        version="1",
        modality="face",
        labels=LABELS,
        clip_spec=model.clip_spec,
        temperature=1.0,
        prior=(1 / len(LABELS),) * len(LABELS),
        licence="none",
        trained_on="nothing",
        figures={},
    )
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "benchmark.onnx"
        export_bundle(model, card, path)
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return replace(load_bundle(path), run=lambda inputs: session.run(None, inputs)[0])


class Stopwatch:
    """Time of this thread by stage, spent in functions that are wrapped."""

    def __init__(self) -> None:
        self.spent_s = dict.fromkeys(STAGES, 0.0)

    def around(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, timed; what it yields is made within it."""

        def call(*args: Any) -> Any:
            begun_s = time.thread_time()
            result = function(*args)
            if isinstance(result, Iterable) and not isinstance(result, np.ndarray | list | dict):
                result = list(result)
            self.spent_s[stage] += time.thread_time() - begun_s
            return result

        return call


WRAPPED = {
    "emoscope.analysis.moments.sightings": "faces",
    "emoscope.media.clip_stream.optical_flow": "flow",
    "emoscope.media.clips.optical_flow": "flow",
    "emoscope.media.clip_stream._Pooled.push": "dynamic images",
    "emoscope.media.clip_stream._Pooled.window": "dynamic images",
    "emoscope.media.clips.dynamic_image": "dynamic images",
}


def analysed(bundle: Bundle, film: Path, *, anew: bool) -> tuple[dict[str, float], float]:
    """CPU seconds of each stage, and wall seconds, of one analysis."""
    watch = Stopwatch()
    analyzer = Analyzer(replace(bundle, run=watch.around("network", bundle.run)))
    with ExitStack() as patches:
        for name, stage in WRAPPED.items():
            wrapped = watch.around(stage, pkgutil.resolve_name(name))
            patches.enter_context(mock.patch(name, wrapped))
        if anew:
            patches.enter_context(mock.patch.object(ClipStream, "serves", return_value=False))
        wall_s, all_s, own_s = time.perf_counter(), time.process_time(), time.thread_time()
        analyzer.analyze(film)
        wall_s = time.perf_counter() - wall_s
        all_s, own_s = time.process_time() - all_s, time.thread_time() - own_s
    watch.spent_s["decode"] = all_s - own_s
    watch.spent_s["other"] = own_s - sum(watch.spent_s[stage] for stage in STAGES[1:-1])
    return watch.spent_s, wall_s


def shares(bundle: Bundle, film: Path, repeats: int) -> list[list[str]]:
    """Speed, CPU time and its parts for one video, with sliding windows and with rebuilt ones."""
    info = probe(film)
    count = sum(1 for _ in read_frames(film))
    taken: dict[str, list[tuple[dict[str, float], float]]] = {"slid": [], "built anew": []}
    for repeat, (how, runs) in itertools.product(range(repeats + 1), taken.items()):
        run = analysed(bundle, film, anew=how == "built anew")
        if repeat:
            runs.append(run)
    rows = []
    for how, runs in taken.items():
        totals = [sum(spent.values()) for spent, _ in runs]
        row = [f"{film.stem}, {info.width} x {info.height}", how]
        row.append(spread([count / wall_s for _, wall_s in runs], ".0f"))
        row.append(spread([info.duration_s / wall_s for _, wall_s in runs], ".1f"))
        row.append(spread([info.duration_s / total for total in totals], ".1f"))
        for stage in STAGES:
            parts = [spent[stage] / total for (spent, _), total in zip(runs, totals, strict=True)]
            row.append(f"{100 * statistics.median(parts):.0f} %")
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--clips", type=Path, default=CLIPS)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    with threadpoolctl.threadpool_limits(1):
        bundle = four_stream(args.width)
        spec = bundle.clip_spec
        assert spec.rate_hz is not None
        own = round(spec.window.stride_s * spec.rate_hz)  # the network's own
        sizes = ", ".join(f"{s.kind} {s.size_hw[1]} x {s.size_hw[0]}" for s in spec.pictures)
        print(f"A slide of a window of {spec.length} frames ({sizes}), CPU-ms:\n")
        rows = [slides(spec, stride, args.repeats) for stride in (1, 4, own)]
        print(table(["stride", "slid", "built anew", "built anew over slid"], rows))
        clips = sorted(path for path in args.clips.glob("*") if path.suffix in {".mp4", ".mov"})
        rows = [row for clip in clips for row in shares(bundle, clip, args.repeats)]
        if rows:
            print(
                f"\n`analyze`, width {args.width:g}, windows of {spec.window.length_s:g} s every "
                f"{spec.window.stride_s:g} s; shares of the CPU time:\n"
            )
            head = [
                "clip",
                "windows",
                "frames a second",
                "times real time",
                "film-s a CPU-s",
                *STAGES,
            ]
            print(table(head, rows))
    print(
        f"\n{args.repeats} repeats, median (min to max), one thread; {SLIDES} slides a repeat. "
        f"OpenCV {cv2.__version__}, ONNX Runtime {ort.__version__}. {machine()}."
    )


if __name__ == "__main__":
    main()
