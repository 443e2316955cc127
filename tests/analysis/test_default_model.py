"""The weights that ship, on real clips. Needs no torch."""

from pathlib import Path

import numpy as np
import pytest

import emoscope
from emoscope.analysis.bundle import bundle_names
from emoscope.core.results import Timeline

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def single_face(shared: Path) -> Timeline:
    return emoscope.analyze(shared / "clips" / "pyfeat_single_face.mp4")


@pytest.mark.parametrize("name", bundle_names())
def test_bundles_that_ship_are_small_and_have_a_card(name: str) -> None:
    bundle = emoscope.load_bundle(name)
    assert bundle.name == name
    assert bundle.path.stat().st_size <= 12e6
    assert bundle.path.with_suffix(".md").read_text().startswith(f"# {name}, version")
    assert bundle.card.licence
    assert bundle.card.trained_on


def test_the_default_model_names_eight_emotions_as_ferplus_does() -> None:
    assert emoscope.load_bundle("face-ferplus").labels[:3] == ("neutral", "happiness", "surprise")
    assert emoscope.load_bundle("face-ferplus").card.figures["accuracy"] >= 0.8


@pytest.mark.data
def test_one_face_is_one_track_through_the_whole_clip(single_face: Timeline) -> None:
    assert single_face.tracks == (0,)
    assert single_face.seen.all()


@pytest.mark.data
@pytest.mark.parametrize("prior", ["uniform", "train"])
def test_a_face_that_begins_to_smile_is_neutral_first_and_happy_in_the_middle(
    shared: Path, prior: str
) -> None:
    path = shared / "clips" / "pyfeat_single_face.mp4"
    timeline = emoscope.analyze(path, prior=prior)
    assert timeline.leading[0] == "neutral"
    middle = np.array(timeline.leading)[len(timeline) // 3 : 2 * len(timeline) // 3]
    assert np.mean(middle == "happiness") > 0.5


@pytest.mark.data
def test_rows_are_nan_while_there_is_no_face(shared: Path) -> None:
    timeline = emoscope.analyze(shared / "clips" / "pyfeat_noface_face.mov")
    starts = timeline.spans_s[:, 0]
    assert not timeline.seen[starts < 2.0].any()
    assert np.isnan(timeline.boxes_xyxy[~timeline.seen]).all()
    assert timeline.seen[starts > timeline.spans_s[-1, 1] - 1.0].mean() > 0.8
    assert len(timeline.tracks) == 1


@pytest.mark.data
def test_the_other_clip_has_one_face(shared: Path) -> None:
    timeline = emoscope.analyze(shared / "clips" / "pyfeat_WolfgangLanger_Pexels.mp4")
    assert timeline.tracks == (0,)
    assert timeline.seen.mean() > 0.95


def test_the_demo_clip_has_a_smile_a_gap_and_a_smile() -> None:
    timeline = emoscope.analyze(ROOT / "examples" / "portrait.mp4")
    starts = timeline.spans_s[:, 0]
    assert not timeline.seen[(starts > 5.1) & (starts < 6.9)].any()
    assert timeline.seen[(starts < 4.8) | (starts > 7.3)].mean() > 0.95
    assert {person.leading for person in timeline.summary()} == {"happiness"}
