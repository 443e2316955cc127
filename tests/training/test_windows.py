"""The window of a bundle has the length of the clips that the model was trained on."""

from pathlib import Path
from typing import Any

import fake_runs
import numpy as np
import pytest
from making import make_video
from tiny_corpora import tiny_recipe

from emoscope import models
from emoscope.core.clipspec import ClipSpec, Last, Stream, Uniform, Window
from emoscope.corpora.manifest import Sample
from emoscope.training.evaluation.evaluate import evaluate
from emoscope.training.experiment import train
from emoscope.training.observer import Observer
from emoscope.training.run_folder import read_json, read_run
from emoscope.training.windows import bundle_window

SPEC = ClipSpec(
    sampling=Uniform(length=16),
    window=Window(length_s=2.0, stride_s=0.5),
    streams=(Stream(kind="gray", size_hw=(48, 48)),),
)


def spans(*lengths_s: float) -> list[Sample]:
    """Labelled spans of these lengths in one film."""
    return [
        Sample(Path("film.mp4"), "joy", start_s=10.0 * i, end_s=10.0 * i + length_s)
        for i, length_s in enumerate(lengths_s)
    ]


# Issue 18, kind 3: trained on 4-second spans, the bundle said 2.0 s
def test_the_window_is_the_median_of_the_clips_and_keeps_the_share_of_its_stride() -> None:
    chosen = bundle_window(tiny_recipe(), SPEC, spans(3.9, 4.0, 4.0, 4.4))
    assert chosen.window == Window(length_s=4.0, stride_s=1.0)
    assert chosen.source == "median of the training clips"
    assert chosen.warning == ""


def test_a_clip_without_a_span_is_as_long_as_its_file(tmp_path: Path) -> None:
    film = make_video(tmp_path / "film.mp4", num_frames=50)
    chosen = bundle_window(tiny_recipe(), SPEC, [Sample(film, "joy")])
    assert chosen.window.length_s == 2.0
    chosen = bundle_window(tiny_recipe(), SPEC, [Sample(film, "joy", start_s=0.5)])
    assert chosen.window.length_s == 1.5
    lost = [Sample(tmp_path / "lost.mp4", "joy"), *spans(3.0)]
    assert bundle_window(tiny_recipe(), SPEC, lost).window.length_s == 3.0


@pytest.mark.parametrize(
    ("recipe", "spec", "source"),
    [
        ({"clip": {"window": {"length_s": 2.0}}}, SPEC, "stated in the recipe"),
        ({}, SPEC.model_copy(update={"sampling": Last(length=16)}), "the model's own"),
        ({"evaluation": {"every": 4}}, SPEC, "the model's own"),
    ],
)
def test_a_stated_window_and_those_of_other_rules_stay(
    recipe: dict[str, Any], spec: ClipSpec, source: str
) -> None:
    chosen = bundle_window(tiny_recipe(**recipe), spec, spans(4.0, 4.0))
    assert (chosen.window, chosen.source) == (spec.window, source)


def test_without_any_known_length_the_models_own_window_stays(tmp_path: Path) -> None:
    chosen = bundle_window(tiny_recipe(), SPEC, [Sample(tmp_path / "lost.mp4", "joy")])
    assert (chosen.window, chosen.source) == (SPEC.window, "the model's own")


def test_lengths_that_vary_much_are_a_warning() -> None:
    mixed = bundle_window(tiny_recipe(), SPEC, spans(1.0, 1.0, 2.0, 5.0, 5.0))
    assert mixed.warning == (
        "The training clips last 1 to 5 s (10th and 90th percentile). The bundle's window is their "
        "median, 2 s, and suits the others less. Cut the clips alike, or set clip.window."
    )
    assert bundle_window(tiny_recipe(), SPEC, spans(2.6, 4.0, 5.0)).warning == ""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Films of 1 and 3 s, half of each."""
    folder = tmp_path_factory.mktemp("corpus")
    for who in range(3):
        for label in ("happiness", "sadness"):
            for i, frames in enumerate((25, 75)):
                place = folder / f"p{who}" / label
                place.mkdir(parents=True, exist_ok=True)
                grey = np.full((48, 48, 3), 20 + 60 * who + 10 * i + len(label), np.uint8)
                make_video(place / f"{i}.mp4", num_frames=frames, picture=lambda _, g=grey: g)
    return folder


def test_a_runs_window_is_in_its_bundle_its_pages_and_its_warnings(
    corpus: Path, tmp_path: Path
) -> None:
    class Listener(Observer):
        def __init__(self) -> None:
            self.warnings: list[str] = []

        def warning(self, text: str) -> None:
            self.warnings.append(text)

    listener = Listener()
    recipe = tiny_recipe(
        model={"name": "face-gru", "options": models.small("face-gru")},
        protocol={"name": "group-k-fold", "k": 3},
        schedule={"epochs": 1, "batch_size": 4},
    )
    run = train(
        recipe,
        {"folder": corpus},
        tmp_path / "run",
        cache=tmp_path / "cache",
        observer=listener,
    )
    stated = {"length_s": 2.0, "stride_s": 1.0, "source": "median of the training clips"}
    assert read_json(run.folder / "run.json")["window"] == stated
    assert run.bundle.clip_spec.window == Window(length_s=2.0, stride_s=1.0)
    assert run.bundle.card.figures["window"] == stated
    words = "2 s every 1 s: median of the training clips"
    assert f"| window | {words} |" in (run.folder / "evaluation.md").read_text()
    assert words in (run.folder / "evaluation.html").read_text()
    card = run.bundle_path.with_suffix(".md").read_text()
    assert f"- **Window**: {words}" in card
    (warning,) = listener.warnings
    assert warning.startswith("The training clips last 1 to 3 s")
    assert all(warning in page for page in (card, (run.folder / "evaluation.md").read_text()))


def test_a_run_of_an_earlier_version_states_no_window(tmp_path: Path) -> None:
    run = fake_runs.fake_run(tmp_path / "run")
    assert "window" not in read_run(run).info
    assert "window" not in evaluate(run)["figures"]
