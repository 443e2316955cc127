"""Stages of the analysis: each takes items one at a time and returns what has become final."""

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

__all__ = ["Stage", "through"]

In = TypeVar("In", contravariant=True)
Out = TypeVar("Out")
Item = TypeVar("Item")


class Stage(Protocol[In, Out]):
    """Frames become moments, moments become rows, and rows become smoothed rows."""

    def push(self, item: In, /) -> list[Out]:
        """Add the next item. Returns the results that it makes final."""
        ...

    def finish(self) -> list[Out]:
        """The remaining results, after the last item."""
        ...


def through(stage: Stage[Item, Out], items: Iterable[Item]) -> Iterator[Out]:
    """Yield the results of all items, as they become final."""
    for item in items:
        yield from stage.push(item)
    yield from stage.finish()
