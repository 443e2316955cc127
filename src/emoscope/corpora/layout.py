"""Helpers that corpus readers share: recordings below a folder, rows of a table."""

import csv
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path

from emoscope.core.errors import CorpusError
from emoscope.corpora.manifest import Manifest, Sample, exists
from emoscope.media.reading.images import is_image, natural_key

__all__ = [
    "Place",
    "contents",
    "files_below",
    "has_pictures",
    "read_recordings",
    "subfolders",
    "table_rows",
]

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
    misplaced = ""
    files, left_out = files_below(root)
    paths = [path.relative_to(root) for path in files]
    # Numbers in numeric order: "subject 2" before "subject 10".
    for path in sorted(paths, key=lambda p: ([natural_key(part) for part in p.parts], str(p))):
        if any(_is_hidden(part) for part in path.parts):
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


def files_below(root: Path) -> tuple[list[Path], Counter[str]]:
    """All files below a folder, also in linked folders, and how many entries cannot be followed.

    Each folder is read once: a link to a folder that is read already, or that holds the corpus
    itself, is counted and not followed.
    """
    files: list[Path] = []
    left_out: Counter[str] = Counter()
    above = {_identity(folder) for folder in root.resolve().parents}
    read: set[tuple[int, int]] = set()
    folders, links = deque([root]), deque[Path]()
    while folders or links:
        # Links last, so that a folder and a link to it are read under the folder's own name.
        folder = folders.popleft() if folders else links.popleft()
        try:
            identity = _identity(folder)
            if identity in read or identity in above:
                left_out["linked folder that is read already"] += 1
                continue
            with os.scandir(folder) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError:
            left_out["folder that cannot be read"] += 1
            continue
        is_hidden = any(_is_hidden(part) for part in folder.relative_to(root).parts)
        if not is_hidden:  # a visible link into a hidden folder is followed
            read.add(identity)
        for entry in entries:
            path = folder / entry.name
            try:
                is_link, is_folder, is_file = entry.is_symlink(), entry.is_dir(), entry.is_file()
            except OSError:  # a link to itself, or into a locked folder
                is_link, is_folder, is_file = True, False, False
            if is_file:
                files.append(path)
            elif is_folder and not is_link:
                folders.append(path)
            elif is_folder and not (is_hidden or _is_hidden(entry.name)):
                links.append(path)
            elif is_folder:
                left_out["hidden file"] += 1
            else:
                left_out["broken link" if is_link else "not a recording"] += 1
    return files, left_out


def _identity(path: Path) -> tuple[int, int]:
    """Device and number, which a folder has under all its names. Raises OSError."""
    stat = path.stat()
    return stat.st_dev, stat.st_ino


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX"))


def subfolders(parent: Path) -> list[Path]:
    """The folders in a folder, also linked ones, sorted by name; hidden ones are left out.

    Raises CorpusError for a link to a folder that does not exist."""
    paths = sorted(parent.glob("[!.]*"))
    for path in paths:
        if path.is_symlink() and not path.suffix and not exists(path):
            raise CorpusError(
                f"{path}: the linked folder does not exist. Restore or delete the link."
            )
    return [path for path in paths if path.is_dir()]


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
