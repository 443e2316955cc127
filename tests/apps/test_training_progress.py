"""The progress of a training on standard error."""

import math

import pytest

from emoscope.apps import training_progress
from emoscope.apps.training_progress import Console
from emoscope.training.observer import Progress


class Clock:
    """Stands for the module `time`."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(training_progress, "time", clock)
    return clock


def line(console: Console, clock: Clock, capsys: pytest.CaptureFixture[str], left_s: float) -> str:
    """The line that is printed 60 s later."""
    clock.now_s += 60
    capsys.readouterr()
    console.progress(Progress(1, 10, 100, 0.5, math.nan, left_s))
    return capsys.readouterr().err.strip()


# Issue 18, kind 17
def test_the_time_left_is_estimated_from_measured_folds_and_steps(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with Console() as console:
        console.fold_started(0, 4, "a", 0)
        assert line(console, clock, capsys, math.nan).endswith("loss 0.500, estimating time left")
        # One fold takes 120 s + 180 s, and there are three more.
        assert line(console, clock, capsys, 180.0).endswith(", 18:00 left")
        clock.now_s += 180
        console.fold_started(1, 4, "b", 0)
        # The second fold has no estimate of its own: it takes as long as the first one.
        assert line(console, clock, capsys, math.nan).endswith(", 14:00 left")
