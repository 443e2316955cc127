"""`Manifest`, the table of labelled samples that every corpus is read into, and its CSV form."""

import csv
import hashlib
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from emoscope.core.errors import CorpusError
from emoscope.core.labels import canonical
from emoscope.core.spelling import collisions, is_missing
from emoscope.media.files import replacing
from emoscope.media.reading.images import numbered_images

__all__ = [
    "SYNTHETIC",
    "Manifest",
    "Sample",
    "digest",
    "exists",
    "read_rows",
    "spelling_notes",
    "synthetic_kind",
    "twins",
]

_COLUMNS = ("path", "label", "subject", "split", "start_s", "end_s", "fps")
_SPLITS = ("", "train", "valid", "test")
SYNTHETIC = "synthetic.json"  # settings of a synthetic corpus, in its folder
_GROUP, _VOTE = "group:", "vote:"  # prefixes of column names


@dataclass(frozen=True)
class Sample:
    """One labelled recording: a video, a sound, a picture, or a folder of numbered pictures.

    label          in the spelling of `core.labels`
    subject        the person seen or heard; "" if unknown
    split          "train", "valid" or "test" where the corpus fixes it, else ""
    votes          where annotators voted, the share of all votes for each label, in the order of
                   the Manifest's labels; votes for anything else are missing from the sum
    start_s, end_s the labelled span of the recording; None: to its end
    fps            frame rate of a folder of pictures
    groups         other facts from the corpus: gender, intensity, light ...

    Raises CorpusError for a label such as "" or "nan", an invalid split, span, rate or votes.

    >>> Sample(Path("S1/joy/1.mp4"), "joy", subject="S1", end_s=2.5).is_clear
    True
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
        if is_missing(self.label):
            raise CorpusError(
                f"{self.path}: {self.label!r} is not a label. Give its emotion a name."
            )
        end_s = math.inf if self.end_s is None else self.end_s
        if self.split not in _SPLITS:
            raise CorpusError(
                f"{self.path}: the split must be train, valid or test, not {self.split!r}."
            )
        if not 0 <= self.start_s < end_s:  # false for NaN, too
            raise CorpusError(
                f"{self.path}: start_s = {self.start_s} must be 0 or more and before end_s = "
                f"{self.end_s}."
            )
        if self.fps is not None and not 0 < self.fps < math.inf:
            raise CorpusError(f"{self.path}: fps must be positive and finite, not {self.fps}.")
        if self.votes is not None and not (
            all(vote >= 0 for vote in self.votes) and 0 < sum(self.votes) < 1 + 1e-6
        ):
            raise CorpusError(
                f"{self.path}: votes must be 0 or more and sum to at most 1, not {self.votes}."
            )

    @property
    def is_clear(self) -> bool:
        """Whether one label has the most votes; True where nobody voted."""
        return self.votes is None or self.votes.count(max(self.votes)) == 1

    @property
    def is_agreed(self) -> bool:
        """Whether one label has more than half of all votes; False where nobody voted."""
        return self.votes is not None and max(self.votes) > 0.5


@dataclass(frozen=True)
class Manifest:
    """The samples of one corpus, and how many files were left out for each reason.

    notes    lines for the user: decisions of the reader, and names that differ only in spelling

    Raises CorpusError for a label outside `labels`, or votes that do not match them.

    >>> manifest = Manifest("made", ("fear", "joy"), (Sample(Path("1.mp4"), "joy"),))
    >>> manifest.counts("label")
    {'joy': 1}
    """

    corpus: str
    labels: tuple[str, ...]
    samples: tuple[Sample, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for sample in self.samples:
            if sample.label not in self.labels:
                raise CorpusError(
                    f"{sample.path}: {sample.label!r} is not a label of {self.corpus}."
                )
            if sample.votes is not None and len(sample.votes) != len(self.labels):
                raise CorpusError(
                    f"{sample.path}: {len(sample.votes)} votes for {len(self.labels)} labels."
                )

    def split(self, name: str) -> tuple[Sample, ...]:
        """The samples of one split."""
        return tuple(sample for sample in self.samples if sample.split == name)

    def counts(self, column: str) -> dict[str, int]:
        """Number of samples by "label", "subject" or "split", sorted by name."""
        return dict(sorted(Counter(str(getattr(s, column)) for s in self.samples).items()))

    def duplicates(self) -> tuple[tuple[Path, ...], ...]:
        """Groups of paths with the same bytes. Raises CorpusError for a missing file."""
        return twins(sample.path for sample in self.samples)

    def write(self, path: Path) -> None:
        """Write a CSV file: path, label, subject, split, start_s, end_s, fps, `group:NAME` and
        `vote:LABEL` columns. Raises MediaError.

        Paths inside the table's folder are relative, so that the folder may be moved; others are
        absolute, so that the table may be moved."""
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
                row = [_path_cell(s.path, path.parent), s.label, s.subject, s.split, *span]
                row += [s.groups.get(name, "") for name in groups]
                rows.writerow([*row, *(s.votes or [""] * len(votes))])


def spelling_notes(manifest: Manifest) -> tuple[str, ...]:
    """A line for each group of subjects or labels that differ only in case or number format."""
    subjects = collisions(sample.subject for sample in manifest.samples if sample.subject)
    return (
        *(
            f"The subjects {_quoted(names)} differ only in case or number format: they count as "
            "one person. Write them alike, or rename one."
            for names in subjects
        ),
        *(
            f"The labels {_quoted(names)} differ only in number format: they are separate classes. "
            "Write them alike."
            for names in collisions(manifest.labels)
        ),
    )


def _quoted(names: tuple[str, ...]) -> str:
    return " and ".join(map(repr, names))


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes, or of the digests of a folder's pictures in their order.

    Raises CorpusError for a missing file."""
    if path.is_dir():
        inner = "".join(digest(picture) for picture in numbered_images(path))
        return hashlib.sha256(inner.encode()).hexdigest()
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from None


def twins(paths: Iterable[Path]) -> tuple[tuple[Path, ...], ...]:
    """Groups of different paths with the same bytes. Only files of equal size are read.

    Raises CorpusError for a missing file."""
    by_size: defaultdict[tuple[int, ...], list[Path]] = defaultdict(list)
    for path in dict.fromkeys(paths):
        by_size[_sizes(path)].append(path)
    by_content: defaultdict[str, list[Path]] = defaultdict(list)
    for same_size in by_size.values():
        if len(same_size) > 1:
            for path in same_size:
                by_content[digest(path)].append(path)
    return tuple(tuple(group) for group in by_content.values() if len(group) > 1)


def exists(path: Path) -> bool:
    """Whether a file or folder exists and can be seen; `Path.exists` raises in a locked folder."""
    try:
        path.stat()
    except (OSError, ValueError):  # ValueError: a null character
        return False
    return True


def _sizes(path: Path) -> tuple[int, ...]:
    try:
        files = numbered_images(path) if path.is_dir() else [path]
        return tuple(file.stat().st_size for file in files)
    except OSError as error:
        raise _unreadable(path, error) from None


def _path_cell(path: Path, folder: Path) -> str:
    """A path as the table in a folder states it."""
    path, folder = path.absolute(), folder.absolute()
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def _unreadable(path: Path, error: OSError) -> CorpusError:
    return CorpusError(f"{path}: {error.strerror}. Scan the corpus again.")


def synthetic_kind(folder: Path) -> str:
    """The kind of the synthetic corpus in a folder, "" for recorded clips."""
    try:
        return str(json.loads((folder / SYNTHETIC).read_text(encoding="utf-8"))["kind"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def read_rows(path: Path) -> tuple[tuple[str, ...], list[Sample]]:
    """The labels of a manifest's vote columns, and a sample for every row, also for missing files.

    Raises CorpusError for a file that is not a manifest."""
    if not path.is_file():
        raise CorpusError(f"{path}: expected a CSV file with the columns path and label.")
    try:
        with path.open(newline="", encoding="utf-8-sig") as table:
            return _rows(table, path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CorpusError(f"{path}: not a readable CSV file in UTF-8: {error}.") from None


def _rows(table: Iterable[str], path: Path) -> tuple[tuple[str, ...], list[Sample]]:
    """`read_rows` of an open table. `path` is for messages and relative paths."""
    rows = csv.DictReader(table)
    header = rows.fieldnames or []
    unknown = [n for n in header if n not in _COLUMNS and not n.startswith((_GROUP, _VOTE))]
    if unknown or not {"path", "label"} <= set(header):
        raise CorpusError(
            f"{path}: expected the columns path, label and any of {', '.join(_COLUMNS[2:])}, "
            f"{_GROUP}NAME and {_VOTE}LABEL, found {', '.join(header) or 'nothing'}."
        )
    voted = tuple(canonical(n.removeprefix(_VOTE)) for n in header if n.startswith(_VOTE))
    if len(set(voted)) < len(voted):
        raise CorpusError(f"{path}: two {_VOTE} columns are of one label. Merge or rename them.")
    samples = []
    for row in rows:
        place = f"{path}, line {rows.line_num}"
        try:
            cells = {name: cell or "" for name, cell in row.items()}
            _check_names(cells, place)
            samples.append(_sample(cells, path.parent))
        except (ValueError, AttributeError):  # AttributeError: more cells than columns
            raise CorpusError(
                f"{place}: the path is missing, a span, a rate or a vote is not a number, or the "
                f"row is too long: {', '.join(map(str, row.values()))}."
            ) from None
    return voted, samples


def _check_names(cells: Mapping[str, str], place: str) -> None:
    """Raise CorpusError for a label that is missing, or a missing subject written as a word."""
    label, subject = cells["label"], cells.get("subject", "")
    if is_missing(label):
        raise CorpusError(f"{place}: {label!r} is not a label. Give one, or delete the row.")
    if subject and is_missing(subject):
        raise CorpusError(
            f"{place}: {subject!r} is not a subject. Leave the cell empty where it is unknown."
        )


def _sample(cells: Mapping[str, str], folder: Path) -> Sample:
    if not cells["path"].strip():
        raise ValueError
    votes = tuple(float(c) for n, c in cells.items() if n.startswith(_VOTE) and c)
    return Sample(
        path=_path(cells["path"], folder),
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


def _path(cell: str, folder: Path) -> Path:
    """The path in a cell as it is given; with Windows' separators if no such file exists."""
    given = folder / cell
    return folder / cell.replace("\\", "/") if "\\" in cell and not exists(given) else given
