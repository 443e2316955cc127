"""Sound in, who is heard when out: what `sightings` is for frames."""

import math
from collections.abc import Iterator

import numpy as np

from emoscope.analysis.sightings import Moment
from emoscope.core.results import Box
from emoscope.media.audio import Sound
from emoscope.media.regions import Sighting

__all__ = ["hearings"]

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
