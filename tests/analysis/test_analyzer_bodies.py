"""A model of bodies: analysis and training crop the same people."""

from pathlib import Path

import numpy as np
import pytest
from making import grey_picture, make_video
from preparing import ready, spec_of
from tiny_bundles import clip_bundle, image_bundle
from walking import film

from emoscope.analysis.analyzer import Analyzer
from emoscope.core.results import Box, Timeline
from emoscope.corpora.manifest import Sample
from emoscope.media.clips import Clip, build_clip, finish
from emoscope.media.people.crops import crop_face
from emoscope.media.people.tracking import FaceTracker
from emoscope.media.video import read_frames

WALK_S = 1.0


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A person for a second, then half a second of nobody; 10 frames a second."""
    pictures = [*film(0, frames=10, fps=10), *[grey_picture(3, (128, 128))] * 5]
    path = tmp_path_factory.mktemp("walk") / "walk.mp4"
    return make_video(path, num_frames=15, fps=10, picture=pictures.__getitem__)


def analysed(walk: Path, bundle: Path, detector: str = "auto") -> Timeline:
    return Analyzer(bundle, detector=detector).analyze(walk)


def test_a_model_of_bodies_follows_a_walking_person(walk: Path, tmp_path: Path) -> None:
    bundle = image_bundle(tmp_path / "body.onnx", region="body", modality="body")
    timeline = analysed(walk, bundle)
    there = timeline.spans_s[:, 0] < WALK_S - 1e-6
    assert timeline.track.tolist() == [0] * 10 + [-1] * 5
    assert np.isnan(timeline.probs[~there]).all()
    np.testing.assert_allclose(timeline.probs[there].sum(axis=1), 1, rtol=1e-6)
    assert set(timeline.modalities[there]) == {"body"}
    for box in timeline.boxes_xyxy[there]:
        assert Box(*box).iou(Box(38, 20, 92, 128)) > 0.6
    assert timeline.provenance.detector == "hog"


def test_a_clip_model_of_bodies_slides_over_a_person(walk: Path, tmp_path: Path) -> None:
    bundle = clip_bundle(tmp_path / "body.onnx", region="body", modality="body")
    timeline = analysed(walk, bundle)
    assert timeline.track.tolist() == [0, 0, -1]
    assert np.isfinite(timeline.probs[:2]).all()


def test_without_a_detector_the_frame_is_the_body(walk: Path, tmp_path: Path) -> None:
    bundle = image_bundle(tmp_path / "body.onnx", region="body", modality="body")
    timeline = analysed(walk, bundle, detector="none")
    assert timeline.boxes_xyxy.tolist() == [[0, 0, 128, 128]] * 15
    assert timeline.provenance.detector == "none"


def test_training_and_analysis_crop_the_same_bodies(walk: Path, tmp_path: Path) -> None:
    from emoscope.media.detectors.people import HogDetector

    spec = spec_of("rgb", region="body", margin=0.1)
    tracker, crops, times_s = FaceTracker(HogDetector()), [], []
    for frame in read_frames(walk):
        for body in tracker.update(frame.rgb, frame.time_s):
            crops.append(crop_face(frame.rgb, body.box, margin=0.1))
            times_s.append(frame.time_s)
    sample = Sample(walk, "joy")
    prepared = ready([sample], spec, tmp_path, detector="auto")
    np.testing.assert_array_equal(
        finish(prepared.load(sample), spec)["rgb"], build_clip(Clip(crops, times_s), spec)["rgb"]
    )
    assert prepared.report["joy"].without_face == 15 - len(crops) == 5


def test_a_video_without_a_person_is_left_out(walk: Path, tmp_path: Path) -> None:
    sample = Sample(walk, "joy", start_s=1.05)
    prepared = ready([sample], spec_of("rgb", region="body"), tmp_path, detector="auto")
    assert [failure.reason for failure in prepared.failures] == ["no body seen"]
    assert "no body in 1 of 1 clips" in "\n".join(prepared.report_lines())
