"""Training on pictures and sound, and the recipes that compare them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from making import make_video
from tiny_corpora import tiny_recipe

import emoscope
from emoscope import models
from emoscope.core.errors import RecipeError
from emoscope.corpora.manifest import Sample
from emoscope.corpora.prepare import prepare
from emoscope.training.augment import Augmentation
from emoscope.training.evaluation.evaluate import evaluate
from emoscope.training.experiment import train
from emoscope.training.export.bundle import export_run
from emoscope.training.networks.dataset import ClipDataset
from emoscope.training.recipe import Recipe

RECIPES = Path(__file__).parents[3] / "recipes"
LABELS = ("happiness", "sadness")


def noisy(seed: int) -> Any:
    pictures = np.random.default_rng(seed).integers(0, 255, (8, 48, 48, 3), dtype=np.uint8)
    return lambda index: pictures[index]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three people, a film of 0.32 s of each label by each: one with sound, the other without."""
    root = tmp_path_factory.mktemp("films")
    for who in range(3):
        for label, seconds in zip(LABELS, (0.32, 0.0), strict=True):
            folder = root / f"p{who}" / label
            folder.mkdir(parents=True)
            picture = noisy(len(LABELS) * who + LABELS.index(label))
            make_video(folder / "a.mp4", num_frames=8, picture=picture, sound_s=seconds)
    return root


def recipe(**changes: Any) -> Recipe:
    protocol = {"name": "held-out-subjects", "subjects": ["p2"]}
    model = {"name": "av-joint", "options": models.small("av-joint")}
    return tiny_recipe(**{"model": model, "protocol": protocol, **changes})


def test_augmentation_does_not_change_sound(films: Path, tmp_path: Path) -> None:
    spec = models.create("av-joint", **models.small("av-joint")).clip_spec
    sample = Sample(films / "p0" / "happiness" / "a.mp4", "happiness")
    ready = prepare([sample], spec, tmp_path, detector="none", workers=1)  # type: ignore[arg-type]
    changed = Augmentation(flip=0.5, rotate_deg=30, shift=0.2, brightness=0.3, erase=1)
    clips = ClipDataset([sample], LABELS, spec, ready.load, changed)  # type: ignore[arg-type]
    plain, drawn = clips[0][0], [clips[epoch, 0][0] for epoch in range(3)]
    assert plain["logmel"].shape == (32, 16)
    assert plain["logmel"].max() > 0
    for one in drawn:
        assert one["logmel"].equal(plain["logmel"])
        assert not one["gray"].equal(plain["gray"])


def test_a_joint_network_learns_and_its_bundle_uses_pictures_and_sound(
    films: Path, tmp_path: Path
) -> None:
    """Here only the sound tells one label from the other."""
    settings = {"epochs": 15, "batch_size": 4}
    run = train(
        recipe(schedule=settings, augmentation={}),
        {"folder": films},
        tmp_path / "run",
        cache=tmp_path / "cache",
    )
    predictions = run.predictions()
    assert predictions.predicted.tolist() == predictions.truth.tolist()
    evaluate(run.folder)
    card = export_run(run.folder, tmp_path / "both.onnx")
    assert card.modality == "face+voice"
    assert "a face *looks* and a voice *sounds*" in (tmp_path / "both.md").read_text()
    for label, modality in zip(LABELS, ("face+voice", "face"), strict=True):
        film = films / "p2" / label / "a.mp4"
        timeline = emoscope.analyze(film, tmp_path / "both.onnx", detector="none", prior="train")
        assert timeline.modalities.tolist() == [modality] * len(timeline)
        assert set(timeline.leading) == {label}
        row = predictions.probs[predictions.truth.tolist().index(LABELS.index(label))]
        np.testing.assert_allclose(timeline.probs[0], row, atol=1e-4)


def test_blocks_of_frames_are_refused_for_sound(films: Path, tmp_path: Path) -> None:
    in_blocks = recipe(evaluation={"every": 2})
    with pytest.raises(RecipeError, match="av-joint takes the sound of a whole clip: leave it out"):
        train(in_blocks, {"folder": films}, tmp_path / "run", cache=tmp_path / "cache")
    assert not (tmp_path / "run").exists()


def test_the_compared_recipes_differ_in_the_left_out_stream_only() -> None:
    both, *alone = (
        Recipe.read(RECIPES / f"synthetic-av-{name}.toml") for name in ("joint", "picture", "sound")
    )
    for one, streams in zip(alone, (["gray"], ["logmel"]), strict=True):
        assert one.model.options == both.model.options | {"streams": streams}
        same = one.model_dump(exclude={"name", "model"})
        assert same == both.model_dump(exclude={"name", "model"})
