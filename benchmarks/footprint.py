"""Memory of a long video over a short one, start-up times, and the size of an installation.

    python benchmarks/footprint.py [--skip-install]

The films are one of twenty seconds, three and thirty times over, its packets copied.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
from measuring import CACHE, face_film, machine, spread, table

ROOT = Path(__file__).parents[1]
PEAK = (
    "import resource, sys; from emoscope import Analyzer; Analyzer().analyze(sys.argv[1]); "
    "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
)


def repeated(film: Path, times: int) -> Path:
    """The same film `times` over, without encoding it again."""
    path = CACHE / f"{film.stem}-x{times}.mp4"
    if path.is_file():
        return path
    with av.open(str(film)) as source, av.open(str(path), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        assert stream.duration is not None
        for turn in range(times):
            source.seek(0)
            for packet in source.demux(stream):
                if packet.dts is None or packet.pts is None:
                    continue
                packet.pts += turn * stream.duration
                packet.dts += turn * stream.duration
                packet.stream = copy
                target.mux(packet)
    return path


def peak_mib(film: Path) -> float:
    """Largest resident size of a process that analyses the film."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(film)], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def start_s(*command: str) -> list[float]:
    """Wall seconds of a whole process, seven times after a warm-up."""
    times = []
    for _ in range(8):
        begun = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - begun)
    return times[1:]


def installed_mb() -> float:
    """Megabytes that `pip install .` adds to an empty environment, without bytecode."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        site = next(Path(folder).glob("lib/python*/site-packages"))
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "install", "--quiet", "--no-compile"),
                *("--target", str(site), "-c", str(ROOT / "constraints.txt"), str(ROOT)),
            ],
            check=True,
        )
        return sum(f.stat().st_size for f in site.rglob("*") if f.is_file()) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--skip-install", action="store_true")
    args = parser.parse_args()
    film = face_film()
    short, long = (peak_mib(repeated(film, times)) for times in (3, 30))
    bare = start_s(sys.executable, "-c", "pass")
    imported = start_s(sys.executable, "-c", "import emoscope")
    helped = start_s(str(Path(sys.executable).with_name("emoscope")), "--help")
    own = [statistics.median(imported) - statistics.median(bare)]
    rows = [
        ["peak memory, 1 minute of 720p", f"{short:.0f} MiB", "<= 700"],
        ["peak memory, 10 minutes of 720p", f"{long:.0f} MiB", "<= 700"],
        ["what nine more minutes cost", f"{long - short:+.0f} MiB", "<= 50"],
        ["python -c pass", f"{spread(bare)} s", ""],
        ["import emoscope", f"{spread(imported)} s; {own[0]:.2f} s of its own", "<= 0.2"],
        ["emoscope --help", f"{spread(helped)} s", "<= 0.35"],
    ]
    if not args.skip_install:
        rows.append(["pip install ., without bytecode", f"{installed_mb():.0f} MB", "<= 550"])
    print(table(["", "measured", "wanted"], rows))
    print(f"\nOne process a row of memory, median (min to max) of 7 starts. {machine()}.")


if __name__ == "__main__":
    main()
