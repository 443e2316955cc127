"""Frames in, who is seen when out: the common first half of every analysis."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from emoscope.core.clipspec import ClipSpec
from emoscope.core.errors import SpecError
from emoscope.media.people.sightings import Sighting, sightings
from emoscope.media.people.tracking import FaceTracker
from emoscope.media.video import Frame

__all__ = ["Moment", "moments"]


@dataclass(frozen=True, eq=False)
class Moment:
    """A frame that was looked at: it stands for the time until the next one."""

    start_s: float
    end_s: float
    sightings: tuple[Sighting, ...]


def moments(
    frames: Iterable[Frame],
    spec: ClipSpec,
    tracker: FaceTracker,
    *,
    scale: float = 1.0,
    rate_hz: float | None = None,
    until_s: float = np.inf,
) -> Iterator[Moment]:
    """Who is seen in each frame, each given once the next one tells how long it lasts.

    `scale` takes a box from the frames' pixels to the source's. The last moment lasts as long as
    its frame does, or one step of `rate_hz`, but not beyond `until_s`. Raises SpecError for frames
    out of order.
    """
    waiting: Moment | None = None
    lasts_s = shown_s = 0.0
    for frame in frames:
        if waiting is not None:
            if frame.time_s < waiting.start_s:
                raise SpecError(
                    f"Frame {frame.index} at {frame.time_s:g} s comes after one at "
                    f"{waiting.start_s:g} s. Give frames in the order of their times."
                )
            yield replace(waiting, end_s=frame.time_s)
            lasts_s = frame.time_s - waiting.start_s
        found = tuple(
            replace(seen, box=seen.box.scaled(scale)) for seen in sightings(frame, spec, tracker)
        )
        waiting, shown_s = Moment(frame.time_s, frame.time_s, found), frame.duration_s
        if rate_hz is not None:
            lasts_s = max(1 / rate_hz, frame.duration_s)
        elif frame.duration_s > 0:
            lasts_s = frame.duration_s
    if waiting is not None:
        end_s = waiting.start_s + lasts_s
        # A last frame that was passed over may reach beyond the step, by as much as one lasts.
        end_s = until_s if until_s < end_s + shown_s + 1e-6 else end_s
        yield replace(waiting, end_s=max(end_s, waiting.start_s))
