import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from making import (
    grey_of,
    grey_picture,
    make_image,
    make_image_folder,
    make_video,
)
from tiny_bundles import LABELS, answer, clip_bundle, image_bundle

import emoscope
from emoscope.analysis.analyzer import Analyzer
from emoscope.analysis.bundle import Bundle, load_bundle
from emoscope.analysis.bundle_analyzer import BundleAnalyzer
from emoscope.core.clipspec import Last, Uniform, Window
from emoscope.core.errors import MediaError, SpecError, UnknownName
from emoscope.core.options import AnalyzeOptions
from emoscope.core.results import NO_TRACK, Box, Timeline
from emoscope.media.clips import Clip, build_clip
from emoscope.media.detectors.base import Detection, DetectorPool
from emoscope.media.video import Frame, read_frames

LOSSLESS = {"qp": "0"}
IRREGULAR_S = [0.0, 0.04, 0.11, 0.14, 0.31, 0.5, 0.55, 0.9]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    image_bundle(folder / "image.onnx")
    clip_bundle(folder / "clip.onnx")
    return folder


@pytest.fixture(scope="module")
def looking(bundles: Path) -> Analyzer:
    """An image model at 10 Hz without smoothing; the frame is the face."""
    return Analyzer(bundles / "image.onnx", detector="none", smooth_s=0)


def by_frame(bundles: Path, rate_hz: float | None) -> Analyzer:
    return Analyzer(bundles / "image.onnx", detector="none", rate_hz=rate_hz, smooth_s=0)


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second at 25 fps; frame i is as bright as `grey_of(i)`."""
    path = tmp_path_factory.mktemp("second") / "second.mp4"
    return make_video(path, num_frames=25, options=LOSSLESS)


def answers(*indices: int) -> Any:
    """Predictions of the image bundle for these frames, within one grey level of 255."""
    return pytest.approx(np.array([answer(grey_of(i) / 255) for i in indices]), abs=0.02)


def assert_covers(timeline: Timeline, start_s: float, end_s: float) -> None:
    """One face from start to end, without gap or overlap."""
    assert timeline.spans_s[0, 0] == pytest.approx(start_s, abs=1e-6)
    assert timeline.spans_s[-1, 1] == pytest.approx(end_s, abs=1e-6)
    np.testing.assert_array_equal(timeline.spans_s[1:, 0], timeline.spans_s[:-1, 1])


# Image models


def test_an_image_model_analyses_ten_frames_a_second(looking: Analyzer, second: Path) -> None:
    timeline = looking.analyze(second)
    chosen = (0, 3, 5, 8, 10, 13, 15, 18, 20, 23)  # the first frame at or after each tenth
    assert timeline.spans_s[:, 0] == pytest.approx(np.array(chosen) / 25)
    assert timeline.probs == answers(*chosen)
    assert_covers(timeline, 0, 1)
    assert set(timeline.track.tolist()) == {0}
    assert timeline.labels == LABELS
    assert timeline.boxes_xyxy.tolist() == [[0, 0, 64, 48]] * 10


def test_neighbouring_grey_levels_have_distinct_predictions() -> None:
    """Otherwise these tests could not distinguish one frame from the next."""
    levels = [answer(grey_of(i) / 255) for i in range(4, 18)]
    assert min(abs(a - b).max() for a, b in itertools.pairwise(levels)) > 0.045


def test_without_a_rate_every_frame_is_analysed(bundles: Path, second: Path) -> None:
    timeline = by_frame(bundles, None).analyze(second)
    assert timeline.probs == answers(*range(25))
    assert_covers(timeline, 0, 1)


@pytest.mark.parametrize(
    ("rate_hz", "chosen"), [(None, range(8)), (10.0, (0, 2, 4, 5, 7)), (2.0, (0, 5))]
)
def test_irregular_frames_keep_their_own_times(
    bundles: Path, tmp_path: Path, rate_hz: float | None, chosen: Any
) -> None:
    path = make_video(tmp_path / "vfr.mp4", times_s=IRREGULAR_S, options=LOSSLESS)
    timeline = by_frame(bundles, rate_hz).analyze(path)
    assert_covers(timeline, 0, 0.94)
    seen = timeline.rows(timeline.seen)  # at 10 Hz, nobody looks from 0.65 s on
    assert len(timeline) - len(seen) == (1 if rate_hz == 10 else 0)
    assert seen.spans_s[:, 0] == pytest.approx([IRREGULAR_S[i] for i in chosen], abs=1e-6)
    assert seen.probs == answers(*chosen)


@pytest.mark.parametrize("rate_hz", [None, 10.0, 4.0])
@pytest.mark.parametrize(
    ("fps", "num_frames"), [(25, 8), (12, 2), (12, 5), (30, 4), (5, 3), (25, 1)]
)
def test_rows_reach_the_end_of_the_video_and_no_further(
    bundles: Path, tmp_path: Path, fps: int, num_frames: int, rate_hz: float | None
) -> None:
    path = make_video(tmp_path / "short.mp4", num_frames=num_frames, fps=fps, size_wh=(16, 16))
    timeline = by_frame(bundles, rate_hz).analyze(path)
    assert_covers(timeline, 0, num_frames / fps)


def test_a_span_holds_the_rows_of_the_whole(looking: Analyzer, second: Path) -> None:
    whole, part = looking.analyze(second), looking.analyze(second, start_s=0.3, end_s=0.62)
    assert part.probs == answers(8, 10, 13, 15)
    np.testing.assert_allclose(part.probs, whole.probs[3:7])
    assert_covers(part, 8 / 25, 0.62)


@pytest.mark.parametrize(
    ("start_s", "end_s", "reason"),
    [
        (0.41, 0.43, "no frame starts in the requested span"),
        (
            0.01,
            0.09,
            "no frame starts in the requested span",
        ),  # at 10 Hz; the file has one at 0.04 s
        (1.5, None, r"the start \(1.5 s\) is past the end: it lasts 1 s"),
        (0.5, 0.5, "the end .* is not after the start"),
        (-1.0, None, "the start must be 0 s or more, got -1"),
    ],
)
def test_a_span_without_frames_is_an_error(
    looking: Analyzer, second: Path, start_s: float, end_s: float | None, reason: str
) -> None:
    with pytest.raises(MediaError, match=f"second.mp4: .*{reason}"):
        looking.analyze(second, start_s=start_s, end_s=end_s)


def test_an_image_is_one_row(looking: Analyzer, tmp_path: Path) -> None:
    timeline = looking.analyze(make_image(tmp_path / "one.png", grey_picture(12)))
    assert timeline.spans_s.tolist() == [[0, 0]]
    assert timeline.probs == answers(12)


def test_a_folder_of_images_is_a_video_at_25_fps(looking: Analyzer, tmp_path: Path) -> None:
    timeline = looking.analyze(make_image_folder(tmp_path / "images", num_images=12))
    assert timeline.probs == answers(0, 3, 5, 8, 10)
    assert_covers(timeline, 0, 12 / 25)


def test_boxes_are_in_the_pixels_of_the_source(bundles: Path, tmp_path: Path) -> None:
    """Pictures wider than 1280 px are scaled down as they are decoded."""
    path = make_video(tmp_path / "wide.mp4", num_frames=1, size_wh=(2560, 64))
    assert looked_at(bundles, path, Box(100, 4, 120, 24)) == [200, 8, 240, 48]


def test_boxes_of_a_rotated_video_are_in_the_displayed_picture(
    bundles: Path, tmp_path: Path
) -> None:
    path = make_video(tmp_path / "tall.mp4", num_frames=1, size_wh=(2560, 64), rotation=90)
    assert looked_at(bundles, path, Box(4, 100, 24, 120)) == [8, 200, 48, 240]


def looked_at(bundles: Path, path: Path, box: Box) -> list[float]:
    analyzer = BundleAnalyzer(bundles / "image.onnx", AnalyzeOptions())
    analyzer.detectors = DetectorPool(lambda: Scripted([Detection(box, 1.0)]))
    return analyzer.analyze(path).boxes_xyxy[0].tolist()


class Scripted:
    """A detector that finds the same faces in every picture."""

    def __init__(self, faces: list[Detection]) -> None:
        self.faces = faces

    def detect(self, rgb: np.ndarray) -> list[Detection]:
        return self.faces


def test_each_face_is_cropped_and_has_its_own_rows(bundles: Path, tmp_path: Path) -> None:
    """The left half is dark, the right half bright, with a face in each."""
    halves = np.concatenate([grey_picture(2, (32, 32)), grey_picture(20, (32, 32))], axis=1)
    path = make_video(
        tmp_path / "two.mp4", num_frames=3, picture=lambda _: halves, options=LOSSLESS
    )
    analyzer = BundleAnalyzer(bundles / "image.onnx", AnalyzeOptions(rate_hz=None))
    faces = [Detection(Box(4, 4, 24, 24), 1.0), Detection(Box(40, 4, 60, 24), 0.9)]
    analyzer.detectors = DetectorPool(lambda: Scripted(faces))
    timeline = analyzer.analyze(path)
    assert len(timeline.tracks) == 2
    for track in timeline.tracks:
        part = timeline.for_track(track)
        is_left = part.boxes_xyxy[0, 0] < 32
        assert part.probs == answers(*[2 if is_left else 20] * 3)
        assert_covers(part, 0, 0.12)


def test_rows_without_a_face_are_nan(bundles: Path, second: Path) -> None:
    timeline = Analyzer(bundles / "image.onnx").analyze(second)
    assert timeline.track.tolist() == [NO_TRACK] * 10
    assert np.isnan(timeline.probs).all()
    assert np.isnan(timeline.boxes_xyxy).all()
    assert_covers(timeline, 0, 1)


# Clip models


class Recorder:
    """Replaces a bundle's network and keeps its inputs."""

    def __init__(self) -> None:
        self.clips: list[np.ndarray] = []

    def __call__(self, inputs: Any) -> np.ndarray:
        self.clips.extend(inputs["rgb"])
        return np.zeros((len(inputs["rgb"]), len(LABELS)))


def watched(path: Path) -> tuple[Bundle, Recorder]:
    recorder = Recorder()
    return replace(load_bundle(path), run=recorder), recorder


def test_a_clip_model_averages_its_windows(bundles: Path, tmp_path: Path) -> None:
    """2 s at 8 fps. Uniform(4) takes frames 1, 3, 5, 7 of a window's 8; all levels rise evenly."""
    path = make_video(tmp_path / "rising.mp4", num_frames=16, fps=8, options=LOSSLESS)
    timeline = Analyzer(bundles / "clip.onnx").analyze(path)
    first, second, third = (answer((grey_of(4 + 4 * k)) / 255) for k in range(3))
    expected = np.array([first, (first + second) / 2, (second + third) / 2, third])
    assert timeline.probs == pytest.approx(expected, abs=0.02)
    assert timeline.spans_s == pytest.approx(np.array([(0, 0.5), (0.5, 1), (1, 1.5), (1.5, 2)]))
    assert timeline.boxes_xyxy.tolist() == [[0, 0, 64, 48]] * 4
    assert not timeline.padded.any()


@pytest.mark.parametrize("fps", [10, 24, 25, 30])
@pytest.mark.parametrize("sampling", [Uniform(length=10), Last(length=4)])
def test_a_clip_model_gets_the_inputs_that_training_gets(
    tmp_path: Path, fps: int, sampling: Any
) -> None:
    """A 10 Hz grid on video of another rate; each window equals the clip cut from the file."""
    window = Window(length_s=1.0, stride_s=1.0)
    bundle, recorder = watched(
        clip_bundle(tmp_path / "clip.onnx", sampling=sampling, rate_hz=10.0, window=window)
    )
    path = make_video(tmp_path / "two.mp4", num_frames=2 * fps, fps=fps, size_wh=(8, 8))
    Analyzer(bundle).analyze(path)
    frames = list(read_frames(path))
    assert len(recorder.clips) == 2
    for given, start_s in zip(recorder.clips, (0.0, 1.0), strict=True):
        inside = [f for f in frames if start_s <= f.time_s < start_s + 1 - 1e-9]
        clip = Clip([f.rgb for f in inside], [f.time_s for f in inside])
        np.testing.assert_array_equal(given, build_clip(clip, bundle.clip_spec)["rgb"])


def test_a_clip_model_keeps_its_own_rate(tmp_path: Path, second: Path) -> None:
    path = clip_bundle(tmp_path / "clip.onnx", rate_hz=5.0)
    timeline = Analyzer(path, rate_hz=1.0).analyze(second)
    assert timeline.provenance.rate_hz == 5.0
    assert timeline.spans_s.tolist() == pytest.approx(np.array([(0, 0.5), (0.5, 1.0)]))


def test_a_short_video_has_a_note_on_padding(bundles: Path, tmp_path: Path) -> None:
    path = make_video(tmp_path / "short.mp4", num_frames=3, fps=25)
    timeline = Analyzer(bundles / "clip.onnx").analyze(path)
    assert timeline.padded.tolist() == [True]
    assert timeline.provenance.notes == (
        "1 of 1 rows come from clips shorter than the model needs, padded by repeating frames",
    )


def test_a_video_long_enough_has_no_note(bundles: Path, second: Path) -> None:
    assert Analyzer(bundles / "clip.onnx").analyze(second).provenance.notes == ()


def test_a_clip_model_takes_an_image(bundles: Path, tmp_path: Path) -> None:
    timeline = Analyzer(bundles / "clip.onnx").analyze(
        make_image(tmp_path / "a.png", grey_picture(9))
    )
    assert timeline.probs == answers(9)
    assert timeline.spans_s.tolist() == [[0, 0]]


# Live


@pytest.mark.parametrize("model", ["image.onnx", "clip.onnx"])
@pytest.mark.parametrize("rate_hz", [10.0, None, 7.0])
def test_a_stream_gives_the_rows_of_the_file(
    bundles: Path, tmp_path: Path, model: str, rate_hz: float | None
) -> None:
    path = make_video(tmp_path / "long.mp4", num_frames=60, options=LOSSLESS)
    analyzer = Analyzer(bundles / model, detector="none", rate_hz=rate_hz)
    whole, live = analyzer.analyze(path), Timeline.concatenate(analyzer.stream(read_frames(path)))
    np.testing.assert_array_equal(live.track, whole.track)
    np.testing.assert_array_equal(live.boxes_xyxy, whole.boxes_xyxy)
    np.testing.assert_allclose(live.probs, whole.probs, atol=1e-6)  # batches differ in rounding
    np.testing.assert_array_equal(live.spans_s[:, 0], whole.spans_s[:, 0])
    np.testing.assert_array_equal(live.spans_s[:-1, 1], whole.spans_s[:-1, 1])


def test_a_stream_of_images_gives_each_row_when_the_next_frame_arrives(looking: Analyzer) -> None:
    asked: list[float] = []

    def camera() -> Iterator[Frame]:
        for i in range(4):
            asked.append(i / 10)
            yield Frame(grey_picture(i), i / 10, i)

    rows = looking.stream(camera())
    assert next(rows).spans_s.tolist() == [[0.0, 0.1]]
    assert asked == [0.0, 0.1]
    assert [len(row) for row in rows] == [1, 1, 1]


def test_a_stream_skips_frames_closer_than_the_rate(looking: Analyzer) -> None:
    camera = (Frame(grey_picture(i), i / 40, i) for i in range(9))
    timeline = Timeline.concatenate(looking.stream(camera))
    assert timeline.spans_s == pytest.approx(np.array([(0, 0.1), (0.1, 0.2), (0.2, 0.3)]))
    assert timeline.probs == answers(0, 4, 8)


def test_the_last_row_of_a_stream_lasts_a_step_or_its_frame(looking: Analyzer) -> None:
    for duration_s, lasts_s in ((0.0, 0.1), (0.04, 0.1), (0.5, 0.5)):
        camera = (Frame(grey_picture(i), i / 2, i, duration_s) for i in range(2))
        timeline = Timeline.concatenate(looking.stream(camera))
        assert timeline.spans_s[-1] == pytest.approx([0.5, 0.5 + lasts_s])


def test_a_stream_whose_frames_go_back_in_time_is_refused(bundles: Path) -> None:
    analyzer = Analyzer(bundles / "image.onnx", detector="none", rate_hz=None)
    camera = (Frame(grey_picture(0), time_s, i) for i, time_s in enumerate([0.0, 0.2, 0.1]))
    with pytest.raises(SpecError, match=r"Frame 2 at 0.1 s comes after one at 0.2 s"):
        list(analyzer.stream(camera))


def test_a_stream_without_frames_has_no_rows(looking: Analyzer) -> None:
    assert list(looking.stream([])) == []


# Settings and where it came from


def test_a_timeline_has_its_provenance(looking: Analyzer, second: Path) -> None:
    about = looking.analyze(second).provenance
    assert about.path == str(second)
    assert (about.model, about.model_version, about.backend) == ("tiny", "1.2", "onnxruntime")
    assert (about.detector, about.prior, about.rate_hz) == ("none", "uniform", 10.0)
    assert (about.duration_s, about.fps) == pytest.approx((1.0, 25.0))
    assert (about.width, about.height) == (64, 48)
    assert about.emoscope == emoscope.__version__


def test_a_model_of_the_whole_frame_has_no_detector(bundles: Path, second: Path) -> None:
    assert Analyzer(bundles / "clip.onnx").analyze(second).provenance.detector == ""


def test_the_prior_of_the_training_data_can_be_kept(bundles: Path, second: Path) -> None:
    analyzer = Analyzer(bundles / "image.onnx", detector="none", prior="train", smooth_s=0)
    expected = [answer(grey_of(i) / 255, "train") for i in (0, 3)]
    assert analyzer.analyze(second, end_s=0.2).probs == pytest.approx(np.array(expected), abs=0.02)


def test_openvino_gives_the_same_timeline(looking: Analyzer, bundles: Path, second: Path) -> None:
    pytest.importorskip("openvino")
    other = Analyzer(bundles / "image.onnx", detector="none", backend="openvino", smooth_s=0)
    np.testing.assert_allclose(
        other.analyze(second).probs, looking.analyze(second).probs, atol=1e-5
    )


def test_the_function_and_the_class_agree(looking: Analyzer, bundles: Path, second: Path) -> None:
    options = {"detector": "none", "smooth_s": 0, "start_s": 0.2}
    timeline = emoscope.analyze(second, bundles / "image.onnx", **options)
    assert timeline.to_dict() == looking.analyze(second, start_s=0.2).to_dict()


def test_options_are_given_whole_or_as_keywords(bundles: Path) -> None:
    options = AnalyzeOptions(detector="none", rate_hz=5)
    whole = Analyzer(bundles / "image.onnx", options)
    keywords = Analyzer(bundles / "image.onnx", detector="none", rate_hz=5)
    assert whole.options == keywords.options
    assert whole.options.vote == "expressive-weighted"  # the model's own, in place of None
    assert Analyzer(bundles / "image.onnx", options, rate_hz=2).options.rate_hz == 2.0
    assert options.rate_hz == 5.0


def test_a_misspelt_option_is_refused_with_the_nearest(bundles: Path, second: Path) -> None:
    misspelt: Any = {"smoth_s": 1}
    for use in (
        lambda: Analyzer(bundles / "image.onnx", **misspelt),
        lambda: emoscope.analyze(second, bundles / "image.onnx", **misspelt),
    ):
        with pytest.raises(SpecError, match=r"No option 'smoth_s'\. Did you mean 'smooth_s'\?"):
            use()


def test_one_analyzer_serves_many_videos(looking: Analyzer, second: Path) -> None:
    assert looking.analyze(second).to_dict() == looking.analyze(second).to_dict()


def test_progress_rises_to_the_end_of_the_video(looking: Analyzer, second: Path) -> None:
    reported_s: list[float] = []
    looking.analyze(second, progress=reported_s.append)
    assert reported_s == sorted(reported_s)
    assert len(reported_s) == 10
    assert reported_s[-1] == pytest.approx(1.0)


@pytest.mark.parametrize("rate_hz", [0.0, -1.0, float("inf"), float("nan")])
def test_an_invalid_rate_is_refused(bundles: Path, rate_hz: float) -> None:
    with pytest.raises(SpecError, match="Option rate_hz: Input should be"):
        Analyzer(bundles / "image.onnx", rate_hz=rate_hz)


def test_an_unknown_detector_suggests_the_nearest(bundles: Path) -> None:
    with pytest.raises(UnknownName, match=r"No detector named 'har'. Did you mean 'haar'"):
        Analyzer(bundles / "image.onnx", detector="har")
