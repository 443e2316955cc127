"""The recipes of the audio-visual system, on drawn faces that lie on disk as AFEW does."""

import shutil
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from asking import ask, lines
from making import make_video

from emoscope import models
from emoscope.corpora.synthetic.corpus import synthesise
from emoscope.training.jobs import prepare
from emoscope.training.networks.build import create_network
from emoscope.training.networks.schedule import create_optimiser, lr_factor
from emoscope.training.papers.published import papers
from emoscope.training.recipe import Recipe
from emoscope.training.run_folder import read_run

RECIPES = Path(__file__).parents[3] / "recipes" / "audio-visual"
PATHS = sorted(RECIPES.glob("*.toml"))
NETWORKS = {"vgg-afew": "vgg16", "c3d-afew": "c3d", "vgg16-bilstm-afew": "vgg16-bilstm"}
ROWS = papers()["audio-visual"].rows
SMALL_VGG = "depth = 11, width = 0.015625, fc = 256, size_px = 32"
SMALL_STREAM = '[{kind = "gray", size_hw = [32, 32]}]'

networks = pytest.mark.parametrize("stem", NETWORKS)


def read(stem: str) -> Recipe:
    return Recipe.read(RECIPES / f"{stem}.toml")


def test_every_trained_system_of_the_paper_has_one_recipe() -> None:
    published = [Recipe.read(path).published for path in PATHS]
    rows = Counter(chain.from_iterable(named.rows for named in published if named))
    fusions = {name for name in ROWS if ROWS[name].rule}
    assert rows == Counter(set(ROWS) - fusions - {"emotiw-2016"})
    assert all(named and named.paper == "audio-visual" for named in published)
    assert all(Recipe.read(path).name == path.stem for path in PATHS)


def test_fusions_join_systems_that_the_paper_trains() -> None:
    """Table 3's words: "VGG+LSTM+RandomForest+SVC", and C3D with them in one row."""
    fusions = {name: (ROWS[name].rule, ROWS[name].members) for name in ROWS if ROWS[name].rule}
    three = ("vgg-bilstm", "random-forest", "svc")
    assert fusions == {
        "fusion-all-svm": ("svm", ("vgg-bilstm", "c3d", "random-forest", "svc")),
        "fusion-average": ("average", three),
        "fusion-highest-confidence": ("highest-confidence", three),
        "fusion-svm": ("svm", three),
    }


@pytest.mark.parametrize(
    ("stem", "batch", "lr", "every", "stop"),
    [("vgg-afew", 256, 1e-3, 4_000, 10_000), ("c3d-afew", 10, 1e-4, 5_000, 20_000)],
)
def test_schedules_are_the_papers(stem: str, batch: int, lr: float, every: int, stop: int) -> None:
    """ "Decreases to its 0.1 every 4,000 iterations. The whole training procedure stops at 10,000",
    and C3D's."""
    recipe = read(stem)
    schedule, settings = recipe.schedule, recipe.optimiser
    assert schedule is not None
    assert settings is not None
    assert schedule.batch_size * schedule.accumulate == batch
    assert schedule.iterations == stop
    rates = {step: settings.lr * lr_factor(schedule, step, stop) for step in range(stop)}
    changes = [step for step in range(1, stop) if rates[step] != rates[step - 1]]
    assert changes == list(range(every, stop, every))
    assert [rates[step] for step in (0, *changes)] == pytest.approx(
        [lr * 0.1**i for i in range(len(changes) + 1)]
    )
    made = create_optimiser(settings, torch.nn.Linear(2, 2)).param_groups[0]
    assert (made["momentum"], made["nesterov"], made["weight_decay"]) == (0.9, False, 0.0)


@pytest.mark.parametrize("stem", ["vgg-afew", "c3d-afew"])
def test_crops_are_the_papers(stem: str) -> None:
    augmentation = read(stem).augmentation
    assert [256 * side for side in augmentation.crop_sides] == [224, 192, 168]
    changed = augmentation.model_dump(exclude_defaults=True)
    assert changed.keys() == {"flip", "crop_sides"}


@networks
def test_networks_have_the_papers_sizes_and_initial_weights(stem: str) -> None:
    recipe = read(stem)
    assert recipe.model.name == NETWORKS[stem]
    assert (recipe.corpus.name, recipe.protocol.name) == (("afew",), "fixed")
    assert recipe.protocol.holdout == 0  # "stops at": nothing is held out to choose by
    assert recipe.model.weights is not None
    assert not recipe.model.options
    with torch.device("meta"):
        model: Any = create_network(recipe, 7)
        assert prepare(recipe, list("abcdefg")).kind == "network"
    if stem == "vgg16-bilstm-afew":
        assert (model.lstm.input_size, model.lstm.hidden_size) == (4096, 1024)
        assert model.lstm.bidirectional
        assert model.dropout.p == 0.85
        assert model.clip_spec.length == 64


def test_vgg_trains_on_any_frame_and_predicts_all() -> None:
    recipe = read("vgg-afew")
    assert recipe.clip["sampling"] == {"rule": "uniform", "length": 1, "jitter": True}
    assert (recipe.evaluation.every, recipe.evaluation.vote) == (1, "sum-probability")
    assert read("c3d-afew").evaluation.every == 16


def test_the_recurrent_network_starts_from_the_fine_tuned_weights() -> None:
    recurrent, vgg = read("vgg16-bilstm-afew"), read("vgg-afew")
    assert recurrent.model.frozen
    assert recurrent.model.weights == Path("runs/vgg-afew/folds/valid/seed-0/weights.pt")
    assert recurrent.clip["streams"] == vgg.clip["streams"]
    assert recurrent.augmentation == type(recurrent.augmentation)()


@pytest.fixture(scope="module")
def afew(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn people who smile and frown, two of them in the validation part, where a clip is silent.
    Fewer than sixteen clips are cut in this process, which is faster."""
    drawn = tmp_path_factory.mktemp("drawn")
    corpus = synthesise(drawn, subjects=5, clips=1, seconds=1.0, size_px=48)
    root = tmp_path_factory.mktemp("afew")
    for number, sample in enumerate(corpus.samples):
        kind, _, how = sample.label.partition("-")
        part = "Train_AFEW" if int(sample.subject[1:]) % 2 else "Val_AFEW"
        if kind != "gape" and (how == "sudden" or part == "Val_AFEW"):
            folder = root / part / {"smile": "Happy", "frown": "Sad"}[kind]
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(sample.path, folder / f"{number:09d}.avi")
    make_video(root / "Val_AFEW" / "Happy" / "silent.avi")
    return root


def settings_of(home: Path) -> dict[str, str]:
    """Settings that make the runs small and give their weights; there are none for C3D."""
    torch.manual_seed(0)
    vgg = models.create("vgg16", 9, depth=11, width=1 / 64, fc=256, size_px=32)
    torch.save(vgg.state_dict(), home / "vgg-face.pth")
    return {
        "corpus.labels": '["happiness", "sadness"]',
        "corpus.detector": "none",
        "egemaps-rf-afew:model.options.n_estimators": "20",
        "vgg-afew:model.options": f"{{ {SMALL_VGG} }}",
        "vgg-afew:model.weights": str(home / "vgg-face.pth"),
        "vgg-afew:clip.streams": SMALL_STREAM,
        "vgg-afew:schedule.iterations": "2",
        "vgg-afew:schedule.accumulate": "1",
        "vgg16-bilstm-afew:model.options": f"{{ {SMALL_VGG}, frames = 4, hidden_size = 512 }}",
        "vgg16-bilstm-afew:model.weights": str(
            home / "runs/vgg-afew/folds/valid/seed-0/weights.pt"
        ),
        "vgg16-bilstm-afew:clip.streams": SMALL_STREAM,
        "vgg16-bilstm-afew:schedule.epochs": "2",
    }


@pytest.fixture(scope="module")
def reproduced(afew: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Where the runs lie, small, and what `emoscope reproduce` said."""
    pytest.importorskip("opensmile")
    home = tmp_path_factory.mktemp("reproduced")
    (home / "recipes").mkdir()
    for path in PATHS:
        if "tuned" not in path.stem:
            shutil.copy(path, home / "recipes")
    words: list[object] = ["--recipes", home / "recipes", "--out", home / "runs"]
    words += ["--cache", home / "cache", "--corpus", f"afew={afew}"]
    for key, value in settings_of(home).items():
        words += ["--set", f"{key}={value}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("emoscope.apps.training.export_bundle_of", lambda *_: None)
        return home / "runs", ask("reproduce", "audio-visual", *words)


def figures(runs: Path) -> dict[str, list[str]]:
    """The row of each system in the table of figures."""
    table = (runs / "audio-visual.md").read_text(encoding="utf-8").split("## ")[1]
    rows = [line.strip("| ").split(" | ") for line in lines(table) if line.startswith("| ")]
    return {row[0]: row[3:] for row in rows if len(row) == 11}


def test_reproduce_prints_ours_beside_tables_one_to_three(reproduced: tuple[Path, Any]) -> None:
    runs, ran = reproduced
    assert (ran.exit_code, ran.exception) == (0, None)
    rows = figures(runs)
    printed = [rows[ROWS[name].system][0] for name in ROWS]
    assert printed == [f"{ROWS[name].value} %" for name in ROWS]
    ours = {system: row[6] for system, row in rows.items()}
    three = "vgg16-bilstm-afew, egemaps-rf-afew, egemaps-svc-afew"
    assert ours["VGG"] == "vgg-afew"
    assert ours["VGG-LSTM, random forest, SVC: average"] == f"average of {three}"
    assert ours["VGG-LSTM, random forest, SVC: highest confidence"].startswith("highest-conf")
    assert ours["VGG-LSTM, random forest, SVC: fused by SVM"] == f"svm of {three}"
    assert ours["EmotiW 2016 winner"] == "—"
    table = (runs / "audio-visual.md").read_text(encoding="utf-8")
    assert table.count("## Confusion matrix of ") == 4 + 3


def test_a_recipe_without_its_weights_is_left_out_and_its_fusion_says_so(
    reproduced: tuple[Path, Any],
) -> None:
    runs, ran = reproduced
    assert "c3d-afew: left out, no file c3d-sports1m.pth (model.weights)" in ran.stderr
    table = (runs / "audio-visual.md").read_text(encoding="utf-8")
    assert "Not fused: VGG-LSTM, C3D, random forest, SVC: fused by SVM (no run of Conv" in table
    assert set(figures(runs)["Convolutional 3D"][3:]) == {"—"}


def test_a_fusion_predicts_every_clip_that_a_member_predicts(
    reproduced: tuple[Path, Any],
) -> None:
    runs, _ = reproduced
    rows = figures(runs)
    alone = rows["support vector classifier (sound)"]
    average, svm = (rows[f"VGG-LSTM, random forest, SVC: {x}"] for x in ("average", "fused by SVM"))
    assert (alone[5], average[5], svm[5]) == ("8", "9", "9")
    assert average[7] == "afew; fixed (test valid); clips that a member cannot predict: 1"
    assert "the rule fitted by 5-fold cross-validation over the test clips" in svm[7]
    members = [read_run(runs / f"{n}-afew") for n in ("vgg16-bilstm", "egemaps-rf", "egemaps-svc")]
    said: dict[Path, list[np.ndarray]] = {}
    truth = {}
    for run in members:
        p = run.predictions()
        for sample, probs in zip(p.samples, p.probs, strict=True):
            said.setdefault(sample.path, []).append(probs)
            truth[sample.path] = run.labels.index(sample.label)
    right = [np.mean(probs, axis=0).argmax() == truth[path] for path, probs in said.items()]
    assert average[3].startswith(f"{100 * np.mean(right):.1f} % (")


def test_a_change_of_an_unknown_recipe_is_refused(tmp_path: Path) -> None:
    ran = ask("reproduce", "audio-visual", "--recipes", RECIPES, "--set", "vgg:seeds=[1]")
    assert ran.exit_code == 1
    assert "--set vgg:seeds: no recipe vgg. Known: c3d-afew, " in ran.stderr
