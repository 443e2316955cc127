"""Live pictures: `session` and the frames that it and `stream` refuse (issue 18, kind 10)."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from making import grey_picture
from tiny_bundles import answer, clip_bundle, image_bundle

from emoscope.analysis.analyzer import Analyzer
from emoscope.core.errors import SpecError
from emoscope.core.results import Timeline
from emoscope.media.video import Frame, read_frames

PORTRAIT = Path(__file__).parents[2] / "examples" / "portrait.mp4"


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    image_bundle(folder / "image.onnx")
    clip_bundle(folder / "clip.onnx")
    return folder


@pytest.fixture
def watching(bundles: Path) -> Analyzer:
    return Analyzer(bundles / "image.onnx", detector="none", smooth_s=0)


def rows_of(timeline: Timeline) -> dict[str, Any]:
    rows = timeline.to_dict()
    rows.pop("provenance")
    return rows


@pytest.mark.parametrize(("model", "smooth_s"), [("image", 0), ("image", 0.5), ("clip", 0.5)])
def test_a_session_gives_the_rows_of_a_stream(bundles: Path, model: str, smooth_s: float) -> None:
    analyzer = Analyzer(bundles / f"{model}.onnx", smooth_s=smooth_s)
    frames = list(read_frames(PORTRAIT, end_s=2.2))
    with analyzer.session() as session:
        parts = [session.push(frame.rgb, frame.time_s) for frame in frames]
        parts.append(session.finish())
    plain = [Frame(frame.rgb, frame.time_s, frame.index) for frame in frames]
    streamed = list(analyzer.stream(plain))
    pushed = Timeline.concatenate(parts)
    assert rows_of(pushed) == rows_of(Timeline.concatenate(streamed))
    assert pushed.provenance == streamed[0].provenance
    assert pushed.provenance.model == "tiny"


def test_a_row_comes_with_the_next_picture_and_the_last_at_the_end(watching: Analyzer) -> None:
    session = watching.session()
    given = [session.push(grey_picture(i), i / 10) for i in range(3)]
    assert [part.spans_s.tolist() for part in given] == [[], [[0, 0.1]], [[0.1, 0.2]]]
    assert session.finish().spans_s[:, 0].tolist() == [0.2]
    assert len(session.finish()) == 0


def test_pictures_may_reuse_one_array_in_any_layout(watching: Analyzer) -> None:
    session, shared, parts = watching.session(), np.zeros((48, 64, 3), np.uint8), []
    for i, level in enumerate((10, 200)):
        shared[:] = level
        parts.append(session.push(shared[:, ::-1, ::-1], i / 10))
    shared[:] = 0
    parts.append(session.finish())
    probs = Timeline.concatenate(parts).probs
    assert probs == pytest.approx(np.array([answer(10 / 255), answer(200 / 255)]), abs=1e-4)


@pytest.mark.parametrize("detector", ["none", "haar"])
def test_the_size_of_the_picture_may_change_and_be_tiny(bundles: Path, detector: str) -> None:
    session = Analyzer(bundles / "image.onnx", detector=detector).session()
    for i, size_hw in enumerate([(1, 1), (2, 300), (300, 1), (120, 160), (31, 33)]):
        session.push(np.zeros((*size_hw, 3), np.uint8), i / 10)
    assert session.finish().spans_s[-1, 0] == pytest.approx(0.4)


def test_a_session_that_has_ended_takes_no_more(watching: Analyzer) -> None:
    with watching.session() as session:
        session.push(grey_picture(0), 0.0)
    assert len(session.finish()) == 0
    with pytest.raises(SpecError, match=r"The session has ended\. Start another one"):
        session.push(grey_picture(0), 0.1)


def test_a_session_gives_its_detector_back(bundles: Path) -> None:
    analyzer = Analyzer(bundles / "image.onnx")
    pool = analyzer._analyzer.detectors
    (detector,) = pool._idle
    with analyzer.session():
        assert pool._idle == []
    list(analyzer.stream([Frame(grey_picture(0), 0.0, 0)]))
    assert pool._idle == [detector]


BAD_PICTURES = {
    "grey": (np.zeros((48, 64), np.uint8), "the shape (48, 64). Convert grey with cv2.cvtColor"),
    "grey, one channel": (np.zeros((48, 64, 1), np.uint8), "the shape (48, 64, 1). Convert grey"),
    "alpha": (np.zeros((48, 64, 4), np.uint8), "the shape (48, 64, 4). Drop the alpha channel"),
    "channels first": (np.zeros((3, 48, 64), np.uint8), "(3, 48, 64). Put the channels last"),
    "a batch": (np.zeros((2, 48, 64, 3), np.uint8), "(2, 48, 64, 3). Give one picture at a time."),
    "empty": (np.zeros((0, 64, 3), np.uint8), "the shape (0, 64, 3): it has no pixels."),
    "float": (np.zeros((48, 64, 3)), "float64. Scale it to 0 to 255 and convert to uint8."),
    "float32": (np.zeros((48, 64, 3), np.float32), "float32. Scale it to 0 to 255"),
    "uint16": (np.zeros((48, 64, 3), np.uint16), "uint16. Divide by 257 and convert to uint8."),
    "bool": (np.zeros((48, 64, 3), bool), "bool. Convert it to uint8."),
    "a list": ([[[0, 0, 0]]], "a list. Convert it with np.asarray."),
    "nothing": (None, "a NoneType."),
}


@pytest.mark.parametrize("kind", BAD_PICTURES)
@pytest.mark.parametrize("detector", ["none", "haar"])
def test_a_picture_that_is_not_rgb_uint8_is_refused_with_the_remedy(
    bundles: Path, kind: str, detector: str
) -> None:
    picture, reason = BAD_PICTURES[kind]
    analyzer = Analyzer(bundles / "image.onnx", detector=detector)
    for give in (
        lambda: analyzer.session().push(picture, 0.0),
        lambda: list(analyzer.stream([Frame(picture, 0.0, 0)])),
    ):
        with pytest.raises(SpecError) as caught:
            give()
        message = str(caught.value)
        assert message.startswith("Frame 0 must be (H, W, 3) RGB uint8, got ")
        assert reason in message
        assert "\n" not in message


@pytest.mark.parametrize("rate_hz", [10.0, None])
@pytest.mark.parametrize(
    ("times_s", "reason"),
    [
        ([-0.5], "Frame 0 is at -0.5 s. Give times from 0 s on."),
        ([0.0, 0.5, 0.0], "Frame 2 at 0 s comes after one at 0.5 s. Give frames in the order"),
        ([float("nan")], "Frame 0 has the time nan. Give a number of seconds."),
        ([0.0, float("inf")], "Frame 1 has the time inf."),
        (["1"], "Frame 0 has the time '1'."),
        ([None], "Frame 0 has the time None."),
    ],
)
def test_a_time_out_of_order_is_refused(
    bundles: Path, rate_hz: float | None, times_s: list[Any], reason: str
) -> None:
    analyzer = Analyzer(bundles / "image.onnx", detector="none", rate_hz=rate_hz)
    frames = [Frame(grey_picture(i), time_s, i) for i, time_s in enumerate(times_s)]
    with pytest.raises(SpecError) as caught:
        list(analyzer.stream(frames))
    assert str(caught.value).startswith(reason)


def test_a_refused_frame_changes_nothing(watching: Analyzer) -> None:
    session = watching.session()
    session.push(grey_picture(0), 1.0)
    for picture, time_s in ((grey_picture(1), 0.2), (np.zeros((4, 4)), 1.1)):
        with pytest.raises(SpecError):
            session.push(picture, time_s)
    assert session.push(grey_picture(1), 1.1).spans_s == pytest.approx(np.array([[1.0, 1.1]]))


def test_plain_arrays_in_a_stream_are_pointed_to_the_session(watching: Analyzer) -> None:
    with pytest.raises(SpecError, match=r"Frame 0 is a ndarray, .* use Analyzer\.session\(\)"):
        list(watching.stream([grey_picture(0)]))  # type: ignore[list-item]


def test_a_frame_that_lasts_less_than_nothing_is_refused(watching: Analyzer) -> None:
    with pytest.raises(SpecError, match=r"Frame 0 lasts -1 s"):
        list(watching.stream([Frame(grey_picture(0), 0.0, 0, -1)]))


def test_a_system_with_sound_has_no_session() -> None:
    pytest.importorskip("emoscope_voice")
    with pytest.raises(SpecError, match=r"face-voice needs sound, and live frames have none"):
        Analyzer("face-voice", detector="none").session()
