"""Label sets, the many spellings of one emotion, and mapping between sets."""

from dataclasses import dataclass

import numpy as np

from emoscope.core.arrays import FloatArray
from emoscope.core.errors import SpecError
from emoscope.core.registry import Registry

__all__ = ["LABEL_SETS", "LabelSet", "canonical", "map_probs"]


@dataclass(frozen=True)
class LabelSet:
    """An ordered set of emotion names; column c of a probability array is `labels[c]`."""

    name: str
    labels: tuple[str, ...]

    def index(self, label: str) -> int:
        """Column of a label, in any known spelling. Raises SpecError."""
        name = canonical(label)
        if name not in self.labels:
            raise SpecError(
                f"{label!r} is no label of {self.name}. Known: {', '.join(self.labels)}."
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
    """The house's spelling of a label: lower case, the noun ("Happy" -> "happiness")."""
    name = label.strip().lower()
    return _ALIASES.get(name, name)


def map_probs(
    probs: FloatArray,
    source: tuple[str, ...],
    target: tuple[str, ...],
    mapping: dict[str, str] | None = None,
) -> FloatArray:
    """Probabilities over one label set as probabilities over another.

    (N, len(source)) -> (N, len(target)). Labels of one name (in any spelling) meet; `mapping`
    adds pairs, such as {"calm": "neutral"}. What has no place in the target is left out and
    the rest made to sum to 1; a row with nothing left, like a row of NaN, is NaN. Raises SpecError.
    """
    if np.shape(probs) != (len(probs), len(source)):
        raise SpecError(f"{len(source)} labels need (N, {len(source)}), got {np.shape(probs)}.")
    extra = {canonical(a): canonical(b) for a, b in (mapping or {}).items()}
    columns = {canonical(label): i for i, label in enumerate(target)}
    moved = np.zeros((len(probs), len(target)), dtype=np.float64)
    for i, label in enumerate(source):
        name = extra.get(canonical(label), canonical(label))
        if name in columns:
            moved[:, columns[name]] += probs[:, i]
    total = moved.sum(axis=1, keepdims=True)
    mapped = np.full_like(moved, np.nan)
    np.divide(moved, total, out=mapped, where=total > 0)
    return mapped
