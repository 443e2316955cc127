"""A bundle's card as a Markdown page: what the model is, how it was evaluated, its limits."""

from collections.abc import Iterator, Mapping
from typing import Any

from emoscope.analysis.bundle import BundleCard
from emoscope.training.evaluation.tables import (
    CLASSES_NOTE,
    METRICS_NOTE,
    markdown_table,
    percent,
    window_words,
    with_interval,
)
from emoscope.training.recipe import UNSTATED

__all__ = ["card_page"]

Figures = Mapping[str, Any]  # of an evaluation.json, and "folds": the protocol's number of folds

_WEAKEST = 3  # labels to name
_SCORES = {
    "face": "how a face *looks*",
    "body": "how a body *moves*",
    "voice": "how a voice *sounds*",
    "face+voice": "how a face *looks* and a voice *sounds*",
}
# Properties that no corpus of ours annotates. Those that are annotated are evaluated by group.
_UNMEASURED = {
    "face": ("turned heads", "covered faces (masks, hands, glasses)", "age", "skin tone"),
    "body": ("crowds", "covered bodies", "moving cameras", "age", "skin tone"),
    "voice": ("other languages", "noise and music", "several speakers at once", "age"),
}
_HARDER = {
    "face": "faces that are turned far or covered are often not detected, and harder to classify "
    "if they are",
    "body": "people who overlap are detected as one, or not at all",
    "voice": "all voices of a recording are taken as one",
}

_LAW = (
    "Emotion inference at work and in education is prohibited in the EU, except for medical or "
    "safety reasons (AI Act, Regulation (EU) 2024/1689, Art. 5(1)(f))."
)
_TRAINING = (
    "Training prior: the calibrated probabilities include the class shares of the training data."
)
_UNIFORM = (
    "Uniform prior: these shares are divided out, as `emoscope analyze` does unless "
    "`--prior train` is given. Results without a column for it use the training prior."
)


def card_page(card: BundleCard) -> str:
    """Return the card as Markdown; every figure comes from the bundle's metadata.

    >>> import emoscope
    >>> from emoscope.training.export.card import card_page
    >>> page = card_page(emoscope.load_bundle("face-ferplus").card)
    >>> page.splitlines()[0]  # doctest: +ELLIPSIS
    '# face-ferplus, version ...'
    """
    f = card.figures
    paragraphs = [
        f"# {card.name}, version {card.version}",
        *(f"> **Warning**: {warning}" for warning in f["warnings"]),
        "Written by `emoscope export`, from the bundle's metadata.",
        _facts(card),
        "## Evaluation",
        _protocol(f),
        *_results(f),
        _classes(f),
        CLASSES_NOTE,
        *_groups(f),
        _interval(f),
        *_thresholds(f),
        "## Use",
        _use(card),
        "## Limits",
        _limits(card),
        _LAW,
    ]
    return "\n\n".join(paragraphs) + "\n"


def _facts(card: BundleCard) -> str:
    streams = ", ".join(f"`{name}` {shape}" for name, shape in card.clip_spec.shapes().items())
    licence = card.licence
    if licence == UNSTATED:
        licence += "; ask the authors before you use or share them"
    facts = {
        "Input": f"{card.modality}; {streams}",
        "Labels": ", ".join(card.labels),
        "Trained on": card.trained_on,
        "Licence of the weights": licence,
        "Paper": card.paper or "none",
        "Temperature": "1 (not calibrated)"
        if card.temperature == 1
        else f"{card.temperature:.3f}; the logits are divided by it. Fitted on held-out clips",
    }
    if window := card.figures.get("window"):
        facts["Window"] = window_words(window)
    if cost := card.figures.get("cost"):
        size = f"{cost['file_mb']:.1f} MB"
        if cost["parameters"]:
            size += f"; {cost['parameters']:,} trained parameters"
        if cost.get("precision") == "int8":
            size += ", hidden convolution kernels in eight bits"
        facts["Size"] = size
        facts["Speed"] = (
            f"{cost['cpu_ms_a_clip']:.2f} ms per input with ONNX Runtime on one thread of "
            f"{cost['machine']}"
        )
    return "\n".join(f"- **{name}**: {fact}" for name, fact in facts.items())


def _protocol(f: Figures) -> str:
    """Describe the test data, and whether the weights in the file are those evaluated."""
    people = f" of {f['subjects']} subjects" if f["subjects"] else ""
    seeds = f"; {f['seeds']} seeds, whose predictions have equal weight" if f["seeds"] > 1 else ""
    if f["folds"] > 1:
        origin = (
            f"The results are cross-validated: each of the recipe's {f['folds']} folds was trained "
            "separately and evaluated on its own test part. The weights in this file were trained "
            "on all data."
        )
    elif f["seeds"] > 1:
        origin = "The weights in this file are those of the first seed."
    else:
        origin = "The results are those of the weights in this file."
    left_out = "; ".join(f"{reason}: {count}" for reason, count in f["left_out"].items())
    excluded = f" Excluded clips: {left_out}." if left_out else ""
    return f"{f['what']}; {f['samples']} samples{people}{seeds}. {origin}{excluded}"


def _results(f: Figures) -> Iterator[str]:
    """Yield the main metrics, with a column for the uniform prior where it was evaluated."""
    uniform = f.get("uniform_prior", {})
    rows: list[tuple[str, ...]] = [
        (name, with_interval(f, key), *((with_interval(uniform, key),) if uniform else ()))
        for key, name in (("accuracy", "accuracy"), ("uar", "unweighted average recall (UAR)"))
    ]
    blank = ("",) if uniform else ()
    rows.append(("macro-F1", percent(f["macro_f1"]), *blank))
    if f.get("majority_samples"):
        majority = (
            ("majority_accuracy", "accuracy"),
            ("majority_uar", "unweighted average recall"),
        )
        for key, name in majority:
            if key in f:
                where = f"{name}, samples with a majority label ({f['majority_samples']} samples)"
                rows.append((where, with_interval(f, key), *blank))
    rows.append(("expected calibration error (ECE), 15 bins", f"{f['ece']:.3f}", *blank))
    header: tuple[str, ...] = ("metric", "value (95 % interval)")
    if uniform:
        header = ("metric (95 % interval)", "training prior", "uniform prior")
    yield markdown_table(header, rows)
    yield METRICS_NOTE
    yield f"{_TRAINING} {_UNIFORM}" if uniform else _TRAINING


def _classes(f: Figures) -> str:
    uniform = f.get("uniform_prior", {}).get("recall", {})
    rows = [
        (
            label,
            *(percent(scores[key]) for key in ("recall", "precision", "f1")),
            *([percent(uniform[label])] if uniform else []),
            str(scores["samples"]),
        )
        for label, scores in f["per_class"].items()
    ]
    more = ("recall, uniform prior",) if uniform else ()
    return markdown_table(("label", "recall", "precision", "F1", *more, "samples"), rows)


def _groups(f: Figures) -> Iterator[str]:
    rows = [
        (
            f"{column} = {value}",
            percent(scores["accuracy"]),
            percent(scores["uar"]),
            str(scores["samples"]),
        )
        for column, values in f["by_group"].items()
        for value, scores in values.items()
        if len(values) > 1
    ]
    if rows:
        yield markdown_table(("group", "accuracy", "unweighted average recall", "samples"), rows)


def _interval(f: Figures) -> str:
    if f["interval_over"] == "subjects":
        return (
            "The intervals are bootstraps over subjects: they include differences between people."
        )
    return (
        "The samples name no subjects. The intervals are bootstraps over samples, not over people, "
        "and one person may be on both sides of the split."
    )


def _thresholds(f: Figures) -> Iterator[str]:
    """Yield accuracy and coverage at confidence thresholds, if they were evaluated."""
    if "coverage" not in f:
        return
    curves = [f["coverage"]]
    if "uniform_prior" in f:
        curves.append(f["uniform_prior"]["coverage"])
    keys = ("answered", "accuracy", "uar")
    rows = [
        (f"{points[0]['min_confidence']:g}", *(percent(p[key]) for p in points for key in keys))
        for points in zip(*curves, strict=True)
    ]
    names = ("coverage", "accuracy", "unweighted average recall")
    more = tuple(f"{name}, uniform prior" for name in names) if len(curves) > 1 else ()
    yield "## Minimum confidence"
    yield (
        "Results if predictions below a minimum confidence (`--min-confidence`) are withheld. "
        "Coverage is the share of samples that keep their prediction; accuracy and recall are "
        "those of these samples and their classes."
    )
    yield markdown_table(("minimum confidence", *names, *more), rows)


def _use(card: BundleCard) -> str:
    uses_egemaps = any(vector.kind == "egemaps" for vector in card.clip_spec.vectors)
    sound = (
        " Its features need `emoscope[audio]`; the licence of openSMILE allows research only."
        if uses_egemaps
        else ""
    )
    return (
        f"For timelines of apparent emotion in recordings: it scores {_SCORES[card.modality]}, not "
        "what a person feels. Not for decisions about people, and not for inferring lies, health "
        f"or character.{sound}"
    )


def _limits(card: BundleCard) -> str:
    f, parts = card.figures, card.modality.split("+")
    by_group = [column for column, values in f["by_group"].items() if len(values) > 1]
    names = (*dict.fromkeys(name for part in parts for name in _UNMEASURED[part]), "gender")
    unmeasured = ", ".join(name for name in names if name not in by_group)
    recalls = [(scores["recall"], label) for label, scores in f["per_class"].items()]
    weakest = sorted(pair for pair in recalls if pair[0] is not None)[:_WEAKEST]
    named = ", ".join(f"{label} ({percent(recall)})" for recall, label in weakest)
    return (
        f"Labels with the lowest recall: {named}. Not evaluated for: {unmeasured}. Expect errors "
        f"here: {'; '.join(_HARDER[part] for part in parts)}. Recordings unlike the training data "
        "are classified less well than the results above suggest."
    )
