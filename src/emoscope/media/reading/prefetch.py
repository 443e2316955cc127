"""Compute the next items of an iterator in a background thread."""

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["prefetched"]

T = TypeVar("T")


def prefetched(items: Iterator[T], depth: int) -> Generator[T]:
    """Yield the same items in the same order, computing up to `depth` of them ahead.

    Decoding releases Python's lock, so it runs in parallel with analysis. An exception of the
    iterator is raised in its place. Closing the generator waits for the item being computed.
    """
    end = object()
    pool = ThreadPoolExecutor(1, thread_name_prefix="emoscope-prefetch")
    try:
        ahead = deque(pool.submit(next, items, end) for _ in range(depth))
        while (item := ahead.popleft().result()) is not end:
            ahead.append(pool.submit(next, items, end))
            yield item  # type: ignore[misc]  # every item but `end` is a T
    finally:
        pool.shutdown(cancel_futures=True)
