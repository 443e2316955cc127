"""FER2013 (Goodfellow et al., ICONIP 2013): still faces of seven emotions, collected online."""

import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from emoscope.core.arrays import ByteArray
from emoscope.core.errors import CorpusError
from emoscope.core.labels import LABEL_SETS, canonical
from emoscope.corpora.layout import contents, subfolders, table_rows
from emoscope.corpora.manifest import Manifest, Sample
from emoscope.corpora.readers.ferplus import PART_FOLDERS, SPLITS
from emoscope.corpora.registry import CORPORA
from emoscope.media.reading.images import is_image

__all__ = ["read_fer2013", "unpack_fer2013"]

_SIDE_PX = 48


@CORPORA.register("fer2013")
def read_fer2013(root: Path) -> Manifest:
    """FER2013 (Goodfellow et al., 2013): `train/angry/*.jpg`, and alike in `valid/` and `test/`; or
    a table `fer2013_labels.csv` (folder, image, emotion) beside the picture folders of FER+.

    Files that are not pictures are left out and counted by part. The single file `fer2013.csv`
    holds its pictures as text: `unpack_fer2013` writes the folders. Raises CorpusError.
    """
    table = root / "fer2013_labels.csv"
    return _read_table(table) if table.is_file() else _read_folders(root)


def _read_table(table: Path) -> Manifest:
    labels = LABEL_SETS["fer2013"].labels
    splits = {folder: SPLITS[usage] for usage, folder in PART_FOLDERS.items()}
    samples: list[Sample] = []
    left_out: Counter[str] = Counter()
    for line, row in table_rows(table, ("folder", "image", "emotion")):
        label, split = canonical(row["emotion"] or ""), splits.get(row["folder"])
        if label not in labels or split is None:
            raise CorpusError(
                f"{table}, line {line}: expected one of {', '.join(splits)} and one of "
                f"{', '.join(labels)}, found {', '.join(map(str, row.values()))}."
            )
        path = table.parent / row["folder"] / (row["image"] or "")
        if path.is_file():
            samples.append(Sample(path, label, split=split))
        else:
            left_out[f"{split}: no picture"] += 1
    if not samples:
        raise CorpusError(f"{table}: expected the pictures that it names beside it, found none.")
    return Manifest("fer2013", labels, tuple(samples), dict(left_out))


def _read_folders(root: Path) -> Manifest:
    labels = LABEL_SETS["fer2013"].labels
    samples: list[Sample] = []
    left_out: Counter[str] = Counter()
    for split in SPLITS.values():
        for folder in subfolders(root / split):
            label = canonical(folder.name)
            if label not in labels:
                raise CorpusError(
                    f"{folder}: expected folders named {', '.join(labels)}, found {folder.name}."
                )
            for path in sorted(folder.glob("[!.]*")):
                if is_image(path):
                    samples.append(Sample(path, label, split=split))
                else:
                    left_out[f"{split}: no picture"] += 1
    if not samples:
        unpack = (
            " Unpack the table: emoscope.corpora.readers.fer2013.unpack_fer2013(table, folder)."
        )
        raise CorpusError(
            f"{root}: expected pictures in train/angry, test/angry and so on, "
            f"found {contents(root)}.{unpack if (root / 'fer2013.csv').is_file() else ''}"
        )
    return Manifest("fer2013", labels, tuple(samples), dict(left_out))


def unpack_fer2013(table: Path, root: Path) -> None:
    """Write the pictures of `fer2013.csv` as `root/train/anger/fer0000000.png` and so on.

    The number is that of the row, as in the names of FER+. `root` must not exist; it is written
    completely or not at all. Raises CorpusError.
    """
    if root.exists():
        raise CorpusError(f"{root}: exists already. Choose another folder.")
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".emoscope-", dir=root.parent) as part:
            whole = Path(part) / "whole"
            for number, (split, label, picture) in enumerate(_pictures(table)):
                folder = whole / split / label
                folder.mkdir(parents=True, exist_ok=True)
                png = cv2.imencode(".png", picture)[1].tobytes()
                (folder / f"fer{number:07d}.png").write_bytes(png)
            if not whole.exists():
                raise CorpusError(f"{table}: expected pictures, found no row.")
            whole.replace(root)
    except OSError as error:
        raise CorpusError(f"{root}: cannot be written: {error.strerror}.") from None


def _pictures(table: Path) -> Iterator[tuple[str, str, ByteArray]]:
    """Split, label and picture (48, 48) of every row. Raises CorpusError."""
    labels = LABEL_SETS["fer2013"].labels
    for line, row in table_rows(table, ("emotion", "pixels", "Usage")):
        try:
            label, split = dict(zip("0123456", labels, strict=True))[row["emotion"]], row["Usage"]
            pixels = np.array(row["pixels"].split(), dtype=np.uint8).reshape(_SIDE_PX, _SIDE_PX)
            yield SPLITS[split], label, pixels
        except (KeyError, AttributeError, ValueError, OverflowError):
            raise CorpusError(
                f"{table}, line {line}: expected an emotion from 0 to 6, {_SIDE_PX**2} grey levels "
                f"and one of {', '.join(SPLITS)}."
            ) from None
