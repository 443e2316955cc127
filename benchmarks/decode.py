"""Frames a second of bare PyAV decoding, and of `read_frames` on the same 720p film.

    python benchmarks/decode.py [--repeats 7] [--film VIDEO]

Bare decoding is PyAV with `thread_type="AUTO"`, every frame decoded and none converted. The runs
alternate, so that what else the machine does falls on all alike; the ratio of wall times is taken
round by round. Below 1: fewer frames are decoded than the film has.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import av
from measuring import face_film, machine, spread, table

from emoscope.media.video import read_frames


def bare(film: Path) -> int:
    with av.open(str(film)) as container:
        container.streams.video[0].thread_type = "AUTO"
        return sum(1 for _ in container.decode(video=0))


def reading(rate_hz: float | None, max_side: int | None) -> Callable[[Path], int]:
    return lambda film: sum(1 for _ in read_frames(film, rate_hz=rate_hz, max_side=max_side))


JOBS = {
    "bare decode": bare,
    "native": reading(None, None),
    "native, 640 px": reading(None, 640),
    "10 Hz": reading(10.0, None),
    "10 Hz, 640 px": reading(10.0, 640),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--film", type=Path)
    args = parser.parse_args()
    film = args.film or face_film()
    frames = bare(film)  # also fills the file cache
    yielded: dict[str, int] = {}
    walls: dict[str, list[float]] = {name: [] for name in JOBS}
    cpus: dict[str, list[float]] = {name: [] for name in JOBS}
    for _ in range(args.repeats):
        for name, job in JOBS.items():
            wall, cpu = time.perf_counter(), time.process_time()
            yielded[name] = job(film)
            walls[name].append(time.perf_counter() - wall)
            cpus[name].append(time.process_time() - cpu)
    rows = [
        [
            name,
            str(yielded[name]),
            spread([frames / wall for wall in walls[name]], ".0f"),
            spread([1000 * cpu / frames for cpu in cpus[name]]),
            spread(
                [own / base for own, base in zip(walls[name], walls["bare decode"], strict=True)]
            ),
        ]
        for name in JOBS
    ]
    header = ["reading", "frames", "film frames a second", "CPU ms a film frame", "wall / bare"]
    print(table(header, rows))
    print(f"\n{machine()}; {film.name}, {frames} frames; {args.repeats} runs: median (min to max).")


if __name__ == "__main__":
    main()
