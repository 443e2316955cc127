"""The vote of an analysis, from the Analyzer to the report."""

import json
from pathlib import Path

import numpy as np
import pytest
from making import make_video
from tiny_bundles import answer, clip_bundle, image_bundle

import emoscope
from emoscope.analysis.analyzer import Analyzer
from emoscope.core.clipspec import Uniform, Window
from emoscope.core.errors import UnknownName
from emoscope.core.results import Timeline
from emoscope.media.video import read_frames
from emoscope.reports.formats import write_report

# With the training data's prior left in, 0.36 is middling by a little and 0.05 surely dark.
NARROW, SURE = 0.36, 0.05
FRAME_BY_FRAME = {"detector": "none", "rate_hz": None, "smooth_s": 0}
LABEL_BY_VOTE = {"sum-probability": "dark", "max-probability": "middling"}


@pytest.fixture(scope="module")
def torn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five frames in a second: three just middling, two clearly dark."""
    levels = [NARROW, SURE, NARROW, SURE, NARROW]

    def picture(index: int) -> np.ndarray:
        return np.full((16, 16, 3), round(255 * levels[index]), np.uint8)

    path = tmp_path_factory.mktemp("torn") / "torn.mp4"
    return make_video(path, num_frames=5, fps=5, picture=picture, options={"qp": "0"})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image_bundle(tmp_path_factory.mktemp("bundle") / "image.onnx")


def looking(bundle: Path, **options: str) -> Analyzer:
    return Analyzer(bundle, **FRAME_BY_FRAME, prior="train", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("vote", "label"), LABEL_BY_VOTE.items())
def test_the_vote_decides_the_label_of_a_face(
    bundle: Path, torn: Path, vote: str, label: str
) -> None:
    timeline = looking(bundle, vote=vote).analyze(torn)
    assert timeline.provenance.vote == vote
    assert [person.leading for person in timeline.summary()] == [label]
    assert timeline.leading == ("middling", "dark", "middling", "dark", "middling")
    options = {**FRAME_BY_FRAME, "prior": "train", "vote": vote}
    assert emoscope.analyze(torn, bundle, **options).to_dict() == timeline.to_dict()


def test_by_default_neutral_frames_count_less_and_windows_equally(
    bundle: Path, tmp_path: Path, torn: Path
) -> None:
    timeline = looking(bundle).analyze(torn)
    assert timeline.provenance.vote == "expressive-weighted"
    assert timeline.summary()[0].leading == "dark"  # no label is neutral: probabilities are added
    assert Analyzer(clip_bundle(tmp_path / "clip.onnx")).options.vote == "sum-probability"


@pytest.mark.parametrize(("vote", "label"), LABEL_BY_VOTE.items())
def test_live_rows_are_summarised_by_the_same_vote(
    bundle: Path, torn: Path, vote: str, label: str
) -> None:
    rows = looking(bundle, vote=vote).stream(read_frames(torn))
    live = Timeline.concatenate(rows)
    assert live.summary()[0].leading == label
    assert (live.provenance.model, live.provenance.prior) == ("tiny", "train")


def test_windows_over_one_stride_vote(tmp_path: Path, torn: Path) -> None:
    """Windows of three frames, a frame apart; the model sees the one in the middle of each: one
    just middling, two clearly dark."""
    window, weights = Window(length_s=0.6, stride_s=0.2), [0.0, 1.0, 0.0]
    path = clip_bundle(
        tmp_path / "clip.onnx", sampling=Uniform(length=3), window=window, frame_weights=weights
    )
    stride = 2  # the only one that three windows cover
    added, counted = (
        Analyzer(path, prior="train", vote=vote).analyze(torn).probs[stride]
        for vote in LABEL_BY_VOTE
    )
    narrow, sure = answer(round(255 * NARROW) / 255, "train"), answer(13 / 255, "train")
    assert added == pytest.approx((narrow + 2 * sure) / 3, abs=0.01)
    assert counted == pytest.approx([2 / 3, 1 / 3, 0])


def test_an_unknown_vote_is_refused_before_the_model_is_opened(tmp_path: Path) -> None:
    with pytest.raises(
        UnknownName, match=r"No vote named 'sum-prob'\. Did you mean 'sum-probability'"
    ):
        Analyzer(tmp_path / "nowhere.onnx", vote="sum-prob")


@pytest.mark.parametrize(
    ("vote", "words"), [("sum-probability", "on average"), ("max-probability", "most often")]
)
def test_reports_name_the_vote(
    bundle: Path, torn: Path, tmp_path: Path, vote: str, words: str
) -> None:
    timeline = looking(bundle, vote=vote).analyze(torn)
    report, page = write_report(timeline, tmp_path, ["json", "html"], video=torn)
    document = json.loads(report.read_text())
    assert document["provenance"]["vote"] == vote
    assert document["summary"][0]["leading"] == LABEL_BY_VOTE[vote]
    text = page.read_text()
    assert f"<dt>Vote</dt><dd>{vote}</dd>" in text
    assert f"<b>{LABEL_BY_VOTE[vote]}</b> {words}" in text


def test_reports_mention_padded_rows(tmp_path: Path, torn: Path) -> None:
    path = clip_bundle(tmp_path / "clip.onnx", sampling=Uniform(length=4))
    timeline = Analyzer(path).analyze(torn, end_s=0.5)
    report, page = write_report(timeline, tmp_path, ["json", "html"], video=torn)
    note = "1 of 1 rows come from clips shorter than the model needs, padded by repeating frames"
    assert json.loads(report.read_text())["provenance"]["notes"] == [note]
    assert f"<li>{note}</li>" in page.read_text()
