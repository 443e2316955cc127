"""`emoscope explain`: files, output and errors."""

import sys
from pathlib import Path

import cv2
import fake_runs
import numpy as np
import pytest
import torch
from asking import ask, assert_one_line, lines, names
from making import make_video

from emoscope import models
from emoscope.media.video import read_frames
from emoscope.training.explain.class_images import STEPS
from emoscope.training.run_folder import FINAL, part_folder


def run_of(folder: Path, name: str, detector: str = "none", **changes: object) -> Path:
    """A finished run of a small, untrained network."""
    options = {**models.small(name), **changes}
    run = fake_runs.fake_run(
        folder,
        model={"name": name, "options": options},
        corpus={"name": "folder", "detector": detector},
    )
    torch.manual_seed(0)
    network = models.create(name, num_classes=3, **options)
    torch.save(network.state_dict(), part_folder(run, FINAL, 0) / "weights.pt")
    return run


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a film of 10 frames without a face, `clip` (a run with deformable steps), and
    `still` (of one frame)."""
    folder = tmp_path_factory.mktemp("place")
    make_video(folder / "film.mp4")
    run_of(folder / "clip", "deformable-convlstm")
    run_of(folder / "still", "face-cnn")
    return folder


def test_sound_is_named_and_not_drawn(tmp_path: Path) -> None:
    film = make_video(tmp_path / "film.mp4", num_frames=8, sound_s=0.32)
    out = tmp_path / "out"
    ran = ask("explain", film, "--model", run_of(tmp_path / "both", "av-joint"), "--out", out)
    assert (ran.exit_code, ran.exception) == (0, None)
    assert lines(ran.stdout)[-1].endswith(", not drawn (sound): logmel")
    sound = run_of(tmp_path / "sound", "av-joint", streams=["logmel"])
    assert_one_line(
        ask("explain", film, "--model", sound, "--out", out), sound, "takes no pictures"
    )


def test_it_draws_sheets_and_films(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = ask("explain", place / "film.mp4", "--model", place / "clip", "--out", out)
    assert (ran.exit_code, ran.exception) == (0, None)
    kinds = ("gradcam", "saliency", "offsets")
    made = [f"film-{kind}.{suffix}" for kind in kinds for suffix in ("png", "mp4")]
    printed = lines(ran.stdout)
    assert printed[:6] == [f"written: {out / name}" for name in made]
    assert len(printed) == 7
    label, share, rest = printed[6].split(" ", 2)
    assert label in fake_runs.LABELS
    assert 33 < float(share.rstrip("%,")) < 100
    assert rest.startswith("Grad-CAM: convolution cnn2d.8, output of cnn2d.10")
    assert names(out) == sorted(made)
    sheets = [cv2.imread(str(out / f"film-{kind}.png")) for kind in ("gradcam", "saliency")]
    assert all(sheet.shape[0] > 2 * 224 for sheet in sheets), "eight frames in two rows"
    assert not np.array_equal(*[sheet[:488] for sheet in sheets])
    for kind in kinds:
        frames = list(read_frames(out / f"film-{kind}.mp4"))
        times_s = [frame.time_s for frame in frames]
        assert len(frames) == 8
        assert times_s[0] == 0
        assert 0.3 < times_s[-1] < 0.4, "as in the film"
        assert frames[0].rgb.shape[0] > 224


def test_a_network_of_stills_makes_no_film(place: Path, tmp_path: Path) -> None:
    words = ["--model", place / "still", "--label", "happy", "--start", 0.1, "--end", 0.2]
    ran = ask("explain", place / "film.mp4", *words, "--out", tmp_path)
    assert ran.exit_code == 0
    made = ["film-gradcam.png", "film-saliency.png"]
    assert lines(ran.stdout)[:2] == [f"written: {tmp_path / name}" for name in made]
    assert lines(ran.stdout)[2].startswith("happiness ")
    assert names(tmp_path) == made


def test_without_a_grad_cam_there_is_saliency(place: Path, tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", "four-stream", streams=["flow"])
    ran = ask("explain", place / "film.mp4", "--model", run, "--out", tmp_path / "out")
    assert ran.exit_code == 0
    assert names(tmp_path / "out") == ["film-saliency.mp4", "film-saliency.png"]
    assert lines(ran.stdout)[2].endswith(
        "no Grad-CAM: no convolution with a feature map runs once per clip"
    )


# Issue 18, kind 9: an output of another input or model is overwritten in silence
def test_drawings_replace_only_those_of_the_same_recording_and_run(
    place: Path, tmp_path: Path
) -> None:
    out, other_film = tmp_path / "out", tmp_path / "film.mov"
    make_video(other_film)
    other_run = run_of(tmp_path / "other", "face-cnn")

    def drawn(film: Path, run: Path) -> list[str]:
        ran = ask("explain", film, "--model", run, "--out", out)
        assert (ran.exit_code, ran.exception) == (0, None)
        written = [line for line in lines(ran.stdout) if line.startswith("written: ")]
        made = [Path(line.removeprefix("written: ")).name for line in written]
        is_usual = made == ["film-gradcam.png", "film-saliency.png"]
        assert ("note: its drawings are named" in ran.stderr) == (not is_usual)
        return made

    usual = ["film-gradcam.png", "film-saliency.png"]
    assert drawn(place / "film.mp4", place / "still") == usual
    first = [(out / name).read_bytes() for name in usual]
    assert drawn(place / "film.mp4", place / "still") == usual
    assert drawn(place / "film.mp4", other_run) == [
        "film_other-gradcam.png", "film_other-saliency.png"
    ]  # fmt: skip
    assert drawn(other_film, place / "still") == [
        "film_still-gradcam.png", "film_still-saliency.png"
    ]  # fmt: skip
    assert drawn(other_film, run_of(tmp_path / "twin" / "still", "face-cnn")) == [
        "film_still-2-gradcam.png", "film_still-2-saliency.png"
    ]  # fmt: skip
    assert [(out / name).read_bytes() for name in usual] == first
    assert len(names(out)) == 8


def test_drawings_do_not_replace_a_file_that_is_not_theirs(place: Path, tmp_path: Path) -> None:
    recording = make_video(tmp_path / "film-gradcam.mp4").read_bytes()
    ran = ask("explain", place / "film.mp4", "--model", place / "clip", "--out", tmp_path)
    assert (ran.exit_code, ran.exception) == (0, None)
    assert (tmp_path / "film-gradcam.mp4").read_bytes() == recording
    assert "film_clip-gradcam.mp4" in names(tmp_path)


def test_class_images_of_another_run_of_the_same_name_stay(place: Path, tmp_path: Path) -> None:
    out, twin = tmp_path / "out", run_of(tmp_path / "still", "face-cnn")
    for run in (place / "still", twin, twin):
        ran = ask("explain", "--classes", "--model", run, "--steps", 1, "--out", out)
        assert (ran.exit_code, ran.exception) == (0, None)
    assert names(out) == ["still-2-classes.png", "still-classes.png"]


@pytest.mark.parametrize("kind", ["still", "clip"])
def test_classes_need_no_video(kind: str, place: Path, tmp_path: Path) -> None:
    words = ["--model", place / kind, "--steps", 1, "--out", tmp_path / "out"]
    ran = ask("explain", "--classes", *words)
    assert (ran.exit_code, ran.exception) == (0, None)
    made = tmp_path / "out" / f"{kind}-classes.png"
    assert lines(ran.stdout)[0] == f"written: {made}"
    printed = [line.split() for line in lines(ran.stdout)[1:]]
    assert [label for label, _ in printed] == list(fake_runs.LABELS)
    assert all(0 < float(share.rstrip("%")) < 100 for _, share in printed)
    assert names(tmp_path / "out") == [made.name]
    height, width, _ = cv2.imread(str(made)).shape
    if kind == "still":
        assert width == 3 * 240, "a tile a label"
    else:
        assert (width, height > 3 * 224) == (4 * 224, True), "a row a label, four frames of it"


def test_options_that_conflict_with_classes_are_refused(place: Path, tmp_path: Path) -> None:
    model = ["--model", place / "still"]
    for words, reason in (
        ([], "VIDEO: give a video, or --classes."),
        (["film.mp4", "--steps", 3], "--steps: works only with --classes."),
        (["film.mp4", "--classes"], "leave VIDEO, --label, --start and --end out."),
        (["--classes", "--label", "anger"], "leave VIDEO, --label, --start and --end out."),
        (["--classes", "--end", 0], "leave VIDEO, --label, --start and --end out."),
        (["--classes", "--steps", 0], "--steps"),
    ):
        ran = ask("explain", *words, *model, "--out", tmp_path)
        assert ran.exit_code == 2
        assert reason in lines(ran.stderr)[-1]
    assert names(tmp_path) == []
    bundle = tmp_path / "mine.onnx"
    ran = ask("explain", "--classes", "--model", bundle)
    assert_one_line(ran, bundle, "Give the run folder.")
    ran = ask("explain", "--classes", "--model", tmp_path)
    assert_one_line(ran, tmp_path, "not a run folder")


def test_help_shows_the_default_steps() -> None:
    assert f"Default: {STEPS}." in ask("explain", "--help").stdout


def test_bundles_and_estimators_are_refused(place: Path, tmp_path: Path) -> None:
    film = place / "film.mp4"
    bundle = tmp_path / "mine.onnx"
    bundle.write_bytes(b"")
    assert_one_line(ask("explain", film, "--model", bundle), bundle, "Give the run folder.")
    voice = fake_runs.fake_run(
        tmp_path / "voice", model={"name": "egemaps-svc"}, optimiser=None, schedule=None
    )
    ran = ask("explain", film, "--model", voice)
    assert_one_line(ran, voice, "egemaps-svc is an estimator")
    assert_one_line(ask("explain", film, "--model", tmp_path), tmp_path, "not a run folder")


def test_missing_weights_are_refused(place: Path, tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", "face-cnn")
    weights = part_folder(run, FINAL, 0) / "weights.pt"
    weights.write_bytes(b"nothing")
    ran = ask("explain", place / "film.mp4", "--model", run)
    assert_one_line(ran, weights, "damaged")
    weights.unlink()
    ran = ask("explain", place / "film.mp4", "--model", run)
    assert_one_line(ran, run, f"no {weights}. Resume it with `emoscope train --resume {run}`.")


def test_invalid_labels_films_and_spans_are_refused(place: Path, tmp_path: Path) -> None:
    film, still = place / "film.mp4", place / "still"
    ran = ask("explain", film, "--model", still, "--label", "sadnes")
    assert ran.exit_code == 2
    assert lines(ran.stderr) == ["emoscope: No label named 'sadnes'. Did you mean 'sadness'?"]
    ran = ask("explain", film, "--model", still, "--label", "boredom")
    assert "Known: anger, happiness, sadness." in ran.stderr
    looking = run_of(tmp_path / "looking", "face-cnn", detector="haar")
    ran = ask("explain", film, "--model", looking, "--out", tmp_path / "out")
    assert_one_line(ran, film, "no face seen. Choose another part of it (--start, --end).")
    assert names(tmp_path / "out") == []
    gone = place / "gone.mp4"
    assert_one_line(ask("explain", gone, "--model", still), gone, "")
    ran = ask("explain", film, "--model", still, "--start", 2, "--end", 1)
    assert (ran.exit_code, "not after --start" in ran.stderr) == (2, True)


def test_without_its_packages_it_names_the_extra(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("emoscope.apps.explaining", "emoscope.training.explain.attribution"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    ran = ask("explain", place / "film.mp4", "--model", place / "still")
    assert ran.exit_code == 1
    (line,) = lines(ran.stderr)
    assert line.startswith("emoscope: Explaining (captum.attr) needs an optional package")
    assert line.endswith("pip install 'emoscope[train]'")
