"""Interrupted trainings: the run folder stays readable, and the resumed result is identical."""

import errno
import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_corpora import make_corpus, tiny_recipe

from emoscope.core.errors import CorpusError, EmoscopeError, MediaError, RecipeError
from emoscope.training.experiment import resume, train
from emoscope.training.networks import callbacks
from emoscope.training.networks.fit import Hardware
from emoscope.training.observer import Observer
from emoscope.training.recipe import Recipe
from emoscope.training.run_folder import read_run

RECIPE = tiny_recipe(
    protocol={"name": "stratified-group-holdout", "part": 0.34, "holdout": 0.5},
    schedule={"epochs": 2, "batch_size": 4, "ema_decay": 0.5, "keep": "best-uar"},
)
CHECKPOINTS = Path("folds/holdout/seed-0/checkpoints")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus, a cache, and an uninterrupted run of the recipe."""
    home = tmp_path_factory.mktemp("home")
    make_corpus(home / "corpus", each=2)
    go(home, home / "whole")
    return home


def go(home: Path, folder: Path, recipe: Recipe = RECIPE, **options: Any) -> None:
    train(recipe, {"folder": home / "corpus"}, folder, cache=home / "cache", **options)


def finish(home: Path, folder: Path, **options: Any) -> None:
    """Resume or start the run; the result must equal the uninterrupted run."""
    if (folder / "run.json").is_file():
        assert read_run(folder).missing
        resume(folder, cache=home / "cache", **options)
    else:
        go(home, folder, **options)
    assert_same(folder, home / "whole")


def assert_same(folder: Path, expected: Path) -> None:
    runs = [read_run(folder), read_run(expected)]
    parts = [run.part(*run.exported) for run in runs]
    ours, theirs = (torch.load(part / "weights.pt", weights_only=True) for part in parts)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    np.testing.assert_array_equal(runs[0].predictions().probs, runs[1].predictions().probs)
    logs = [[row["loss"] for row in next(iter(run.histories().values()))] for run in runs]
    assert logs[0] == logs[1]
    results = [{**run.results()[0], "seconds": 0} for run in runs]
    assert results[0] == results[1]
    assert not list(folder.rglob(".emoscope-*"))
    assert not list(folder.rglob("*.ckpt"))


def refusal(home: Path, folder: Path, kind: type[EmoscopeError], **options: Any) -> str:
    with pytest.raises(kind) as raised:
        go(home, folder, **options)
    message = str(raised.value)
    assert "\n" not in message
    return message


@contextmanager
def full_at(name: str, at: int = 1) -> Iterator[None]:
    """Fail with a full disk when a file of this name is renamed for the `at`-th time."""
    usual, seen = Path.replace, []

    def failing(self: Path, target: Any) -> Path:
        if Path(target).name == name:
            seen.append(target)
            if len(seen) == at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        return usual(self, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", failing)
        yield
    assert len(seen) >= at, "it never came to that"


@pytest.mark.parametrize(
    ("name", "at"),
    [
        ("recipe.json", 1),
        ("folds.json", 1),
        ("run.json", 1),
        ("best.ckpt", 1),
        ("last.ckpt", 1),
        ("last.ckpt", 2),
        ("metrics.csv", 1),
        ("metrics.csv", 2),
        ("weights.pt", 1),
        ("predictions.csv", 1),
        ("fold.json", 1),
    ],
)
def test_a_training_stopped_by_a_full_disk_can_be_resumed(
    home: Path, tmp_path: Path, name: str, at: int
) -> None:
    with full_at(name, at):
        message = refusal(home, tmp_path / "run", MediaError)
    assert message.startswith(f"{tmp_path}/run/")
    assert f"/{name}: cannot be written: No space left on device." in message
    finish(home, tmp_path / "run")


def test_a_full_disk_inside_torch_is_reported_as_such(home: Path, tmp_path: Path) -> None:
    """The size limit is below a checkpoint and above all other files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (15_000, hard))
    try:
        message = refusal(home, tmp_path / "run", MediaError)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    place = tmp_path / "run" / CHECKPOINTS
    assert (
        message == f"{place}/best.ckpt: cannot be written: File too large. Choose another folder."
    )
    assert list(place.iterdir()) == []
    finish(home, tmp_path / "run")


class Killed(BaseException):
    """Stands for kill -9: no code catches it."""


def kill_at(patch: pytest.MonkeyPatch, place: object, what: str, at: int) -> None:
    """Raise Killed at the `at`-th call of a function."""
    usual, calls = getattr(place, what), []

    def dying(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == at:
            raise Killed
        return usual(*args)

    patch.setattr(place, what, dying)


@pytest.mark.parametrize(
    ("place", "what", "at"),
    [
        (callbacks, "save_tensors", 1),
        (shutil, "copyfile", 1),
        (callbacks, "write_table", 1),
        (callbacks, "save_tensors", 2),
        (callbacks, "write_table", 2),
    ],
)
def test_a_kill_between_two_files_of_an_epoch_loses_nothing(
    home: Path, tmp_path: Path, place: object, what: str, at: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, place, what, at)
        with pytest.raises(Killed):
            go(home, tmp_path / "run")
    finish(home, tmp_path / "run")


class Vandal(Observer):
    """Calls a function when a fold starts."""

    def __init__(self, deed: Any) -> None:
        self.deed = deed

    def fold_started(self, *_: Any) -> None:
        self.deed()


@pytest.mark.filterwarnings("ignore:This DataLoader", "ignore:This process")
@pytest.mark.parametrize("workers", [0, 1])
def test_a_recording_that_vanishes_during_training_is_named(
    home: Path, tmp_path: Path, workers: int
) -> None:
    shutil.copytree(home / "corpus", tmp_path / "corpus")
    gone = tmp_path / "corpus" / "p0" / "sadness" / "1.png"
    kept = gone.read_bytes()
    message = refusal(
        tmp_path,
        tmp_path / "run",
        CorpusError,
        observer=Vandal(gone.unlink),
        hardware=Hardware(workers=workers),
    )
    assert message.startswith(f"{gone}: no longer readable (")
    assert message.endswith("). Restore it.")
    gone.write_bytes(kept)
    resume(tmp_path / "run", cache=tmp_path / "cache")
    assert_same(tmp_path / "run", home / "whole")


@pytest.mark.parametrize("name", ["last.ckpt", "best.ckpt"])
@pytest.mark.parametrize("damage", ["half", "empty", "other", "pickled"])
def test_a_damaged_checkpoint_is_named_with_a_remedy(
    home: Path, tmp_path: Path, name: str, damage: str
) -> None:
    with full_at("weights.pt"):
        refusal(home, tmp_path / "run", MediaError)
    place = tmp_path / "run" / CHECKPOINTS
    path = place / name
    whole = path.read_bytes()
    if damage == "pickled":
        torch.save({"state_dict": Path("/")}, path)  # an object, which is never unpickled
    else:
        path.write_bytes({"half": whole[: len(whole) // 2], "empty": b""}.get(damage, b"text"))
    with pytest.raises(RecipeError) as raised:
        resume(tmp_path / "run", cache=home / "cache")
    message = str(raised.value)
    assert message.startswith(f"{path}: damaged checkpoint (")
    assert message.endswith(
        f". Delete {place} and --resume the run: this fold is then trained from the start."
    )
    assert "\n" not in message
    shutil.rmtree(place)
    finish(home, tmp_path / "run")


def test_a_training_shorter_than_an_epoch_is_evaluated_and_saved(
    home: Path, tmp_path: Path
) -> None:
    """Two batches of an epoch; Lightning alone would skip the hold-out."""
    schedule = {"epochs": None, "iterations": 3, "batch_size": 2, "keep": "best-uar"}
    recipe = tiny_recipe(protocol=RECIPE.protocol.model_dump(), schedule=schedule)
    go(home, tmp_path / "run", recipe)
    ((_, rows),) = read_run(tmp_path / "run").histories().items()
    assert [row["step"] for row in rows] == ["2", "3"]
    assert all(row["holdout_uar"] for row in rows)
    assert rows[0]["holdout_loss"] != rows[1]["holdout_loss"], "each row is of its own epoch"
    recipe = tiny_recipe(
        protocol=RECIPE.protocol.model_dump(), schedule={**schedule, "iterations": 1}
    )
    go(home, tmp_path / "short", recipe)
    assert read_run(tmp_path / "short").results()[0]["chosen_epoch"] == 0


def test_slow_checkpoints_are_written_less_often(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first and the last epoch are saved; a kill in between resumes from the first."""
    monkeypatch.setattr(callbacks, "_TIMES_THE_COST", 1e9)
    saved, usual = [], callbacks.save_tensors

    def counting(content: Any, path: Path) -> None:
        saved.append(content["epoch"])
        usual(content, path)

    monkeypatch.setattr(callbacks, "save_tensors", counting)
    recipe = tiny_recipe(
        protocol=RECIPE.protocol.model_dump(), schedule={"epochs": 5, "batch_size": 4}
    )
    go(home, tmp_path / "whole", recipe)
    assert saved == [0, 4]
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, callbacks, "write_table", 4)
        with pytest.raises(Killed):
            go(home, tmp_path / "run", recipe)
    resume(tmp_path / "run", cache=home / "cache")
    assert_same(tmp_path / "run", tmp_path / "whole")
