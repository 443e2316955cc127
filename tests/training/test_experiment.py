"""Training a recipe: protocols, the files of the run folder, refused recipes."""

import itertools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from making import make_video
from tiny_corpora import LABELS, make_corpus, tiny_recipe

from emoscope.core.errors import CorpusError, RecipeError
from emoscope.training import experiment
from emoscope.training.experiment import resume, train
from emoscope.training.networks import dataset, fit
from emoscope.training.networks.fit import Hardware
from emoscope.training.observer import Observer
from emoscope.training.recipe import Recipe
from emoscope.training.run_folder import RunFolder, read_run

cv2 = pytest.importorskip("cv2")


class Listener(Observer):
    """Collects the calls."""

    def __init__(self) -> None:
        self.parts: list[tuple[int, int, str, int]] = []
        self.steps: list[int] = []
        self.warnings: list[str] = []

    def fold_started(self, index: int, total: int, fold: str, seed: int) -> None:
        self.parts.append((index, total, fold, seed))

    def progress(self, progress: Any) -> None:
        self.steps.append(progress.step)

    def warning(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus") / "folder")


def go(recipe: Recipe, corpus: Path, folder: Path, **options: Any) -> RunFolder:
    return train(recipe, {"folder": corpus}, folder, cache=folder.parent / "cache", **options)


@pytest.fixture(scope="module")
def listener() -> Listener:
    return Listener()


@pytest.fixture(scope="module")
def run(corpus: Path, listener: Listener, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    recipe = tiny_recipe(seeds=[0, 3], schedule={"epochs": 3})
    return go(recipe, corpus, folder, observer=listener)


def test_every_person_is_tested_once_per_seed_by_weights_not_trained_on_them(
    run: RunFolder,
) -> None:
    predictions = run.predictions()
    assert len(predictions.samples) == 2 * 24
    assert set(predictions.folds) == {"p0", "p1", "p2"}
    for fold in run.folds:
        tested = {run.samples[row].subject for row in fold["test"]}
        assert tested == {fold["name"]}
        assert tested.isdisjoint(run.samples[row].subject for row in fold["train"])
    np.testing.assert_allclose(predictions.probs.sum(axis=1), 1, atol=1e-6)
    assert np.mean(predictions.predicted == predictions.truth) > 0.9


def test_exported_weights_are_trained_on_all_samples(run: RunFolder, listener: Listener) -> None:
    assert [part[2:] for part in listener.parts] == [
        ("p0", 0), ("p1", 0), ("p2", 0), ("final", 0), ("p0", 3), ("p1", 3), ("p2", 3)
    ]  # fmt: skip
    assert run.exported == ("final", 0)
    assert (run.part("final", 0) / "weights.pt").is_file()
    assert sorted(run.planned[-1]["train"]) == list(range(24))
    assert not list(run.folder.rglob("*.ckpt")), "a hundred folds of them would fill a disk"


def test_seeds_differ_and_each_is_reproducible(run: RunFolder, corpus: Path) -> None:
    predictions = run.predictions()
    by_seed = [predictions.probs[predictions.seeds == seed] for seed in (0, 3)]
    assert not np.allclose(*by_seed, atol=1e-4)
    again = go(
        tiny_recipe(seeds=[0], schedule={"epochs": 3}), corpus, run.folder.parent / "again"
    ).predictions()
    np.testing.assert_array_equal(again.probs, by_seed[0])


def test_a_run_stores_its_provenance(run: RunFolder) -> None:
    info = run.info
    assert info["labels"] == list(LABELS)
    assert info["parameters"] == 1_990 or info["parameters"] > 1000
    assert info["versions"]["torch"] == torch.__version__
    assert info["corpus_folders"]["folder"].endswith("folder")
    assert read_run(run.folder).recipe == run.recipe


def test_the_log_has_one_row_per_epoch(run: RunFolder) -> None:
    for rows in run.histories().values():
        assert [row["epoch"] for row in rows] == ["0", "1", "2"]
        losses = [float(row["loss"]) for row in rows]
        assert losses[-1] < losses[0]
        assert [float(row["seconds"]) for row in rows] == sorted(
            float(row["seconds"]) for row in rows
        )
    assert all(result["seconds"] > 0 for result in run.results())


def test_a_hold_out_of_other_persons_selects_the_epoch_and_fits_the_temperature(
    corpus: Path, tmp_path: Path
) -> None:
    recipe = tiny_recipe(
        protocol={"name": "group-k-fold", "k": 3, "holdout": 0.4},
        schedule={"epochs": 3, "keep": "best-uar", "ema_decay": 0.5},
    )
    run = go(recipe, corpus, tmp_path / "run")
    for fold in run.folds:
        sides = [
            {run.samples[row].subject for row in fold[side]}
            for side in ("train", "holdout", "test")
        ]
        assert all(sides)
        assert sum(map(len, sides)) == len(set.union(*sides))
    for part, rows in run.histories().items():
        uars = [float(row["holdout_uar"]) for row in rows]
        (result,) = [r for r in run.results() if (r["fold"], r["seed"]) == part]
        assert result["chosen_epoch"] == uars.index(max(uars))
        assert result["temperature"] != 1


def test_iterations_end_a_training_in_the_middle_of_an_epoch(corpus: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(
        protocol={"name": "stratified-group-holdout", "part": 0.34},
        schedule={"epochs": None, "iterations": 3, "decay": "step", "step_iterations": 2},
    )
    run = go(recipe, corpus, tmp_path / "run")
    ((_, rows),) = run.histories().items()
    assert [row["step"] for row in rows] == ["2", "3"]
    assert float(rows[-1]["lr"]) == pytest.approx(0.001)
    assert len(run.planned) == 1, "the only fold's weights are the run's"
    assert (run.part(*run.exported) / "weights.pt").is_file()


def test_pictures_grow_while_a_network_learns(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = []

    def watched(inputs: dict[str, torch.Tensor], part: float) -> dict[str, torch.Tensor]:
        smaller = dataset.shrunk(inputs, part)
        sides.append(smaller["gray"].shape[-1])
        return smaller

    monkeypatch.setattr(fit, "shrunk", watched)
    schedule = {"epochs": 4, "grow": [[0.25, 0.5], [0.75, 0.75]]}
    run = go(tiny_recipe(schedule=schedule), corpus, tmp_path / "run")
    falls = sum(after < before for before, after in itertools.pairwise(sides))
    assert falls == len(run.parts)  # every fold's training begins small, and the bundle's too
    assert [sides.count(side) / len(sides) for side in (24, 36, 48)] == [0.25, 0.5, 0.25]


def test_gradient_accumulation_takes_a_step_for_several_batches(
    corpus: Path, tmp_path: Path
) -> None:
    recipe = tiny_recipe(
        protocol={"name": "stratified-group-holdout", "part": 0.34},
        schedule={"epochs": 2, "batch_size": 4, "accumulate": 2},
    )
    ((_, rows),) = go(recipe, corpus, tmp_path / "run").histories().items()
    assert [row["step"] for row in rows] == ["2", "4"]


def test_a_leak_is_refused_or_if_allowed_noted_in_the_run(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "folder")
    shutil.copy(corpus / "p0/happiness/0.png", corpus / "p1/happiness/9.png")
    with pytest.raises(CorpusError, match=r"same content.*p0.*allow_leak"):
        go(tiny_recipe(), corpus, tmp_path / "refused")
    assert not (tmp_path / "refused").exists()

    listener = Listener()
    allowed = tiny_recipe(protocol={"name": "leave-one-subject-out", "allow_leak": True})
    run = go(allowed, corpus, tmp_path / "allowed", observer=listener)
    assert [text[:5] for text in listener.warnings] == ["LEAK:", "LEAK:"]
    assert run.info["warnings"] == listener.warnings

    without = tiny_recipe(protocol={"name": "leave-one-subject-out", "drop_twins": True})
    run = go(without, corpus, tmp_path / "without")
    assert run.info["warnings"] == []
    assert [n for reason, n in run.info["left_out"].items() if "same bytes" in reason] == [2]


def test_augmented_random_has_variants_of_a_clip_on_both_sides(
    corpus: Path, tmp_path: Path
) -> None:
    protocol = {"name": "augmented-random-80-20", "variants": 3}
    with pytest.raises(CorpusError, match="same subject"):
        go(tiny_recipe(protocol=protocol), corpus, tmp_path / "refused")
    run = go(tiny_recipe(protocol={**protocol, "allow_leak": True}), corpus, tmp_path / "run")
    assert len(run.samples) == 3 * 24
    (fold,) = run.folds
    assert len(fold["test"]) == round(0.2 * 72)
    assert {"subject", "recording"} <= set(fold["leaks"])
    assert run.info["warnings"][0].startswith("LEAK: fold 'augmented-random'")


def test_samples_of_other_labels_and_groups_are_left_out_and_counted(
    tmp_path: Path,
) -> None:
    root = make_corpus(tmp_path / "folder")
    table = tmp_path / "manifest.csv"
    lines = ["path,label,subject,group:light"]
    for path in sorted(root.rglob("*.png")):
        light = "weak" if path.stem == "3" else "strong"
        label = "fear" if path.stem == "2" else path.parent.name
        lines.append(f"{path},{label},{path.parts[-3]},{light}")
    table.write_text("\n".join(lines))
    recipe = tiny_recipe(
        corpus={"name": "manifest", "where": {"light": "strong"}, "labels": ["sad", "happy"]}
    )
    run = train(recipe, {"manifest": table}, tmp_path / "run", cache=tmp_path / "cache")
    assert run.labels == ("sadness", "happiness")
    assert run.info["left_out"] == {"label fear": 6, "light weak": 6}
    assert len(run.samples) == 12
    odd = recipe.model_copy(
        update={"corpus": recipe.corpus.model_copy(update={"where": {"x": "y"}})}
    )
    with pytest.raises(RecipeError, match=r"no group 'x'\. Known: light"):
        train(odd, {"manifest": table}, tmp_path / "odd", cache=tmp_path / "cache")


def test_a_broken_recording_is_left_out_and_reported(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "folder")
    (corpus / "p0/sadness/1.png").write_bytes(b"no picture")
    run = go(tiny_recipe(schedule={"epochs": 1}), corpus, tmp_path / "run")
    assert len(run.samples) == 23
    assert sum(run.info["left_out"].values()) == 1
    assert run.info["failures"][0]["path"].endswith("p0/sadness/1.png")


def test_sequences_that_are_too_short_are_left_out_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = make_corpus(tmp_path / "folder", subjects=2, each=1)
    for i, (who, label) in enumerate((who, label) for who in ("p0", "p1") for label in LABELS):
        make_video(corpus / who / label / "film.mp4", num_frames=3 + i, size_wh=(48, 48))
    make_video(corpus / "p0" / "sadness" / "short.mp4", num_frames=2, size_wh=(48, 48))
    settings_used: list[Any] = []

    def prepare(*given: Any, **how: Any) -> Any:
        settings_used.append((how["faces"], how["min_frames"]))
        return experiment_prepare(*given, **how)

    experiment_prepare = experiment.prepare_clips
    monkeypatch.setattr(experiment, "prepare_clips", prepare)
    recipe = tiny_recipe(
        corpus={"min_frames": 3, "faces": "every-frame"}, schedule={"epochs": 1, "batch_size": 2}
    )
    run = go(recipe, corpus, tmp_path / "run")
    assert run.info["left_out"] == {"fewer than 3 frames": 5}  # four are stills
    assert {sample.path.name for sample in run.samples} == {"film.mp4"}
    assert sum(counts["frames"] for counts in run.info["faces"].values()) == 3 + 4 + 5 + 6
    assert settings_used == [("every-frame", 3)]


def test_a_training_stores_predictions_for_every_vote(tmp_path: Path) -> None:
    corpus = tmp_path / "folder"
    for who, label in ((who, label) for who in ("p0", "p1") for label in LABELS):
        (corpus / who / label).mkdir(parents=True)
        frames = 6 if who == "p0" else 5
        make_video(corpus / who / label / "film.mp4", num_frames=frames, size_wh=(48, 48))
    recipe = tiny_recipe(
        evaluation={"every": 1, "vote": "max-probability"},
        schedule={"epochs": 1, "batch_size": 2},
    )
    run = go(recipe, corpus, tmp_path / "run")
    assert run.votes == ("max-probability", "sum-probability", "expressive-weighted")
    names = sorted(path.name for path in run.part("p0", 0).glob("*.csv"))
    others = [f"predictions-{vote}.csv" for vote in ("expressive-weighted", "sum-probability")]
    assert names == ["metrics.csv", *others, "predictions.csv"]
    assert not list(run.part("final", 0).glob("predictions*"))
    counted, added = run.predictions(), run.predictions("sum-probability")
    for frames, fold in ((6, "p0"), (5, "p1")):
        shares = counted.probs[np.array(counted.folds) == fold] * frames
        np.testing.assert_allclose(shares, shares.round(), atol=1e-3)
    assert not np.allclose(added.probs, counted.probs, atol=1e-2)
    np.testing.assert_allclose(added.probs.sum(axis=1), 1, atol=1e-6)


def test_a_class_without_training_samples_gives_a_warning(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "folder")
    for who in ("p1", "p2"):
        shutil.rmtree(corpus / who / "sadness")
    run = go(tiny_recipe(schedule={"epochs": 1}), corpus, tmp_path / "run")
    assert run.info["warnings"] == ["Fold 'p0' has no training sample of sadness."]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"options": {"depth": 3}}}, r"invalid model\.options: .*depth"),
        ({"model": {"name": "face-cn"}}, "no model named 'face-cn'"),
        ({"optimiser": None, "schedule": None}, "needs the tables optimiser and schedule"),
        ({"clip": {"sampling": {"rule": "last", "length": 2}}}, "clip gives"),
        ({"clip": {"margin": 9}}, r"clip: margin"),
        ({"model": {"name": "egemaps-svc", "options": {}}}, "leave optimiser and schedule out"),
        (
            {"model": {"name": "vgg16", "options": {}}, "schedule": {"grow": [[0.5, 0.1]]}},
            "vgg16 takes one size only",
        ),
    ],
)
def test_an_invalid_recipe_is_refused_before_anything_is_written(
    changes: dict[str, Any], message: str, corpus: Path, tmp_path: Path
) -> None:
    with pytest.raises((RecipeError, KeyError), match=message):
        go(tiny_recipe(**changes), corpus, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_one_person_only_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="needs 2 subjects or more"):
        go(tiny_recipe(), make_corpus(tmp_path / "folder", subjects=1), tmp_path / "run")


def test_a_corpus_that_was_not_given_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"tiny needs folder: add --corpus NAME=FOLDER"):
        train(tiny_recipe(), {}, tmp_path / "run")


def test_a_loss_that_is_not_finite_stops_with_advice(corpus: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(optimiser={"name": "sgd", "lr": 1e30}, schedule={"epochs": 9})
    with pytest.raises(RecipeError, match=r"tiny: the loss is (nan|inf).*Lower optimiser\.lr"):
        go(recipe, corpus, tmp_path / "run")
    read_run(tmp_path / "run")


def test_missing_hardware_is_reported_in_one_line(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="This machine cannot train with these settings: "):
        go(tiny_recipe(), corpus, tmp_path / "run", hardware=Hardware(accelerator="tpu"))


def test_tensorboard_is_written_if_asked(corpus: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(protocol={"name": "stratified-group-holdout"}, schedule={"epochs": 1})
    run = go(recipe, corpus, tmp_path / "run", hardware=Hardware(tensorboard=True))
    assert list(run.folder.rglob("events.out.tfevents*"))


def test_a_run_folder_is_not_overwritten(run: RunFolder, corpus: Path) -> None:
    with pytest.raises(RecipeError, match="holds a run"):
        go(run.recipe, corpus, run.folder)


def test_resuming_a_finished_run_trains_nothing(run: RunFolder) -> None:
    listener = Listener()
    resume(run.folder, observer=listener, cache=run.folder.parent / "cache")
    assert listener.parts == []


def test_a_resumed_run_names_a_missing_recording(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "folder")
    run = go(tiny_recipe(schedule={"epochs": 1}), corpus, tmp_path / "run")
    (run.part("p2", 0) / "fold.json").unlink()
    (corpus / "p1/sadness/1.png").unlink()
    with pytest.raises(
        RecipeError, match=r"1 of its recordings can no longer be read.*Restore them"
    ):
        resume(run.folder, cache=tmp_path / "cache")


def test_bf16_learns_too_and_fp16_on_a_cpu_is_refused(corpus: Path, tmp_path: Path) -> None:
    protocol = {"name": "stratified-group-holdout", "part": 0.34}
    recipe = tiny_recipe(protocol=protocol, schedule={"epochs": 3, "precision": "bf16-mixed"})
    predictions = go(recipe, corpus, tmp_path / "run").predictions()
    assert np.mean(predictions.predicted == predictions.truth) > 0.9
    recipe = tiny_recipe(protocol=protocol, schedule={"precision": "16-mixed"})
    with pytest.raises(RecipeError, match=r"schedule\.precision = 'bf16-mixed'"):
        go(recipe, corpus, tmp_path / "refused", hardware=Hardware(accelerator="cpu"))


def test_gemep_is_read_by_the_pattern_of_its_release(tmp_path: Path) -> None:
    for who in ("7", "8"):
        for code in ("joi", "tri"):
            path = tmp_path / "gemep" / f"x_{code}__{who}.mp4"
            path.parent.mkdir(exist_ok=True)
            make_video(path, num_frames=int(who) + len(list(path.parent.iterdir())))
    pattern = r"x_(?P<emotion>...)__(?P<actor>\d)"
    recipe = tiny_recipe(
        corpus={"name": "gemep", "options": {"pattern": pattern}, "labels": ["joy", "sadness"]},
        schedule={"epochs": 1},
    )
    run = train(recipe, {"gemep": tmp_path / "gemep"}, tmp_path / "run", cache=tmp_path / "cache")
    assert [fold["name"] for fold in run.folds] == ["7", "8"]
    assert run.labels == ("joy", "sadness")
