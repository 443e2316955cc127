import threading
from collections.abc import Iterator

import pytest

from emoscope.media.reading.prefetch import prefetched


def test_items_keep_their_order() -> None:
    assert list(prefetched(iter(range(50)), 4)) == list(range(50))


def test_at_most_depth_items_are_computed_ahead() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for i in range(100):
            made.append(i)
            yield i

    ahead = prefetched(items(), 3)
    for taken in range(1, 11):
        next(ahead)
        assert len(made) <= taken + 3
    ahead.close()
    assert len(made) <= 14


def test_items_are_computed_in_another_thread() -> None:
    def names() -> Iterator[str]:
        yield threading.current_thread().name

    assert list(prefetched(names(), 1)) != [threading.current_thread().name]


def test_an_error_comes_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("broken")

    ahead = prefetched(items(), 4)
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(ValueError, match="broken"):
        next(ahead)


def test_closing_it_ends_the_thread() -> None:
    before = threading.active_count()
    ahead = prefetched(iter(range(100)), 4)
    next(ahead)
    ahead.close()
    assert threading.active_count() == before
