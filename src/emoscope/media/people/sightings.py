"""Faces, bodies or whole frames that a model is shown, frame by frame."""

from collections.abc import Iterator
from dataclasses import dataclass

from emoscope.core.arrays import ByteArray
from emoscope.core.clipspec import ClipSpec, Region
from emoscope.core.errors import SpecError
from emoscope.core.results import Box
from emoscope.media.detectors import DETECTORS
from emoscope.media.people.crops import crop_face
from emoscope.media.people.tracking import FaceFinder
from emoscope.media.video import Frame

__all__ = ["AUTO", "MAX_SIDE_PX", "Sighting", "detector_for", "sightings"]

MAX_SIDE_PX = 1280
"""Larger pictures are scaled down to it as they are decoded, in training and in analysis."""

AUTO = "auto"
"""The detector choice that stands for the region's own default."""

_DEFAULTS: dict[Region, str] = {"face": "haar", "body": "hog", "frame": "none"}
_SHOWN: dict[Region, str] = {"face": "faces", "body": "bodies", "frame": "whole frames"}


@dataclass(frozen=True, eq=False)
class Sighting:
    """One face, body or whole frame in one frame of video."""

    track: int
    box: Box  # pixels of the source, even where the frame was scaled down
    picture: ByteArray  # (H, W, 3), cropped to the region that the model expects


def detector_for(spec: ClipSpec, choice: str = AUTO) -> str:
    """Resolve a user's choice of detector for a model, as `create_detector` takes it.

    "auto" is haar for faces, hog for bodies, and none for whole frames and for models of sound.
    Raises UnknownName, or SpecError for a detector that does not serve the model's region.

    >>> from emoscope.core.clipspec import Stream, Uniform
    >>> streams = (Stream(kind="rgb", size_hw=(48, 48)),)
    >>> spec = ClipSpec(region="body", sampling=Uniform(length=1), streams=streams)
    >>> detector_for(spec), detector_for(spec, "none")
    ('hog', 'none')
    """
    region = spec.region if spec.frame_streams else "frame"
    if choice == AUTO:
        return _DEFAULTS[region]
    name, _, _ = choice.partition("=")
    if region not in DETECTORS[name].regions:
        shown = _SHOWN[region] if spec.frame_streams else "no pictures"
        usable = ", ".join(other for other in DETECTORS if region in DETECTORS[other].regions)
        raise SpecError(
            f"Detector {name} cannot serve this model, which takes {shown}. Choose {AUTO} or one "
            f"of: {usable}."
        )
    return choice


def sightings(frame: Frame, spec: ClipSpec, finder: FaceFinder) -> Iterator[Sighting]:
    """Everyone in the next frame of a video, cropped as the spec asks.

    Bodies are cropped square, as faces are: people keep their proportions wherever the model's
    pictures are square, and raised arms stay in the picture. A head that was found tilted is turned
    upright."""
    if spec.region == "frame":
        height, width = frame.rgb.shape[:2]
        yield Sighting(0, Box(0, 0, width, height), frame.rgb)
        return
    for face in finder.update(frame.rgb, frame.time_s):
        eyes = face.eyes if spec.align else None
        crop = crop_face(frame.rgb, face.box, margin=spec.margin, eyes=eyes, roll=face.roll)
        yield Sighting(face.track, face.box, crop)
