"""Run folders as training leaves them, made without training."""

from pathlib import Path
from typing import Any

import numpy as np

from emoscope.core.votes import VOTES
from emoscope.corpora.manifest import Manifest, Sample
from emoscope.training.recipe import Recipe
from emoscope.training.run_folder import FINAL, part_folder, write_json, write_table

LABELS = ("anger", "happiness", "sadness")
SUBJECTS = ("1", "2", "3", "4", "5", "6")
LEAK = "Fold 'group 1' has the same subject in training and test: 3."
_HISTORY = ("epoch", "step", "seconds", "lr", "loss")
_HOLDOUT = ("holdout_loss", "holdout_accuracy", "holdout_uar")


def clips(
    labels: tuple[str, ...] = LABELS, subjects: tuple[str, ...] = SUBJECTS, each: int = 4
) -> list[Sample]:
    """`each` clips of every label by every subject; even subjects are women."""
    return [
        Sample(
            path=Path("/corpus") / subject / f"{label}-{k}.mp4",
            label=label,
            subject=subject,
            groups={"gender": "female" if int(subject or 0) % 2 == 0 else "male"},
        )
        for subject in subjects
        for label in labels
        for k in range(each)
    ]


def recipe(name: str = "fake", **changes: Any) -> Recipe:
    """A recipe of two folds and two seeds; `changes` replace its tables."""
    settings = {
        "name": name,
        "seeds": (0, 1),
        "corpus": {"name": "folder"},
        "protocol": {"name": "leave-one-group-out", "groups": 2},
        "model": {"name": "face-cnn"},
        "optimiser": {"lr": 0.1},
        "schedule": {"epochs": 3},
        "bundle": {"licence": "none", "trained_on": "nothing"},
    }
    return Recipe.model_validate({**settings, **changes})


def fake_run(
    folder: Path,
    *,
    skill: float = 0.7,
    draw: int = 0,
    samples: list[Sample] | None = None,
    warnings: tuple[str, ...] = (),
    labels: tuple[str, ...] = LABELS,
    corpora: tuple[str, ...] = ("folder",),
    **changes: Any,
) -> Path:
    """A finished run on `corpora`, whose answers are right with a probability of `skill`.

    The samples are cut into two folds by their order; a protocol that is "fixed" has one. Answers
    are drawn from `draw`."""
    plan = recipe(**changes)
    samples = clips(labels) if samples is None else samples
    names = ["valid"] if plan.protocol.name == "fixed" else ["group 1", "group 2"]
    halves = np.array_split(np.arange(len(samples)), len(names))
    _write_info(folder, plan, labels, corpora, warnings)
    Manifest("folder", labels, tuple(samples)).write(folder / "corpus.csv")
    rows = set(range(len(samples)))
    folds = [
        {"name": n, "train": sorted(rows - set(t.tolist())), "holdout": [], "test": t.tolist()}
        for n, t in zip(names, halves, strict=True)
    ]
    if len(folds) > 1:
        folds.append({"name": FINAL, "train": sorted(rows), "holdout": [], "test": []})
    write_json(folder / "folds.json", [{**fold, "leaks": {}} for fold in folds])
    for seed in plan.seeds:
        rng = np.random.default_rng((draw, seed))
        for name, test in zip(names, halves, strict=True):
            truth = [labels.index(samples[row].label) for row in test]
            for vote in _votes(plan):
                probs = answers(np.array(truth), len(labels), skill, rng)
                path = part_folder(folder, name, seed) / _file(vote, plan)
                _write_predictions(path, labels, test.tolist(), probs)
            _write_part(folder, name, seed, labels, temperature=1.5)
        if len(names) > 1:
            _write_part(folder, FINAL, seed, labels, temperature=2.0 + seed)
    return folder


def _votes(plan: Recipe) -> list[str]:
    """The recipe's first; by the others answers are drawn anew."""
    chosen = plan.evaluation.vote
    return [chosen, *(v for v in VOTES if v != chosen)] if plan.evaluation.every else [chosen]


def _file(vote: str, plan: Recipe) -> str:
    return "predictions.csv" if vote == plan.evaluation.vote else f"predictions-{vote}.csv"


def _write_predictions(
    path: Path, labels: tuple[str, ...], rows: list[int], probs: np.ndarray
) -> None:
    table = [[row, *line] for row, line in zip(rows, probs.tolist(), strict=True)]
    write_table(path, ["row", *labels], table)


def answers(truth: np.ndarray, classes: int, skill: float, rng: np.random.Generator) -> np.ndarray:
    """(N, C) probabilities whose largest is the truth's in about `skill` of the rows."""
    other = (truth + rng.integers(1, classes, len(truth))) % classes
    said = np.where(rng.random(len(truth)) < skill, truth, other)
    logits = rng.normal(0, 0.5, (len(truth), classes))
    logits[np.arange(len(truth)), said] = logits.max(axis=1) + 0.5
    exp = np.exp(logits)
    return exp / exp.sum(axis=1, keepdims=True)


def _write_info(
    folder: Path,
    plan: Recipe,
    labels: tuple[str, ...],
    corpora: tuple[str, ...],
    warnings: tuple[str, ...],
) -> None:
    write_json(folder / "recipe.json", plan.model_dump(mode="json"))
    info = {
        "name": plan.name,
        "paper": plan.published.paper if plan.published else "",
        "model": plan.model.name,
        "estimator": plan.schedule is None,
        "corpora": list(corpora),
        "labels": list(labels),
        "protocol": plan.protocol.model_dump(),
        "seeds": list(plan.seeds),
        "votes": list(VOTES) if plan.evaluation.every else [plan.evaluation.vote],
        "parameters": None if plan.schedule is None else 1_234_567,
        "left_out": {"no face found": 3},
        "warnings": list(warnings),
        "commit": "0123abc",
        "versions": {"emoscope": "0.1.0", "torch": "2.13.0"},
        "machine": "a machine with 2 cores",
        "started": "2026-01-01T00:00:00+00:00",
    }
    write_json(folder / "run.json", info)


def prior_of(labels: tuple[str, ...]) -> list[float]:
    """Class prior of a made-up training: each label is more frequent than the one before."""
    shares = np.arange(1, len(labels) + 1)
    return list(shares / shares.sum())


def _write_part(
    folder: Path, fold: str, seed: int, labels: tuple[str, ...], temperature: float
) -> None:
    place = part_folder(folder, fold, seed)
    curve = [
        [e, 10 * (e + 1), 1.0, 0.1, 1.5 * 0.6**e + 0.1 * seed, 1.2, 0.5, 0.4 + 0.1 * e]
        for e in range(3)
    ]
    write_table(place / "metrics.csv", [*_HISTORY, *_HOLDOUT], curve)
    write_json(
        place / "fold.json",
        {
            "fold": fold,
            "seed": seed,
            "temperature": temperature,
            "prior": prior_of(labels),
            "seconds": 10.0 + seed,
            "epochs": 3,
            "chosen_epoch": 2,
        },
    )
