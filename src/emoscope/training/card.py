"""A bundle's card as a page: what the model is, how it was measured, what it is not for."""

from collections.abc import Iterable, Mapping
from typing import Any

from emoscope.analysis.bundle import BundleCard

__all__ = ["card_page"]

Figures = Mapping[str, Any]  # of an evaluation.json, and "folds": how many the protocol had

_WEAKEST = 3  # labels that are named so
_LOOKS = {
    "face": "how a face *looks*",
    "body": "how a body *moves*",
    "voice": "how a voice *sounds*",
    "face+voice": "how a face *looks* and a voice *sounds*",
}
_UNMEASURED = {
    "face": "pose beyond what the detector finds, occlusion, age, skin tone",
    "body": "crowds, occlusion, cameras that move, age",
    "voice": "other languages, noise, music, several speakers at once, age",
}


def card_page(card: BundleCard) -> str:
    """The card as Markdown, every figure from the metadata."""
    parts = (
        [f"# {card.name}, version {card.version}"],
        (f"> **Warning**: {warning}" for warning in card.figures["warnings"]),
        ["Made by `emoscope export`; the same figures stand in the bundle's metadata."],
        [_facts(card)],
        ["## Measured", _what(card.figures), _table(("figure", "value"), _main(card.figures))],
        [_table(("label", "recall", "precision", "F1", "samples"), _classes(card.figures))],
        _groups(card.figures),
        [_interval(card.figures)],
        ["## Use", _use(card)],
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
    }
    return "\n".join(f"- **{name}**: {fact}" for name, fact in facts.items())


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


def _main(f: Figures) -> Iterable[tuple[str, str]]:
    for key, name in (("accuracy", "accuracy"), ("uar", "unweighted average recall")):
        low, high = f[f"{key}_ci95"]
        yield name, f"{_percent(f[key])} (95 % interval {_percent(low)} to {_percent(high)})"
    yield "macro F1", _percent(f["macro_f1"])
    if f.get("majority_samples"):
        share = f"{_percent(f['majority_accuracy'])} of {f['majority_samples']} samples"
        yield "accuracy where a class has over half of the votes", share
    yield "expected calibration error, 15 bins", f"{f['ece']:.3f}"


def _classes(f: Figures) -> Iterable[tuple[str, ...]]:
    for label, part in f["per_class"].items():
        shares = (_percent(part[key]) for key in ("recall", "precision", "f1"))
        yield label, *shares, str(part["samples"])


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
    f = card.figures
    unmeasured = "; ".join(_UNMEASURED[part] for part in card.modality.split("+"))
    by_group = [column for column, values in f["by_group"].items() if len(values) > 1]
    beyond = "" if "gender" in by_group else ", gender"
    recalls = [(part["recall"], label) for label, part in f["per_class"].items()]
    weakest = sorted(pair for pair in recalls if pair[0] is not None)[:_WEAKEST]
    named = ", ".join(f"{label} ({_percent(recall)})" for recall, label in weakest)
    sound = (
        " Its features need `emoscope[audio]`; openSMILE's own licence is for research only."
        if any(vector.kind == "egemaps" for vector in card.clip_spec.vectors)
        else ""
    )
    return (
        f"It scores {_LOOKS[card.modality]}, not what a person feels. Not measured: {unmeasured}"
        f"{beyond}. Weakest by recall: {named}.{sound} Emotion inference at work and in education "
        "is prohibited in the EU (AI Act, Art. 5(1)(f))."
    )


def _table(header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    cells = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in cells)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"
