"""From frames to moments: the faces in each analysed frame."""

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
    """The faces in one analysed frame, which stands for the time until the next one."""

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
    """Yield the moment of each frame, as soon as the next frame gives its end.

    `scale` converts boxes from pixels of the frames to pixels of the source. The last moment lasts
    as long as its frame, or one step of `rate_hz`, but ends at `until_s` at the latest. Raises
    SpecError for frames out of order.
    """
    waiting: Moment | None = None
    step_s = frame_s = 0.0  # length of a moment, and of a frame
    for frame in frames:
        if waiting is not None:
            if frame.time_s < waiting.start_s:
                raise SpecError(
                    f"Frame {frame.index} at {frame.time_s:g} s comes after one at "
                    f"{waiting.start_s:g} s. Give frames in the order of their times."
                )
            yield replace(waiting, end_s=frame.time_s)
            step_s = frame.time_s - waiting.start_s
        faces = tuple(
            replace(seen, box=seen.box.scaled(scale)) for seen in sightings(frame, spec, tracker)
        )
        waiting, frame_s = Moment(frame.time_s, frame.time_s, faces), frame.duration_s
        if rate_hz is not None:
            step_s = max(1 / rate_hz, frame.duration_s)
        elif frame.duration_s > 0:
            step_s = frame.duration_s
    if waiting is not None:
        end_s = waiting.start_s + step_s
        # A skipped last frame may end after the step, by up to its own length.
        end_s = until_s if until_s < end_s + frame_s + 1e-6 else end_s
        yield replace(waiting, end_s=max(end_s, waiting.start_s))
