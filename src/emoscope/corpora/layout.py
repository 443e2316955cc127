"""Helpers that corpus readers share: recordings below a folder, rows of a table."""

import csv
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from emoscope.core.errors import CorpusError
from emoscope.corpora.manifest import Manifest, Sample
from emoscope.media.reading.images import is_image, natural_key

__all__ = ["Place", "contents", "has_pictures", "read_recordings", "table_rows"]

Place = Callable[[Path], Sample | str]
"""A function from a recording's path, relative to the corpus folder, to its sample, or to the
reason for leaving it out."""


def read_recordings(
    corpus: str,
    root: Path,
    expected: str,
    place: Place,
    *,
    suffixes: frozenset[str],
    labels: tuple[str, ...] | None = None,
) -> Manifest:
    """Collect every recording below `root` into a manifest.

    expected   the layout, for error messages
    place      makes a sample of each file that has one of the `suffixes`
    labels     the label set; None: the labels that occur, sorted

    Raises CorpusError where no recording can be used.
    """
    if not root.is_dir():
        raise CorpusError(f"{root}: expected a folder with {expected}, found a file.")
    samples: list[Sample] = []
    left_out: Counter[str] = Counter()
    misplaced = ""
    paths = [path.relative_to(root) for path in root.rglob("*") if path.is_file()]
    # Numbers in numeric order: "subject 2" before "subject 10".
    for path in sorted(paths, key=lambda p: ([natural_key(part) for part in p.parts], str(p))):
        if any(part.startswith((".", "__MACOSX")) for part in path.parts):
            left_out["hidden file"] += 1
        elif path.suffix.lower() not in suffixes:
            left_out["not a recording"] += 1
        elif isinstance(placed := place(path), str):
            left_out[placed] += 1
            misplaced = misplaced or f"{path} ({placed})"
        else:
            samples.append(placed)
    if not samples:
        raise CorpusError(f"{root}: expected {expected}, found {misplaced or contents(root)}.")
    labels = labels or tuple(sorted({sample.label for sample in samples}))
    return Manifest(corpus, labels, tuple(samples), dict(left_out))


def contents(folder: Path) -> str:
    """The first few names in a folder, for error messages."""
    return ", ".join(sorted(path.name for path in folder.glob("*"))[:5]) or "nothing"


def has_pictures(folder: Path) -> bool:
    """Whether a folder holds images that are not hidden."""
    return any(is_image(path) for path in folder.glob("[!.]*"))


def table_rows(table: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and cells of every row of a CSV file. Raises CorpusError for a missing column."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as lines:
            rows = csv.DictReader(lines)
            present = rows.fieldnames or ()
            missing = [name for name in columns if name not in present]
            if missing:
                raise CorpusError(
                    f"{table}: expected the columns {', '.join(missing)}, "
                    f"found {', '.join(present) or 'nothing'}."
                )
            for row in rows:
                yield rows.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CorpusError(f"{table}: not a readable CSV file in UTF-8: {error}.") from None
