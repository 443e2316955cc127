"""Wall time of `analyze` over that of decoding alone, on the same 720p film with one face.

    python benchmarks/analyze.py [--repeats 5] [--film VIDEO]

Decoding is PyAV with `thread_type="AUTO"`, every frame decoded and none converted. The runs
alternate, so that what else the machine does falls on all alike; the ratio is taken pair by pair.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import av
from measuring import face_film, machine, spread, table

from emoscope import Analyzer

WANTED = {"10 Hz": 1.5, "native": 2.5}


def decode(path: Path) -> int:
    """Bare decoding. Returns the number of frames."""
    with av.open(str(path)) as film:
        film.streams.video[0].thread_type = "AUTO"
        return sum(1 for _ in film.decode(video=0))


def timed(job: Callable[[], object]) -> tuple[float, float]:
    """Wall seconds and processor seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    job()
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--film", type=Path)
    parser.add_argument("--model", default="face-ferplus")
    parser.add_argument("--detector", default="haar")
    args = parser.parse_args()
    film = args.film or face_film()
    frames = decode(film)
    analyzers = {
        "10 Hz": Analyzer(args.model, detector=args.detector),
        "native": Analyzer(args.model, detector=args.detector, rate_hz=None),
    }
    for analyzer in analyzers.values():  # warm up
        analyzer.analyze(film, end_s=1.0)
    decoding: list[float] = []
    walls: dict[str, list[float]] = {name: [] for name in analyzers}
    ratios: dict[str, list[float]] = {name: [] for name in analyzers}
    costs: dict[str, list[float]] = {name: [] for name in ["decode", *analyzers]}
    for _ in range(args.repeats):
        wall, cpu = timed(lambda: decode(film))
        decoding.append(frames / wall)
        costs["decode"].append(1000 * cpu / frames)
        for name, analyzer in analyzers.items():
            own, cpu = timed(lambda run=analyzer: run.analyze(film))  # type: ignore[misc]
            walls[name].append(frames / own)
            ratios[name].append(own / wall)
            costs[name].append(1000 * cpu / frames)
    rows = [["decoding alone", spread(decoding, ".0f"), spread(costs["decode"]), "1", ""]]
    rows += [
        [
            f"analyze, {name}",
            spread(walls[name], ".0f"),
            spread(costs[name]),
            spread(ratios[name]),
            f"<= {WANTED[name]}",
        ]
        for name in analyzers
    ]
    print(table(["", "frames a second", "CPU-ms a frame", "wall over decoding", "wanted"], rows))
    print(
        f"\n{film.name}, {frames} frames, {args.repeats} repeats, median (min to max). {machine()}."
    )


if __name__ == "__main__":
    main()
