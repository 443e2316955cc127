"""How often a label changes while the expression does not, and what smoothing costs in delay.

    python benchmarks/flicker.py [--model NAME_OR_PATH] [--ferplus DIR] [--part holdout|valid]
                                 [--detector haar] [--stills 5] [--clips FOLDER]

SYNTHETIC films: one still of FER+ each, enlarged, that drifts, shakes and turns a little, with
grain, as H.264, through the analyzer at 10 Hz. Delay and losses are of the rows of two such films
joined: an expression that begins at once, or lasts half a second or one second between others.
"""

import argparse
import itertools
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from measuring import machine, table, unpacked
from stills import CLIPS, Still, films, read_stills, without_prior

from emoscope.analysis.analyzer import Analyzer
from emoscope.analysis.bundle import Bundle, load_bundle
from emoscope.core.options import DEFAULT_RATE_HZ
from emoscope.core.results import Timeline
from emoscope.media.video import Frame
from emoscope.media.writer import write_video

WINDOWS_S = (0.0, 0.3, 0.5, 0.7, 1.0, 1.5)
SHORT_S = (0.3, 0.5, 1.0)
SECONDS, FPS = 3.0, 25
SIZE_WH, FACE_PX = (320, 240), 144
GRAIN = 5.0  # grey levels
PAIRS = 300

FloatArray = npt.NDArray[np.floating]


def film(still: Still, seed: int) -> Iterator[Frame]:
    """The still, drifting by 4 px, shaking by half a pixel, rolling by a degree, with grain."""
    rng = np.random.default_rng(seed)
    phase, shake, (width, height) = rng.uniform(0, 2 * np.pi, 3), np.zeros(2), SIZE_WH
    gray = cv2.cvtColor(still.picture, cv2.COLOR_RGB2GRAY)
    for i in range(round(SECONDS * FPS)):
        turn = 2 * np.pi * i / (3 * FPS)
        shake = 0.7 * shake + rng.normal(0, 0.5, 2)
        x, y = 4 * np.sin(turn + phase[:2]) + shake
        matrix = cv2.getRotationMatrix2D(
            (23.5, 23.5), math.sin(turn + phase[2]), FACE_PX / len(gray)
        )
        matrix[:, 2] += width / 2 - 24 + x, height / 2 - 24 + y
        view = cv2.warpAffine(
            gray, matrix, SIZE_WH, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )
        grainy = view + rng.normal(0, GRAIN, view.shape)
        rgb = np.repeat(grainy.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
        yield Frame(rgb, i / FPS, i, 1 / FPS)


def longest(timeline: Timeline) -> Timeline:
    """The rows of the face that is seen longest."""
    parts = [timeline.for_track(track) for track in timeline.tracks]
    return max(parts, key=len) if parts else timeline


def changes_a_second(timeline: Timeline) -> tuple[int, float]:
    """How often the leading label changes, and the seconds seen."""
    seen_s, changes = 0.0, 0
    for track in timeline.tracks:
        part = timeline.for_track(track)
        spans = part.spans_s[part.seen]
        seen_s += float((spans[:, 1] - spans[:, 0]).sum())
        leading = [label for label in part.leading if label]
        changes += sum(one != other for one, other in itertools.pairwise(leading))
    return changes, seen_s


def smoothed(timeline: Timeline, window_s: float) -> Timeline:
    return timeline.smooth(window_s) if window_s else timeline


def by_prior(timeline: Timeline, bundle: Bundle) -> dict[str, Timeline]:
    """The same rows under each prior; the given ones are under the training prior."""
    return {
        "uniform": replace(timeline, probs=without_prior(timeline.probs, bundle)),
        "train": timeline,
    }


def flicker_row(timelines: Sequence[Timeline]) -> list[str]:
    """Changes a second by window, and the part of the films that do not change at all."""
    cells = []
    for window_s in WINDOWS_S:
        counts = [changes_a_second(smoothed(timeline, window_s)) for timeline in timelines]
        rate = sum(n for n, _ in counts) / sum(s for _, s in counts)
        calm = sum(n == 0 for n, _ in counts) / len(counts)
        cells.append(f"{rate:.2f}" + (f" ({calm:.0%} still)" if len(counts) > 1 else ""))
    return cells


def joined(parts: Sequence[Timeline], rows: Sequence[int]) -> Timeline:
    """So many first rows of each, one after the other, as of one face."""
    probs = np.concatenate([part.probs[:n] for part, n in zip(parts, rows, strict=True)])
    starts = np.arange(len(probs)) / DEFAULT_RATE_HZ
    nobody = Timeline.empty(parts[0].labels)
    return replace(
        nobody,
        spans_s=np.column_stack([starts, starts + 1 / DEFAULT_RATE_HZ]),
        track=np.zeros(len(probs), dtype=np.int64),
        boxes_xyxy=np.zeros((len(probs), 4)),
        probs=probs,
        modalities=np.full(len(probs), "face"),
        padded=np.zeros(len(probs), dtype=np.bool_),
    )


def pairs(timelines: Sequence[Timeline]) -> list[tuple[Timeline, Timeline, str]]:
    """Films of whole length that never name each other's label, and what the second one shows."""
    steady = [t for t in timelines if len(t) >= 20 and len(set(t.leading)) == 1]
    found = [(a, b, b.leading[0]) for a, b in itertools.permutations(steady, 2)]
    differing = [pair for pair in found if pair[0].leading[0] != pair[2]]
    order = np.random.default_rng(0).permutation(len(differing))[:PAIRS]
    return [differing[i] for i in order.tolist()]


def turn_s(timeline: Timeline, label: str) -> float:
    """When the label is first named."""
    return next(
        (
            float(t)
            for t, said in zip(timeline.spans_s[:, 0], timeline.leading, strict=True)
            if said == label
        ),
        math.nan,
    )


def delay_rows(timelines: Sequence[Timeline]) -> list[list[str]]:
    """By window: when a new label is named, and how often short expressions are named."""
    cases, rows, before = pairs(timelines), [], 15
    for window_s in WINDOWS_S:
        turns = [
            turn_s(smoothed(joined((a, b), (before, 15)), window_s), label) for a, b, label in cases
        ]
        late = np.array(turns) - before / DEFAULT_RATE_HZ
        low, middle, high = np.nanpercentile(late, (5, 50, 95))
        cells = [f"{window_s:g} s", f"{middle:+.1f} ({low:+.1f} to {high:+.1f})"]
        for short_s in SHORT_S:
            some = round(short_s * DEFAULT_RATE_HZ)
            named = [
                label in smoothed(joined((a, b, a), (before, some, before)), window_s).leading
                for a, b, label in cases
            ]
            cells.append(f"{np.mean(named):.0%}")
        rows.append([*cells, f"{window_s / 2:g}"])
    return rows


def chosen(stills: Sequence[Still], labels: Sequence[str], each: int) -> list[Still]:
    """The first so many of each label."""
    return [s for i in range(len(labels)) for s in [s for s in stills if s.truth == i][:each]]


def analysed(stills: Sequence[Still], analyzer: Analyzer) -> list[Timeline]:
    """Rows of the face in a video made of each still in which a face is found."""
    timelines = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "still.mp4"
        for seed, still in enumerate(stills):
            write_video(path, film(still, seed))
            rows = longest(analyzer.analyze(path))
            if rows.seen.any():
                timelines.append(rows)
    return timelines


def flicker_tables(
    of_stills: Mapping[str, Sequence[Timeline]], of_films: Mapping[str, Mapping[str, Timeline]]
) -> None:
    rows = [
        [f"still, prior {prior}", *flicker_row(timelines)] for prior, timelines in of_stills.items()
    ]
    for name, timelines in of_films.items():
        rows += [[f"{name}, prior {prior}", *flicker_row([t])] for prior, t in timelines.items()]
    print("Label changes a second, by window of smoothing\n")
    print(table(["", *(f"{w:g} s" for w in WINDOWS_S)], rows), "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--model", default="face-ferplus")
    parser.add_argument("--ferplus", type=Path)
    parser.add_argument("--part", choices=("holdout", "valid"), default="holdout")
    parser.add_argument("--detector", default="haar")
    parser.add_argument("--stills", type=int, default=5, help="of each label")
    parser.add_argument("--clips", type=Path, default=CLIPS)
    args = parser.parse_args()
    bundle = load_bundle(args.model)
    analyzer = Analyzer(bundle, detector=args.detector, prior="train", smooth_s=0)
    name = args.detector.partition("=")[0]
    stills = chosen(
        read_stills(args.ferplus or unpacked("ferplus"), args.part), bundle.labels, args.stills
    )
    told = [by_prior(timeline, bundle) for timeline in analysed(stills, analyzer)]
    of_stills = {prior: [t[prior] for t in told] for prior in ("uniform", "train")}
    of_films = {path.stem: by_prior(analyzer.analyze(path), bundle) for path in films(args.clips)}
    flicker_tables(of_stills, of_films)
    print("What smoothing costs, prior uniform\n")
    short = (f"{s:g} s is named" for s in SHORT_S)
    header = ("window", "named too late by, s", *short, "live rows wait, s")
    print(table(header, delay_rows(of_stills["uniform"])), "\n")
    print(
        f"{bundle.name} {bundle.card.version}, {name}; SYNTHETIC films of {len(told)} "
        f"stills of FER+'s {args.part} part in which a face is found, of {len(stills)}; "
        f"{len(pairs(of_stills['uniform']))} pairs. {machine()}."
    )


if __name__ == "__main__":
    main()
