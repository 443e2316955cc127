"""Analysis of live pictures: frames are checked, and pushed through the stages one at a time."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import numpy as np

from emoscope.analysis.stages import Stage
from emoscope.core.arrays import Picture
from emoscope.core.errors import SpecError
from emoscope.core.results import Timeline
from emoscope.media.reading.decoding import Grid
from emoscope.media.video import Frame

__all__ = ["Session"]


class Session:
    """The analysis of one live video, whose pictures are pushed one at a time.

    Made by `Analyzer.session`. A session serves one thread at a time; every thread may have its
    own. As a context manager it is closed at the end of the block.

    >>> import numpy as np
    >>> from emoscope import Analyzer
    >>> analyzer = Analyzer(detector="none", rate_hz=5, smooth_s=0)
    >>> grey = np.full((120, 160, 3), 128, dtype=np.uint8)
    >>> with analyzer.session() as session:
    ...     lengths = [len(session.push(grey, k / 5)) for k in range(3)]
    ...     rest = session.finish()
    >>> lengths, len(rest)
    ([0, 1, 1], 1)
    """

    def __init__(
        self,
        stages: Sequence[Stage[Any, Any]],
        *,
        rate_hz: float | None,
        empty: Timeline,
        release: Callable[[], None],
    ) -> None:
        """`stages` turn a Frame into Timelines; `empty` has their labels and provenance; `release`
        is called once, when the session ends."""
        self._stages, self._empty, self._release = stages, empty, release
        self._grid = Grid(rate_hz)
        self._count, self._last_s = 0, 0.0
        self._is_open = True

    def push(self, rgb: Picture, time_s: float) -> Timeline:
        """Add the next picture. Returns the rows that have become final, often none.

        rgb      (H, W, 3) uint8, red first. OpenCV's pictures are blue first: give
                 `cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)`. The array is copied and may be reused. Its
                 size may change
        time_s   seconds on a clock that starts at 0 or later and never goes back

        Pictures closer together than `rate_hz` are skipped. Raises SpecError for any other picture
        or time; it is not added, and the session can go on. A clock that restarts needs a session
        of its own.
        """
        return self._joined(self._parts(Frame(rgb, time_s, self._count)))

    def finish(self) -> Timeline:
        """End the session. Returns the remaining rows, none if it has ended before."""
        return self._joined(self._rest())

    def close(self) -> None:
        """End the session without its remaining rows."""
        if self._is_open:
            self._is_open = False
            self._release()

    def run(self, frames: Iterator[Frame]) -> Iterator[Timeline]:
        """Yield the rows of all frames as they become final, for `Analyzer.stream`."""
        with self:
            for frame in frames:
                yield from self._parts(frame)
            yield from self._rest()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _parts(self, frame: Frame) -> Iterator[Timeline]:
        """Check a frame, and pass it through all stages."""
        if not self._is_open:
            raise SpecError("The session has ended. Start another one with Analyzer.session().")
        _check(frame, self._count, self._last_s)
        self._count, self._last_s = self._count + 1, float(frame.time_s)
        if self._grid.takes(frame.time_s):
            # The caller may reuse the array, and cv2 needs one in the usual layout.
            yield from self._passed([replace(frame, rgb=np.array(frame.rgb, order="C"))], 0)

    def _rest(self) -> Iterator[Timeline]:
        """Yield the rows that the stages still hold, from the first to the last."""
        if not self._is_open:
            return
        for index, stage in enumerate(self._stages):
            yield from self._passed(stage.finish(), index + 1)
        self.close()

    def _passed(self, items: list[Any], first: int) -> Iterator[Timeline]:
        """Pass items through the stages from number `first` on."""
        for stage in self._stages[first:]:
            items = [result for item in items for result in stage.push(item)]
        for rows in items:
            yield replace(rows, provenance=self._empty.provenance)

    def _joined(self, parts: Iterator[Timeline]) -> Timeline:
        return Timeline.concatenate([self._empty, *parts])


def _check(frame: Frame, number: int, last_s: float) -> None:
    """Raise SpecError for a frame that is not RGB uint8, or whose time is out of order."""
    if not isinstance(frame, Frame):
        raise SpecError(
            f"Frame {number} is a {type(frame).__name__}, not an emoscope.media.video.Frame. For "
            "plain arrays use Analyzer.session()."
        )
    time_s: object = frame.time_s
    if not isinstance(time_s, (int, float, np.integer, np.floating)) or not math.isfinite(time_s):
        raise SpecError(f"Frame {number} has the time {time_s!r}. Give a number of seconds.")
    if time_s < 0:
        raise SpecError(f"Frame {number} is at {time_s:g} s. Give times from 0 s on.")
    if time_s < last_s:
        raise SpecError(
            f"Frame {number} at {time_s:g} s comes after one at {last_s:g} s. Give frames in the "
            "order of their times; begin another stream or session where the clock restarts."
        )
    if not 0 <= frame.duration_s < math.inf:
        raise SpecError(
            f"Frame {number} lasts {frame.duration_s} s. Give its length in seconds, or 0 if it is "
            "unknown."
        )
    if problem := _problem(frame.rgb):
        raise SpecError(f"Frame {number} must be (H, W, 3) RGB uint8, got {problem}")


def _problem(rgb: object) -> str:
    """The fault of a picture and its remedy; "" if there is none."""
    if not isinstance(rgb, np.ndarray):
        return f"a {type(rgb).__name__}. Convert it with np.asarray."
    shape = f"the shape {rgb.shape}"
    if not rgb.size:
        return f"{shape}: it has no pixels."
    if rgb.ndim == 2 or (rgb.ndim == 3 and rgb.shape[2] == 1):
        return f"{shape}. Convert grey with cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)."
    if rgb.ndim == 3 and rgb.shape[2] == 4:
        return f"{shape}. Drop the alpha channel: rgba[..., :3]."
    if rgb.ndim == 3 and rgb.shape[0] == 3 != rgb.shape[2]:
        return f"{shape}. Put the channels last: picture.transpose(1, 2, 0)."
    if rgb.ndim != 3 or rgb.shape[2] != 3:
        return f"{shape}. Give one picture at a time."
    if rgb.dtype == np.uint8:
        return ""
    if rgb.dtype == np.uint16:
        return "uint16. Divide by 257 and convert to uint8."
    if np.issubdtype(rgb.dtype, np.floating):
        return f"{rgb.dtype}. Scale it to 0 to 255 and convert to uint8."
    return f"{rgb.dtype}. Convert it to uint8."
