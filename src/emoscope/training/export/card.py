"""A bundle's card as a page: what the model is, how it was measured, what it is not for."""

from collections.abc import Iterable, Mapping
from typing import Any

from emoscope.analysis.bundle import BundleCard

__all__ = ["card_page"]

Figures = Mapping[str, Any]  # of an evaluation.json, and "folds": how many the protocol had

_MAJORITY = {"majority_accuracy": "accuracy", "majority_uar": "unweighted average recall"}
_WEAKEST = 3  # labels that are named so
_LOOKS = {
    "face": "how a face *looks*",
    "body": "how a body *moves*",
    "voice": "how a voice *sounds*",
    "face+voice": "how a face *looks* and a voice *sounds*",
}
# What no corpus of ours tells of the sample; a column of the corpus is measured by group.
_UNMEASURED = {
    "face": ("turned heads", "covered faces (masks, hands, glasses)", "age", "skin tone"),
    "body": ("crowds", "covered bodies", "cameras that move", "age", "skin tone"),
    "voice": ("other languages", "noise and music", "several speakers at once", "age"),
}
_HARDER = {
    "face": "the detector loses faces that are turned far or covered, and what it does find of "
    "them is harder to read",
    "body": "the detector takes people who overlap for one, or loses them",
    "voice": "all voices of a recording are heard as one",
}

_LAW = (
    "Emotion inference at work and in education is prohibited in the EU, except for medical or "
    "safety reasons (AI Act, Regulation (EU) 2024/1689, Art. 5(1)(f))."
)
_TRAINING = (
    "Under the training prior: with the classes' shares of the training data in the probabilities, "
    "and after the temperature."
)
_UNIFORM = (
    "Under the uniform prior these shares are taken out, as `emoscope analyze` does unless told "
    "`--prior train`; what has no figure there is under the training prior."
)


def card_page(card: BundleCard) -> str:
    """The card as Markdown, every figure from the metadata."""
    parts = (
        [f"# {card.name}, version {card.version}"],
        (f"> **Warning**: {warning}" for warning in card.figures["warnings"]),
        ["Made by `emoscope export`; the same figures stand in the bundle's metadata."],
        [_facts(card)],
        ["## Measured", _what(card.figures), _main(card.figures), _classes(card.figures)],
        _groups(card.figures),
        [_interval(card.figures)],
        _coverage(card.figures),
        ["## Use", _use(card), "## Limits", _limits(card), _LAW],
    )
    return "\n\n".join(paragraph for part in parts for paragraph in part) + "\n"


def _facts(card: BundleCard) -> str:
    streams = ", ".join(f"`{k}` {v}" for k, v in card.clip_spec.shapes().items())
    facts = {
        "Input": f"{card.modality}; {streams}",
        "Labels": ", ".join(card.labels),
        "Trained on": card.trained_on,
        "Licence of the weights": card.licence,
        "Paper": card.paper or "none",
        "Temperature": "1: the model's answers are used as they are"
        if card.temperature == 1
        else f"{card.temperature:.3f}, fitted on a hold-out of the training part",
        **_cost(card.figures.get("cost")),
    }
    return "\n".join(f"- **{name}**: {fact}" for name, fact in facts.items())


def _cost(cost: Figures | None) -> dict[str, str]:
    """Size and speed, where the export measured them."""
    if cost is None:
        return {}
    held = f"; {cost['parameters']:,} parameters learned" if cost["parameters"] else ""
    if cost.get("precision") == "int8":
        held += ", those of hidden convolutions kept in eight bits"
    return {
        "Size": f"{cost['file_mb']:.1f} MB{held}",
        "Speed": f"{cost['cpu_ms_a_clip']:.2f} ms for one input through ONNX Runtime on one thread "
        f"of {cost['machine']}",
    }


def _what(f: Figures) -> str:
    who = f" of {f['subjects']} subjects" if f["subjects"] else ""
    seeds = f"; {f['seeds']} seeds, whose answers count alike" if f["seeds"] > 1 else ""
    left_out = "; ".join(f"{reason}: {count}" for reason, count in f["left_out"].items())
    told = f"{f['what']}; {f['samples']} samples{who}{seeds}"
    return f"{told}. {_origin(f)}{f' Left out: {left_out}.' if left_out else ''}"


def _origin(f: Figures) -> str:
    """Whether the weights in the file are those that were measured."""
    if f["folds"] > 1:
        return (
            f"These are cross-validated figures of the same recipe: each of its {f['folds']} folds "
            "was trained anew and judged on its own test part. The weights in this file were "
            "trained on everything."
        )
    if f["seeds"] > 1:
        return "The weights in this file are the first seed's."
    return "These weights were measured."


def _main(f: Figures) -> str:
    """With a column for the uniform prior, where there are such figures."""
    freed = f.get("uniform_prior", {})
    rows = [
        (name, _measured(f, key), *([_measured(freed, key)] if freed else []))
        for key, name in (("accuracy", "accuracy"), ("uar", "unweighted average recall"))
    ]
    blank = ("",) if freed else ()
    rows.append(("macro F1", _percent(f["macro_f1"]), *blank))
    if f.get("majority_samples"):
        for key, name in _MAJORITY.items():
            if key in f:
                of = f"where a class has over half of all votes ({f['majority_samples']} samples)"
                rows.append((f"{name} {of}", _measured(f, key), *blank))
    rows.append(("expected calibration error, 15 bins", f"{f['ece']:.3f}", *blank))
    if not freed:
        return f"{_table(('figure', 'value'), rows)}\n\n{_TRAINING}"
    header = ("figure", "training prior", "uniform prior")
    return f"{_table(header, rows)}\n\n{_TRAINING} {_UNIFORM}"


def _measured(f: Figures, key: str) -> str:
    """With its interval; old bundles do not have one of everything."""
    if f"{key}_ci95" not in f:
        return _percent(f[key])
    low, high = f[f"{key}_ci95"]
    return f"{_percent(f[key])} (95 % interval {_percent(low)} to {_percent(high)})"


def _classes(f: Figures) -> str:
    freed = f.get("uniform_prior", {}).get("recall", {})
    rows = [
        (
            label,
            *(_percent(part[key]) for key in ("recall", "precision", "f1")),
            *([_percent(freed[label])] if freed else []),
            part["samples"],
        )
        for label, part in f["per_class"].items()
    ]
    more = ("recall, uniform prior",) if freed else ()
    return _table(("label", "recall", "precision", "F1", *more, "samples"), rows)


def _coverage(f: Figures) -> Iterable[str]:
    """What `--min-confidence` leaves, and how right that is."""
    if "coverage" not in f:
        return
    curves = [f["coverage"]]
    if "uniform_prior" in f:
        curves.append(f["uniform_prior"]["coverage"])
    keys = ("answered", "accuracy", "uar")
    rows = [
        (f"{lines[0]['min_confidence']:g}", *(_percent(line[k]) for line in lines for k in keys))
        for lines in zip(*curves, strict=True)
    ]
    names = ("answered", "accuracy", "unweighted average recall")
    freed = tuple(f"{name}, uniform prior" for name in names) if len(curves) > 1 else ()
    yield "## Answering only where it is sure"
    yield (
        "Of the samples above, those whose highest probability is `--min-confidence` or more; the "
        "recall is that of the classes left among them."
    )
    yield _table(("--min-confidence", *names, *freed), rows)


def _groups(f: Figures) -> Iterable[str]:
    rows = [
        (f"{column} = {value}", _percent(part["accuracy"]), _percent(part["uar"]), part["samples"])
        for column, values in f["by_group"].items()
        for value, part in values.items()
        if len(values) > 1
    ]
    if rows:
        yield _table(("group", "accuracy", "unweighted average recall", "samples"), rows)


def _interval(f: Figures) -> str:
    if f["interval_over"] == "subjects":
        return "The intervals are bootstraps over subjects: what other persons could have given."
    return (
        "The samples name no persons, so the intervals are bootstraps over samples, not over "
        "people, and one person may stand on both sides of the split."
    )


def _use(card: BundleCard) -> str:
    sound = (
        " Its features need `emoscope[audio]`; openSMILE's own licence is for research only."
        if any(vector.kind == "egemaps" for vector in card.clip_spec.vectors)
        else ""
    )
    return (
        f"For timelines of apparent emotion in recordings: it scores {_LOOKS[card.modality]}, not "
        "what a person feels. Not for decisions about people, nor for telling lies, health or "
        f"character.{sound}"
    )


def _limits(card: BundleCard) -> str:
    f, parts = card.figures, card.modality.split("+")
    by_group = [column for column, values in f["by_group"].items() if len(values) > 1]
    names = (*dict.fromkeys(name for part in parts for name in _UNMEASURED[part]), "gender")
    unmeasured = ", ".join(name for name in names if name not in by_group)
    recalls = [(part["recall"], label) for label, part in f["per_class"].items()]
    weakest = sorted(pair for pair in recalls if pair[0] is not None)[:_WEAKEST]
    named = ", ".join(f"{label} ({_percent(recall)})" for recall, label in weakest)
    harder = "; ".join(_HARDER[part] for part in parts)
    return (
        f"Weakest by recall: {named}. Not measured: {unmeasured}: how often it errs there is not "
        f"known. To be expected: {harder}. Recordings unlike those that it learned from are read "
        "less well than the figures say."
    )


def _table(header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    cells = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in cells)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"
