"""`emoscope cache`: show the size of the cache, and delete files from it."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import typer

from emoscope.core.errors import MediaError
from emoscope.core.offline import default_cache

__all__ = ["clear_cache", "show_cache", "size_line", "size_text"]

_KINDS = {  # kind -> the files of it; others in the folder are not ours
    "clips": "clips/[0-9a-f][0-9a-f]/*.npz",
    "clips that cannot be cut": "clips/[0-9a-f][0-9a-f]/*.json",
    "features": "features/[0-9a-f][0-9a-f]/*.npy",
    "digests": "digests.json",
    "lists": "sets/*.json",
    "matplotlib": "matplotlib/*.json",  # its list of fonts
}
_DAY_S = 86400.0


@dataclass(frozen=True)
class _Stored:
    """A file of the cache."""

    path: Path
    kind: str
    size_bytes: int
    changed_s: float


def show_cache(folder: Path | None) -> None:
    """Print where the cache is, and the number and size of its files by kind and corpus."""
    folder = folder or default_cache()
    files = list(_files(folder))
    typer.echo(f"{folder}: {size_text(sum(file.size_bytes for file in files))}")
    for kind in _KINDS:
        sizes = [file.size_bytes for file in files if file.kind == kind]
        if sizes:
            typer.echo(f"{kind}: {len(sizes):,}, {size_text(sum(sizes))}")
        if kind == "clips":
            for line in _sets(folder, {f.path.stem: f.size_bytes for f in files if f.kind == kind}):
                typer.echo(line)


def _sets(folder: Path, sizes: Mapping[str, int]) -> Iterator[str]:
    """A line for each corpus and model input with the number and size of its clips, largest first.

    sizes   {name of a clip: bytes}"""
    totals = []
    for path in folder.glob(_KINDS["lists"]):
        try:
            prepared = json.loads(path.read_text(encoding="utf-8"))
            present = [sizes[key] for key in prepared["keys"] if key in sizes]
            totals.append((sum(present), len(present), str(prepared["title"])))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # damaged, or deleted by another run
    for size, count, title in sorted(totals, reverse=True):
        if count:
            yield f"  {title}: {count:,}, {size_text(size)}"


def clear_cache(folder: Path | None, older_than_days: float, yes: bool) -> None:
    """Delete the cache's files, or those that were written more than some days ago.

    Asks before, unless `yes`. Other files in the folder stay. Raises MediaError for a file that
    cannot be deleted, and typer.Abort."""
    folder = folder or default_cache()
    latest_s = time.time() - older_than_days * _DAY_S
    files = [file for file in _files(folder) if file.changed_s <= latest_s]
    size = size_text(sum(file.size_bytes for file in files))
    if not files:
        typer.echo(f"{folder}: nothing to delete")
        return
    if not yes:
        typer.confirm(f"Delete {len(files):,} files ({size}) from {folder}?", abort=True)
    for file in files:
        try:
            file.path.unlink(missing_ok=True)
        except OSError as error:
            raise MediaError(f"{file.path}: cannot be deleted: {error.strerror}.") from None
    for parent in {file.path.parent for file in files} - {folder}:
        with suppress(OSError):  # not empty
            parent.rmdir()
    typer.echo(f"{folder}: deleted {len(files):,} files, {size}")


def size_line(clips_bytes: int, folder: Path) -> str:
    """The size of a corpus's clips and of the whole cache."""
    total = size_text(sum(file.size_bytes for file in _files(folder)))
    return f"clips: {size_text(clips_bytes)}; cache: {total} in {folder} (see `emoscope cache`)"


def size_text(size_bytes: float) -> str:
    """A size in decimal units.

    >>> size_text(1_234_000)
    '1.2 MB'
    """
    units = ["bytes", "kB", "MB", "GB", "TB"]
    while size_bytes >= 1000 and len(units) > 1:
        size_bytes /= 1000
        del units[0]
    return f"{size_bytes:.0f} bytes" if units[0] == "bytes" else f"{size_bytes:.1f} {units[0]}"


def _files(folder: Path) -> Iterator[_Stored]:
    for kind, pattern in _KINDS.items():
        for path in folder.glob(pattern):
            try:
                stat = path.stat()
            except OSError:  # another run has deleted it
                continue
            yield _Stored(path, kind, stat.st_size, stat.st_mtime)
