"""Timelines of several models as one: rows that meet in time, and the rule that joins them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from emoscope.core.arrays import BoolArray, FloatArray, StrArray
from emoscope.core.labels import map_probs
from emoscope.core.results import Timeline

__all__ = ["Said", "heard_during", "joined"]

Fuse = Callable[[Mapping[str, FloatArray]], FloatArray]  # {model: (N, C)} -> (N, C)

_INSTANT_S = 1e-6  # what a row of no length, as of a single image, takes of the sound


@dataclass(frozen=True, eq=False)
class Said:
    """What one model says of the rows."""

    name: str
    modality: str
    labels: tuple[str, ...]
    probs: FloatArray  # (N, its labels), NaN where it does not speak
    maps: Mapping[str, str] = field(
        default_factory=dict
    )  # label -> label, beside those of one name


def joined(rows: Timeline, said: Sequence[Said], labels: tuple[str, ...], fuse: Fuse) -> Timeline:
    """The same rows with fused probabilities; `modalities` names who spoke in each.

    Each model's probabilities are first carried over to `labels` by `core.labels.map_probs`: a
    class that has no place there is left out, and the others are made to sum to 1."""
    probs = {
        one.name: map_probs(one.probs, one.labels, labels, dict(one.maps))
        if len(rows)
        else np.empty((0, len(labels)))
        for one in said
    }
    fused = fuse(probs)
    speaks = np.array([~np.isnan(values).any(axis=1) for values in probs.values()])
    modalities = _named(speaks, [one.modality for one in said])
    return replace(rows, probs=fused, labels=labels, modalities=modalities)


def heard_during(spans_s: FloatArray, voice: Timeline) -> FloatArray:
    """(N, C) what a voice says during each span (N, 2): the mean of its rows that overlap the span,
    weighted by the time they share with it. NaN where none does that has probabilities."""
    said = voice.probs[voice.seen]
    starts, ends = voice.spans_s[voice.seen].T
    if not len(said):
        return np.full((len(spans_s), len(voice.labels)), np.nan)
    # The integral of what is said over time, at the rows' own ends; it is straight in between.
    times_s = np.column_stack([starts, ends]).ravel()
    lengths = np.maximum(ends - starts, 0.0)[:, None]
    parts = lengths * np.hstack([said, np.ones((len(said), 1))])
    integral = np.vstack([np.zeros(parts.shape[1]), np.cumsum(parts, axis=0)])
    knots = np.stack([integral[:-1], integral[1:]], axis=1).reshape(len(times_s), -1)
    first = spans_s[:, 0]
    last = np.maximum(spans_s[:, 1], first + _INSTANT_S)
    within = np.column_stack(
        [np.interp(last, times_s, knot) - np.interp(first, times_s, knot) for knot in knots.T]
    )
    shared_s = within[:, -1:]
    mean = np.full((len(spans_s), len(voice.labels)), np.nan)
    np.divide(within[:, :-1], shared_s, out=mean, where=shared_s > _INSTANT_S / 2)
    return mean


def _named(speaks: BoolArray, modalities: Sequence[str]) -> StrArray:
    """(M, N) who speaks -> (N,) "face+voice" ..., each modality once, in the models' order."""
    patterns, which = np.unique(speaks.T, axis=0, return_inverse=True)
    names = [
        "+".join(
            dict.fromkeys(
                part
                for modality, speaks in zip(modalities, row, strict=True)
                if speaks
                for part in modality.split("+")
            )
        )
        for row in patterns.tolist()
    ]
    return np.array(names, dtype=np.str_)[which.reshape(-1)]
