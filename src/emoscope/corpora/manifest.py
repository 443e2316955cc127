"""Manifest: what every corpus becomes, whatever its layout on disk: a table of labelled samples."""

import csv
import hashlib
import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from emoscope.core.errors import CorpusError
from emoscope.core.labels import canonical
from emoscope.core.registry import Registry
from emoscope.media.files import replacing
from emoscope.media.reading.images import numbered_images

__all__ = [
    "CORPORA",
    "SYNTHETIC",
    "Manifest",
    "Reader",
    "Sample",
    "contents",
    "digest",
    "read_corpus",
    "read_manifest",
    "read_rows",
    "read_synthetic",
    "twins",
]

_COLUMNS = ("path", "label", "subject", "split", "start_s", "end_s", "fps")
_SPLITS = ("", "train", "valid", "test")
SYNTHETIC = "synthetic.json"  # the settings of a drawn corpus lie beside its clips
_GROUP, _VOTE = "group:", "vote:"  # what a group's or a vote's column begins with


@dataclass(frozen=True)
class Sample:
    """One labelled recording: a video, a sound, a picture, or a folder of numbered pictures.

    label          in the house's spelling (core.labels)
    subject        who is seen or heard; "" where the corpus does not say
    split          "train", "valid" or "test" where the corpus fixes it, else ""
    votes          where annotators voted, the share of all votes that each label got, in the order
                   of the Manifest's; what is missing to 1 went to none of them
    start_s, end_s the span of the recording that is labelled; None is its end
    fps            of a folder of pictures
    groups         what else the corpus tells: gender, intensity, light ...

    Raises CorpusError for a split, a span, a rate or votes that make no sense.
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

    def __post_init__(self) -> None:
        end_s = math.inf if self.end_s is None else self.end_s
        if self.split not in _SPLITS:
            raise CorpusError(
                f"{self.path}: the split {self.split!r} is none of train, valid and test."
            )
        if not 0 <= self.start_s < end_s:  # false for NaN, too
            raise CorpusError(f"{self.path}: {self.start_s} to {self.end_s} s is no span.")
        if self.fps is not None and not 0 < self.fps < math.inf:
            raise CorpusError(f"{self.path}: {self.fps} is no rate of pictures a second.")
        if self.votes is not None and not (
            all(vote >= 0 for vote in self.votes) and 0 < sum(self.votes) < 1 + 1e-6
        ):
            raise CorpusError(
                f"{self.path}: the votes must be shares of all votes, not {self.votes}."
            )

    @property
    def is_clear(self) -> bool:
        """False where the largest vote is shared: a soft label only."""
        return self.votes is None or self.votes.count(max(self.votes)) == 1

    @property
    def is_agreed(self) -> bool:
        """Whether one label has more than half of all votes; False where nobody voted."""
        return self.votes is not None and max(self.votes) > 0.5


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
        """Groups of paths whose bytes are the same. Raises CorpusError where a file is gone."""
        return twins(sample.path for sample in self.samples)

    def write(self, path: Path) -> None:
        """As CSV: path, label, subject, split, start_s, end_s, fps, `group:NAME` and `vote:LABEL`
        columns. A path below the table's own folder is relative to it, so that the folder may be
        moved; any other is absolute, so that the table may. Raises MediaError."""
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
                row = [_written(s.path, path.parent), s.label, s.subject, s.split, *span]
                row += [s.groups.get(name, "") for name in groups]
                rows.writerow([*row, *(s.votes or [""] * len(votes))])


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes; of a folder, of its pictures' digests in their order.

    Raises CorpusError where the file is gone."""
    if path.is_dir():
        inner = "".join(digest(picture) for picture in numbered_images(path))
        return hashlib.sha256(inner.encode()).hexdigest()
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from None


def twins(paths: Iterable[Path]) -> tuple[tuple[Path, ...], ...]:
    """Groups of different paths whose bytes are the same. Only what is of equal size is read.

    Raises CorpusError where a file is gone."""
    by_size: defaultdict[tuple[int, ...], list[Path]] = defaultdict(list)
    for path in dict.fromkeys(paths):
        by_size[_sizes(path)].append(path)
    by_content: defaultdict[str, list[Path]] = defaultdict(list)
    for alike in by_size.values():
        if len(alike) > 1:
            for path in alike:
                by_content[digest(path)].append(path)
    return tuple(tuple(group) for group in by_content.values() if len(group) > 1)


def contents(folder: Path) -> str:
    """The first names in a folder, for an error to say what was found."""
    return ", ".join(sorted(path.name for path in folder.glob("*"))[:5]) or "nothing"


def _sizes(path: Path) -> tuple[int, ...]:
    try:
        files = numbered_images(path) if path.is_dir() else [path]
        return tuple(file.stat().st_size for file in files)
    except OSError as error:
        raise _unreadable(path, error) from None


def _written(path: Path, folder: Path) -> str:
    """How a table in a folder names a path."""
    path, folder = path.absolute(), folder.absolute()
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def _unreadable(path: Path, error: OSError) -> CorpusError:
    return CorpusError(f"{path}: {error.strerror}. Scan the corpus again.")


Reader = Callable[..., Manifest]
"""Reads a corpus from its folder. Raises CorpusError: what was expected, what was found."""

CORPORA: Registry[Reader] = Registry("corpus")


def read_corpus(name: str, root: Path, pattern: str | None = None) -> Manifest:
    """A corpus by its name and folder; `pattern` is GEMEP's, whose releases name files differently.

    Raises UnknownName or CorpusError."""
    reader = CORPORA[name]
    if pattern is not None and name != "gemep":
        raise CorpusError(f"{name}: a pattern is for gemep, whose releases differ. Leave it out.")
    if not root.exists():
        raise CorpusError(f"{root}: no such file or folder. Give where {name} lies.")
    manifest = reader(root) if pattern is None else reader(root, pattern=pattern)
    drawn = _synthetic_kind(root if root.is_dir() else root.parent)
    return replace(manifest, corpus=f"synthetic-{drawn}") if drawn else manifest


@CORPORA.register("synthetic")
def read_synthetic(root: Path) -> Manifest:
    """What `emoscope corpus synth` has drawn: `manifest.csv` beside `synthetic.json`."""
    if not _synthetic_kind(root):
        raise CorpusError(
            f"{root}: expected {SYNTHETIC} and manifest.csv, found {contents(root)}. Make such a "
            "corpus with `emoscope corpus synth`."
        )
    return read_manifest(root / "manifest.csv")


def _synthetic_kind(folder: Path) -> str:
    """Of a drawn corpus, which is named so however it is read; "" of a recorded one."""
    try:
        return str(json.loads((folder / SYNTHETIC).read_text(encoding="utf-8"))["kind"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


@CORPORA.register("manifest")
def read_manifest(path: Path) -> Manifest:
    """A CSV: path, label[, subject, split, start_s, end_s, fps, group:NAME, vote:LABEL].

    Relative paths are taken from the table's own folder. Rows whose file is gone are left out and
    counted."""
    voted, samples = read_rows(path)
    present = tuple(sample for sample in samples if sample.path.exists())
    labels = voted or tuple(sorted({sample.label for sample in samples}))
    gone = len(samples) - len(present)
    return Manifest(path.stem, labels, present, {"file is gone": gone} if gone else {})


def read_rows(path: Path) -> tuple[tuple[str, ...], list[Sample]]:
    """The labels that were voted on, if any, and every row of a manifest's CSV, also of files that
    are gone. Raises CorpusError."""
    if not path.is_file():
        raise CorpusError(f"{path}: expected a CSV file with the columns path and label.")
    try:
        with path.open(newline="", encoding="utf-8-sig") as table:
            return _rows(table, path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CorpusError(f"{path}: not a readable CSV file in UTF-8: {error}.") from None


def _rows(table: Iterable[str], path: Path) -> tuple[tuple[str, ...], list[Sample]]:
    rows = csv.DictReader(table)
    header = rows.fieldnames or []
    odd = [n for n in header if n not in _COLUMNS and not n.startswith((_GROUP, _VOTE))]
    if odd or not {"path", "label"} <= set(header):
        raise CorpusError(
            f"{path}: expected the columns path, label and any of {', '.join(_COLUMNS[2:])}, "
            f"{_GROUP}NAME and {_VOTE}LABEL, found {', '.join(header) or 'nothing'}."
        )
    voted = tuple(canonical(n.removeprefix(_VOTE)) for n in header if n.startswith(_VOTE))
    return voted, list(_samples(rows, path))


def _samples(rows: "csv.DictReader[str]", path: Path) -> Iterator[Sample]:
    for row in rows:
        try:
            yield _sample({name: cell or "" for name, cell in row.items()}, path.parent)
        except (ValueError, AttributeError):  # the latter where cells have no column
            raise CorpusError(
                f"{path}, line {rows.line_num}: the path or the label is missing, a span, a rate "
                f"or a vote is not a number, or the row is too long: "
                f"{', '.join(map(str, row.values()))}."
            ) from None


def _sample(cells: Mapping[str, str], folder: Path) -> Sample:
    if not cells["path"].strip() or not cells["label"].strip():
        raise ValueError
    votes = tuple(float(c) for n, c in cells.items() if n.startswith(_VOTE) and c)
    return Sample(
        path=folder / cells["path"],
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
