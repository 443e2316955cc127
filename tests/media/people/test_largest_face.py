"""Detection in every frame independently."""

import numpy as np

from emoscope.core.results import Box
from emoscope.media.detectors.base import Detection
from emoscope.media.people.tracking import LargestFace, TrackedFace

EYES = ((4.0, 5.0), (8.0, 5.0))
SMALL = Detection(Box(0, 0, 10, 10), 0.9)
LARGE = Detection(Box(20, 0, 40, 20), 0.4, EYES)
FRAME = np.zeros((48, 64, 3), np.uint8)


class Script:
    """A detector that returns the given detections, picture by picture."""

    def __init__(self, *script: list[Detection]) -> None:
        self.script = list(script)
        self.calls = 0

    def detect(self, rgb: np.ndarray) -> list[Detection]:
        self.calls += 1
        return self.script[self.calls - 1]


def test_the_largest_face_is_taken_whatever_its_score() -> None:
    (face,) = LargestFace(Script([SMALL, LARGE])).update(FRAME, 0.0)
    assert face == TrackedFace(0, LARGE.box, EYES, 0.4)


def test_every_frame_is_searched_and_nothing_is_followed() -> None:
    script = Script([SMALL], [], [LARGE], [SMALL])
    faces = LargestFace(script)
    found = [faces.update(FRAME, i / 100) for i in range(4)]
    assert script.calls == 4
    boxes = [[face.box for face in seen] for seen in found]
    assert boxes == [[SMALL.box], [], [LARGE.box], [SMALL.box]]
    assert {face.track for seen in found for face in seen} == {0}
