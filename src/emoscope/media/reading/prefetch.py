"""Run an iterator ahead in a thread of its own, a few items and no more."""

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["prefetched"]

T = TypeVar("T")


def prefetched(items: Iterator[T], depth: int) -> Generator[T]:
    """The same items in the same order, up to `depth` of them made while the caller is busy.

    Decoding leaves Python's lock, so it goes on during analysis. What the iterator raises is raised
    here, after the items before it. Closing this generator waits for the item being made.
    """
    end = object()
    pool = ThreadPoolExecutor(1, thread_name_prefix="emoscope-prefetch")
    try:
        ahead = deque(pool.submit(next, items, end) for _ in range(depth))
        while (item := ahead.popleft().result()) is not end:
            ahead.append(pool.submit(next, items, end))
            yield item  # type: ignore[misc]  # whatever is not the end is a T
    finally:
        pool.shutdown(cancel_futures=True)
