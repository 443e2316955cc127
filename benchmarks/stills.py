"""Stills of FER+ for the benchmarks that look at them: read, enlarged, found, scored."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from measuring import SHARED

from emoscope.analysis.bundle import Bundle
from emoscope.core.arrays import Picture
from emoscope.core.errors import EmoscopeError
from emoscope.core.results import Box
from emoscope.corpora.manifest import Sample
from emoscope.corpora.readers.ferplus import read_ferplus
from emoscope.media.clips import Clip, build_clip
from emoscope.media.detectors import create_detector
from emoscope.media.detectors.base import Detection, Detector
from emoscope.media.reading.images import read_image
from emoscope.training.folds import plan_folds
from emoscope.training.recipe import Recipe

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "face-ferplus.toml"
YUNET = SHARED / "models" / "face_detection_yunet_2026may.onnx"
CLIPS = SHARED / "clips"

ENLARGED = 4
BORDER = 0.5  # around a still, in its sides

FloatArray = npt.NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Still:
    """A face (48, 48, 3), the column that most votes name, and the votes (8,) as shares."""

    picture: Picture
    truth: int
    votes: FloatArray


def read_stills(
    root: Path, part: str, count: int | None = None, *, clear: bool = True
) -> list[Still]:
    """So many stills of a part, or all, in an order at random but the same each time: "valid", or
    "holdout", which the recipe of the default model holds out of the training part. `clear` ones
    have one arg-max."""
    manifest = read_ferplus(root)
    protocol = Recipe.read(RECIPE).protocol
    plan = plan_folds(manifest.samples, manifest.labels, protocol, 0, "all")
    fold = plan.folds[0]
    samples = [plan.samples[row] for row in (fold.test if part == "valid" else fold.holdout)]
    chosen = [sample for sample in samples if sample.is_clear or not clear]
    order = np.random.default_rng(0).permutation(len(chosen))[:count]
    return [_still(chosen[i], manifest.labels) for i in order.tolist()]


def _still(sample: Sample, labels: Sequence[str]) -> Still:
    picture = np.asarray(read_image(sample.path))
    return Still(picture, labels.index(sample.label), np.array(sample.votes))


def films(folder: Path) -> list[Path]:
    """The sample clips."""
    return sorted(path for path in folder.glob("*") if path.suffix in {".mp4", ".mov"})


def detectors(yunet: Path) -> dict[str, Detector]:
    """Those that can be had here, by name."""
    made: dict[str, Detector] = {}
    for choice in ("haar", "lbp", f"yunet={yunet}"):
        try:
            made[choice.partition("=")[0]] = create_detector(choice)
        except EmoscopeError as error:
            print(f"without {choice}: {error}\n")
    return made


def on_canvas(picture: Picture, shift_px: tuple[float, float] = (0.0, 0.0)) -> Picture:
    """Enlarged, with a border; moved by parts of the still's own pixels."""
    height, width = picture.shape[:2]
    pad = BORDER * width * ENLARGED
    size = round(width * ENLARGED + 2 * pad), round(height * ENLARGED + 2 * pad)
    middle = pad + (ENLARGED - 1) / 2  # where the centre of the first pixel goes
    x, y = (middle + ENLARGED * shift for shift in shift_px)
    matrix = np.array([[ENLARGED, 0, x], [0, ENLARGED, y]])
    warped = cv2.warpAffine(
        picture, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(warped, dtype=np.uint8)


def whole(canvas: Picture) -> Box:
    """Where the still lies on its canvas."""
    low, high = BORDER / (1 + 2 * BORDER), (1 + BORDER) / (1 + 2 * BORDER)
    height, width = canvas.shape[:2]
    return Box(low * width, low * height, high * width, high * height)


def face_on(canvas: Picture, detector: Detector) -> Detection | None:
    """The surest face whose middle is in the still."""
    box = whole(canvas)
    for face in detector.detect(canvas):
        x, y = face.box.center
        if box.x1 < x < box.x2 and box.y1 < y < box.y2:
            return face
    return None


def said(bundle: Bundle, pictures: Sequence[Picture]) -> FloatArray:
    """(N, C) probabilities of crops, by the prior of training."""
    clips = [build_clip(Clip([picture]), bundle.clip_spec) for picture in pictures]
    return np.concatenate(
        [
            bundle.predict(
                {name: np.stack([c[name] for c in clips[i : i + 64]]) for name in clips[0]}
            )
            for i in range(0, len(clips), 64)
        ]
    )


def without_prior(probs: FloatArray, bundle: Bundle) -> FloatArray:
    """Convert the answers to `prior="uniform"`."""
    shares = probs / np.array(bundle.card.prior)
    return shares / shares.sum(axis=-1, keepdims=True)


def roll_deg(faces: Iterable[Detection]) -> FloatArray:
    """Angle of the line between the eyes, clockwise in the picture."""
    pairs = [face.eyes for face in faces if face.eyes is not None]
    return np.array([math.degrees(math.atan2(b[1] - a[1], b[0] - a[0])) for a, b in pairs])


def range_of(values: FloatArray, form: str = "+.2f") -> str:
    """Median (5th to 95th percentile)."""
    if len(values) == 0:
        return ""
    low, middle, high = np.percentile(values, (5, 50, 95))
    return f"{middle:{form}} ({low:{form}} to {high:{form}})"
