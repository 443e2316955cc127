"""Detection of whole people, on drawn walkers; no recordings of people are shipped."""

import cv2
import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray
from walking import film

from emoscope.core.clipspec import ClipSpec, Stream, Uniform, Vector
from emoscope.core.errors import SpecError, UnknownName
from emoscope.core.results import Box
from emoscope.media.detectors import DETECTORS, DetectorEntry, create_detector
from emoscope.media.detectors.people import HogDetector
from emoscope.media.detectors.whole_frame import WholeFrame
from emoscope.media.people.sightings import detector_for, sightings
from emoscope.media.people.tracking import FaceTracker, TrackedFace
from emoscope.media.video import Frame

WALKERS = [film(seed, frames=3)[-1] for seed in range(6)]


def spec_of(region: str, margin: float = 0.0) -> ClipSpec:
    stream = Stream(kind="rgb", size_hw=(8, 8))
    return ClipSpec.model_validate(
        {"region": region, "margin": margin, "sampling": Uniform(length=1), "streams": (stream,)}
    )


def test_walkers_are_detected_whole_and_once() -> None:
    """They walk in the middle; their soles are at 0.9 of the frame's height."""
    found = [HogDetector().detect(picture) for picture in WALKERS]
    assert sum(len(people) == 1 for people in found) >= 5
    assert not any(len(people) > 1 for people in found)
    for (person,) in filter(None, found):
        x, _ = person.box.center
        assert x == pytest.approx(64, abs=10)
        assert person.box.y1 < 0.3 * 128
        assert person.box.y2 > 0.88 * 128
        assert person.box.width == pytest.approx(person.box.height / 2, rel=0.02)


def test_boxes_of_people_are_in_pixels_of_the_picture_given() -> None:
    (small,) = HogDetector().detect(WALKERS[0])
    (large,) = HogDetector().detect(cv2.resize(WALKERS[0], (640, 640)))
    assert large.box.iou(small.box.scaled(5)) > 0.8


def test_people_are_located_where_they_stand() -> None:
    wide = np.full((128, 256, 3), WALKERS[0].mean(), np.uint8)
    wide[:, 128:] = WALKERS[0]
    (person,) = HogDetector().detect(wide)
    assert person.box.center[0] == pytest.approx(192, abs=10)


@pytest.mark.parametrize("name", ["brick", "gravel", "coffee", "chelsea"])
def test_textures_and_objects_are_not_people(name: str) -> None:
    picture = np.asarray(getattr(skimage.data, name)())
    rgb = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
    assert HogDetector().detect(rgb) == []


@pytest.mark.parametrize("size", [(1, 1), (2, 900), (900, 2), (40, 30)])
def test_pictures_may_have_any_size(size: tuple[int, int]) -> None:
    """OpenCV's own detector crashes on strips."""
    assert HogDetector().detect(np.full((*size, 3), 90, np.uint8)) == []


def test_a_walker_keeps_one_track() -> None:
    tracker = FaceTracker(HogDetector())
    seen = [tracker.update(rgb, i / 10) for i, rgb in enumerate(film(0, frames=10, fps=10))]
    assert [[body.track for body in bodies] for bodies in seen] == [[0]] * 10


class _At:
    """In place of a tracker: one person at this box."""

    def __init__(self, box: Box) -> None:
        self.box = box

    def update(self, rgb: NDArray[np.uint8], time_s: float) -> list[TrackedFace]:
        return [TrackedFace(3, self.box, None, 1.0)]


@pytest.mark.parametrize(("margin", "side"), [(0.0, 40), (0.25, 60)])
def test_a_body_is_cut_square_around_its_box(margin: float, side: int) -> None:
    columns = np.tile(np.arange(100, dtype=np.uint8)[None, :, None], (80, 1, 3))
    box = Box(40, 20, 60, 60)
    (seen,) = sightings(Frame(columns, 0.0, 0), spec_of("body", margin), _At(box))
    assert (seen.track, seen.box, seen.picture.shape) == (3, box, (side, side, 3))
    np.testing.assert_array_equal(seen.picture[0, :, 0], np.arange(50 - side / 2, 50 + side / 2))


@pytest.mark.parametrize(
    ("region", "choice", "detector"),
    [
        ("face", "auto", "haar"),
        ("body", "auto", "hog"),
        ("frame", "auto", "none"),
        ("body", "hog", "hog"),
        ("body", "none", "none"),
        ("face", "lbp=some.xml", "lbp=some.xml"),
    ],
)
def test_every_region_has_a_default_detector(region: str, choice: str, detector: str) -> None:
    assert detector_for(spec_of(region), choice) == detector


@pytest.mark.parametrize(
    ("region", "choice", "message"),
    [
        ("body", "haar", "haar cannot serve this model, which takes bodies. .* one of: hog, none."),
        ("body", "yunet=some.onnx", "yunet cannot serve this model, which takes bodies"),
        ("face", "hog", "takes faces. Choose auto or one of: haar, lbp, none, yunet."),
        ("frame", "haar", "takes whole frames. Choose auto or one of: none."),
    ],
)
def test_a_detector_of_another_region_is_refused(region: str, choice: str, message: str) -> None:
    with pytest.raises(SpecError, match=message) as raised:
        detector_for(spec_of(region), choice)
    assert "\n" not in str(raised.value)


def test_a_misspelt_detector_is_refused() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'hog'"):
        detector_for(spec_of("body"), "hogg")


def test_a_model_of_sound_takes_no_detector() -> None:
    sound = ClipSpec(streams=(Vector(kind="egemaps"),))
    assert detector_for(sound) == "none"
    with pytest.raises(SpecError, match="haar cannot serve this model, which takes no pictures"):
        detector_for(sound, "haar")


def test_a_second_detector_of_bodies_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = DetectorEntry(WholeFrame, regions={"body"})
    monkeypatch.setitem(DETECTORS._loaded(), "boxes", boxes)
    assert detector_for(spec_of("body"), "boxes") == "boxes"
    assert create_detector("boxes").detect(WALKERS[0])[0].score == 1
    with pytest.raises(SpecError, match="boxes cannot serve"):
        detector_for(spec_of("face"), "boxes")
