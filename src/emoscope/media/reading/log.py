"""Remarks on a recording that are only known once it has been read."""

import math
from dataclasses import dataclass, field

__all__ = ["ReadLog"]

_TOLERANCE_S = 0.25  # whole files end within 0.02 s of the length that their header states


@dataclass(eq=False)
class ReadLog:
    """Remarks of `read_frames` and `read_sound` on a recording, complete after the last frame.

    notes        one line each, for the user
    ends_early   whether the recording ends before the length that its header states, or before its
                 last packets: it is cut off or damaged, and not all of it was read
    end_s        end of what was read, from time zero
    restarts     whether the file's clock restarts: its header may then state too short a length
    """

    notes: list[str] = field(default_factory=list)
    ends_early: bool = False
    end_s: float = 0.0
    restarts: bool = False

    def add_restarts(self, restarts_s: list[float]) -> None:
        """Note that the file's clock restarted at these times."""
        if not restarts_s:
            return
        self.restarts = True
        times = ", ".join(f"{time_s:.2f} s" for time_s in restarts_s[:3])
        more = f" and {len(restarts_s) - 3} more times" if len(restarts_s) > 3 else ""
        self._add(f"the file's clock restarts at {times}{more}: the parts follow one another")

    def add_end(self, kind: str, end_s: float, expected_s: float, until_s: float | None) -> None:
        """Note that a "picture" or "sound" ends before its expected end, or before `until_s` if
        that is earlier."""
        self.end_s = max(self.end_s, end_s)
        missing_s = min(expected_s, math.inf if until_s is None else until_s) - end_s
        if missing_s > _TOLERANCE_S:
            self.ends_early = True
            ends = f"the {kind} ends at {end_s:.2f} of {expected_s:.2f} s"
            self._add(f"{ends}: the file is cut off or damaged")

    def add_missing_end(self, end_s: float) -> None:
        """Note that the pictures end without the mark that ends a file of this format."""
        self.ends_early = True
        self._add(f"the picture ends at {end_s:.2f} s: the file is cut off, its end is missing")

    def _add(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)
