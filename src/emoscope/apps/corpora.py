"""`emoscope corpus`: what lies in a corpus, in a few lines, and its manifest."""

from collections.abc import Iterator
from pathlib import Path

import typer

from emoscope.corpora.manifest import Manifest, read_corpus

__all__ = ["scan"]

_SHOWN = 3  # groups of duplicates that are named


def scan(name: str, root: Path, out: Path | None) -> None:
    """Read a corpus, print what it holds, write its manifest. Raises EmoscopeError."""
    manifest = read_corpus(name, root)
    for line in _counts(manifest):
        typer.echo(line)
    for line in _duplicates(manifest.duplicates(), root):
        typer.echo(line)
    if out is not None:
        manifest.write(out)
        typer.echo(f"written: {out}")


def _counts(manifest: Manifest) -> Iterator[str]:
    labels = manifest.counts("label")
    yield f"{manifest.corpus}: {len(manifest.samples):,} samples, {len(manifest.labels)} labels"
    yield "label: " + _listed({label: labels.get(label, 0) for label in manifest.labels})
    yield f"subject: {_subjects(manifest.counts('subject'))}"
    splits = {name or "none": count for name, count in manifest.counts("split").items()}
    yield f"split: {'not fixed' if set(splits) <= {'none'} else _listed(splits)}"
    yield f"left out: {_listed(dict(manifest.left_out)) or 'nothing'}"


def _subjects(counts: dict[str, int]) -> str:
    nameless = counts.pop("", 0)
    if not counts:
        return "not told"
    fewest, most = min(counts.values()), max(counts.values())
    each = f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}"
    rest = f"; {nameless:,} samples without one" if nameless else ""
    return f"{len(counts):,}, {each} samples each{rest}"


def _duplicates(groups: tuple[tuple[Path, ...], ...], root: Path) -> Iterator[str]:
    if not groups:
        yield "byte-identical: none"
        return
    files = sum(len(group) for group in groups)
    yield f"byte-identical: {len(groups):,} group{'s' * (len(groups) > 1)}, {files:,} files"
    for group in groups[:_SHOWN]:
        names = [_short(path, root) for path in group[:_SHOWN]]
        more = f" = {len(group) - _SHOWN:,} more" if len(group) > _SHOWN else ""
        yield f"  {' = '.join(names)}{more}"
    if len(groups) > _SHOWN:
        yield f"  and {len(groups) - _SHOWN:,} groups more"


def _short(path: Path, root: Path) -> str:
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
