"""From frames to moments: the faces in each analysed frame."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from emoscope.analysis.stages import through
from emoscope.core.clipspec import ClipSpec
from emoscope.core.errors import SpecError
from emoscope.media.people.sightings import Sighting, sightings
from emoscope.media.people.tracking import FaceTracker
from emoscope.media.video import Frame

__all__ = ["Moment", "Moments", "moments"]


@dataclass(frozen=True, eq=False)
class Moment:
    """The faces in one analysed frame, which stands for the time until the next one."""

    start_s: float
    end_s: float
    sightings: tuple[Sighting, ...]


class Moments:
    """Makes the moments of one video from frames that arrive one at a time.

    `scale` converts boxes from pixels of the frames to pixels of the source. A moment is final when
    the next frame gives its end. The last moment lasts as long as its frame, or one step of
    `rate_hz`, but ends at `until_s` at the latest.
    """

    def __init__(
        self,
        spec: ClipSpec,
        tracker: FaceTracker,
        *,
        scale: float = 1.0,
        rate_hz: float | None = None,
        until_s: float = np.inf,
    ) -> None:
        self._spec, self._tracker = spec, tracker
        self._scale, self._rate_hz, self._until_s = scale, rate_hz, until_s
        self._waiting: Moment | None = None
        self._step_s = self._frame_s = 0.0  # length of a moment, and of a frame

    def push(self, frame: Frame) -> list[Moment]:
        """Add the next frame. Returns the moment that it ends.

        Raises SpecError for frames out of order."""
        final, waiting = [], self._waiting
        if waiting is not None:
            if frame.time_s < waiting.start_s:
                raise SpecError(
                    f"Frame {frame.index} at {frame.time_s:g} s comes after one at "
                    f"{waiting.start_s:g} s. Give frames in the order of their times."
                )
            final = [replace(waiting, end_s=frame.time_s)]
            self._step_s = frame.time_s - waiting.start_s
        faces = tuple(
            replace(seen, box=seen.box.scaled(self._scale))
            for seen in sightings(frame, self._spec, self._tracker)
        )
        self._waiting = Moment(frame.time_s, frame.time_s, faces)
        self._frame_s = frame.duration_s
        if self._rate_hz is not None:
            self._step_s = max(1 / self._rate_hz, frame.duration_s)
        elif frame.duration_s > 0:
            self._step_s = frame.duration_s
        return final

    def finish(self) -> list[Moment]:
        """The moment of the last frame."""
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return []
        end_s = waiting.start_s + self._step_s
        # A skipped last frame may end after the step, by up to its own length.
        end_s = self._until_s if self._until_s < end_s + self._frame_s + 1e-6 else end_s
        return [replace(waiting, end_s=max(end_s, waiting.start_s))]


def moments(
    frames: Iterable[Frame],
    spec: ClipSpec,
    tracker: FaceTracker,
    *,
    scale: float = 1.0,
    rate_hz: float | None = None,
    until_s: float = np.inf,
) -> Iterator[Moment]:
    """Yield the moments of all frames; see `Moments` for the parameters."""
    stage = Moments(spec, tracker, scale=scale, rate_hz=rate_hz, until_s=until_s)
    return through(stage, frames)
