"""`emoscope train` with invalid input: a one-line error, or a counted exclusion."""

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asking import ask, lines, names
from sounding import tone, write_wav
from tiny_corpora import make_corpus, tiny_recipe, write_toml

from emoscope.training import experiment
from emoscope.training.networks.fit import Classifier
from emoscope.training.run_folder import read_json, read_run

HOLDOUT = {"name": "stratified-group-holdout", "part": 0.34}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A corpus of three persons and a recipe of one fold."""
    make_corpus(tmp_path / "corpus", each=2)
    write(tmp_path)
    return tmp_path


def write(home: Path, **changes: Any) -> None:
    settings: dict[str, Any] = {"protocol": HOLDOUT, "schedule": {"epochs": 2}}
    write_toml(tiny_recipe(**(settings | changes)), home / "tiny.toml")


def train(home: Path, *words: object, corpus: str = "folder=corpus") -> Any:
    name, folder = corpus.split("=")
    out = [] if "--out" in words else ["--out", home / "run"]
    where = ["--corpus", f"{name}={home / folder}", "--cache", home / "cache", *out]
    return ask("train", home / "tiny.toml", *where, *words)


def resume(home: Path) -> Any:
    return ask("train", "--resume", home / "run", "--cache", home / "cache")


def error_line(ran: Any) -> str:
    """The one-line error of a failed command."""
    assert (ran.exit_code, ran.stdout) == (1, "")
    *progress, line = lines(ran.stderr)
    news = r"clips prepared|\d+ of \d+|Warning: "
    assert not [other for other in progress if not re.match(news, other)]
    assert line.startswith("emoscope: ")
    return line.removeprefix("emoscope: ")


def test_a_full_disk_is_one_line_and_the_run_can_be_resumed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = Path.replace

    def failing(self: Path, target: Any) -> Path:
        if Path(target).name == "predictions.csv":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    assert error_line(train(home)) == (
        f"{home}/run/folds/holdout/seed-0/predictions.csv: cannot be written: No space left on "
        "device. Free some space or choose another folder."
    )
    monkeypatch.undo()
    assert read_run(home / "run").missing == [("holdout", 0)]
    assert resume(home).exit_code == 0
    assert (home / "run" / "tiny.onnx").is_file()


def test_an_interrupt_is_one_line_and_130_and_the_run_goes_on(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = Classifier.training_step

    def interrupted(self: Classifier, *args: Any) -> Any:
        if self.current_epoch == 1:
            raise KeyboardInterrupt
        return usual(self, *args)

    monkeypatch.setattr(Classifier, "training_step", interrupted)
    ran = train(home)
    assert (ran.exit_code, ran.stdout) == (130, "")
    assert lines(ran.stderr)[-1] == "emoscope: interrupted; nothing half-written."
    monkeypatch.undo()
    ((_, rows),) = read_run(home / "run").histories().items()
    assert len(rows) == 1
    run = experiment.resume(home / "run", cache=home / "cache")
    assert len(run.histories()["holdout", 0]) == 2


def test_ctrl_c_ends_a_real_training_with_130_and_leaves_a_run(home: Path) -> None:
    write(home, schedule={"epochs": 100_000})
    words = ["train", home / "tiny.toml", "--corpus", f"folder={home / 'corpus'}"]
    words += ["--out", home / "run", "--cache", home / "cache"]
    code = (
        "import signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # also under nohup
        "from emoscope.apps.cli import main\n"
        "main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until_s = time.monotonic() + 60
    while not list((home / "run").rglob("last.ckpt")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until_s
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stdout == ""
    assert lines(stderr)[-1] == "emoscope: interrupted; nothing half-written."
    assert "Traceback" not in stderr
    run = read_run(home / "run")
    assert run.missing == [("holdout", 0)]
    assert names(run.part("holdout", 0) / "checkpoints") == ["last.ckpt"]
    assert not list((home / "run").rglob(".emoscope-*"))


@pytest.mark.parametrize("workers", ["0", "1"])
@pytest.mark.filterwarnings("ignore:This DataLoader", "ignore:This process")
def test_a_recording_that_vanishes_is_one_line(
    home: Path, monkeypatch: pytest.MonkeyPatch, workers: str
) -> None:
    gone = home / "corpus" / "p1" / "sadness" / "0.png"
    monkeypatch.setattr(
        "emoscope.apps.training_progress.Console.fold_started",
        lambda self, *_: gone.unlink(missing_ok=True),
    )
    line = error_line(train(home, "--workers", workers))
    assert re.fullmatch(re.escape(f"{gone}: no longer readable (") + r".*\)\. Restore it\.", line)
    line = error_line(resume(home))
    assert line.startswith(f"{home}/run: 1 of its recordings can no longer be read, first {gone}")
    assert line.endswith(". Restore them, or train again.")


def test_an_unreadable_clip_of_the_test_part_is_left_out_and_counted(home: Path) -> None:
    (home / "corpus/p1/sadness/0.png").write_bytes(b"no picture")
    write(home, protocol={"name": "leave-one-subject-out"}, schedule={"epochs": 1})
    assert train(home).exit_code == 0
    figures = read_json(home / "run" / "evaluation.json")["figures"]
    assert figures["samples"] == 11
    (reason,) = figures["left_out"]
    assert figures["left_out"] == {reason: 1}
    for name in ("evaluation.md", "evaluation.csv", "evaluation.html", "tiny.md"):
        assert reason in (home / "run" / name).read_text(encoding="utf-8")


def test_a_corpus_of_sounds_does_not_suit_a_face(home: Path) -> None:
    shutil.rmtree(home / "corpus")
    for who in range(3):
        for label in ("happiness", "sadness"):
            folder = home / "corpus" / f"p{who}" / label
            folder.mkdir(parents=True)
            write_wav(folder / "a.wav", tone(220 + 10 * who, 0.2))
    line = error_line(train(home))
    assert line.startswith("tiny: none of 6 samples can be used, 6 of them: ")
    assert line.endswith("Check that face-cnn suits the corpus.")
    assert not (home / "run").exists()


def test_a_corpus_of_pictures_does_not_suit_a_voice(home: Path) -> None:
    pytest.importorskip("opensmile")
    model, still = {"name": "egemaps-svc", "options": {}}, {"flip": 0.0, "shift": 0.0}
    write(home, model=model, optimiser=None, schedule=None, augmentation=still)
    line = error_line(train(home))
    assert line.startswith("tiny: none of 12 samples can be used, 12 of them: ")
    assert line.endswith("Check that egemaps-svc suits the corpus.")


def test_augmentation_is_refused_for_an_estimator(home: Path) -> None:
    write(home, model={"name": "mbmic-svm", "options": {}}, optimiser=None, schedule=None)
    line = error_line(train(home))
    assert line.startswith("tiny: mbmic-svm is an estimator and is not augmented per epoch")
    assert line.endswith("leave the augmentation out, or choose a protocol that makes variants.")
    assert not (home / "run").exists()


def test_an_empty_corpus_is_refused(home: Path) -> None:
    shutil.rmtree(home / "corpus")
    (home / "corpus").mkdir()
    assert error_line(train(home)).startswith(f"{home}/corpus: ")


def test_a_label_of_one_sample_is_trained_with_a_warning(home: Path) -> None:
    (home / "corpus" / "p2" / "fear").mkdir()
    shutil.copy(home / "corpus/p2/sadness/0.png", home / "corpus/p2/fear/0.png")
    (home / "corpus/p2/sadness/0.png").unlink()
    write(home, protocol={"name": "leave-one-subject-out"}, schedule={"epochs": 1})
    ran = train(home)
    assert ran.exit_code == 0
    assert "Warning: Fold 'p2' has no training sample of fear." in lines(ran.stderr)
    figures = read_json(home / "run" / "evaluation.json")["figures"]
    assert figures["per_class"]["fear"]["samples"] == 1
    assert figures["warnings"] == ["Fold 'p2' has no training sample of fear."]


def test_one_label_only_is_refused(home: Path) -> None:
    for who in range(3):
        shutil.rmtree(home / "corpus" / f"p{who}" / "sadness")
    assert error_line(train(home)) == (
        "tiny: every sample has the label happiness. Training needs two or more."
    )
    assert not (home / "run").exists()


def test_one_person_only_is_refused(home: Path) -> None:
    for who in (1, 2):
        shutil.rmtree(home / "corpus" / f"p{who}")
    line = error_line(train(home))
    assert line == "This protocol needs 2 subjects or more, the corpus has 1."


def test_a_batch_larger_than_the_corpus_is_the_corpus(home: Path) -> None:
    assert train(home, "--set", "schedule.batch_size=500").exit_code == 0
    ((_, rows),) = read_run(home / "run").histories().items()
    assert [row["step"] for row in rows] == ["1", "2"]


def test_one_clip_to_learn_from_is_refused(home: Path) -> None:
    for path in sorted((home / "corpus").rglob("*.png")):
        if path.parts[-3:] not in [("p0", "sadness", "0.png"), ("p1", "happiness", "0.png")]:
            path.unlink()
    line = error_line(train(home))
    assert line.startswith("tiny: 1 training clips are too few for batches of two or more")
    read_run(home / "run")


# Issue 18, kinds 4 and 14: what is merged or cannot be read at the moment is told by the run
def test_a_passing_failure_and_spellings_are_warnings_of_the_run(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "corpus" / "p2").rename(home / "corpus" / "P1")
    fromfile = np.fromfile
    locked = home / "corpus" / "p0" / "sadness" / "1.png"

    def failing(path: Path, **options: Any) -> Any:
        if path == locked:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return fromfile(path, **options)

    monkeypatch.setattr("emoscope.media.reading.images.np.fromfile", failing)
    loso = {"name": "leave-one-subject-out"}
    write(home, protocol=loso, schedule={"epochs": 1})
    ran = train(home)
    assert ran.exit_code == 0, ran.stderr
    run = read_run(home / "run")
    assert run.info["warnings"] == [
        "The subjects 'P1' and 'p1' differ only in case or number format: they count as one "
        "person. Write them alike, or rename one.",
        f"{locked} could not be read and is left out this time: Input/output error.",
    ]
    assert all(f"Warning: {text}" in ran.stderr for text in run.info["warnings"])
    assert [rows["name"] for rows in run.planned] == ["P1", "p0", "final"]
    assert locked not in {sample.path for sample in run.samples}
    monkeypatch.undo()
    assert train(home, "--out", home / "again").exit_code == 0
    assert locked in {sample.path for sample in read_run(home / "again").samples}


# Issue 18, kind 17: it was refused after two folds, by its number, leaving a folder
def test_a_class_with_one_sample_is_refused_by_its_name_before_anything_is_written(
    home: Path,
) -> None:
    pytest.importorskip("opensmile")
    for who in range(3):
        for label in ("happiness", "sadness", *(["bored"] if who == 1 else [])):
            path = home / "voices" / f"p{who}" / label / "1.wav"
            path.parent.mkdir(parents=True)
            write_wav(path, tone(220 + 60 * who + 7 * len(label), 1.0))
    model, still = {"name": "egemaps-svc", "options": {}}, {"flip": 0.0, "shift": 0.0}
    loso = {"name": "leave-one-subject-out"}
    write(home, model=model, augmentation=still, optimiser=None, schedule=None, protocol=loso)
    line = error_line(train(home, corpus="folder=voices"))
    assert line == (
        "bored has 1 sample, too few: fold 'p0' learns it from one person, and egemaps-svc needs "
        "two. Leave the class out by corpus.labels, or choose a protocol with fewer folds."
    )
    assert not (home / "run").exists()


def test_a_network_that_diverges_in_its_last_step_is_not_evaluated(home: Path) -> None:
    write(home, schedule={"epochs": 1}, optimiser={"name": "sgd", "lr": 1e30})
    line = error_line(train(home))
    assert line == (
        "The network's logits are not finite. Lower optimiser.lr or use precision = '32-true'."
    )
    assert read_run(home / "run").missing == [("holdout", 0)]


def test_a_damaged_checkpoint_is_one_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emoscope.training.networks.job.clip_probs", interrupt)
    assert train(home).exit_code == 130
    monkeypatch.undo()
    (path,) = (home / "run").rglob("last.ckpt")
    path.write_bytes(path.read_bytes()[:999])
    line = error_line(resume(home))
    assert line.startswith(f"{path}: damaged checkpoint (")
    assert f"Delete {path.parent} and --resume the run" in line
    shutil.rmtree(path.parent)
    assert resume(home).exit_code == 0


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def test_an_unusable_output_folder_is_refused_before_any_work(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may write anywhere, so the answer of the system is replaced."""
    monkeypatch.setattr("emoscope.training.experiment.choose_samples", pytest.fail)
    below_a_file = home / "tiny.toml" / "run"
    remedy = "the folder cannot be written to. Choose another one for --out."
    assert error_line(train(home, "--out", below_a_file)) == f"{below_a_file}: {remedy}"
    access = os.access
    monkeypatch.setattr(os, "access", lambda p, mode: access(p, mode) and Path(p) != home)
    assert error_line(train(home, "--out", home / "run")) == f"{home}/run: {remedy}"
    assert names(home) == ["corpus", "tiny.toml"]
