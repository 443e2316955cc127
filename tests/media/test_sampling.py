import numpy as np
import pytest

from emoscope.core.clipspec import Last, Offsets, Uniform
from emoscope.core.errors import SpecError
from emoscope.media.sampling import (
    grid_indices,
    last_indices,
    offset_indices,
    sample_indices,
    sliding_windows,
    uniform_indices,
)

SIZES = [(n, length) for length in (1, 2, 5, 16, 32) for n in range(length, 3 * length + 2)]


@pytest.mark.parametrize(("num_frames", "length"), SIZES)
def test_uniform_takes_the_frame_at_the_middle_of_every_segment(
    num_frames: int, length: int
) -> None:
    picked = uniform_indices(num_frames, length)
    segment = num_frames / length
    middle = (np.arange(length) + 0.5) * segment
    assert np.all(picked <= middle)
    assert np.all(middle < picked + 1)  # frame i is shown from i to i + 1
    assert np.all(np.diff(picked) >= 1)


def test_uniform_by_hand() -> None:
    assert uniform_indices(32, 4).tolist() == [4, 12, 20, 28]
    assert uniform_indices(5, 5).tolist() == [0, 1, 2, 3, 4]
    assert uniform_indices(9, 1).tolist() == [4]


def test_jitter_stays_in_its_segment_and_reaches_all_of_it() -> None:
    rng = np.random.default_rng(0)
    draws = np.array([uniform_indices(40, 8, rng) for _ in range(300)])
    for segment in range(8):
        assert set(draws[:, segment]) == set(range(5 * segment, 5 * segment + 5))


@pytest.mark.parametrize(("num_frames", "length"), [(41, 8), (9, 7), (7, 7), (33, 32)])
def test_jitter_keeps_order_where_segments_share_a_frame(num_frames: int, length: int) -> None:
    rng = np.random.default_rng(0)
    first = np.floor(np.arange(length) * num_frames / length)
    last = np.ceil((np.arange(length) + 1) * num_frames / length) - 1
    for _ in range(50):
        picked = uniform_indices(num_frames, length, rng)
        assert np.all((first <= picked) & (picked <= last))
        assert np.all(np.diff(picked) >= 0)


@pytest.mark.parametrize("rng", [None, np.random.default_rng(0)])
def test_a_clip_too_short_repeats_its_last_frame(rng: np.random.Generator | None) -> None:
    assert uniform_indices(3, 6, rng).tolist() == [0, 1, 2, 2, 2, 2]
    assert uniform_indices(1, 3, rng).tolist() == [0, 0, 0]


def test_last_takes_the_end_and_repeats_the_first_frame_in_front() -> None:
    assert last_indices(12, 4).tolist() == [8, 9, 10, 11]
    assert last_indices(4, 4).tolist() == [0, 1, 2, 3]
    assert last_indices(2, 4).tolist() == [0, 0, 0, 1]


def test_offsets_count_from_the_end_as_in_python() -> None:
    frames = list(range(20))
    assert offset_indices(20, (-15, -1)).tolist() == [frames[-15], frames[-1]]
    assert offset_indices(20, (0, 3)).tolist() == [0, 3]


def test_offsets_beyond_a_short_clip_become_its_nearest_end() -> None:
    assert offset_indices(10, (-15, -1)).tolist() == [0, 9]
    assert offset_indices(3, (0, 7)).tolist() == [0, 2]


@pytest.mark.parametrize(("num_frames", "length", "stride"), [(10, 4, 1), (10, 4, 3), (5, 5, 2)])
def test_sliding_windows_are_all_blocks_that_fit(num_frames: int, length: int, stride: int) -> None:
    windows = sliding_windows(num_frames, length, stride)
    expected = [
        list(range(start, start + length)) for start in range(0, num_frames - length + 1, stride)
    ]
    assert windows.tolist() == expected


def test_a_clip_shorter_than_a_window_is_one_window() -> None:
    assert sliding_windows(2, 4).tolist() == [[0, 1, 1, 1]]


@pytest.mark.parametrize(("length", "stride"), [(0, 1), (3, 0), (3, -1)])
def test_windows_without_length_or_stride_are_refused(length: int, stride: int) -> None:
    with pytest.raises(SpecError, match="at least 1"):
        sliding_windows(5, length, stride)


@pytest.mark.parametrize("tick_s", [None, 1 / 1000, 1 / 600, 1 / 90_000])
@pytest.mark.parametrize("start_s", [0.0, 0.0337, 11.4])
@pytest.mark.parametrize(("rate_hz", "every"), [(10.0, 3), (15.0, 2), (30.0, 1), (7.5, 4)])
def test_a_grid_that_divides_the_frame_rate_takes_every_nth_frame(
    rate_hz: float, every: int, start_s: float, tick_s: float | None
) -> None:
    if tick_s == 1 / 600:
        start_s = 0.0  # QuickTime's clock holds 30 fps exactly, from a whole start
    times = start_s + np.arange(61) / 30
    if tick_s is not None:
        times = np.round(times / tick_s) * tick_s
    assert grid_indices(times.tolist(), rate_hz).tolist() == list(range(0, 61, every))


def test_a_long_frame_of_a_variable_rate_is_repeated() -> None:
    times = [0.0, 0.1, 0.2, 0.75, 0.8, 1.0]
    assert grid_indices(times, 10.0).tolist() == [0, 1, 2, 2, 2, 2, 2, 2, 4, 4, 5]


def test_a_grid_finer_than_the_video_repeats_and_never_looks_ahead() -> None:
    times = np.cumsum(np.random.default_rng(0).uniform(0.01, 0.3, size=40))
    picked = grid_indices(times.tolist(), 25.0)
    instants = times[0] + np.arange(len(picked)) / 25.0
    assert np.all(times[picked] <= instants + 1.1e-3)
    following = np.append(times, np.inf)[picked + 1]
    assert np.all(following > instants)


def test_one_frame_makes_a_grid_of_one_instant() -> None:
    assert grid_indices([3.2], 10.0).tolist() == [0]


def test_sampling_rules_of_a_spec_are_applied() -> None:
    assert sample_indices(Last(length=2), 5).tolist() == [3, 4]
    assert sample_indices(Offsets(offsets=(-3, -1)), 5).tolist() == [2, 4]
    assert sample_indices(Uniform(length=2), 8).tolist() == [2, 6]


def test_jitter_needs_both_the_rule_and_a_generator() -> None:
    jittered, plain = Uniform(length=8, jitter=True), Uniform(length=8)
    middle = uniform_indices(800, 8).tolist()
    assert sample_indices(jittered, 800).tolist() == middle
    assert sample_indices(plain, 800, np.random.default_rng(0)).tolist() == middle
    assert sample_indices(jittered, 800, np.random.default_rng(0)).tolist() != middle


@pytest.mark.parametrize("rule", [Uniform(length=2), Last(length=2), Offsets(offsets=(-1,))])
def test_a_clip_of_no_frames_is_refused(rule: Uniform | Last | Offsets) -> None:
    with pytest.raises(SpecError, match="at least one frame"):
        sample_indices(rule, 0)


def test_windows_and_grids_of_no_frames_are_refused() -> None:
    with pytest.raises(SpecError, match="at least one frame"):
        sliding_windows(0, 2)
    with pytest.raises(SpecError, match="at least one frame"):
        grid_indices([], 10.0)
