"""A bundle's page says what was measured, on whom, and what to beware of."""

import itertools
from typing import Any

import fake_runs
import pytest

from emoscope.analysis.bundle import BundleCard
from emoscope.core.clipspec import ClipSpec, Last, Stream, Vector
from emoscope.training.evaluation.evaluate import judge, measure
from emoscope.training.export.card import card_page
from emoscope.training.run_folder import read_run

SPECS = {
    "face": ClipSpec(sampling=Last(length=1), streams=(Stream(kind="gray", size_hw=(48, 48)),)),
    "voice": ClipSpec(streams=(Vector(kind="egemaps"),)),
}


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    run = read_run(fake_runs.fake_run(tmp_path_factory.mktemp("runs") / "fake"))
    return {**measure(run, judge(run)), "folds": 2}


def page(figures: dict[str, Any], **changes: Any) -> str:
    modality = changes.get("modality", "face")
    fields = {
        "name": "fake",
        "version": "3",
        "modality": modality,
        "labels": fake_runs.LABELS,
        "clip_spec": SPECS[modality],
        "temperature": 1.5,
        "prior": (0.2, 0.3, 0.5),
        "licence": "CC0-1.0",
        "trained_on": "nothing",
        "figures": figures,
    }
    return card_page(BundleCard(**{**fields, **changes}))


def test_every_figure_stands_on_the_page(figures: dict[str, Any]) -> None:
    text = page(figures)
    freed = figures["uniform_prior"]
    for key in ("accuracy", "uar"):
        both = (
            f"{f[key]:.1%} (95 % interval {low:.1%} to {high:.1%})"
            for f in (figures, freed)
            for low, high in [f[f"{key}_ci95"]]
        )
        assert f"| {' | '.join(both)} |" in text
    assert f"| macro F1 | {figures['macro_f1']:.1%} |" in text
    assert f"{figures['ece']:.3f}" in text
    for label, part in figures["per_class"].items():
        shares = " | ".join(f"{part[key]:.1%}" for key in ("recall", "precision", "f1"))
        assert f"| {label} | {shares} | {freed['recall'][label]:.1%} | {part['samples']} |" in text
    for line, other in zip(figures["coverage"], freed["coverage"], strict=True):
        assert f"| {line['min_confidence']} | {line['answered']:.1%} | " in text
        assert f" | {other['answered']:.1%} | " in text
    for gender, part in figures["by_group"]["gender"].items():
        assert f"| gender = {gender} | {part['accuracy']:.1%} | {part['uar']:.1%} | " in text
    assert figures["what"] in text
    assert "72 samples of 6 subjects; 2 seeds" in text
    assert "Left out: no face found: 3." in text


def test_the_weakest_labels_are_named_weakest_first(figures: dict[str, Any]) -> None:
    recalls = dict(zip(fake_runs.LABELS, (0.3, 0.1, 0.2), strict=True))
    parts = {k: {**figures["per_class"][k], "recall": v} for k, v in recalls.items()}
    text = page({**figures, "per_class": parts})
    assert "Weakest by recall: happiness (10.0%), sadness (20.0%), anger (30.0%)." in text


def test_a_warning_stands_above_all_figures(figures: dict[str, Any]) -> None:
    assert "Warning" not in page(figures)
    text = page({**figures, "warnings": [fake_runs.LEAK]})
    assert text.startswith(f"# fake, version 3\n\n> **Warning**: {fake_runs.LEAK}\n\n")


@pytest.mark.parametrize(
    ("folds", "seeds", "said"),
    [
        (1, 1, "These weights were measured."),
        (1, 2, "The weights in this file are the first seed's."),
        (5, 1, "each of its 5 folds was trained anew"),
    ],
)
def test_it_says_whether_these_weights_were_measured(
    figures: dict[str, Any], folds: int, seeds: int, said: str
) -> None:
    assert said in page({**figures, "folds": folds, "seeds": seeds})


def test_it_says_whom_the_interval_is_over(figures: dict[str, Any]) -> None:
    assert "bootstraps over subjects" in page(figures)
    nameless = page({**figures, "interval_over": "samples", "subjects": 0})
    assert "not over people, and one person may stand on both sides" in nameless
    assert "72 samples; 2 seeds" in nameless


def test_the_majority_is_spoken_of_where_there_were_votes(figures: dict[str, Any]) -> None:
    assert "half of all votes" not in page(figures)
    known = {"majority_accuracy": 0.875, "majority_accuracy_ci95": [0.8, 0.9]}
    text = page(
        {
            **figures,
            **known,
            "majority_uar": 0.5,
            "majority_uar_ci95": [0.4, 0.6],
            "majority_samples": 64,
        }
    )
    of = "where a class has over half of all votes (64 samples)"
    assert f"| accuracy {of} | 87.5% (95 % interval 80.0% to 90.0%) |" in text
    assert f"| unweighted average recall {of} | 50.0% (95 % interval 40.0% to 60.0%) |" in text
    none = page({**figures, "majority_samples": 0})
    assert "half of all votes" not in none


def test_a_corpus_without_groups_has_no_table_of_them(figures: dict[str, Any]) -> None:
    one = {"gender": {"male": figures["by_group"]["gender"]["male"]}}
    for groups in ({}, one):
        text = page({**figures, "by_group": groups})
        assert "| group |" not in text
        assert "skin tone, gender" in text
    assert "skin tone, gender" not in page(figures)


def test_it_says_what_it_is_for_and_what_is_not_known(figures: dict[str, Any]) -> None:
    text = page(figures)
    for words in (
        "Not for decisions about people",
        "turned heads",
        "covered faces",
        "age",
        "skin tone",
        "Art. 5(1)(f)",
    ):
        assert words in text
    by_age = {
        "age": {
            "20": figures["by_group"]["gender"]["male"],
            "60": figures["by_group"]["gender"]["female"],
        }
    }
    assert " age, " not in page({**figures, "by_group": by_age})


def test_what_it_costs_stands_on_the_page(figures: dict[str, Any]) -> None:
    cost = {"cpu_ms_a_clip": 2.108, "file_mb": 11.3, "machine": "a laptop", "parameters": 2_800_000}
    text = page({**figures, "cost": cost})
    assert "- **Size**: 11.3 MB; 2,800,000 parameters learned" in text
    assert (
        "- **Speed**: 2.11 ms for one input through ONNX Runtime on one thread of a laptop" in text
    )
    assert "parameters" not in page({**figures, "cost": {**cost, "parameters": None}})


def test_a_bundle_of_before_has_a_page_of_what_it_knows(figures: dict[str, Any]) -> None:
    new = ("uniform_prior", "coverage", "cost")
    old = {key: value for key, value in figures.items() if key not in new}
    text = page({**old, "majority_accuracy": 0.875, "majority_samples": 64})
    assert "| accuracy where a class has over half of all votes (64 samples) | 87.5% |" in text
    for words in ("uniform", "min-confidence", "Speed"):
        assert words not in text


def test_a_voice_is_not_said_to_look(figures: dict[str, Any]) -> None:
    text = page(figures, modality="voice", temperature=1.0)
    assert "how a voice *sounds*" in text
    assert "openSMILE's own licence is for research only" in text
    assert "answers are used as they are" in text
    assert "openSMILE" not in page(figures)


def test_the_page_is_one_markdown_text(figures: dict[str, Any]) -> None:
    lines = page({**figures, "warnings": [fake_runs.LEAK]}).splitlines()
    assert "None" not in "".join(lines)
    tables = [line for line in lines if line.startswith("|")]
    assert all(line.endswith("|") for line in tables)
    for line, below in itertools.pairwise(lines):
        if below.startswith("| ---"):
            assert line.count("|") == below.count("|")
