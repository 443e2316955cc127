"""How tight to cut a face: margins, levelled eyes and wrong boxes, on FER+ stills.

    python benchmarks/crops.py [--model NAME_OR_PATH] [--ferplus DIR] [--part holdout|valid]
                               [--stills 500] [--margin M] [--yunet MODEL.onnx]

Stills of FER+ are enlarged fourfold and their edges repeated around them, so that a detector can
find the face; what it finds is cut as the analyzer cuts it and scored against the arg-max of the
votes. A still has no pixels beyond its own edge: where a crop is wider than the still, it shows
repeated edges, and real video would show hair and background. `holdout` is what the recipe of the
default model holds out of the training part: settings are chosen there.
"""

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from measuring import machine, table, unpacked
from stills import (
    RECIPE,
    YUNET,
    Still,
    detectors,
    face_on,
    on_canvas,
    range_of,
    read_stills,
    roll_deg,
    said,
    whole,
    without_prior,
)

from emoscope.analysis.bundle import Bundle, load_bundle
from emoscope.core.arrays import Picture
from emoscope.core.results import Box
from emoscope.media.detectors.base import Detection, Detector
from emoscope.media.people.crops import crop_face
from emoscope.training.metrics import accuracy, uar
from emoscope.training.recipe import Recipe

MARGINS = (-0.15, -0.1, -0.05, 0.0, 0.05, 0.1, 0.15, 0.2, 0.3)
WRONG = {  # parts of the box's side by which its centre, and its size, are wrong at most
    "shift 5 %": (0.05, 0.0),
    "shift 10 %": (0.10, 0.0),
    "size 5 %": (0.0, 0.05),
    "size 10 %": (0.0, 0.10),
    "both 10 %": (0.10, 0.10),
}

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.integer]


@dataclass(frozen=True, eq=False)
class Found:
    """A still on its canvas, and the face that was found: sides and places in canvas pixels."""

    still: Still
    canvas: Picture
    face: Detection


def find(stills: Iterable[Still], detector: Detector) -> list[Found]:
    """The stills in which it finds a face."""
    found = []
    for still in stills:
        canvas = on_canvas(still.picture)
        face = face_on(canvas, detector)
        if face is not None:
            found.append(Found(still, canvas, face))
    return found


def crops(found: Sequence[Found], margin: float, level: bool) -> list[Picture]:
    """Cut as the analyzer cuts."""
    return [
        crop_face(f.canvas, f.face.box, margin=margin, eyes=f.face.eyes if level else None)
        for f in found
    ]


def misplaced(found: Found, shift: float, size: float, rng: np.random.Generator) -> Found:
    """The same with a box that is wrong by up to these parts of its side."""
    box, (right, down, power) = found.face.box, rng.uniform(-1, 1, 3).tolist()
    (x, y), half = box.center, box.width * (1 + size) ** power / 2
    x, y = x + shift * right * box.width, y + shift * down * box.height
    wrong = Box(x - half, y - half, x + half, y + half)
    return replace(found, face=replace(found.face, box=wrong))


def framing(found: Sequence[Found]) -> FloatArray:
    """(N, 3) of the boxes: side, and how far right and down of the middle, in the still's sides."""
    rows = []
    for f in found:
        still, (x, y) = whole(f.canvas), f.face.box.center
        side = still.width
        rows.append(
            (f.face.box.width / side, (x - still.x1) / side - 0.5, (y - still.y1) / side - 0.5)
        )
    return np.array(rows)


def scores(probs: FloatArray, truth: IntArray) -> str:
    guess = probs.argmax(axis=1)
    return f"{100 * accuracy(truth, guess):.1f} / {100 * uar(truth, guess):.1f}"


def truth_of(found: Sequence[Found]) -> IntArray:
    return np.array([f.still.truth for f in found])


def margin_tables(bundle: Bundle, by_name: dict[str, list[Found]], stills: int) -> None:
    """Accuracy / UAR over the faces found, by margin, for both priors."""
    rows: dict[str, list[list[str]]] = {"uniform": [], "train": []}
    for name, found in by_name.items():
        truth = truth_of(found)
        for level in (False, True) if found[0].face.eyes else (False,):
            pictures = [[f.still.picture for f in found]]
            pictures += [crops(found, margin, level) for margin in MARGINS]
            probs = [said(bundle, some) for some in pictures]
            label = f"{name}, eyes level" if level else name
            start = [label, f"{100 * len(found) / stills:.0f} %"]
            rows["train"].append(start + [scores(p, truth) for p in probs])
            rows["uniform"].append(start + [scores(without_prior(p, bundle), truth) for p in probs])
    header = ["detector", "found", "the still, whole", *(f"{100 * m:+.0f} %" for m in MARGINS)]
    for prior, lines in rows.items():
        print(f"Accuracy / UAR in %, prior {prior}, by margin\n\n{table(header, lines)}\n")


def framing_table(by_name: dict[str, list[Found]]) -> None:
    """Where the boxes are in the stills."""
    rows = []
    for name, found in by_name.items():
        side, right, down = framing(found).T
        same = (1 / float(np.median(side)) - 1) / 2
        rolls = range_of(roll_deg(f.face for f in found), "+.1f")
        rows.append(
            [name, range_of(side, ".2f"), range_of(right), range_of(down), f"{same:+.1%}", rolls]
        )
    header = (
        "detector",
        "side",
        "right",
        "down",
        "margin that frames as the stills",
        "roll, degrees",
    )
    print("Boxes in a still, in its sides, median (5th to 95th percentile)\n")
    print(table(header, rows), "\n")


def coverage_table(by_name: dict[str, list[Found]], margin: float) -> None:
    """How much of what detectors do to a crop the recipe's augmentation does in training."""
    drawn = Recipe.read(RECIPE).augmentation
    rows = []
    for name, found in by_name.items():
        side, right, down = framing(found).T
        crop = side * (1 + 2 * margin)
        factor, shifts = 1 / crop, np.abs(np.stack([right, down])) / crop
        sized = (factor >= drawn.scale[0]) & (factor <= drawn.scale[1])
        placed = (shifts <= drawn.shift).all(axis=0)
        turned = np.abs(roll_deg(f.face for f in found)) <= drawn.rotate_deg
        worst = ", ".join(f"{np.percentile(shifts.max(axis=0), p):.2f}" for p in (50, 90, 95))
        rows.append(
            [
                name,
                range_of(factor, ".2f"),
                f"{sized.mean():.0%}",
                worst,
                f"{placed.mean():.0%}",
                f"{(sized & placed).mean():.0%}",
                f"{turned.mean():.0%}" if len(turned) else "",
            ]
        )
    low, high = drawn.scale
    print(
        f"Crops at {margin:+.0%} against the stills' own framing, and the part of them that the "
        f"recipe's augmentation reaches\n"
    )
    header = (
        "detector",
        "the face's size",
        f"in {low:g} to {high:g}",
        "larger shift: 50, 90, 95th percentile",
        f"both within {drawn.shift:g}",
        "size and shift",
        f"roll within {drawn.rotate_deg:g}°",
    )
    print(table(header, rows), "\n")


def wrong_boxes_table(bundle: Bundle, by_name: dict[str, list[Found]], margin: float) -> None:
    """Cost of small errors of the box, and the number of answers they change."""
    rows = []
    for name in ("haar", "yunet"):
        if name not in by_name:
            continue
        found, truth = by_name[name], truth_of(by_name[name])
        right = without_prior(said(bundle, crops(found, margin, False)), bundle)
        cells = [scores(right, truth)]
        for shift, size in WRONG.values():
            rng = np.random.default_rng(0)
            moved = [misplaced(f, shift, size, rng) for f in found]
            probs = without_prior(said(bundle, crops(moved, margin, False)), bundle)
            changed = (probs.argmax(axis=1) != right.argmax(axis=1)).mean()
            cells.append(f"{scores(probs, truth)}, {changed:.0%} others")
        rows.append([name, *cells])
    print(
        f"A wrong box, at {margin:+.0%}, uniform prior: accuracy / UAR in %, and the part of the "
        "answers that are others\n"
    )
    print(table(("detector", "as found", *WRONG), rows), "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--model", default="face-ferplus")
    parser.add_argument("--ferplus", type=Path)
    parser.add_argument("--part", choices=("holdout", "valid"), default="holdout")
    parser.add_argument("--stills", type=int, default=500)
    parser.add_argument("--margin", type=float, help="of the later tables; else the model's")
    parser.add_argument("--yunet", type=Path, default=YUNET)
    args = parser.parse_args()
    bundle = load_bundle(args.model)
    margin = bundle.clip_spec.margin if args.margin is None else args.margin
    stills = read_stills(args.ferplus or unpacked("ferplus"), args.part, args.stills)
    by_name = {name: find(stills, detector) for name, detector in detectors(args.yunet).items()}
    framing_table(by_name)
    margin_tables(bundle, by_name, len(stills))
    wrong_boxes_table(bundle, by_name, margin)
    coverage_table(by_name, margin)
    print(
        f"{bundle.name} {bundle.card.version}, whose own margin is {bundle.clip_spec.margin:+.0%}; "
        f"{len(stills)} stills of FER+'s {args.part} part. {machine()}."
    )


if __name__ == "__main__":
    main()
