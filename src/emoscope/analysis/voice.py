"""Sound in, who is heard when out: what `sightings` is for frames."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from emoscope.analysis.moments import Moment
from emoscope.core.errors import MediaError
from emoscope.core.results import Box
from emoscope.media.people.sightings import Sighting
from emoscope.media.sound.audio import RATE_HZ, Sound, read_sound
from emoscope.media.video import probe

__all__ = ["hearings", "sound_beside", "sound_or_silence"]

_NOWHERE = Box(math.nan, math.nan, math.nan, math.nan)


def hearings(sound: Sound, stride_s: float) -> Iterator[Moment]:
    """One voice, track 0, without box and picture, from the sound's start to its end: a moment a
    stride."""
    voice = Sighting(0, _NOWHERE, np.empty((0, 0, 3), np.uint8))
    strides = max(1, math.ceil((sound.end_s - sound.start_s) / stride_s - 1e-6))
    for k in range(strides):
        end_s = sound.start_s + (k + 1) * stride_s
        yield Moment(
            sound.start_s + k * stride_s,
            sound.end_s if k == strides - 1 else end_s,
            (voice,),
        )


def sound_or_silence(
    path: Path, start_s: float, end_s: float | None
) -> tuple[Sound, tuple[str, ...]]:
    """The sound of a span, and notes: of a film without a sound track it is silence as long as the
    picture, and a note says so. Raises MediaError as `read_sound` for anything else."""
    try:
        return read_sound(path, start_s=start_s, end_s=end_s), ()
    except MediaError:
        seconds = _silent_s(path)
        until_s = seconds if end_s is None else min(seconds, end_s)
        if not 0 <= start_s < until_s:
            raise
        silence = np.zeros(round((until_s - start_s) * RATE_HZ), dtype=np.float32)
        return Sound(silence, RATE_HZ, start_s), ("the file has no sound: nobody is heard",)


def sound_beside(
    path: Path, start_s: float, end_s: float | None
) -> tuple[Sound | None, tuple[str, ...]]:
    """The sound that goes with the pictures of a span; None where there is none that can be read,
    and a note why."""
    try:
        return read_sound(path, start_s=start_s, end_s=end_s), ()
    except MediaError as error:
        return None, (f"No voice was heard. {error}",)


def _silent_s(path: Path) -> float:
    """How long a film without a sound track is; 0 where it does not say, or is none."""
    try:
        info = probe(path)
    except MediaError:
        return 0.0
    return 0.0 if info.has_sound or math.isnan(info.duration_s) else info.duration_s
