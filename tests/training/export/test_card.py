"""A bundle's card: results, test data, limits."""

import itertools
import re
from typing import Any

import fake_runs
import pytest

from emoscope.analysis.bundle import BundleCard
from emoscope.core.clipspec import ClipSpec, Last, Stream, Vector
from emoscope.training.evaluation.evaluate import judge, measure
from emoscope.training.evaluation.tables import percent
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


def test_every_figure_is_on_the_page(figures: dict[str, Any]) -> None:
    text = page(figures)
    uniform = figures["uniform_prior"]
    for key in ("accuracy", "uar"):
        both = (
            f"{100 * f[key]:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
            for f in (figures, uniform)
            for low, high in [f[f"{key}_ci95"]]
        )
        assert f"| {' | '.join(both)} |" in text
    assert f"| macro-F1 | {percent(figures['macro_f1'])} |" in text
    assert f"{figures['ece']:.3f}" in text
    for label, part in figures["per_class"].items():
        shares = " | ".join(percent(part[key]) for key in ("recall", "precision", "f1"))
        recall = percent(uniform["recall"][label])
        assert f"| {label} | {shares} | {recall} | {part['samples']} |" in text
    for line, other in zip(figures["coverage"], uniform["coverage"], strict=True):
        assert f"| {line['min_confidence']} | {percent(line['answered'])} | " in text
        assert f" | {percent(other['answered'])} | " in text
    for gender, part in figures["by_group"]["gender"].items():
        shares = f"{percent(part['accuracy'])} | {percent(part['uar'])}"
        assert f"| gender = {gender} | {shares} | {part['samples']} |" in text
    assert figures["what"] in text
    assert "72 samples of 6 subjects; 2 seeds" in text
    assert "Excluded clips: no face found: 3." in text
    assert not re.search(r"\d%", text), "percentages are written as 46.3 %"


def test_the_labels_with_the_lowest_recall_are_named_lowest_first(figures: dict[str, Any]) -> None:
    recalls = dict(zip(fake_runs.LABELS, (0.3, 0.1, 0.2), strict=True))
    parts = {k: {**figures["per_class"][k], "recall": v} for k, v in recalls.items()}
    text = page({**figures, "per_class": parts})
    expected = "happiness (10.0 %), sadness (20.0 %), anger (30.0 %)."
    assert f"Labels with the lowest recall: {expected}" in text


def test_an_unstated_licence_is_explained(figures: dict[str, Any]) -> None:
    text = page(figures, licence="unstated")
    assert "- **Licence of the weights**: unstated; ask the authors before" in text
    assert "unstated" not in page(figures)


def test_a_warning_stands_above_all_figures(figures: dict[str, Any]) -> None:
    assert "Warning" not in page(figures)
    text = page({**figures, "warnings": [fake_runs.LEAK]})
    assert text.startswith(f"# fake, version 3\n\n> **Warning**: {fake_runs.LEAK}\n\n")


@pytest.mark.parametrize(
    ("folds", "seeds", "expected"),
    [
        (1, 1, "The results are those of the weights in this file."),
        (1, 2, "The weights in this file are those of the first seed."),
        (5, 1, "each of the recipe's 5 folds was trained separately"),
    ],
)
def test_it_says_whether_the_weights_in_the_file_were_evaluated(
    figures: dict[str, Any], folds: int, seeds: int, expected: str
) -> None:
    assert expected in page({**figures, "folds": folds, "seeds": seeds})


def test_it_says_what_the_intervals_resample(figures: dict[str, Any]) -> None:
    assert "bootstraps over subjects" in page(figures)
    nameless = page({**figures, "interval_over": "samples", "subjects": 0})
    assert "not over people, and one person may be on both sides" in nameless
    assert "72 samples; 2 seeds" in nameless


def test_majority_labels_have_results_only_where_annotators_voted(figures: dict[str, Any]) -> None:
    assert "majority" not in page(figures)
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
    suffix = ", samples with a majority label (64 samples)"
    assert f"| accuracy{suffix} | 87.5 % (80.0 to 90.0) |" in text
    assert f"| unweighted average recall{suffix} | 50.0 % (40.0 to 60.0) |" in text
    none = page({**figures, "majority_samples": 0})
    assert "majority" not in none


def test_a_corpus_without_groups_has_no_table_of_them(figures: dict[str, Any]) -> None:
    one = {"gender": {"male": figures["by_group"]["gender"]["male"]}}
    for groups in ({}, one):
        text = page({**figures, "by_group": groups})
        assert "| group |" not in text
        assert "skin tone, gender" in text
    assert "skin tone, gender" not in page(figures)


def test_it_states_its_use_and_what_was_not_evaluated(figures: dict[str, Any]) -> None:
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


def test_size_and_speed_stand_on_the_page(figures: dict[str, Any]) -> None:
    cost = {"cpu_ms_a_clip": 2.108, "file_mb": 11.3, "machine": "a laptop", "parameters": 2_800_000}
    text = page({**figures, "cost": cost})
    assert "- **Size**: 11.3 MB; 2,800,000 trained parameters" in text
    assert "- **Speed**: 2.11 ms per input with ONNX Runtime on one thread of a laptop" in text
    assert "parameters" not in page({**figures, "cost": {**cost, "parameters": None}})


def test_a_bundle_of_an_older_version_has_a_card(figures: dict[str, Any]) -> None:
    new = ("uniform_prior", "coverage", "cost")
    old = {key: value for key, value in figures.items() if key not in new}
    text = page({**old, "majority_accuracy": 0.875, "majority_samples": 64})
    assert "| accuracy, samples with a majority label (64 samples) | 87.5 % |" in text
    for words in ("uniform", "min-confidence", "Speed"):
        assert words not in text


def test_a_voice_model_has_its_own_words(figures: dict[str, Any]) -> None:
    text = page(figures, modality="voice", temperature=1.0)
    assert "how a voice *sounds*" in text
    assert "the licence of openSMILE allows research only" in text
    assert "1 (not calibrated)" in text
    assert "openSMILE" not in page(figures)


def test_the_page_is_one_markdown_text(figures: dict[str, Any]) -> None:
    lines = page({**figures, "warnings": [fake_runs.LEAK]}).splitlines()
    assert "None" not in "".join(lines)
    tables = [line for line in lines if line.startswith("|")]
    assert all(line.endswith("|") for line in tables)
    for line, below in itertools.pairwise(lines):
        if below.startswith("| ---"):
            assert line.count("|") == below.count("|")
