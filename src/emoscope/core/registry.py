"""Registries: names of one kind of thing, from our own modules and from installed packages."""

import difflib
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules
from threading import RLock
from typing import Generic, TypeVar

from emoscope.core.errors import PluginError, UnknownName

__all__ = ["Registry"]

T = TypeVar("T")


class Registry(Generic[T]):
    """A table of names, in the order they were registered.

    kind      what is registered, for messages: "detector"
    package   a package whose modules register entries when they are imported. They are imported
              at the first look-up: a file added to the package is found without being listed.
              The names are then sorted, since modules may have been imported in any order
    group     a group of entry points that other installed packages use to add entries. Each names
              a module that registers when it is imported; they are imported after `package`'s

    Near misses are suggested:

    >>> detectors = Registry[str]("detector")
    >>> detectors.add("haar", "a cascade")
    'a cascade'
    >>> detectors["harr"]
    Traceback (most recent call last):
        ...
    emoscope.core.errors.UnknownName: No detector named 'harr'. Did you mean 'haar'?
    """

    def __init__(self, kind: str, *, package: str | None = None, group: str | None = None) -> None:
        self.kind = kind
        self._package, self._group = package, group
        self._entries: dict[str, T] = {}
        self._lock = RLock()
        self._is_loading = False
        self._is_loaded = package is None and group is None

    def add(self, name: str, entry: T) -> T:
        """Register an entry and return it. Raises ValueError for a name that is taken."""
        if name in self._entries:
            raise ValueError(f"A {self.kind} named {name!r} is registered already.")
        self._entries[name] = entry
        return entry

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator form of `add`."""
        return lambda entry: self.add(name, entry)

    def __getitem__(self, name: str) -> T:
        """The entry of that name. Raises UnknownName with the nearest one."""
        entries = self._loaded()
        if name in entries:
            return entries[name]
        near = difflib.get_close_matches(name, entries, n=1)
        known = f"Known: {', '.join(entries)}." if entries else "None is known."
        hint = f" Did you mean {near[0]!r}?" if near else f" {known}"
        raise UnknownName(f"No {self.kind} named {name!r}.{hint}")

    def __contains__(self, name: object) -> bool:
        return name in self._loaded()

    def __iter__(self) -> Iterator[str]:
        return iter(self._loaded())

    def __len__(self) -> int:
        return len(self._loaded())

    def _loaded(self) -> dict[str, T]:
        """All entries. Raises PluginError for an installed package that cannot be imported."""
        if self._is_loaded:
            return self._entries
        with self._lock:  # another thread waits until the table is complete
            if not self._is_loaded and not self._is_loading:
                self._is_loading = True  # a module may look up names while it is imported
                try:
                    self._import_siblings()
                    self._import_plugins()
                    self._is_loaded = True
                finally:
                    self._is_loading = False
        return self._entries

    def _import_siblings(self) -> None:
        if self._package is not None:
            for module in iter_modules(import_module(self._package).__path__):
                import_module(f"{self._package}.{module.name}")
            self._entries = dict(sorted(self._entries.items()))

    def _import_plugins(self) -> None:
        plugins = entry_points(group=self._group) if self._group else ()
        for entry in sorted(plugins, key=lambda entry: entry.name):
            before = dict(self._entries)
            try:
                entry.load()
            except Exception as error:  # whatever another package's module raises
                self._entries = before
                owner = entry.dist.name if entry.dist else entry.value
                raise PluginError(
                    f"{owner}: its {self.kind} {entry.name!r} ({entry.value}) cannot be loaded: "
                    f"{error}. Update or uninstall the package."
                ) from error
