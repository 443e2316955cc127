"""kill -9 at any moment, then --resume: the weights are those of an uninterrupted run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_corpora import make_corpus, tiny_recipe, write_toml

from emoscope.training.experiment import train
from emoscope.training.recipe import Recipe
from emoscope.training.run_folder import read_run, read_table

EMOSCOPE = [sys.executable, "-m", "emoscope"]
RECIPE = tiny_recipe(
    protocol={"name": "stratified-group-holdout", "part": 0.34, "holdout": 0.5},
    model={"options": {"stem": 4, "widths": [4, 8], "blocks": [1, 1], "dropout": 0.5}},
    optimiser={"name": "adamw", "lr": 0.01, "weight_decay": 0.01},
    schedule={
        "epochs": 6,
        "batch_size": 4,
        "decay": "cosine",
        "warmup": 0.2,
        "ema_decay": 0.7,
        "keep": "best-uar",
    },
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus") / "folder")


def start(recipe: Path, corpus: Path, folder: Path, *more: str) -> "subprocess.Popen[bytes]":
    command = [*EMOSCOPE, "train", str(recipe), "--corpus", f"folder={corpus}"]
    command += ["--out", str(folder), "--cache", str(folder.parent / "cache"), *more]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def resume(folder: Path) -> "subprocess.Popen[bytes]":
    command = [*EMOSCOPE, "train", "--resume", str(folder)]
    command += ["--cache", str(folder.parent / "cache")]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    run = read_run(folder)
    return torch.load(run.part(*run.exported) / "weights.pt", weights_only=True)


def whole(recipe: Recipe, corpus: Path, folder: Path) -> dict[str, torch.Tensor]:
    train(recipe, {"folder": corpus}, folder, cache=folder.parent / "cache")
    return weights(folder)


def log_rows(log: Path) -> list[dict[str, str]]:
    """The rows without the seconds: an epoch that was not saved is repeated."""
    return [{**row, "seconds": ""} for row in read_table(log)]


@pytest.mark.slow
def test_a_killed_training_ends_with_the_weights_of_an_uninterrupted_one(
    corpus: Path, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    expected = whole(RECIPE, corpus, tmp_path / "whole")
    toml = write_toml(RECIPE, tmp_path / "tiny.toml")
    process = start(toml, corpus, tmp_path / "killed")
    log = tmp_path / "killed" / "folds" / "holdout" / "seed-0" / "metrics.csv"
    until_s = time.monotonic() + 120
    while not log.is_file() or len(log.read_text().splitlines()) < 3:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until_s
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    rows = log_rows(log)
    assert not (log.parent / "fold.json").exists(), "the training was quicker than the kill"
    read_run(tmp_path / "killed")

    again = resume(tmp_path / "killed")
    _, complaint = again.communicate(timeout=120)
    assert again.returncode == 0, complaint.decode()
    assert log_rows(log)[: len(rows)] == rows, "nothing of the log is lost"
    assert len(log_rows(log)) == 6
    trained = weights(tmp_path / "killed")
    assert set(trained) == set(expected)
    for name, value in expected.items():
        assert torch.equal(trained[name], value), name
    assert not list((tmp_path / "killed").rglob(".emoscope-*"))
    assert (tmp_path / "killed" / "tiny.onnx").is_file()


@pytest.mark.slow
def test_a_training_killed_again_and_again_ends_with_the_same_weights(
    corpus: Path, tmp_path: Path
) -> None:
    """Kills fall anywhere: in a step, in a checkpoint, between the files of an epoch."""
    torch.set_num_threads(1)
    assert RECIPE.schedule is not None
    long = RECIPE.model_copy(update={"schedule": RECIPE.schedule.model_copy(update={"epochs": 60})})
    expected = whole(long, corpus, tmp_path / "whole")
    killed = tmp_path / "killed"
    last = killed / "folds" / "holdout" / "seed-0" / "checkpoints" / "last.ckpt"
    toml, rng, kills = write_toml(long, tmp_path / "tiny.toml"), np.random.default_rng(0), 0
    process = start(toml, corpus, killed)
    while kills < 5:
        before = last.stat().st_mtime_ns if last.is_file() else 0
        until_s = time.monotonic() + 120
        while process.poll() is None and not (last.is_file() and last.stat().st_mtime_ns > before):
            assert time.monotonic() < until_s
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.3))
        if process.poll() is not None:
            break
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        kills += 1
        read_run(killed)
        process = resume(killed)
    _, complaint = process.communicate(timeout=120)
    assert process.returncode == 0, complaint.decode()
    assert kills >= 3, "the training was quicker than the kills"
    trained = weights(killed)
    assert all(torch.equal(trained[name], value) for name, value in expected.items())
    predictions = [read_run(tmp_path / name).predictions().probs for name in ("whole", "killed")]
    assert (predictions[0] == predictions[1]).all()
    epochs = [row["epoch"] for row in read_run(killed).histories()["holdout", 0]]
    assert epochs == [str(epoch) for epoch in range(60)]
    assert not list(killed.rglob(".emoscope-*"))


@pytest.mark.slow
def test_two_processes_train_one_network(corpus: Path, tmp_path: Path) -> None:
    toml = write_toml(
        tiny_recipe(
            protocol={"name": "group-k-fold", "k": 3},
            schedule={"epochs": 4, "batch_size": 4},
        ),
        tmp_path / "tiny.toml",
    )
    more = ("--accelerator", "cpu", "--devices", "2", "--strategy", "ddp")
    process = start(toml, corpus, tmp_path / "run", *more)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err.decode()
    run = read_run(tmp_path / "run")
    assert run.missing == []
    # Sixteen clips, eight a process, four at a time: two steps an epoch instead of four.
    assert [row["step"] for row in run.histories()["fold 1", 0]] == ["2", "4", "6", "8"]
    predictions = run.predictions()
    assert len(predictions.samples) == 24
    assert (predictions.truth == predictions.predicted).mean() > 0.6
    assert out.decode().count("written: ") == 1, "one process writes and prints"
    assert not (tmp_path / "run" / ".lock").exists(), "the processes share one lock"
