"""`emoscope corpus prepare` and `corpus synth`."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asking import ask, assert_one_line, lines, names
from making import make_image, make_text, make_video
from tiny_corpora import tiny_recipe, write_toml

from emoscope.corpora.manifest import Manifest, Sample


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("film") / "film.mp4", num_frames=6)


@pytest.fixture
def corpus(film: Path, tmp_path: Path) -> Path:
    """A film without any face, one that is none, and a specification beside them."""
    for label in ("sad", "happy"):
        (tmp_path / "corpus" / label).mkdir(parents=True)
    (tmp_path / "corpus" / "sad" / "film.mp4").write_bytes(film.read_bytes())
    make_text(tmp_path / "corpus" / "happy" / "text.mp4")
    (tmp_path / "spec.json").write_text(
        '{"sampling": {"rule": "last", "length": 2},'
        ' "streams": [{"kind": "gray", "size_hw": [8, 8]}]}'
    )
    return tmp_path / "corpus"


def prepare(corpus: Path, *words: object, **options: Any) -> Any:
    chosen = [] if {"--spec", "--model"} & set(words) else ["--spec", corpus.parent / "spec.json"]
    place = [] if options else ["--cache", corpus.parent / "cache"]
    return ask("corpus", "prepare", "folder", corpus, *chosen, *place, *words, **options)


def test_preparing_ends_with_a_report(corpus: Path) -> None:
    ran = prepare(corpus, "--detector", "none")
    assert (ran.exit_code, ran.stderr) == (0, "")
    *report, size = lines(ran.stdout)
    assert report == [
        "usable: 1 of 2 samples",
        "left out, not a video, image or sound that FFmpeg knows, or cut off before its index was "
        "written: 1",
        f"  {corpus}/happy/text.mp4",
    ]
    (clip,) = (corpus.parent / "cache").glob("clips/*/*.npz")
    assert size.startswith(f"clips: {clip.stat().st_size} bytes; cache: ")
    assert size.endswith(f" in {corpus.parent / 'cache'} (see `emoscope cache`)")
    changed = clip.stat().st_mtime_ns
    assert prepare(corpus, "--detector", "none", "--workers", 1).stdout == ran.stdout
    assert clip.stat().st_mtime_ns == changed


def test_a_corpus_without_a_face_has_nothing_usable(corpus: Path) -> None:
    ran = prepare(corpus)
    assert ran.exit_code == 1
    assert "left out, no face seen: 1" in lines(ran.stdout)
    assert lines(ran.stdout)[-4:-1] == [
        "no face in 1 of 2 clips, tracked face missing in 6 of 6 frames",
        "happiness: no face in 0 of 1 clips, tracked face missing in 0 of 0 frames",
        "sadness: no face in 1 of 1 clips, tracked face missing in 6 of 6 frames",
    ]


def test_faces_can_be_detected_in_every_frame_of_sequences_that_are_long_enough(
    corpus: Path,
) -> None:
    (corpus / "sad" / "still.png").write_bytes(make_image(corpus.parent / "a.png").read_bytes())
    ran = prepare(corpus, "--faces", "every-frame", "--min-frames", 2)
    printed = lines(ran.stdout)
    assert {"left out, no face seen: 1", "left out, fewer than 2 frames: 1"} < set(printed)
    assert printed[-4:-1] == [
        "6 of 6 frames without a face",
        "happiness: 0 of 0 frames without a face",
        "sadness: 6 of 6 frames without a face",
    ]


def test_a_few_failures_are_listed_and_the_rest_counted(corpus: Path) -> None:
    for i in range(4):
        make_text(corpus / "happy" / f"{i}.mp4")
    printed = lines(prepare(corpus, "--detector", "none").stdout)
    assert printed[0] == "usable: 1 of 6 samples"
    assert [Path(line).name for line in printed[2:5]] == ["0.mp4", "1.mp4", "2.mp4"]
    assert printed[5:-1] == ["  and 2 more"]


def test_the_cache_folder_comes_from_the_environment(corpus: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    ran = prepare(corpus, "--detector", "none", env={"EMOSCOPE_CACHE": str(own)})
    assert ran.exit_code == 0
    assert names(own) == ["clips", "digests.json", "sets"]
    title = lines(ask("cache", "--cache", own).stdout)[2]
    assert title.startswith(f"  {corpus}/sad: gray 8x8, face: 1, ")


def test_the_spec_of_a_network_is_used(tmp_path: Path) -> None:
    (tmp_path / "corpus" / "sad").mkdir(parents=True)
    make_image(tmp_path / "corpus" / "sad" / "1.png")
    ran = prepare(tmp_path / "corpus", "--model", "face-cnn", "--detector", "none")
    assert lines(ran.stdout)[:-1] == ["usable: 1 of 1 samples"]


def test_the_spec_of_an_estimator_is_used(corpus: Path) -> None:
    ran = prepare(corpus, "--model", "egemaps-svc")
    assert ran.exit_code == 1
    assert "left out, the file has no sound: 1" in lines(ran.stdout)


def test_the_spec_of_every_network_is_available() -> None:
    from emoscope import models
    from emoscope.apps.corpora import spec_of_model

    for name in models.names():
        assert spec_of_model(name).streams


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--model", "face-cn"], 2, "Did you mean 'face-cnn'?"),
        (["--model", "face-cnn", "--spec", "s.json"], 2, "give exactly one of the three"),
        (["--spec", "nowhere.json"], 1, "nowhere.json: not a readable ClipSpec: No such file"),
        (["--model", "face-cnn", "--set", "clip.margin=1"], 2, "only with --recipe"),
        (["--faces", "each"], 2, "--faces"),
        (["--min-frames", "-1"], 2, "--min-frames"),
        (["--detector", "har"], 2, "Did you mean 'haar'?"),
        (["--option", "pattern=x"], 2, "folder: no option named 'pattern'. It takes no options."),
        (["--option", "pattern"], 2, "'pattern' is not of the form --option KEY=VALUE"),
    ],
)
def test_a_wrong_choice_is_refused(corpus: Path, words: list[str], code: int, message: str) -> None:
    ran = prepare(corpus, *words)
    assert ran.exit_code == code
    assert message in ran.stderr
    assert names(corpus.parent / "cache") == []


def test_neither_model_nor_spec_is_a_usage_error(corpus: Path) -> None:
    ran = ask("corpus", "prepare", "folder", corpus)
    assert ran.exit_code == 2
    assert "--model, --spec, --recipe: give exactly one of the three" in ran.stderr


def test_an_invalid_spec_is_one_line(corpus: Path) -> None:
    spec = corpus.parent / "bad.json"
    spec.write_text('{"streams": []}')
    assert_one_line(prepare(corpus, "--spec", spec), spec, "ClipSpec: streams")


# Issue 18, kind 17: `corpus prepare` could not be told a recipe, and cut what nobody needs


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Films of two labels and three persons, one film of a third label, and a recipe."""
    bright = lambda i: np.full((48, 64, 3), 9 * i + 40, np.uint8)  # noqa: E731
    for who in range(3):
        for label in ("happy", "sad"):
            path = tmp_path / "films" / f"p{who}" / label / "1.mp4"
            path.parent.mkdir(parents=True)
            make_video(path, num_frames=12 + who, picture=bright)
            path.write_bytes(path.read_bytes() + f"{who}{label}".encode())
    make_video(tmp_path / "films" / "p0" / "angry.mp4", num_frames=3)
    (tmp_path / "films" / "p0" / "bored").mkdir()
    (tmp_path / "films" / "p0" / "angry.mp4").rename(tmp_path / "films" / "p0" / "bored" / "1.mp4")
    wanted = tiny_recipe(
        corpus={"name": "folder", "detector": "none", "labels": ["happy", "sad"], "min_frames": 12},
        clip={"region": "frame", "margin": 0.25},
        protocol={"name": "stratified-group-holdout", "part": 0.34},
        schedule={"epochs": 1},
    )
    return write_toml(wanted, tmp_path / "tiny.toml")


def test_a_recipes_training_has_nothing_left_to_cut(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    films, cache = tmp_path / "films", ["--cache", tmp_path / "cache"]
    ran = ask("corpus", "prepare", "folder", films, "--recipe", recipe, *cache, "--workers", 1)
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert lines(ran.stdout)[0] == "usable: 6 of 6 samples", "the other label is not cut"
    before = sorted((tmp_path / "cache").glob("clips/*/*"))
    assert len(before) == 6

    def never(*_: Any) -> None:
        raise AssertionError("a clip is cut")

    monkeypatch.setattr("emoscope.corpora.prepare.cut", never)
    out = ["--corpus", f"folder={films}", "--out", tmp_path / "run"]
    ran = ask("train", recipe, *out, *cache)
    assert (ran.exit_code, ran.exception) == (0, None)
    assert lines(ran.stderr)[0] == "clips prepared: 6 of 6"
    assert sorted((tmp_path / "cache").glob("clips/*/*")) == before


def test_settings_change_the_recipe(recipe: Path, tmp_path: Path) -> None:
    films, cache = tmp_path / "films", ["--cache", tmp_path / "cache"]
    words = ["--recipe", recipe, *cache, "--set", "corpus.min_frames=14"]
    ran = ask("corpus", "prepare", "folder", films, *words)
    assert lines(ran.stdout)[:2] == ["usable: 2 of 6 samples", "left out, fewer than 14 frames: 4"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["ravdess", "films", "--recipe", "tiny.toml"], 1, "the recipe is for folder, not for"),
        (
            ["folder", "films", "--recipe", "tiny.toml", "--whole"],
            2,
            "--recipe: the recipe decides",
        ),
        (["folder", "films", "--recipe", "tiny.toml", "--detector", "hog"], 2, "recipe decides"),
        (["folder", "films", "--recipe", "tiny.toml", "--model", "c3d"], 2, "one of the three"),
        (["folder", "films", "--recipe", "none.toml"], 1, "none.toml"),
    ],
)
def test_a_recipe_that_does_not_fit_is_refused(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int, message: str
) -> None:
    monkeypatch.chdir(recipe.parent)
    ran = ask("corpus", "prepare", *words, "--cache", "cache")
    assert ran.exit_code == code
    assert message in ran.stderr
    assert names(recipe.parent / "cache") == []


def test_gemep_files_of_another_release_are_read_with_the_pattern_option(tmp_path: Path) -> None:
    make_text(tmp_path / "joi-actor7.mp4")
    assert "no actor and emotion" in ask("corpus", "scan", "gemep", tmp_path).stderr
    pattern = r"(?P<emotion>[a-z]{3})-actor(?P<actor>\d)"
    ran = ask("corpus", "scan", "gemep", tmp_path, "--option", f"pattern={pattern}")
    assert lines(ran.stdout)[0] == "gemep: 1 samples, 17 labels"
    assert "joy 1" in lines(ran.stdout)[1]
    gone = tmp_path / "gone"
    ran = ask("corpus", "scan", "gemep", gone, "--option", f"pattern={pattern}")
    assert_one_line(ran, gone, "no such file or folder")


def test_ctrl_c_ends_all_processes_with_one_line_and_130(film: Path, tmp_path: Path) -> None:
    (tmp_path / "corpus" / "sad").mkdir(parents=True)
    for i in range(300):
        path = tmp_path / "corpus" / "sad" / f"{i}.mp4"
        path.write_bytes(film.read_bytes() + b"%d" % i)
    (tmp_path / "spec.json").write_text(
        '{"region": "frame", "sampling": {"rule": "last", "length": 2},'
        ' "streams": [{"kind": "gray", "size_hw": [8, 8]}]}'
    )
    cache = tmp_path / "cache"
    words = ["corpus", "prepare", "folder", tmp_path / "corpus", "--workers", 2]
    words += ["--spec", tmp_path / "spec.json", "--cache", cache]
    run = subprocess.Popen(
        [Path(sys.executable).with_name("emoscope"), *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not any(cache.glob("clips/*/[!.]*.npz")):
        assert run.poll() is None
        time.sleep(0.002)
    os.killpg(run.pid, signal.SIGINT)
    stdout, stderr = run.communicate(timeout=30)
    assert (run.returncode, stdout) == (130, "")
    assert lines(stderr) == ["emoscope: interrupted; nothing half-written."]
    assert not list(cache.glob("**/.emoscope-*"))
    assert _is_gone(run.pid)


def _is_gone(group: int) -> bool:
    """Whether no process of the group is left, in a while."""
    for _ in range(200):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_synth_passes_its_settings_on_and_counts_the_clips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def synthesise(folder: Path, *, progress: Any, **settings: Any) -> Manifest:
        asked.append((folder, settings))
        progress(1, 1)
        return Manifest("synthetic", ("gape",), (Sample(folder / "a.mp4", "gape", "S001"),))

    monkeypatch.setattr("emoscope.apps.corpora.synthesise", synthesise)
    words = ["--kind", "figures", "--subjects", 3, "--clips", 2, "--seconds", 0.5, "--size", 64]
    ran = ask("corpus", "synth", tmp_path, *words, "--seed", 7)
    assert lines(ran.stdout)[0] == "synthetic: 1 samples, 1 labels"
    settings = {"kind": "figures", "subjects": 3, "clips": 2, "seconds": 0.5, "size_px": 64}
    assert asked == [(tmp_path, {**settings, "seed": 7})]


def test_synth_draws_a_corpus(tmp_path: Path) -> None:
    words = ["--subjects", 2, "--clips", 1, "--seconds", 0.5, "--size", 64]
    ran = ask("corpus", "synth", tmp_path, *words)
    assert ran.exit_code == 0
    assert "12 samples, 6 labels" in lines(ran.stdout)[0]
    assert len(list(tmp_path.glob("*/*/*.mp4"))) == 12
    ran = ask("corpus", "synth", tmp_path / "b", "--kind", "face")
    assert ran.exit_code == 2
    assert "Did you mean 'faces'?" in ran.stderr
