"""One process trains in a run folder at a time.

Issue 18, kind 15: two trainings into one folder ended as one run with the results of one under the
recipe of the other; two --resume at once died with a false "damaged checkpoint".
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_corpora import make_corpus, tiny_recipe, write_toml

from emoscope.core.errors import RecipeError
from emoscope.training.experiment import resume, train
from emoscope.training.observer import Observer
from emoscope.training.run_folder import read_run
from emoscope.training.run_lock import check_owner, holder, owned

HOLD = """
import sys, time
from pathlib import Path
from emoscope.training.run_lock import owned
with owned(Path(sys.argv[1])):
    print("owned", flush=True)
    time.sleep(60)
"""
RECIPE = tiny_recipe(
    protocol={"name": "stratified-group-holdout", "part": 0.34},
    schedule={"epochs": 100_000, "batch_size": 4},
)


def hold(folder: Path) -> "subprocess.Popen[str]":
    """A process that holds the lock of a folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "owned\n"
    return process


def end(process: "subprocess.Popen[str]", by: signal.Signals = signal.SIGKILL) -> None:
    process.send_signal(by)
    process.communicate(timeout=30)


def refusal(folder: Path) -> str:
    with pytest.raises(RecipeError) as raised, owned(folder):
        pass
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_folder_in_use_is_refused_with_its_owner_until_that_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "a"
    process = hold(folder)
    host = os.uname().nodename
    assert re.fullmatch(
        rf"{folder}: in use by process {process.pid} on {host} since \d\d:\d\d\. Wait for it, or "
        rf"delete {folder}/\.lock if it is gone\.",
        refusal(folder),
    )
    assert holder(folder).startswith(f"process {process.pid} on {host} since ")
    end(process)
    assert (folder / ".lock").is_file(), "a killed process leaves its lock"
    assert holder(folder) == ""
    with owned(folder):
        assert json.loads((folder / ".lock").read_text())["pid"] == os.getpid()
    assert list(folder.iterdir()) == []
    with owned(tmp_path / "b" / "c"):
        pass
    assert not (tmp_path / "b").exists(), "folders that stay empty are removed"


def test_an_interrupted_process_removes_its_lock(tmp_path: Path) -> None:
    process = hold(tmp_path)
    end(process, signal.SIGINT)
    assert list(tmp_path.iterdir()) == []


def test_a_thread_of_the_same_process_is_refused_too(tmp_path: Path) -> None:
    refusals: list[str] = []
    with owned(tmp_path):
        thread = threading.Thread(target=lambda: refusals.append(refusal(tmp_path)))
        thread.start()
        thread.join()
    assert refusals[0].startswith(f"{tmp_path}: in use by process {os.getpid()} on ")


def test_a_number_that_another_process_has_by_now_is_no_owner(tmp_path: Path) -> None:
    process = hold(tmp_path)
    lock = tmp_path / ".lock"
    facts = json.loads(lock.read_text())
    end(process)
    lock.write_text(json.dumps({**facts, "pid": os.getpid()}))
    with owned(tmp_path):
        pass
    assert not lock.exists()


def test_whether_a_process_of_another_machine_or_container_is_gone_is_not_guessed(
    tmp_path: Path,
) -> None:
    process = hold(tmp_path)
    lock = tmp_path / ".lock"
    facts = json.loads(lock.read_text())
    end(process)
    for change in ({"host": "elsewhere"}, {"space": "pid:[1]"}):
        lock.write_text(json.dumps({**facts, "since": "2026-01-02T12:01:00+00:00", **change}))
        where = change.get("host", facts["host"])
        assert f"process {facts['pid']} on {where} since 2026-01-0" in refusal(tmp_path)
    lock.write_text("")
    assert f"{tmp_path}: in use by an unknown process. Wait for it" in refusal(tmp_path)


def test_of_many_processes_one_takes_over_a_dead_owners_lock(tmp_path: Path) -> None:
    end(hold(tmp_path))
    code = HOLD.replace("time.sleep(60)", "time.sleep(3)")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert sum(out == "owned\n" for out, _ in outputs) == 1
    assert sum("RecipeError" in err and "in use by process" in err for _, err in outputs) == 5
    assert list(tmp_path.iterdir()) == []


def test_an_owner_whose_lock_is_taken_stops_at_its_next_write(tmp_path: Path) -> None:
    with owned(tmp_path):
        check_owner(tmp_path)
        (tmp_path / ".lock").unlink()
        check_owner(tmp_path)
        assert (tmp_path / ".lock").is_file(), "a deleted lock is written again"
        (tmp_path / ".lock").unlink()
        process = hold(tmp_path)
        with pytest.raises(RecipeError, match=f"taken over by process {process.pid} on "):
            check_owner(tmp_path)
    assert (tmp_path / ".lock").is_file(), "the other's lock stays"
    end(process)
    check_owner(tmp_path)  # not ours


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus") / "folder", each=2)


class Meddler(Observer):
    """Runs a thread when a fold starts, and waits for it."""

    def __init__(self, deed: threading.Thread) -> None:
        self.deed = deed

    def fold_started(self, *_: object) -> None:
        self.deed.start()
        self.deed.join()


def test_a_second_training_is_refused_before_it_writes(corpus: Path, tmp_path: Path) -> None:
    """The second has other settings and begins in the middle of the first."""
    folder, messages = tmp_path / "run", []
    short = {"epochs": 1, "batch_size": 4}
    first = RECIPE.model_copy(update={"schedule": tiny_recipe(schedule=short).schedule})
    second = first.model_copy(update={"seeds": (5,)})

    def meddle() -> None:
        before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        for attempt in (
            lambda: train(second, {"folder": corpus}, folder, cache=tmp_path / "cache"),
            lambda: resume(folder, cache=tmp_path / "cache"),
        ):
            with pytest.raises(RecipeError, match="in use by process") as raised:
                attempt()
            messages.append(str(raised.value))
        assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
        with pytest.raises(RecipeError, match=r"It is in use by process .* Wait for it\."):
            read_run(folder).predictions()
        messages.append("compared")

    observer = Meddler(threading.Thread(target=meddle))
    run = train(first, {"folder": corpus}, folder, cache=tmp_path / "cache", observer=observer)
    assert len(messages) == 3
    assert run.recipe == read_run(folder).recipe == first
    assert [result["seed"] for result in run.results()] == [0]
    assert not (folder / ".lock").exists()


def started(*words: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "emoscope", "train", *map(str, words)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    until_s = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until_s
        time.sleep(0.01)


@pytest.mark.slow
def test_of_two_processes_that_resume_at_once_one_is_refused(corpus: Path, tmp_path: Path) -> None:
    folder, cache = tmp_path / "run", tmp_path / "cache"
    toml = write_toml(RECIPE, tmp_path / "tiny.toml")
    words = ("--corpus", f"folder={corpus}", "--out", folder, "--cache", cache)
    checkpoint = folder / "folds/holdout/seed-0/checkpoints/last.ckpt"
    process = started(toml, *words)
    wait_for(checkpoint.is_file, process)
    end(process)
    first = started("--resume", folder, "--cache", cache)
    wait_for(lambda: bool(holder(folder)), first)
    second = started("--resume", folder, "--cache", cache)
    out, complaint = second.communicate(timeout=120)
    assert (second.returncode, out) == (1, "")
    assert re.fullmatch(
        rf"emoscope: {folder}: in use by process {first.pid} on .*\. Wait for it, or .*\n",
        complaint,
    )
    before = checkpoint.stat().st_mtime_ns
    wait_for(lambda: checkpoint.stat().st_mtime_ns > before, first)  # it goes on
    end(first, signal.SIGINT)
    assert not (folder / ".lock").exists()
