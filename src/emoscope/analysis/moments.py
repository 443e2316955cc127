"""From frames to moments: the faces in each analysed frame."""

from collections import deque
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


_STEPS = 1.5  # a moment before a gap lasts this many sampling steps at most
_LATE = 2.0  # the next frame may come this many steps later without a gap
_SPACINGS = 9  # of the latest frames, whose median is the sampling step of an irregular video


@dataclass(frozen=True, eq=False)
class Moment:
    """The faces in one analysed frame, which stands for the time until the next one.

    is_gap   whether it is a stretch of time without frames, in which nobody is seen
    """

    start_s: float
    end_s: float
    sightings: tuple[Sighting, ...]
    is_gap: bool = False


class Moments:
    """Makes the moments of one video from frames that arrive one at a time.

    A moment is final when the next frame gives its end. If that is more than two sampling steps
    away, the moment lasts 1.5 steps, or the frame's own duration if that is longer, and the gap is
    a moment of its own. The step is that of `rate_hz` or the model, or the usual distance of the
    frames if that is longer. Boxes are converted to pixels of the source. The last moment lasts as
    long as its frame, or one step of `rate_hz`, but ends at `until_s` at the latest.
    """

    def __init__(
        self,
        spec: ClipSpec,
        tracker: FaceTracker,
        *,
        rate_hz: float | None = None,
        until_s: float = np.inf,
    ) -> None:
        self._spec, self._tracker = spec, tracker
        self._rate_hz, self._until_s = rate_hz, until_s
        self._waiting: Moment | None = None
        self._step_s = self._frame_s = 0.0  # length of a moment, and of a frame
        self._spacings_s: deque[float] = deque(maxlen=_SPACINGS)

    def push(self, frame: Frame) -> list[Moment]:
        """Add the next frame. Returns the moment that it ends, and the gap after it.

        Raises SpecError for frames out of order."""
        final, waiting = [], self._waiting
        if waiting is not None:
            if frame.time_s < waiting.start_s:
                raise SpecError(
                    f"Frame {frame.index} at {frame.time_s:g} s comes after one at "
                    f"{waiting.start_s:g} s. Give frames in the order of their times."
                )
            final = self._ended(waiting, frame.time_s)
            self._step_s = frame.time_s - waiting.start_s
            self._spacings_s.append(self._step_s)
        faces = tuple(
            replace(seen, box=seen.box.scaled(frame.scale))
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
        # A skipped last frame may end after the step, by up to its own length. A file whose clock
        # restarts is longer than its header states.
        if waiting.start_s <= self._until_s < end_s + self._frame_s + 1e-6:
            end_s = self._until_s
        return [replace(waiting, end_s=end_s)]

    def _ended(self, waiting: Moment, next_s: float) -> list[Moment]:
        """A moment that lasts until the next frame, or a shorter one and the gap after it."""
        rate_hz = self._rate_hz or self._spec.rate_hz
        step_s = 1 / rate_hz if rate_hz else self._frame_s
        usual_s = float(np.median(self._spacings_s)) if self._spacings_s else 0.0
        if usual_s > _STEPS * step_s:
            step_s = usual_s
        length_s = next_s - waiting.start_s
        if not step_s or length_s <= max(_LATE * step_s, self._frame_s) + 1e-6:
            return [replace(waiting, end_s=next_s)]
        end_s = waiting.start_s + max(_STEPS * step_s, self._frame_s)
        return [replace(waiting, end_s=end_s), Moment(end_s, next_s, (), is_gap=True)]


def moments(
    frames: Iterable[Frame],
    spec: ClipSpec,
    tracker: FaceTracker,
    *,
    rate_hz: float | None = None,
    until_s: float = np.inf,
) -> Iterator[Moment]:
    """Yield the moments of all frames; see `Moments` for the parameters."""
    return through(Moments(spec, tracker, rate_hz=rate_hz, until_s=until_s), frames)
