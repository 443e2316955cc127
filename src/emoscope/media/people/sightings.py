"""What a model looks at in a frame: every face or body cut out, or the whole frame."""

from collections.abc import Iterator
from dataclasses import dataclass

from emoscope.core.arrays import ByteArray
from emoscope.core.clipspec import ClipSpec
from emoscope.core.errors import SpecError
from emoscope.core.results import Box
from emoscope.media.detectors import DETECTORS
from emoscope.media.people.crops import crop_face
from emoscope.media.people.tracking import FaceFinder
from emoscope.media.video import Frame

__all__ = ["MAX_SIDE_PX", "Sighting", "detector_for", "sightings"]

MAX_SIDE_PX = 1280
"""Larger pictures are scaled down to it as they are decoded, in training as in analysis."""


@dataclass(frozen=True, eq=False)
class Sighting:
    """One face (or body, or whole frame) in one frame."""

    track: int
    box: Box  # pixels of the frame, or of the source that it was scaled down from
    picture: ByteArray  # (H, W, 3), cut to the region that the model wants


def detector_for(spec: ClipSpec, choice: str) -> str:
    """The detector of what the spec's region shows, for `create_detector`.

    `choice` is what a user names or leaves at its default: one of faces, so that for bodies it is
    hog whatever it names, but for "none". Raises UnknownName, SpecError for hog and faces."""
    name, _, _ = choice.partition("=")
    _ = DETECTORS[name]  # a wrong name is told whether or not it counts
    if spec.region == "body":
        return "none" if name == "none" else "hog"
    if spec.region == "face" and name == "hog":
        raise SpecError("Detector hog finds bodies, and this model looks at faces: write haar.")
    return choice


def sightings(frame: Frame, spec: ClipSpec, finder: FaceFinder) -> Iterator[Sighting]:
    """Everybody in the next frame of a video, as the spec wants to see them.

    Bodies are cut square as faces are: whatever the size of the model's pictures, people keep
    their proportions as long as it is square, and raised arms are in the picture."""
    if spec.region == "frame":
        height, width = frame.rgb.shape[:2]
        yield Sighting(0, Box(0, 0, width, height), frame.rgb)
        return
    for face in finder.update(frame.rgb, frame.time_s):
        eyes = face.eyes if spec.align else None
        crop = crop_face(frame.rgb, face.box, margin=spec.margin, eyes=eyes)
        yield Sighting(face.track, face.box, crop)
