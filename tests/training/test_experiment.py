"""From a recipe and a corpus to a run folder: protocols, what is kept, what is refused."""

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
from emoscope.training.experiment import Observer, resume, train
from emoscope.training.networks import dataset, fit
from emoscope.training.networks.fit import Hardware
from emoscope.training.recipe import Recipe
from emoscope.training.run_folder import Run, read_run

cv2 = pytest.importorskip("cv2")


class Listener(Observer):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.parts: list[tuple[int, int, str, int]] = []
        self.steps: list[int] = []
        self.warnings: list[str] = []

    def part(self, index: int, parts: int, fold: str, seed: int) -> None:
        self.parts.append((index, parts, fold, seed))

    def progress(self, progress: Any) -> None:
        self.steps.append(progress.step)

    def warned(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus") / "folder")


def go(recipe: Recipe, corpus: Path, folder: Path, **options: Any) -> Run:
    return train(recipe, {"folder": corpus}, folder, cache=folder.parent / "cache", **options)


@pytest.fixture(scope="module")
def told() -> Listener:
    return Listener()


@pytest.fixture(scope="module")
def run(corpus: Path, told: Listener, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    recipe = tiny_recipe(seeds=[0, 3], schedule={"epochs": 3})
    return go(recipe, corpus, folder, observer=told)


def test_every_person_is_judged_once_a_seed_by_weights_that_have_not_seen_them(run: Run) -> None:
    said = run.predictions()
    assert len(said.samples) == 2 * 24
    assert set(said.folds) == {"p0", "p1", "p2"}
    for fold in run.folds:
        tested = {run.samples[row].subject for row in fold["test"]}
        assert tested == {fold["name"]}
        assert tested.isdisjoint(run.samples[row].subject for row in fold["train"])
    np.testing.assert_allclose(said.probs.sum(axis=1), 1, atol=1e-6)
    assert np.mean(said.predicted == said.truth) > 0.9


def test_the_weights_to_export_have_learned_from_everybody(run: Run, told: Listener) -> None:
    assert [part[2:] for part in told.parts] == [
        ("p0", 0), ("p1", 0), ("p2", 0), ("final", 0), ("p0", 3), ("p1", 3), ("p2", 3)
    ]  # fmt: skip
    assert run.exported == ("final", 0)
    assert (run.part("final", 0) / "weights.pt").is_file()
    assert sorted(run.planned[-1]["train"]) == list(range(24))
    assert not list(run.folder.rglob("*.ckpt")), "a hundred folds of them would fill a disk"


def test_seeds_differ_and_a_seed_gives_the_same_again(run: Run, corpus: Path) -> None:
    said = run.predictions()
    by_seed = [said.probs[said.seeds == seed] for seed in (0, 3)]
    assert not np.allclose(*by_seed, atol=1e-4)
    again = go(
        tiny_recipe(seeds=[0], schedule={"epochs": 3}), corpus, run.folder.parent / "again"
    ).predictions()
    np.testing.assert_array_equal(again.probs, by_seed[0])


def test_the_run_says_where_it_comes_from(run: Run) -> None:
    info = run.info
    assert info["labels"] == list(LABELS)
    assert info["parameters"] == 1_990 or info["parameters"] > 1000
    assert info["versions"]["torch"] == torch.__version__
    assert info["corpus_folders"]["folder"].endswith("folder")
    assert read_run(run.folder).recipe == run.recipe


def test_the_log_has_a_row_an_epoch(run: Run) -> None:
    for rows in run.histories().values():
        assert [row["epoch"] for row in rows] == ["0", "1", "2"]
        losses = [float(row["loss"]) for row in rows]
        assert losses[-1] < losses[0]
        assert [float(row["seconds"]) for row in rows] == sorted(
            float(row["seconds"]) for row in rows
        )
    assert all(result["seconds"] > 0 for result in run.results())


def test_a_hold_out_of_other_persons_chooses_the_epoch_and_the_temperature(
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


def test_a_leak_is_refused_and_if_allowed_follows_the_run(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "folder")
    shutil.copy(corpus / "p0/happiness/0.png", corpus / "p1/happiness/9.png")
    with pytest.raises(CorpusError, match=r"same content.*p0.*allow_leak"):
        go(tiny_recipe(), corpus, tmp_path / "refused")
    assert not (tmp_path / "refused").exists()

    told = Listener()
    allowed = tiny_recipe(protocol={"name": "leave-one-subject-out", "allow_leak": True})
    run = go(allowed, corpus, tmp_path / "allowed", observer=told)
    assert [text[:5] for text in told.warnings] == ["LEAK:", "LEAK:"]
    assert run.info["warnings"] == told.warnings

    without = tiny_recipe(protocol={"name": "leave-one-subject-out", "drop_twins": True})
    run = go(without, corpus, tmp_path / "without")
    assert run.info["warnings"] == []
    assert [n for reason, n in run.info["left_out"].items() if "same bytes" in reason] == [2]


def test_augmented_random_shows_variants_of_a_clip_on_both_sides(
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


def test_labels_and_groups_that_the_recipe_does_not_want_are_left_out_and_counted(
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


def test_a_broken_recording_is_left_out_and_told(tmp_path: Path) -> None:
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
    asked: list[Any] = []

    def prepare(*given: Any, **how: Any) -> Any:
        asked.append((how["faces"], how["min_frames"]))
        return experiment_prepare(*given, **how)

    experiment_prepare = experiment.prepare
    monkeypatch.setattr(experiment, "prepare", prepare)
    recipe = tiny_recipe(
        corpus={"min_frames": 3, "faces": "every-frame"}, schedule={"epochs": 1, "batch_size": 2}
    )
    run = go(recipe, corpus, tmp_path / "run")
    assert run.info["left_out"] == {"fewer than 3 frames": 5}  # four are stills
    assert {sample.path.name for sample in run.samples} == {"film.mp4"}
    assert sum(counts["frames"] for counts in run.info["faces"].values()) == 3 + 4 + 5 + 6
    assert asked == [("every-frame", 3)]


def test_one_training_answers_by_every_vote(tmp_path: Path) -> None:
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


def test_a_class_that_a_fold_cannot_learn_is_told(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "folder")
    for who in ("p1", "p2"):
        shutil.rmtree(corpus / who / "sadness")
    run = go(tiny_recipe(schedule={"epochs": 1}), corpus, tmp_path / "run")
    assert run.info["warnings"] == ["Fold 'p0' has nothing to learn sadness from."]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model": {"options": {"depth": 3}}}, r"model\.options do not fit.*depth"),
        ({"model": {"name": "face-cn"}}, "no model named 'face-cn'"),
        ({"optimiser": None, "schedule": None}, "needs the tables optimiser and schedule"),
        ({"clip": {"sampling": {"rule": "last", "length": 2}}}, "clip gives"),
        ({"clip": {"margin": 9}}, r"clip: margin"),
        ({"model": {"name": "egemaps-svc", "options": {}}}, "leave optimiser and schedule out"),
        (
            {"model": {"name": "vgg16", "options": {}}, "schedule": {"grow": [[0.5, 0.1]]}},
            "vgg16 takes one size alone",
        ),
    ],
)
def test_a_recipe_that_cannot_be_run_is_refused_before_anything_is_written(
    changes: dict[str, Any], told: str, corpus: Path, tmp_path: Path
) -> None:
    with pytest.raises((RecipeError, KeyError), match=told):
        go(tiny_recipe(**changes), corpus, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_one_person_only_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="needs 2 subjects or more"):
        go(tiny_recipe(), make_corpus(tmp_path / "folder", subjects=1), tmp_path / "run")


def test_a_corpus_that_was_not_given_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"tiny needs folder: add --corpus NAME=DIR"):
        train(tiny_recipe(), {}, tmp_path / "run")


def test_a_loss_that_is_no_number_stops_with_advice(corpus: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(optimiser={"name": "sgd", "lr": 1e30}, schedule={"epochs": 9})
    with pytest.raises(RecipeError, match=r"tiny: the loss is (nan|inf).*Lower optimiser\.lr"):
        go(recipe, corpus, tmp_path / "run")
    read_run(tmp_path / "run")


def test_hardware_that_is_not_there_is_told_in_a_line(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="This machine cannot train so: "):
        go(tiny_recipe(), corpus, tmp_path / "run", hardware=Hardware(accelerator="tpu"))


def test_tensorboard_is_written_if_asked(corpus: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(protocol={"name": "stratified-group-holdout"}, schedule={"epochs": 1})
    run = go(recipe, corpus, tmp_path / "run", hardware=Hardware(tensorboard=True))
    assert list(run.folder.rglob("events.out.tfevents*"))


def test_a_run_folder_is_not_overwritten(run: Run, corpus: Path) -> None:
    with pytest.raises(RecipeError, match="a run is there already"):
        go(run.recipe, corpus, run.folder)


def test_a_finished_run_resumes_to_nothing_more_to_do(run: Run) -> None:
    told = Listener()
    resume(run.folder, observer=told, cache=run.folder.parent / "cache")
    assert told.parts == []


def test_a_resumed_run_misses_a_recording_that_is_gone(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "folder")
    run = go(tiny_recipe(schedule={"epochs": 1}), corpus, tmp_path / "run")
    (run.part("p2", 0) / "fold.json").unlink()
    (corpus / "p1/sadness/1.png").unlink()
    with pytest.raises(RecipeError, match=r"1 of its recordings cannot be read.*Put them back"):
        resume(run.folder, cache=tmp_path / "cache")


def test_bf16_learns_too_and_fp16_on_a_cpu_is_refused(corpus: Path, tmp_path: Path) -> None:
    protocol = {"name": "stratified-group-holdout", "part": 0.34}
    recipe = tiny_recipe(protocol=protocol, schedule={"epochs": 3, "precision": "bf16-mixed"})
    said = go(recipe, corpus, tmp_path / "run").predictions()
    assert np.mean(said.predicted == said.truth) > 0.9
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
