"""Corpora of still faces. FER+ (Barsoum et al., ICMI 2016): FER2013's pictures, ten votes each."""

import csv
import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from emoscope.core.errors import CorpusError
from emoscope.core.labels import LABEL_SETS

__all__ = ["LabelledStill", "StillCorpus", "drop_twins", "read_ferplus"]

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LabelledStill:
    """One picture: its votes as a distribution (C,), whose largest entry is the label."""

    path: Path
    split: str  # "train", "valid" or "test"
    distribution: FloatArray
    clear: bool  # False where the largest vote is shared: a soft label only
    digest: str  # of the file's bytes

    @property
    def label(self) -> int:
        """Index of the label; meaningful where `clear`."""
        return int(self.distribution.argmax())


@dataclass(frozen=True, eq=False)
class StillCorpus:
    """Labelled stills, and how many were left out for which reason."""

    labels: tuple[str, ...]
    stills: tuple[LabelledStill, ...]
    left_out: dict[str, int]

    def split(self, name: str) -> tuple[LabelledStill, ...]:
        """The pictures of one part."""
        return tuple(still for still in self.stills if still.split == name)


_FOLDERS = {
    "Training": ("FER2013Train", "train"),
    "PublicTest": ("FER2013Valid", "valid"),
    "PrivateTest": ("FER2013Test", "test"),
}


def read_ferplus(root: Path) -> StillCorpus:
    """Read FER+ as its authors lay it out: `fer2013new.csv` beside `FER2013Train/` and the others.

    Rows topped by "unknown" or "NF" (no face), alone or with an emotion, and rows without a
    picture are left out and counted by part; the rest keep their votes for the eight emotions, made
    to sum to 1. Raises CorpusError.
    """
    table = root / "fer2013new.csv"
    if not table.is_file():
        raise CorpusError(f"{root}: expected FER+'s fer2013new.csv, found {_contents(root)}.")
    labels = LABEL_SETS["ferplus8"].labels
    stills: list[LabelledStill] = []
    left_out: Counter[str] = Counter()
    for usage, name, votes in _ferplus_rows(table, (*labels, "unknown", "NF")):
        folder, split = _FOLDERS[usage]
        path = root / folder / name
        if votes[:-2].max() <= votes[-2:].max():
            left_out[f"{split}: topped by unknown or NF"] += 1
        elif not name or not path.is_file():
            left_out[f"{split}: no picture"] += 1
        else:
            stills.append(_still(path, split, votes[:-2]))
    if not stills:
        folders = ", ".join(folder for folder, _ in _FOLDERS.values())
        raise CorpusError(
            f"{root}: expected the pictures that fer2013new.csv names in {folders}, "
            f"found {_contents(root)}."
        )
    return StillCorpus(labels, tuple(stills), dict(left_out))


def _ferplus_rows(table: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, str, FloatArray]]:
    """Usage, picture's name and votes of every row. Raises CorpusError."""
    with table.open(newline="", encoding="utf-8-sig") as lines:
        rows = csv.DictReader(lines)
        found = rows.fieldnames or ()
        missing = [name for name in ("Usage", "Image name", *columns) if name not in found]
        if missing:
            raise CorpusError(
                f"{table}: expected the columns {', '.join(missing)}, "
                f"found {', '.join(found) or 'nothing'}."
            )
        for row in rows:
            try:
                votes = np.array([float(row[name]) for name in columns])
            except (TypeError, ValueError):
                votes = np.full(len(columns), np.nan)
            if row["Usage"] not in _FOLDERS or not np.all(votes >= 0):
                raise CorpusError(
                    f"{table}, line {rows.line_num}: expected one of {', '.join(_FOLDERS)} and "
                    f"{len(columns)} vote counts, found {', '.join(map(str, row.values()))}."
                )
            yield row["Usage"], row["Image name"], votes


def _contents(root: Path) -> str:
    return ", ".join(sorted(path.name for path in root.glob("*"))[:5]) or "nothing"


def _still(path: Path, split: str, votes: FloatArray) -> LabelledStill:
    return LabelledStill(
        path=path,
        split=split,
        distribution=votes / votes.sum(),
        clear=int((votes == votes.max()).sum()) == 1,
        digest=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def drop_twins(
    stills: tuple[LabelledStill, ...], others: tuple[LabelledStill, ...]
) -> tuple[tuple[LabelledStill, ...], int]:
    """`stills` without those whose bytes also occur in `others`, and how many went."""
    theirs = {still.digest for still in others}
    kept = tuple(still for still in stills if still.digest not in theirs)
    return kept, len(stills) - len(kept)
