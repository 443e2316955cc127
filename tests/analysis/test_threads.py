"""One Analyzer shared by threads and processes (issue 18, kind 1: OpenCV's detectors are not)."""

import json
import multiprocessing
import pickle
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from making import make_video
from tiny_bundles import clip_bundle, image_bundle

from emoscope.analysis.analyzer import Analyzer
from emoscope.analysis.bundle import load_bundle
from emoscope.core.results import Timeline
from emoscope.media.detectors import DetectorPool, cascades
from emoscope.media.detectors.whole_frame import WholeFrame
from emoscope.media.video import read_frames

PORTRAIT = Path(__file__).parents[2] / "examples" / "portrait.mp4"
YUNET = Path(__file__).parents[3] / "shared" / "models" / "face_detection_yunet_2026may.onnx"
HAS_LBP = any(
    (f / "lbpcascade_frontalface_improved.xml").is_file() for f in cascades._lbp_folders()
)
SPANS_S = [(0.0, 1.0), (3.0, 4.0), (6.0, 7.5), (9.0, 10.0), (1.5, 2.5), (10.5, 12.0)]
DETECTORS = [
    "haar",
    "hog",
    "none",
    pytest.param("lbp", marks=pytest.mark.skipif(not HAS_LBP, reason="no opencv-data")),
    pytest.param(f"yunet={YUNET}", marks=pytest.mark.data, id="yunet"),
]


def written(timelines: Iterable[Timeline]) -> list[str]:
    return [json.dumps(timeline.to_dict()) for timeline in timelines]


def part(analyzer: Analyzer, span_s: tuple[float, float]) -> Timeline:
    return analyzer.analyze(PORTRAIT, start_s=span_s[0], end_s=span_s[1])


def assert_same_in_threads(work: Callable[[Any], Timeline], items: list[Any]) -> None:
    alone = written(map(work, items))
    with ThreadPoolExecutor(4) as pool:
        assert written(pool.map(work, items)) == alone


@pytest.mark.parametrize("detector", DETECTORS)
def test_threads_share_an_analyzer(tmp_path: Path, detector: str) -> None:
    region = "body" if detector == "hog" else "face"
    bundle = image_bundle(tmp_path / "image.onnx", region=region)
    analyzer = Analyzer(bundle, detector=detector)
    assert_same_in_threads(partial(part, analyzer), SPANS_S[:3] if region == "body" else SPANS_S)


def test_threads_share_a_clip_model(tmp_path: Path) -> None:
    bundle = clip_bundle(tmp_path / "clip.onnx", region="face")
    assert_same_in_threads(partial(part, Analyzer(bundle)), SPANS_S[:4])


def test_threads_share_the_backend_openvino(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    bundle = load_bundle(image_bundle(tmp_path / "image.onnx"), "openvino")
    batches = [np.full((64, 1, 1, 8, 8), level / 40, np.float32) for level in range(40)]
    alone = [bundle.predict({"gray": batch}) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda batch: bundle.predict({"gray": batch}), batches))
    np.testing.assert_array_equal(together, alone)


def test_threads_share_a_system(tmp_path: Path) -> None:
    pytest.importorskip("opensmile")
    pytest.importorskip("emoscope_voice")
    films = [make_video(tmp_path / f"{i}.mp4", num_frames=30 + i, sound_s=1.0) for i in range(4)]
    analyzer = Analyzer("face-voice", detector="none")
    timeline = analyzer.analyze(films[0])
    assert "face+voice" in timeline.modalities
    assert_same_in_threads(analyzer.analyze, films)


def test_threads_stream_from_an_analyzer(tmp_path: Path) -> None:
    analyzer = Analyzer(image_bundle(tmp_path / "image.onnx"))

    def live(span_s: tuple[float, float]) -> Timeline:
        frames = read_frames(PORTRAIT, start_s=span_s[0], end_s=span_s[1])
        return Timeline.concatenate(analyzer.stream(frames))

    assert_same_in_threads(live, SPANS_S[:4])


def test_streams_that_take_turns_do_not_mix(tmp_path: Path) -> None:
    analyzer = Analyzer(image_bundle(tmp_path / "image.onnx"))
    films = [list(read_frames(PORTRAIT, start_s=a, end_s=b)) for a, b in SPANS_S[:2]]
    alone = [Timeline.concatenate(analyzer.stream(film)) for film in films]
    turns = zip(*(analyzer.stream(film) for film in films), strict=True)
    together = [Timeline.concatenate(parts) for parts in zip(*turns, strict=True)]
    assert written(together) == written(alone)


def test_processes_map_an_analyzer(tmp_path: Path) -> None:
    films = [make_video(tmp_path / f"{i}.mp4", num_frames=10 + i) for i in range(2)]
    analyzer = Analyzer(image_bundle(tmp_path / "image.onnx"), detector="none", rate_hz=5)
    spawning = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawning) as pool:
        assert written(pool.map(analyzer.analyze, films)) == written(map(analyzer.analyze, films))


def test_a_pickled_bundle_keeps_its_backend_and_its_card(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    analyzer = Analyzer(clip_bundle(tmp_path / "clip.onnx"), backend="openvino", window_s=2.0)
    copy = pickle.loads(pickle.dumps(analyzer))
    assert copy.options == analyzer.options
    bundle = analyzer._analyzer.bundle
    other = pickle.loads(pickle.dumps(bundle))
    assert (other.card, other.backend) == (bundle.card, "openvino")


def test_a_detector_serves_one_video_at_a_time() -> None:
    pool = DetectorPool(WholeFrame)
    with pool.borrow() as first:
        with pool.borrow() as second:
            assert first is not second
        with pool.borrow() as third:
            assert third is second
    assert pool.take() is first
