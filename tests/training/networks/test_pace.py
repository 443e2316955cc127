"""The time left is estimated from measured steps, by a clock that the tests turn."""

import math

from emoscope.training.networks.pace import Pace


class Clock:
    """A clock that stands still until it is turned."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def trained(pace: Pace, clock: Clock, *batches_s: float, pause_s: float = 0.0) -> None:
    """One epoch of batches that take these times, and the pause after it."""
    pace.epoch_started()
    for batch_s in batches_s:
        clock.now_s += batch_s
        pace.batch_done()
    clock.now_s += pause_s


# Issue 18, kind 17: the first step of a 17-minute training promised two and a half hours
def test_nothing_is_promised_after_the_first_steps() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.epoch_started()
    for batch_s in (9.0, 3.0, 1.0, *[1.0] * 7):
        clock.now_s += batch_s
        pace.batch_done()
        assert math.isnan(pace.seconds_left(1000, 9))
    clock.now_s += 1.0
    pace.batch_done()
    assert pace.seconds_left(1010, 9) == 1010, "the slow first steps do not count"


def test_single_slow_steps_do_not_move_the_estimate() -> None:
    clock = Clock()
    pace = Pace(clock)
    trained(pace, clock, *[1.0] * 20, 60.0, *[1.0] * 5, 30.0)
    assert pace.seconds_left(100, 0) == 100


def test_the_epoch_that_fills_the_caches_does_not_count_once_there_is_another() -> None:
    clock = Clock()
    pace = Pace(clock)
    trained(pace, clock, *[8.0] * 30, pause_s=50.0)
    assert pace.seconds_left(30, 0) == 240
    trained(pace, clock, *[1.0] * 30, pause_s=5.0)
    trained(pace, clock, *[1.0] * 10, pause_s=0.0)
    assert pace.seconds_left(20 + 2 * 30, 3) == 80 + 3 * 5


def test_pauses_between_epochs_count() -> None:
    clock = Clock()
    pace = Pace(clock)
    trained(pace, clock, *[1.0] * 20, pause_s=10.0)
    pace.epoch_started()
    assert pace.seconds_left(40, 2) == 40 + 2 * 10


def test_nothing_is_left_at_the_end() -> None:
    assert Pace(Clock()).seconds_left(0, 0) == 0
