"""Eight emotions from RAVDESS's voices, by actors that were not heard: eGeMAPS and an SVC.

    python benchmarks/voice.py [--ravdess DIR]

The recipe recipes/ravdess-egemaps-svc.toml: five folds of whole actors. "Chosen in each fold" picks
kernel and C anew by inner folds of each training part: what the default's settings, which were
chosen once with all of these actors, would be worth to somebody who had never seen them.
"""

import argparse
import tarfile
import tempfile
from pathlib import Path

import numpy as np
from measuring import CACHE, machine, table
from sklearn.model_selection import GridSearchCV, GroupKFold

from emoscope.corpora.manifest import Sample
from emoscope.corpora.prepare import Prepared, prepare
from emoscope.training import estimators
from emoscope.training.evaluate import evaluate
from emoscope.training.experiment import train
from emoscope.training.metrics import uar, uar_ci
from emoscope.training.recipe import Recipe
from emoscope.training.runs import Run

ROOT = Path(__file__).parents[1]
ARCHIVE = ROOT.parent / "shared" / "data" / "ravdess-speech-actors01-20.tar"
GRID = [
    {"svc__kernel": ["linear"], "svc__C": [0.003, 0.01, 0.03, 0.1]},
    {"svc__kernel": ["rbf"], "svc__C": [0.3, 1, 3, 10]},
]
PAPERS = {"model.options": "{scale = false, C = 2.7e-6, balanced = false}"}


def unpacked() -> Path:
    folder = CACHE / "ravdess"
    if not folder.is_dir():
        with tarfile.open(ARCHIVE) as archive:
            archive.extractall(folder, filter="data")
    return folder


def line(name: str, run: Run) -> list[str]:
    figures = evaluate(run.folder)["figures"]
    low, high = figures["uar_ci95"]
    return [name, f"{figures['uar']:.1%} ({low:.1%} to {high:.1%})", f"{figures['accuracy']:.1%}"]


def arrays(samples: list[Sample], prepared: Prepared) -> tuple[np.ndarray, np.ndarray]:
    features = [prepared.load(sample).vectors["egemaps"] for sample in samples]
    return np.stack(features), np.array([sample.subject for sample in samples])


def chosen_in_each_fold(run: Run) -> list[str]:
    """The run's own folds, with settings from inner folds of their training parts."""
    spec = estimators.ESTIMATORS["egemaps-svc"].clip_spec
    prepared = prepare(run.samples, spec, CACHE / "clips")
    truth, said, who = [], [], []
    for fold in run.folds:
        train_part, test_part = (
            [run.samples[row] for row in fold[side]] for side in ("train", "test")
        )
        features, subjects = arrays(train_part, prepared)
        search = GridSearchCV(
            estimators.create("egemaps-svc"), GRID, scoring="balanced_accuracy", cv=GroupKFold(5)
        )
        search.fit(features, [sample.label for sample in train_part], groups=subjects)
        answers = search.predict(arrays(test_part, prepared)[0])
        truth += [run.labels.index(sample.label) for sample in test_part]
        said += [run.labels.index(answer) for answer in answers]
        who += [sample.subject for sample in test_part]
    columns = np.array(truth), np.array(said)
    low, high = uar_ci(*columns, groups=np.array(who))
    right = float(np.mean(columns[0] == columns[1]))
    return [
        "kernel and C chosen in each fold",
        f"{uar(*columns):.1%} ({low:.1%} to {high:.1%})",
        f"{right:.1%}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--ravdess", type=Path)
    corpus = parser.parse_args().ravdess or unpacked()
    path = ROOT / "recipes" / "ravdess-egemaps-svc.toml"
    rows: list[list[str]] = []
    runs: list[Run] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, changes in (("the recipe", {}), ("the settings of Fan & Ke", PAPERS)):
            recipe = Recipe.read(path, changes)
            out = Path(folder) / str(len(runs))
            runs.append(train(recipe, {"ravdess": corpus}, out, cache=CACHE / "clips"))
            rows.append(line(name, runs[-1]))
        rows.append(chosen_in_each_fold(runs[0]))
    print(table(("settings", "UAR", "accuracy"), rows))
    people = len({sample.subject for sample in runs[0].samples})
    print(
        f"\n{len(runs[0].samples):,} clips of {people} actors, 8 classes, 5 folds of whole actors; "
        f"95 % intervals over actors. {machine()}."
    )


if __name__ == "__main__":
    main()
