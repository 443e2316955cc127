"""A name table: explicit entries, no magic; a near-miss is suggested."""

import difflib
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from emoscope.core.errors import UnknownName

__all__ = ["Registry"]

T = TypeVar("T")


class Registry(Generic[T]):
    """Names of one kind of thing, in the order they were registered.

    >>> models = Registry[str]("model")
    >>> models.add("face-cnn", "a network")
    'a network'
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def add(self, name: str, entry: T) -> T:
        if name in self._entries:
            raise ValueError(f"A {self.kind} named {name!r} is registered already.")
        self._entries[name] = entry
        return entry

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator form of `add`."""
        return lambda entry: self.add(name, entry)

    def __getitem__(self, name: str) -> T:
        """The entry of that name. Raises UnknownName with the nearest one."""
        if name in self._entries:
            return self._entries[name]
        near = difflib.get_close_matches(name, self._entries, n=1)
        known = f"Known: {', '.join(self._entries)}." if self._entries else "None is known."
        hint = f" Did you mean {near[0]!r}?" if near else f" {known}"
        raise UnknownName(f"No {self.kind} named {name!r}.{hint}")

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
