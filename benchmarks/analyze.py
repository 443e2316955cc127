"""Wall time of `analyze` over that of decoding alone, on the same 720p films with one face.

    python benchmarks/analyze.py [--repeats 7] [--film VIDEO]

Decoding is PyAV with `thread_type="AUTO"`, every frame decoded and none converted. The runs
alternate, so that what else the machine does falls on all alike; the ratio is taken pair by pair.
The wanted ratios are for common web video (3 Mbit/s); a film of a quarter of that is decoded so
fast that the same work weighs more.
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


def measure(film: Path, analyzers: dict[str, Analyzer], repeats: int) -> list[list[str]]:
    """Rows of one film."""
    frames = decode(film)
    decoding: list[float] = []
    speeds: dict[str, list[float]] = {name: [] for name in analyzers}
    ratios: dict[str, list[float]] = {name: [] for name in analyzers}
    costs: dict[str, list[float]] = {name: [] for name in ["decode", *analyzers]}
    for _ in range(repeats):
        wall, cpu = timed(lambda: decode(film))
        decoding.append(frames / wall)
        costs["decode"].append(1000 * cpu / frames)
        for name, analyzer in analyzers.items():
            own, cpu = timed(lambda run=analyzer: run.analyze(film))  # type: ignore[misc]
            speeds[name].append(frames / own)
            ratios[name].append(own / wall)
            costs[name].append(1000 * cpu / frames)
    rows = [[film.stem, "decoding alone", spread(decoding, ".0f"), spread(costs["decode"]), "1"]]
    return rows + [
        [
            film.stem,
            f"analyze, {name}",
            spread(speeds[name], ".0f"),
            spread(costs[name]),
            spread(ratios[name]),
        ]
        for name in analyzers
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--film", type=Path)
    parser.add_argument("--model", default="face-ferplus")
    parser.add_argument("--detector", default="auto")
    args = parser.parse_args()
    films = [args.film] if args.film else [face_film(), face_film(bit_rate=800_000)]
    analyzers = {
        "10 Hz": Analyzer(args.model, detector=args.detector),
        "native": Analyzer(args.model, detector=args.detector, rate_hz=None),
    }
    for analyzer in analyzers.values():  # warm up
        analyzer.analyze(films[0], end_s=1.0)
    rows = [row for film in films for row in measure(film, analyzers, args.repeats)]
    print(table(["film", "", "frames a second", "CPU-ms a frame", "wall over decoding"], rows))
    wanted = ", ".join(f"{name} <= {ratio}" for name, ratio in WANTED.items())
    print(
        f"\nWanted at 3 Mbit/s: {wanted}. {args.repeats} repeats, median (min to max). {machine()}."
    )


if __name__ == "__main__":
    main()
