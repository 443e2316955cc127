"""The recipes of time fusion, on drawn sequences that lie on disk as CK+ and Oulu-CASIA do."""

import shutil
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from asking import ask, lines, names
from making import make_image

from emoscope import analyze
from emoscope.core.labels import LABEL_SETS
from emoscope.corpora.synthetic.corpus import KINDS, synthesise
from emoscope.training.networks.build import create_network
from emoscope.training.papers.published import papers
from emoscope.training.recipe import Recipe
from emoscope.training.run_folder import read_run
from emoscope.training.samples import choose_samples

RECIPES = Path(__file__).parents[3] / "recipes" / "time-fusion"
PATHS = sorted(RECIPES.glob("*.toml"))
BASIC6 = LABEL_SETS["basic6"].labels
FRAMES = 15
SYSTEMS = ("single-frame", "early-fusion", "late-fusion", "slow-fusion", "conv3d", "cnn-gru")
SMALL = {
    "corpus.detector": "none",
    "schedule.epochs": "1",
    "model.options.width": "0.02",
    "model.options.size_px": "128",
}

everywhere = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def sequence(folder: Path, stem: str, suffix: str, frames: int = FRAMES) -> None:
    """Small noise that is nobody else's, numbered from 1 on."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(list(str(folder).encode()))
    for number in range(1, frames + 1):
        picture = rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)
        make_image(folder / f"{stem}{number:08d}{suffix}", picture)


def ckplus(root: Path) -> Path:
    """Every label of each person; the first also is sad in a sequence that is too short."""
    labels = [*LABEL_SETS["ckplus8"].labels, "sadness"]
    for who in ("S005", "S010"):
        for number, label in enumerate(labels if who == "S005" else labels[:-1], start=1):
            place, stem = f"{who}/{number:03d}", f"{who}_{number:03d}_"
            frames = FRAMES - (number == len(labels))
            sequence(root / "cohn-kanade-images" / place, stem, ".png", frames)
            folder = root / "Emotion" / place
            folder.mkdir(parents=True)
            (folder / f"{stem}{frames:08d}_emotion.txt").write_text(f"{labels.index(label)}.0\n")
    return root


def oulu(root: Path) -> Path:
    """Two persons in strong light; the first also in other light, near infrared, and cropped."""
    for who in ("P001", "P002"):
        for label in BASIC6:
            sequence(root / f"OriginalImg/VL/Strong/{who}/{label.capitalize()}", "", ".jpeg")
    for place in ("OriginalImg/VL/Weak", "OriginalImg/VL/Dark", "OriginalImg/NI/Strong"):
        sequence(root / place / "P001" / "Fear", "", ".jpeg")
    sequence(root / "PreProcess Img/VL_Acropped/Strong/P001/Fear", "", ".jpeg")
    return root


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("corpora")
    return {"ckplus": ckplus(home / "ckplus"), "oulu-casia": oulu(home / "oulu")}


def test_there_is_a_recipe_for_each_system_and_corpus() -> None:
    expected = {f"time-fusion-{s}-{c}" for s in SYSTEMS for c in ("ckplus", "oulu-casia")}
    expected |= {"time-fusion-cnn-gru-256-ckplus", "time-fusion-cnn-gru-256-oulu-casia"}
    assert {path.stem for path in PATHS} == expected | {"time-fusion-late-fusion-both"}


def test_every_row_of_the_paper_has_one_recipe() -> None:
    published = [Recipe.read(path).published for path in PATHS]
    rows = Counter(chain.from_iterable(named.rows for named in published if named))
    assert rows == Counter(papers()["time-fusion"].rows)
    assert all(named and named.paper == "time-fusion" for named in published)


@everywhere
def test_a_recipe_trains_as_the_paper_does(path: Path) -> None:
    recipe = Recipe.read(path)
    assert recipe.optimiser is not None
    assert recipe.schedule is not None
    assert (recipe.optimiser.name, recipe.optimiser.lr) == ("adam", 1e-5)
    assert (recipe.schedule.epochs, recipe.schedule.batch_size) == (200, 32)
    assert (recipe.schedule.keep, recipe.protocol.holdout) == ("last", 0)
    corpus = recipe.corpus
    assert (corpus.detector, corpus.faces, corpus.min_frames) == ("lbp", "every-frame", 15)
    assert recipe.augmentation == type(recipe.augmentation)()
    votes = {"single-frame", "conv3d"}
    assert recipe.evaluation.every == (1 if recipe.model.name in votes else 0)
    one_fold = path.stem == "time-fusion-late-fusion-both"
    assert recipe.protocol.name == ("held-out-subjects" if one_fold else "leave-one-subject-out")


@everywhere
def test_a_recipes_network_has_the_papers_size(path: Path) -> None:
    """The first three were counted with eight classes; torch's GRU has a second bias."""
    recipe = Recipe.read(path)
    assert recipe.published is not None
    classes = 8 if recipe.model.name in ("single-frame", "early-fusion", "late-fusion") else 6
    with torch.device("meta"):
        model = create_network(recipe, classes)
    count = sum(p.numel() for p in model.parameters())
    printed = {papers()["time-fusion"].rows[row].parameters for row in recipe.published.rows}
    gru_256 = 3_747_904 + 3 * (1024 * 256 + 256 * 256 + 2 * 256) + 257 * 6
    assert {count - (15 if recipe.model.name == "cnn-gru" and printed else 0)} == (
        printed or {gru_256}
    )


@everywhere
def test_a_recipe_chooses_the_papers_samples(path: Path, corpora: dict[str, Path]) -> None:
    recipe = Recipe.read(path)
    chosen = choose_samples(recipe, corpora)
    assert set(chosen.labels) == set(BASIC6)
    counts = Counter((len(s.groups) > 0, s.groups.get("light", "")) for s in chosen.samples)
    from_ckplus, strong = {(False, ""): 13}, {(True, "Strong"): 12}
    if path.stem.endswith("both"):
        assert counts == {**from_ckplus, **strong, (True, "Weak"): 1, (True, "Dark"): 1}
    else:
        assert counts == (from_ckplus if path.stem.endswith("ckplus") else strong)
    assert all(s.groups.get("camera", "VL") == "VL" for s in chosen.samples)
    assert all(s.groups.get("cropped", "no") == "no" for s in chosen.samples)


@pytest.fixture(scope="module")
def reproduced(
    corpora: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Any]:
    """Where the runs of some recipes lie, and what `emoscope reproduce` said. Three labels: of
    fewer than sixteen clips all are cut in this process, which is faster. Bundles take longest, and
    are made below."""
    home = tmp_path_factory.mktemp("reproduced")
    (home / "recipes").mkdir()
    for name in ("conv3d-ckplus", "cnn-gru-256-ckplus", "late-fusion-both"):
        shutil.copy(RECIPES / f"time-fusion-{name}.toml", home / "recipes")
    words: list[object] = ["--recipes", home / "recipes", "--out", home / "runs"]
    words += ["--cache", home / "cache", *changed(SMALL)]
    words += changed({"corpus.labels": '["fear", "happiness", "sadness"]'})
    for name, folder in corpora.items():
        words += ["--corpus", f"{name}={folder}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("emoscope.apps.training.export_bundle_of", lambda *_: None)
        return home / "runs", ask("reproduce", "time-fusion", *words)


def changed(settings: dict[str, str]) -> list[object]:
    return [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]


def test_reproduce_prints_ours_beside_the_papers(reproduced: tuple[Path, Any]) -> None:
    runs, ran = reproduced
    assert (ran.exit_code, ran.exception) == (0, None)
    table = (runs / "time-fusion.md").read_text(encoding="utf-8")
    assert table in ran.stdout
    ours = [line.strip("| ").split(" | ") for line in lines(table) if "measured on" not in line]
    voted, final = (
        [row for row in ours if len(row) == 11 and row[9] == f"time-fusion-{name}"]
        for name in ("conv3d-ckplus", "late-fusion-both")
    )
    assert [(row[3], row[4], row[8]) for row in voted] == [
        ("46.2 %", "198", "6"),
        ("42.7 %", "198", "6"),
    ]
    assert [row[10].rpartition("; by ")[2] for row in voted] == [
        "sum-probability",
        "max-probability",
    ]
    assert [(row[3], row[4], row[8]) for row in final] == [("66.67 %", "18", "5")]
    assert "| time-fusion-cnn-gru-256-ckplus | " in table.split("## Runs of no row")[1]
    for name in names(runs):
        if name != "time-fusion.md":
            assert f"[{name}]({name}/evaluation.html)" in table
            assert (runs / name / "evaluation.html").is_file()
    assert table.count("## Confusion matrix of ") == 4


def test_samples_that_the_paper_excludes_are_excluded_and_counted(
    reproduced: tuple[Path, Any],
) -> None:
    info = read_run(reproduced[0] / "time-fusion-conv3d-ckplus").info
    short = {f"fewer than {FRAMES} frames": 1}
    others = {f"label {x}": 2 for x in ("anger", "contempt", "disgust", "neutral", "surprise")}
    assert info["left_out"] == short | others


def test_the_final_model_is_tested_on_one_person_in_all_light(
    reproduced: tuple[Path, Any],
) -> None:
    run = read_run(reproduced[0] / "time-fusion-late-fusion-both")
    (fold,) = run.folds
    tested = [run.samples[row] for row in fold["test"]]
    assert {sample.subject for sample in tested} == {"oulu-casia: P001"}
    assert Counter(s.groups["light"] for s in tested) == {"Strong": 3, "Weak": 1, "Dark": 1}
    assert len(fold["train"]) == 6 + 3


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two drawn people, a clip of each label."""
    folder = tmp_path_factory.mktemp("drawn")
    synthesise(folder, subjects=2, clips=1, seconds=0.7, size_px=64)
    return folder


@pytest.mark.data
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_system_trained_on_synthetic_people_analyses_a_real_clip(
    system: str, drawn: Path, shared: Path, tmp_path: Path
) -> None:
    recipe = RECIPES / f"time-fusion-{system}-ckplus.toml"
    instead = {"corpus": '{name = "synthetic", detector = "none", min_frames = 15}'}
    instead |= {"protocol": '{name = "stratified-group-holdout", part = 0.5}'}
    where = [
        "--corpus",
        f"synthetic={drawn}",
        "--cache",
        drawn / "cache",
        "--out",
        tmp_path / "run",
    ]
    ran = ask("train", recipe, *where, *changed(instead), *changed(SMALL))
    assert (ran.exit_code, ran.exception) == (0, None)
    bundle = tmp_path / "run" / f"{recipe.stem}.onnx"
    timeline = analyze(shared / "clips" / "pyfeat_single_face.mp4", model=bundle)
    seen = timeline.probs[timeline.track >= 0]
    assert timeline.labels == tuple(KINDS["faces"].parts)
    assert len(seen) > 0
    np.testing.assert_allclose(seen.sum(axis=1), 1, atol=1e-5)
