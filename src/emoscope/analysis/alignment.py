"""Fuse the predictions of several models into the rows of one Timeline."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from emoscope.core.arrays import BoolArray, FloatArray, StrArray
from emoscope.core.labels import map_probs
from emoscope.core.results import Timeline

__all__ = ["Fuse", "MemberPredictions", "combine", "voice_during"]

Fuse = Callable[[Mapping[str, FloatArray]], FloatArray]  # {model: (N, C)} -> (N, C)

_INSTANT_S = 1e-6  # length given to rows of no length, such as that of a single image


@dataclass(frozen=True, eq=False)
class MemberPredictions:
    """The predictions of one model for the rows of a Timeline.

    maps   label of the model -> label of the system, where their names differ
    """

    name: str
    modality: str
    labels: tuple[str, ...]
    probs: FloatArray  # (N, labels), NaN where the model has no answer
    maps: Mapping[str, str] = field(default_factory=dict)


def combine(
    rows: Timeline,
    members: Sequence[MemberPredictions],
    labels: tuple[str, ...],
    fuse: Fuse,
) -> Timeline:
    """The same rows with fused probabilities; `modalities` names the members that had an answer.

    The probabilities of each model are first converted to `labels` by `core.labels.map_probs`: a
    class without a counterpart is left out, and the others are normalised to sum to 1."""
    probs = {
        member.name: map_probs(member.probs, member.labels, labels, dict(member.maps))
        if len(rows)
        else np.empty((0, len(labels)))
        for member in members
    }
    fused = fuse(probs)
    answered = np.array([~np.isnan(values).any(axis=1) for values in probs.values()])
    modalities = _names_of_present(answered, [member.modality for member in members])
    return replace(rows, probs=fused, labels=labels, modalities=modalities)


def voice_during(
    spans_s: FloatArray, voice: Timeline, least_share: FloatArray | float = 0.0
) -> FloatArray:
    """Mean prediction of a voice during each span: (N, 2) -> (N, C).

    The voice's rows are weighted by the time they share with the span. NaN where no row with
    probabilities overlaps it, or where they cover less than `least_share` (N,) of it."""
    probs = voice.probs[voice.seen]
    starts, ends = voice.spans_s[voice.seen].T
    if not len(probs):
        return np.full((len(spans_s), len(voice.labels)), np.nan)
    # The integral of the probabilities over time is linear between the ends of the rows.
    times_s = np.column_stack([starts, ends]).ravel()
    lengths = np.maximum(ends - starts, 0.0)[:, None]
    parts = lengths * np.hstack([probs, np.ones((len(probs), 1))])
    integral = np.vstack([np.zeros(parts.shape[1]), np.cumsum(parts, axis=0)])
    knots = np.stack([integral[:-1], integral[1:]], axis=1).reshape(len(times_s), -1)
    first = spans_s[:, 0]
    last = np.maximum(spans_s[:, 1], first + _INSTANT_S)
    within = np.column_stack(
        [np.interp(last, times_s, knot) - np.interp(first, times_s, knot) for knot in knots.T]
    )
    shared_s = within[:, -1:]
    least_s = np.maximum(least_share * (last - first), _INSTANT_S / 2)[:, None]
    mean = np.full((len(spans_s), len(voice.labels)), np.nan)
    np.divide(within[:, :-1], shared_s, out=mean, where=shared_s > least_s)
    return mean


def _names_of_present(answered: BoolArray, modalities: Sequence[str]) -> StrArray:
    """(M, N) -> (N,) "face+voice" ..., each modality once, in the order of the models."""
    patterns, pattern_of_row = np.unique(answered.T, axis=0, return_inverse=True)
    names = [
        "+".join(
            dict.fromkeys(
                part
                for modality, is_present in zip(modalities, pattern, strict=True)
                if is_present
                for part in modality.split("+")
            )
        )
        for pattern in patterns.tolist()
    ]
    return np.array(names, dtype=np.str_)[pattern_of_row.reshape(-1)]
