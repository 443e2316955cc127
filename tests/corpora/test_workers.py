import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from slow_jobs import half_written, process_of, squared

from emoscope.core.errors import EmoscopeError
from emoscope.corpora.workers import Crashed, each_in_processes

Processes = Callable[[], set[Any]]


@pytest.fixture
def left_behind() -> Processes:
    """The processes that are alive and were not before this test: a loader of another test's may
    live until it is collected."""
    earlier = set(multiprocessing.active_children())
    return lambda: set(multiprocessing.active_children()) - earlier


def test_every_item_is_done_once_even_if_one_kills_its_process(left_behind: Processes) -> None:
    numbers = [1, 2, 13, 3, 4]
    done = dict(each_in_processes(squared, numbers, workers=2))
    assert done == {1: 1, 2: 4, 3: 9, 4: 16, 13: Crashed(7)}
    assert left_behind() == set()


def test_the_work_is_shared(tmp_path: Path) -> None:
    by = {result for _, result in each_in_processes(process_of, [tmp_path] * 2, workers=2)}
    assert len(by) == 2
    assert os.getpid() not in by


def test_one_worker_is_this_process(tmp_path: Path) -> None:
    (tmp_path / "another").touch()
    done = list(each_in_processes(process_of, [tmp_path], workers=1))
    assert done == [(tmp_path, os.getpid())]


def test_an_error_in_a_job_is_raised_here_and_ends_the_other_processes(
    left_behind: Processes,
) -> None:
    with pytest.raises(EmoscopeError, match="99: no such number"):
        list(each_in_processes(squared, [99, 1, 2], workers=2))
    assert left_behind() == set()


def test_closing_the_iterator_ends_all_processes(left_behind: Processes) -> None:
    results = each_in_processes(squared, range(10), workers=2)
    next(results)
    results.close()
    assert left_behind() == set()


def test_a_stopped_process_deletes_its_temporary_file(tmp_path: Path) -> None:
    results = each_in_processes(half_written, [tmp_path / "slow", tmp_path / "quick"], workers=2)
    assert next(results) == (tmp_path / "quick", None)
    results.close()
    assert list(tmp_path.iterdir()) == []
