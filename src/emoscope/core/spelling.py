"""Compare names of persons and labels that were typed by hand or written by a spreadsheet.

Two names with the same `tidy` form are one name. Two with the same `key` probably are: they differ
only in case, or in how a number is written (1, 01 and 1.0). `collisions` finds these.
"""

import functools
import re
import unicodedata
from collections.abc import Iterable

__all__ = ["collisions", "is_missing", "key", "tidy"]

_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u2060\ufeff"))  # zero-width spaces, byte-order mark
_NUMBER = re.compile(r"0*([0-9]+)(?:\.([0-9]*?)0*)?")
_MISSING = frozenset({"nan", "NaN", "NAN", "None", "<NA>", "NaT"})  # as numpy and pandas write them


def tidy(name: str) -> str:
    """A name in Unicode's composed form (NFC), with single spaces between its words.

    >>> tidy(" S1\\u00a0 a\\u0308") == "S1 ä"
    True
    """
    return " ".join(unicodedata.normalize("NFC", name).translate(_INVISIBLE).split())


@functools.lru_cache(maxsize=100_000)
def key(name: str) -> str:
    """A name for comparison: tidy, without case, numbers written in one way.

    >>> key("S1 ") == key("s1"), key("1") == key("01.0")
    (True, True)
    """
    words = unicodedata.normalize("NFC", tidy(name).casefold())
    number = _NUMBER.fullmatch(words)
    if not number:
        return words
    return f"{number[1]}.{number[2]}" if number[2] else number[1]


def collisions(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Groups of names that differ only in case or in how a number is written, each sorted.

    >>> collisions(["S1", "s1", "S1 ", "1", "1.0", "2"])
    [('1', '1.0'), ('S1', 's1')]
    """
    groups: dict[str, set[str]] = {}
    for name in names:
        groups.setdefault(key(name), set()).add(tidy(name))
    return sorted(tuple(sorted(group)) for group in groups.values() if len(group) > 1)


def is_missing(name: str) -> bool:
    """Whether a name is empty, or what numpy and pandas write for a missing value.

    >>> is_missing("nan"), is_missing(" "), is_missing("Nan")
    (True, True, False)
    """
    return not tidy(name) or tidy(name) in _MISSING
