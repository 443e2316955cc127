"""The face that is looked for in every frame anew."""

import numpy as np

from emoscope.core.results import Box
from emoscope.media.detectors.base import Detection
from emoscope.media.people.tracking import LargestFace, TrackedFace

EYES = ((4.0, 5.0), (8.0, 5.0))
SMALL = Detection(Box(0, 0, 10, 10), 0.9)
LARGE = Detection(Box(20, 0, 40, 20), 0.4, EYES)
FRAME = np.zeros((48, 64, 3), np.uint8)


class Script:
    """A detector that finds what it is told, picture after picture."""

    def __init__(self, *found: list[Detection]) -> None:
        self.found = list(found)
        self.looks = 0

    def detect(self, rgb: np.ndarray) -> list[Detection]:
        self.looks += 1
        return self.found[self.looks - 1]


def test_the_largest_face_is_taken_and_not_the_surest() -> None:
    (face,) = LargestFace(Script([SMALL, LARGE])).update(FRAME, 0.0)
    assert face == TrackedFace(0, LARGE.box, EYES, 0.4)


def test_every_frame_is_looked_at_and_nothing_is_followed() -> None:
    script = Script([SMALL], [], [LARGE], [SMALL])
    faces = LargestFace(script)
    found = [faces.update(FRAME, i / 100) for i in range(4)]
    assert script.looks == 4
    boxes = [[face.box for face in seen] for seen in found]
    assert boxes == [[SMALL.box], [], [LARGE.box], [SMALL.box]]
    assert {face.track for seen in found for face in seen} == {0}
