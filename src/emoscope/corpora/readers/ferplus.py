"""FER+ (Barsoum et al., ICMI 2016): the pictures of FER2013 with ten votes each."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from emoscope.core.arrays import Float64Array
from emoscope.core.errors import CorpusError
from emoscope.core.labels import LABEL_SETS
from emoscope.corpora.layout import contents, table_rows
from emoscope.corpora.manifest import Manifest, Sample
from emoscope.corpora.registry import CORPORA

__all__ = ["PART_FOLDERS", "SPLITS", "read_ferplus"]

SPLITS = {"Training": "train", "PublicTest": "valid", "PrivateTest": "test"}
PART_FOLDERS = {
    "Training": "FER2013Train",
    "PublicTest": "FER2013Valid",
    "PrivateTest": "FER2013Test",
}


@CORPORA.register("ferplus")
def read_ferplus(root: Path) -> Manifest:
    """FER+ (Barsoum et al., 2016): `fer2013new.csv` beside `FER2013Train/` and the other parts.

    Rows in which "unknown" or "NF" (no face) has the most votes, alone or with an emotion, and rows
    without a picture are left out and counted by part. The others keep their votes for the eight
    emotions, as shares of all votes. Raises CorpusError.
    """
    table = root / "fer2013new.csv"
    if not table.is_file():
        raise CorpusError(f"{root}: expected FER+'s fer2013new.csv, found {contents(root)}.")
    labels = LABEL_SETS["ferplus8"].labels
    samples: list[Sample] = []
    left_out: Counter[str] = Counter()
    for usage, name, votes in _votes(table, (*labels, "unknown", "NF")):
        split, path = SPLITS[usage], root / PART_FOLDERS[usage] / name
        if votes[:-2].max() <= votes[-2:].max():
            left_out[f"{split}: topped by unknown or NF"] += 1
        elif not name or not path.is_file():
            left_out[f"{split}: no picture"] += 1
        else:
            shares = votes[:-2] / votes.sum()
            label = labels[int(shares.argmax())]
            samples.append(Sample(path, label, split=split, votes=tuple(shares.tolist())))
    if not samples:
        raise CorpusError(
            f"{root}: expected the pictures that fer2013new.csv names in "
            f"{', '.join(PART_FOLDERS.values())}, found {contents(root)}."
        )
    return Manifest("ferplus", labels, tuple(samples), dict(left_out))


def _votes(table: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, str, Float64Array]]:
    """Usage, picture name and votes of every row. Raises CorpusError."""
    for line, row in table_rows(table, ("Usage", "Image name", *columns)):
        try:
            votes = np.array([float(row[name]) for name in columns])
        except (TypeError, ValueError):
            votes = np.full(len(columns), np.nan)
        if row["Usage"] not in SPLITS or not np.all(votes >= 0):
            raise CorpusError(
                f"{table}, line {line}: expected one of {', '.join(SPLITS)} and "
                f"{len(columns)} vote counts, found {', '.join(map(str, row.values()))}."
            )
        yield row["Usage"], row["Image name"], votes
