"""Whose mouth moves with the sound: which of several faces speaks.

Motion is the mean absolute difference of a face's crop (grey, 48 x 48) from one look to the next. A
mouth's is that of the middle half of the crop's lower third, over that of the upper two thirds, for
what the head and the detector's box do, both do. Loudness is the sound's root mean square between
the two looks. Their logarithms are correlated over four seconds around a row. It is a plain
measure: a mouth that chews, or a face turned away from the camera, misleads it.
"""

import math
from collections import defaultdict
from dataclasses import dataclass, field

import cv2
import numpy as np

from emoscope.analysis.moments import Moment
from emoscope.core.arrays import BoolArray, ByteArray, FloatArray
from emoscope.core.results import NO_TRACK, Timeline
from emoscope.media.sound.audio import Sound

__all__ = ["Mouths"]


_SIDE_PX, _LOWER_PX = 48, 32  # of a crop, and where its lower third begins
_MOUTH = (slice(_LOWER_PX, None), slice(12, 36))
_STILL, _SILENT = 0.5, 0.003  # grey levels, and of full scale: noise, which is no motion or sound
_WINDOW_S = 4.0
_FEWEST = 8  # looks in a window that a correlation is read off


@dataclass(eq=False)
class _Mouth:
    """The motion of one face between looks."""

    spans_s: list[tuple[float, float]] = field(default_factory=list)
    motion: list[float] = field(default_factory=list)


class Mouths:
    """Watches faces as they are looked at, and tells afterwards who spoke."""

    def __init__(self) -> None:
        self._mouths: dict[int, _Mouth] = defaultdict(_Mouth)
        self._last: dict[int, FloatArray] = {}
        self._last_s = 0.0

    def see(self, moment: Moment) -> None:
        """To be told of every moment, in order."""
        crops = {seen.track: _small(seen.picture) for seen in moment.sightings}
        for track in crops.keys() & self._last.keys():
            change = np.abs(crops[track] - self._last[track])
            mouth = self._mouths[track]
            mouth.spans_s.append((self._last_s, moment.start_s))
            moved, rest = change[_MOUTH].mean(), change[:_LOWER_PX].mean()
            mouth.motion.append(math.log((moved + _STILL) / (rest + _STILL)))
        self._last, self._last_s = crops, moment.start_s

    def speaking(self, rows: Timeline, sound: Sound) -> BoolArray:
        """(N,) the rows that the sound belongs to: of those that start together, the one whose
        mouth follows it best, if any does so at all (its correlation is above 0); and rows without
        a face."""
        chosen = rows.track == NO_TRACK
        follows = np.full(len(rows), -np.inf)
        middle_s = rows.spans_s.mean(axis=1)
        for track, mouth in self._mouths.items():
            mine = rows.track == track
            follows[mine] = _follows(mouth, sound, middle_s[mine])
        _, when = np.unique(rows.spans_s[:, 0], return_inverse=True)
        best = np.full(when.max(initial=-1) + 1, -np.inf)
        np.maximum.at(best, when.reshape(-1), follows)
        return chosen | ((follows > 0) & (follows == best[when.reshape(-1)]))


def _small(picture: ByteArray) -> FloatArray:
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    size = (_SIDE_PX, _SIDE_PX)
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), dtype=np.float64)


def _follows(mouth: _Mouth, sound: Sound, at_s: FloatArray) -> FloatArray:
    """(R,) correlation of a mouth's motion with the loudness around each time; -inf where there are
    too few looks, or nothing changes."""
    loud = [_loudness(sound, *span) for span in mouth.spans_s]
    motion, loudness = np.array(mouth.motion), np.array(loud)
    middle_s = np.array(mouth.spans_s).mean(axis=1)
    motion, loudness = motion - motion.mean(), loudness - loudness.mean()  # for the sums' digits
    columns = (np.ones_like(motion), motion, loudness, motion**2, loudness**2, motion * loudness)
    sums = np.vstack([np.zeros(6), np.cumsum(np.column_stack(columns), axis=0)])
    first = np.searchsorted(middle_s, at_s - _WINDOW_S / 2)
    last = np.searchsorted(middle_s, at_s + _WINDOW_S / 2, side="right")
    n, x, y, xx, yy, xy = (sums[last] - sums[first]).T
    spread = (n * xx - x**2).clip(min=0) * (n * yy - y**2).clip(min=0)
    known = (n >= _FEWEST) & (spread > 1e-12)
    found = np.full(len(at_s), -np.inf)
    np.divide(n * xy - x * y, np.sqrt(spread), out=found, where=known)
    return found


def _loudness(sound: Sound, start_s: float, end_s: float) -> float:
    """The logarithm of the root mean square, that of silence where there is no sound."""
    heard = sound.between(start_s, end_s)
    return math.log((float(np.sqrt(np.mean(heard**2))) if len(heard) else 0.0) + _SILENT)
