"""From sound to moments of one voice, as `moments` does for frames."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from emoscope.analysis.moments import Moment
from emoscope.core.errors import MediaError, ReadError
from emoscope.core.results import Box
from emoscope.media.limits import MAX_SILENT_S
from emoscope.media.people.sightings import Sighting
from emoscope.media.sound.audio import RATE_HZ, Sound, read_sound
from emoscope.media.video import ReadLog, probe

__all__ = ["hearings", "sound_beside", "sound_or_silence"]

_NOWHERE = Box(math.nan, math.nan, math.nan, math.nan)


def hearings(sound: Sound, stride_s: float) -> Iterator[Moment]:
    """Yield one moment per stride, each with one voice: track 0, no box, no picture."""
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
    path: Path, start_s: float, end_s: float | None, log: ReadLog
) -> tuple[Sound, tuple[str, ...]]:
    """The sound of a span, and notes. A video without sound gives silence of its length and a note.

    `log` receives remarks on the file. Raises MediaError as `read_sound` for anything else, and for
    a video without sound that lasts more than 12 hours."""
    try:
        return read_sound(path, start_s=start_s, end_s=end_s, log=log), ()
    except ReadError:
        raise
    except MediaError:
        seconds = _length_without_sound_s(path)
        until_s = seconds if end_s is None else min(seconds, end_s)
        if not 0 <= start_s < until_s:
            raise
        if until_s - start_s > MAX_SILENT_S:
            raise MediaError(
                f"{path}: the file has no sound and lasts {(until_s - start_s) / 3600:.4g} h, more"
                f" than {MAX_SILENT_S / 3600:g}. Analyse a part by start and end."
            ) from None
        # A view of one zero: it takes no memory.
        silence = np.broadcast_to(np.float32(0), round((until_s - start_s) * RATE_HZ))
        return Sound(silence, RATE_HZ, start_s), ("the file has no sound, so no voice is heard",)


def sound_beside(
    path: Path, start_s: float, end_s: float | None, log: ReadLog
) -> tuple[Sound | None, tuple[str, ...]]:
    """The sound of a span of a video, and notes; None and a note if it cannot be decoded.

    `log` receives remarks on the file. Raises ReadError if the system cannot read it."""
    try:
        return read_sound(path, start_s=start_s, end_s=end_s, log=log), ()
    except ReadError:
        raise
    except MediaError as error:
        return None, (f"No voice was heard. {error}",)


def _length_without_sound_s(path: Path) -> float:
    """Length of a video without a sound track; 0 if it has one, or the length is unknown."""
    try:
        info = probe(path)
    except MediaError:
        return 0.0
    return 0.0 if info.has_sound or math.isnan(info.duration_s) else info.duration_s
