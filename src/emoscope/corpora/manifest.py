"""Manifest: what every corpus becomes, whatever its layout on disk: a table of labelled samples."""

import csv
import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from emoscope.core.errors import CorpusError
from emoscope.core.labels import canonical
from emoscope.core.registry import Registry
from emoscope.media.files import replacing

__all__ = ["CORPORA", "Manifest", "Reader", "Sample", "read_corpus", "read_manifest"]

_COLUMNS = ("path", "label", "subject", "split", "start_s", "end_s", "fps")
_GROUP, _VOTE = "group:", "vote:"  # what a group's or a vote's column begins with


@dataclass(frozen=True)
class Sample:
    """One labelled recording: a video, a sound, a picture, or a folder of numbered pictures.

    label          in the house's spelling (core.labels)
    subject        who is seen or heard; "" where the corpus does not say
    split          "train", "valid" or "test" where the corpus fixes it, else ""
    votes          share of each label, in the order of the Manifest's, where annotators voted
    start_s, end_s the span of the recording that is labelled; None is its end
    fps            of a folder of pictures
    groups         what else the corpus tells: gender, intensity, light ...
    """

    path: Path
    label: str
    subject: str = ""
    split: str = ""
    votes: tuple[float, ...] | None = None
    start_s: float = 0.0
    end_s: float | None = None
    fps: float | None = None
    groups: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_clear(self) -> bool:
        """False where the largest vote is shared: a soft label only."""
        return self.votes is None or self.votes.count(max(self.votes)) == 1


@dataclass(frozen=True)
class Manifest:
    """The samples of one corpus, and how many were left out for which reason."""

    corpus: str
    labels: tuple[str, ...]
    samples: tuple[Sample, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for sample in self.samples:
            if sample.label not in self.labels:
                raise CorpusError(f"{sample.path}: {sample.label!r} is no label of {self.corpus}.")
            if sample.votes is not None and len(sample.votes) != len(self.labels):
                raise CorpusError(
                    f"{sample.path}: {len(sample.votes)} votes for {len(self.labels)} labels."
                )

    def split(self, name: str) -> tuple[Sample, ...]:
        """The samples of one part."""
        return tuple(sample for sample in self.samples if sample.split == name)

    def counts(self, column: str) -> dict[str, int]:
        """How many samples have each "label", "subject" or "split", sorted by name."""
        return dict(sorted(Counter(str(getattr(s, column)) for s in self.samples).items()))

    def duplicates(self) -> tuple[tuple[Path, ...], ...]:
        """Groups of paths whose bytes are the same. Only files of equal size are read."""
        by_size: defaultdict[int, list[Path]] = defaultdict(list)
        for path in dict.fromkeys(sample.path for sample in self.samples):
            by_size[sum(file.stat().st_size for file in _files(path))].append(path)
        by_content: defaultdict[str, list[Path]] = defaultdict(list)
        for paths in by_size.values():
            if len(paths) > 1:
                for path in paths:
                    by_content[digest(path)].append(path)
        return tuple(tuple(paths) for paths in by_content.values() if len(paths) > 1)

    def write(self, path: Path) -> None:
        """As CSV: path, label, subject, split, start_s, end_s, fps, `group:NAME` and `vote:LABEL`
        columns. Paths are absolute, so that the table may be moved. Raises MediaError."""
        groups = sorted({name for sample in self.samples for name in sample.groups})
        votes = self.labels if any(s.votes for s in self.samples) else ()
        header = [*_COLUMNS, *(_GROUP + g for g in groups), *(_VOTE + v for v in votes)]
        with (
            replacing(path) as part,
            part.open("w", newline="", encoding="utf-8") as table,
        ):
            rows = csv.writer(table)
            rows.writerow(header)
            for s in self.samples:
                span = [s.start_s or "", "" if s.end_s is None else s.end_s, s.fps or ""]
                row = [str(s.path.absolute()), s.label, s.subject, s.split, *span]
                row += [s.groups.get(name, "") for name in groups]
                rows.writerow([*row, *(s.votes or [""] * len(votes))])


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes, or of a folder's files one after the other."""
    hashed = hashlib.sha256()
    for file in _files(path):
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                hashed.update(block)
    return hashed.hexdigest()


def _files(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]


Reader = Callable[[Path], Manifest]
"""Reads a corpus from its folder. Raises CorpusError: what was expected, what was found."""

CORPORA: Registry[Reader] = Registry("corpus")


def read_corpus(name: str, root: Path) -> Manifest:
    """A corpus by its name and folder. Raises UnknownName or CorpusError."""
    reader = CORPORA[name]
    if not root.exists():
        raise CorpusError(f"{root}: no such folder. Give the one that {name} lies in.")
    return reader(root)


@CORPORA.register("manifest")
def read_manifest(path: Path) -> Manifest:
    """A CSV: path, label[, subject, split, start_s, end_s, fps, group:NAME, vote:LABEL].

    Relative paths are taken from the table's own folder. Rows whose file is gone are left out and
    counted."""
    if not path.is_file():
        raise CorpusError(f"{path}: expected a CSV file with the columns path and label.")
    with path.open(newline="", encoding="utf-8-sig") as table:
        rows = csv.DictReader(table)
        header = rows.fieldnames or []
        odd = [n for n in header if n not in _COLUMNS and not n.startswith((_GROUP, _VOTE))]
        if odd or not {"path", "label"} <= set(header):
            raise CorpusError(
                f"{path}: expected the columns path, label and any of {', '.join(_COLUMNS[2:])}, "
                f"found {', '.join(header) or 'nothing'}."
            )
        voted = tuple(canonical(n.removeprefix(_VOTE)) for n in header if n.startswith(_VOTE))
        samples = tuple(_samples(rows, path))
    present = tuple(sample for sample in samples if sample.path.exists())
    labels = voted or tuple(sorted({sample.label for sample in samples}))
    gone = len(samples) - len(present)
    return Manifest(path.stem, labels, present, {"file is gone": gone} if gone else {})


def _samples(rows: "csv.DictReader[str]", path: Path) -> Iterator[Sample]:
    for row in rows:
        try:
            cells = {name: cell or "" for name, cell in row.items()}
            votes = tuple(float(c) for n, c in cells.items() if n.startswith(_VOTE) and c)
            yield Sample(
                path=path.parent / cells["path"],
                label=canonical(cells["label"]),
                subject=cells.get("subject", ""),
                split=cells.get("split", ""),
                votes=votes or None,
                start_s=float(cells.get("start_s") or 0),
                end_s=float(cells["end_s"]) if cells.get("end_s") else None,
                fps=float(cells["fps"]) if cells.get("fps") else None,
                groups={
                    name.removeprefix(_GROUP): cell
                    for name, cell in cells.items()
                    if name.startswith(_GROUP) and cell
                },
            )
        except (ValueError, AttributeError, TypeError):
            raise CorpusError(
                f"{path}, line {rows.line_num}: a span, a rate or a vote is not a number, or the "
                f"row is too long: {', '.join(map(str, row.values()))}."
            ) from None
