"""What a model looks at in a frame: every face cut out, or the whole frame."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from emoscope.core.clipspec import ClipSpec
from emoscope.core.results import Box
from emoscope.media.faces import crop_face
from emoscope.media.tracking import FaceFinder
from emoscope.media.video import Frame

__all__ = ["MAX_SIDE_PX", "Sighting", "sightings"]

MAX_SIDE_PX = 1280
"""Larger pictures are scaled down to it as they are decoded, in training as in analysis."""


@dataclass(frozen=True, eq=False)
class Sighting:
    """One face (or body, or whole frame) in one frame."""

    track: int
    box: Box  # pixels of the frame, or of the source that it was scaled down from
    picture: npt.NDArray[np.uint8]  # (H, W, 3), cut to the region that the model wants


def sightings(frame: Frame, spec: ClipSpec, faces: FaceFinder) -> Iterator[Sighting]:
    """Everybody in the next frame of a video, as the spec wants to see them."""
    if spec.region != "face":
        # Without a body detector the frame is the body, as in the corpora of full-length actors.
        height, width = frame.rgb.shape[:2]
        yield Sighting(0, Box(0, 0, width, height), frame.rgb)
        return
    for face in faces.update(frame.rgb, frame.time_s):
        eyes = face.eyes if spec.align else None
        crop = crop_face(frame.rgb, face.box, margin=spec.margin, eyes=eyes)
        yield Sighting(face.track, face.box, crop)
