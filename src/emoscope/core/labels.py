"""Label sets, canonical spelling of labels, and mapping of probabilities between sets."""

from dataclasses import dataclass

import numpy as np

from emoscope.core.arrays import FloatArray
from emoscope.core.errors import SpecError
from emoscope.core.registry import Registry
from emoscope.core.spelling import tidy

__all__ = ["LABEL_SETS", "LabelSet", "canonical", "map_probs"]


@dataclass(frozen=True)
class LabelSet:
    """An ordered set of emotion names; column c of a probability array is `labels[c]`."""

    name: str
    labels: tuple[str, ...]

    def index(self, label: str) -> int:
        """Return the column of a label in any known spelling. Raises SpecError if unknown."""
        name = canonical(label)
        if name not in self.labels:
            raise SpecError(
                f"{label!r} is not a label of {self.name}. Known: {', '.join(self.labels)}."
            )
        return self.labels.index(name)

    def __len__(self) -> int:
        return len(self.labels)


LABEL_SETS: Registry[LabelSet] = Registry("label set")


def _add(name: str, labels: str) -> LabelSet:
    return LABEL_SETS.add(name, LabelSet(name, tuple(labels.split())))


_add("basic6", "anger disgust fear happiness sadness surprise")
_add("basic7", "anger disgust fear happiness sadness surprise neutral")
_add("ckplus8", "neutral anger contempt disgust fear happiness sadness surprise")
_add("ferplus8", "neutral happiness surprise sadness anger disgust fear contempt")
_add("fer2013", "anger disgust fear happiness sadness surprise neutral")
_add("ravdess8", "neutral calm happiness sadness anger fear disgust surprise")
_add("crema6", "anger disgust fear happiness neutral sadness")
_add(
    "gemep17",
    "admiration amusement tenderness anger disgust despair pride anxiety interest "
    "irritation joy contempt fear pleasure relief surprise sadness",
)

_ALIASES = {
    "angry": "anger",
    "disgusted": "disgust",
    "fearful": "fear",
    "afraid": "fear",
    "scared": "fear",
    "happy": "happiness",
    "sad": "sadness",
    "surprised": "surprise",
    "contemptuous": "contempt",
}


def canonical(label: str) -> str:
    """Return the canonical spelling of a label: the noun in lower case, in Unicode's composed form.

    >>> canonical("Happy")
    'happiness'
    """
    name = tidy(label.lower())
    return _ALIASES.get(name, name)


def map_probs(
    probs: FloatArray,
    source: tuple[str, ...],
    target: tuple[str, ...],
    mapping: dict[str, str] | None = None,
) -> FloatArray:
    """Map probabilities from one label set to another: (N, len(source)) -> (N, len(target)).

    Labels with the same canonical spelling are matched; `mapping` adds pairs of source and target
    label. Source labels without a match are dropped, and each row is rescaled to sum to 1. A row
    of NaN, or with no probability left, becomes NaN. Raises SpecError if `probs` has the wrong
    shape.

    >>> probs = np.array([[0.2, 0.2, 0.4, 0.2]])
    >>> source = ("neutral", "calm", "happy", "contempt")
    >>> map_probs(probs, source, ("neutral", "happiness"), {"calm": "neutral"})
    array([[0.5, 0.5]])
    """
    if np.shape(probs) != (len(probs), len(source)):
        raise SpecError(
            f"{len(source)} labels need probabilities of shape (N, {len(source)}), "
            f"got {np.shape(probs)}."
        )
    pairs = {canonical(a): canonical(b) for a, b in (mapping or {}).items()}
    columns = {canonical(label): i for i, label in enumerate(target)}
    sums = np.zeros((len(probs), len(target)), dtype=np.float64)
    for i, label in enumerate(source):
        name = pairs.get(canonical(label), canonical(label))
        if name in columns:
            sums[:, columns[name]] += probs[:, i]
    total = sums.sum(axis=1, keepdims=True)
    mapped = np.full_like(sums, np.nan)
    np.divide(sums, total, out=mapped, where=total > 0)
    return mapped
