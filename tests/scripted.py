"""Scripted moments, and the rows that a model of brightness makes of them.

A face is a plain picture, its grey level in percent; what is said of it is that level.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest

from emoscope.analysis.moments import Moment
from emoscope.analysis.rows import FrameRows, WindowRows
from emoscope.analysis.stages import through
from emoscope.core.clipspec import ClipSpec, Sampling, Stream, Uniform, Window
from emoscope.core.results import Box, Timeline
from emoscope.core.votes import DEFAULT_VOTE
from emoscope.media.people.sightings import Sighting

LABELS = ("bright", "dark")
Faces = dict[int, int]  # track -> grey level in percent


def scene(start_s: float, end_s: float, faces: Faces) -> Moment:
    """A moment in which each face is a plain picture; its box is 10 pixels right of the last's."""
    return Moment(
        start_s,
        end_s,
        tuple(
            Sighting(track, Box(10.0 * track, 0, 10.0 * track + 8, 8), plain(level))
            for track, level in faces.items()
        ),
    )


def plain(percent: int) -> np.ndarray:
    return np.full((8, 8, 3), round(percent * 2.55), np.uint8)


def scenes(faces: Sequence[Faces], step_s: float = 0.1, start_s: float = 0.0) -> list[Moment]:
    """One moment every `step_s` seconds."""
    times_s = [start_s + i * step_s for i in range(len(faces) + 1)]
    return [scene(*span, who) for span, who in zip(itertools.pairwise(times_s), faces, strict=True)]


def predict(inputs: dict[str, np.ndarray]) -> np.ndarray:
    """The mean brightness of a clip, and what it lacks to 1."""
    mean = inputs["rgb"].astype(np.float64).mean(axis=(1, 2, 3, 4))
    return np.column_stack([mean, 1 - mean])


def image_spec() -> ClipSpec:
    return ClipSpec(sampling=Uniform(length=1), streams=(Stream(kind="rgb", size_hw=(8, 8)),))


def clip_spec(
    length_s: float = 1.0,
    stride_s: float = 0.5,
    sampling: Sampling = Uniform(length=5),
    rate_hz: float | None = None,
) -> ClipSpec:
    return ClipSpec(
        sampling=sampling,
        rate_hz=rate_hz,
        window=Window(length_s=length_s, stride_s=stride_s),
        streams=(Stream(kind="rgb", size_hw=(8, 8)),),
    )


def by_frame(seen: Iterable[Moment], batch: int = 16, ask: Any = predict) -> Timeline:
    return Timeline.concatenate(through(FrameRows(image_spec(), ask, LABELS, "face", batch), seen))


def by_window(
    seen: Iterable[Moment], spec: ClipSpec, ask: Any = predict, vote: str = DEFAULT_VOTE
) -> Timeline:
    return Timeline.concatenate(through(WindowRows(spec, ask, LABELS, "face", vote=vote), seen))


def brightness(timeline: Timeline) -> list[float]:
    """In percent."""
    return (100 * timeline.probs[:, 0]).round(6).tolist()


def near(*percent: float) -> Any:
    """Grey levels are whole bytes."""
    return pytest.approx(percent, abs=0.21, nan_ok=True)
