"""Which of several faces speaks: the one whose mouth moves with the sound.

Motion is the mean absolute difference between consecutive crops of a face (grey, 48 x 48). Mouth
motion is that of the middle half of the lower third, divided by that of the upper two thirds, which
cancels the motion of the head and of the detector's box. Loudness is the root mean square of the
sound between the two frames. The logarithms of both are correlated over four seconds around a row.
Limits: chewing, and faces turned away from the camera, are misjudged.
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


_SIDE_PX, _LOWER_PX = 48, 32  # side of a crop, and start of its lower third
_MOUTH = (slice(_LOWER_PX, None), slice(12, 36))
_STILL, _SILENT = 0.5, 0.003  # noise floors: in grey levels, and as a share of full scale
_WINDOW_S = 4.0
_FEWEST = 8  # frames needed for a correlation


@dataclass(eq=False)
class _Mouth:
    """The mouth motion of one face between consecutive frames."""

    spans_s: list[tuple[float, float]] = field(default_factory=list)
    motion: list[float] = field(default_factory=list)


class Mouths:
    """Collects the mouth motion of all faces, to find afterwards who spoke."""

    def __init__(self) -> None:
        self._mouths: dict[int, _Mouth] = defaultdict(_Mouth)
        self._last: dict[int, FloatArray] = {}
        self._last_s = 0.0

    def see(self, moment: Moment) -> None:
        """Add the next moment. Call it for every moment, in order."""
        crops = {seen.track: _small(seen.picture) for seen in moment.sightings}
        for track in crops.keys() & self._last.keys():
            change = np.abs(crops[track] - self._last[track])
            mouth = self._mouths[track]
            mouth.spans_s.append((self._last_s, moment.start_s))
            moved, rest = change[_MOUTH].mean(), change[:_LOWER_PX].mean()
            mouth.motion.append(math.log((moved + _STILL) / (rest + _STILL)))
        self._last, self._last_s = crops, moment.start_s

    def speaking(self, rows: Timeline, sound: Sound) -> BoolArray:
        """(N,) True for the rows that the sound belongs to.

        Of rows that start together it is the one with the highest correlation of mouth and sound,
        if that is above 0. Rows without a face are True."""
        has_no_face = rows.track == NO_TRACK
        correlation = np.full(len(rows), -np.inf)
        middle_s = rows.spans_s.mean(axis=1)
        for track, mouth in self._mouths.items():
            is_this = rows.track == track
            correlation[is_this] = _correlation(mouth, sound, middle_s[is_this])
        _, start = np.unique(rows.spans_s[:, 0], return_inverse=True)
        start = start.reshape(-1)
        best = np.full(start.max(initial=-1) + 1, -np.inf)
        np.maximum.at(best, start, correlation)
        return has_no_face | ((correlation > 0) & (correlation == best[start]))


def _small(picture: ByteArray) -> FloatArray:
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    size = (_SIDE_PX, _SIDE_PX)
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), dtype=np.float64)


def _correlation(mouth: _Mouth, sound: Sound, at_s: FloatArray) -> FloatArray:
    """(R,) correlation of mouth motion and loudness around each time; -inf with too few frames, or
    where one of them is constant."""
    motion = np.array(mouth.motion)
    loudness = np.array([_loudness(sound, *span) for span in mouth.spans_s])
    middle_s = np.array(mouth.spans_s).mean(axis=1)
    motion, loudness = motion - motion.mean(), loudness - loudness.mean()  # keeps the sums precise
    columns = (np.ones_like(motion), motion, loudness, motion**2, loudness**2, motion * loudness)
    sums = np.vstack([np.zeros(6), np.cumsum(np.column_stack(columns), axis=0)])
    first = np.searchsorted(middle_s, at_s - _WINDOW_S / 2)
    last = np.searchsorted(middle_s, at_s + _WINDOW_S / 2, side="right")
    n, x, y, xx, yy, xy = (sums[last] - sums[first]).T
    spread = (n * xx - x**2).clip(min=0) * (n * yy - y**2).clip(min=0)
    known = (n >= _FEWEST) & (spread > 1e-12)
    correlation = np.full(len(at_s), -np.inf)
    np.divide(n * xy - x * y, np.sqrt(spread), out=correlation, where=known)
    return correlation


def _loudness(sound: Sound, start_s: float, end_s: float) -> float:
    """Logarithm of the root mean square of a span; that of silence if it has no samples."""
    samples = sound.between(start_s, end_s)
    return math.log((float(np.sqrt(np.mean(samples**2))) if len(samples) else 0.0) + _SILENT)
