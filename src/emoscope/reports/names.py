"""Names of report files. A report replaces only one of the same recording by the same model."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from emoscope.core.results import Timeline, printable

__all__ = ["ReadSource", "Source", "report_stem", "source_of", "unused_stem"]

Source = Mapping[str, Any]
"""What a report was made from: `path` and `model`, and those of `_FACTS` that it knows."""

ReadSource = Callable[[Path], Source]
"""Reads the source of a report; may raise any exception for another kind of file."""

_FACTS = ("width", "height", "duration_s")  # tell two recordings of the same relative path apart


def source_of(timeline: Timeline) -> dict[str, Any]:
    """The source that a report of this Timeline states."""
    provenance = timeline.to_dict()["provenance"]
    return {name: provenance[name] for name in ("path", "model", *_FACTS)}


def report_stem(recording: str | Path) -> str:
    """Name of a recording's reports: its own name without the suffix.

    Dots and spaces at either end are left out: they would hide the report.

    >>> report_stem("clips/talk.mp4"), report_stem("...")
    ('talk', 'timeline')
    """
    # An absolute path, as "." and ".." do not name a folder.
    name = Path(os.path.abspath(recording)).stem if str(recording) else ""  # noqa: PTH100
    return re.sub(r"^[\s.]+|[\s.]+$", "", name) or "timeline"


def unused_stem(
    timeline: Timeline,
    recording: str | Path,
    out_dir: Path,
    readers: Mapping[str, ReadSource | None],
    written: set[str],
) -> str:
    """Choose a name that no report of another recording or model has, and no other file.

    readers    suffix of each kind of report, and how its source is read
    written    suffixes of the reports to write

    It is `report_stem`. If another model's reports have that name, the model is added; if another
    recording's have it, the recording's suffix or a number.
    """
    source = source_of(timeline)
    model = re.sub(r"[^\w.-]+", "_", source["model"]) or "model"
    for stem in _stems(recording):
        holders = list(_holders(out_dir, stem, readers, written))
        if not all(_is_same_recording(holder, source) for holder in holders):
            continue
        if all(holder["model"] == source["model"] for holder in holders):
            return stem
        of_model = f"{stem}_{model}"
        if all(
            _is_same_recording(holder, source) and holder["model"] == source["model"]
            for holder in _holders(out_dir, of_model, readers, written)
        ):
            return of_model
    raise AssertionError("unreachable: the sequence of numbered names is endless")


def _stems(recording: str | Path) -> Iterator[str]:
    stem, name = report_stem(recording), Path(recording).name
    yield stem
    if Path(name).suffix:
        yield f"{stem}_{Path(name).suffix[1:]}"
    yield from (f"{stem}-{number}" for number in count(2))


def _holders(
    out_dir: Path, stem: str, readers: Mapping[str, ReadSource | None], written: set[str]
) -> Iterator[Source]:
    """Sources of the reports with this stem; an empty one for another file that is in the way."""
    for suffix, read_source in readers.items():
        path = out_dir / (stem + suffix)
        if not os.path.lexists(path):
            continue
        source: Source = {}
        if read_source is not None:
            with suppress(Exception):  # the file may be of any kind
                read = read_source(path)
                source = {**read, "path": printable(read["path"]), "model": read["model"]}
        if source or suffix in written:
            yield source


def _is_same_recording(holder: Source, source: Source) -> bool:
    if not holder:
        return False
    known = holder["path"]
    if os.path.realpath(known) != os.path.realpath(printable(source["path"])):
        return False
    # A relative path may have been given in another folder.
    return Path(known).is_absolute() or not any(
        holder.get(name) is not None and source[name] is not None and holder[name] != source[name]
        for name in _FACTS
    )
