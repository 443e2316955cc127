"""The reader of plain folders: any recordings, sorted into folders by label."""

from dataclasses import replace
from pathlib import Path

from emoscope.core.errors import CorpusError
from emoscope.core.labels import canonical
from emoscope.core.spelling import key
from emoscope.corpora.layout import read_recordings
from emoscope.corpora.manifest import Manifest, Sample
from emoscope.corpora.registry import CORPORA
from emoscope.media.reading.container import SOUND_SUFFIXES, VIDEO_SUFFIXES
from emoscope.media.reading.images import IMAGE_SUFFIXES

__all__ = ["read_folder"]


_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "valid",
    "valid": "valid",
    "validation": "valid",
    "dev": "valid",
    "test": "test",
    "testing": "test",
}


@CORPORA.register("folder")
def read_folder(root: Path) -> Manifest:
    """Any films, sounds or pictures in folders: `LABEL/file`, `SUBJECT/LABEL/file` or
    `train/LABEL/file`.

    A folder holds one of the layouts: mixed depths would take labels for subjects. Top folders
    named train, valid (val, dev) and test are the splits of a corpus whose subjects are unknown.
    Raises CorpusError."""
    depths: dict[int, Path] = {}

    def place(path: Path) -> Sample | str:
        *subject, label = path.parts[:-1] or ("",)
        depth = len(path.parts) - 1
        if depth not in (1, 2):
            return "neither one nor two folders deep"
        depths.setdefault(depth, path)
        return Sample(root / path, canonical(label), subject="".join(subject))

    expected = "LABEL/file or SUBJECT/LABEL/file, of films, sounds or pictures"
    suffixes = VIDEO_SUFFIXES | SOUND_SUFFIXES | frozenset(IMAGE_SUFFIXES)
    manifest = read_recordings("folder", root, expected, place, suffixes=suffixes)
    if len(depths) > 1:
        both = " and ".join(str(path) for path in depths.values())
        raise CorpusError(
            f"{root}: expected either LABEL/file or SUBJECT/LABEL/file, found {both}."
        )
    return _with_splits(manifest, root)


def _with_splits(manifest: Manifest, root: Path) -> Manifest:
    """The manifest with subjects such as "train" read as splits. Raises CorpusError for a label
    such as "train", and where only some of the subjects are splits."""
    splits = [label for label in manifest.labels if label in _SPLITS]
    if splits:
        raise CorpusError(
            f"{root}: {splits[0]!r} would be a label. Put the labels below the splits: "
            f"{splits[0]}/LABEL/file."
        )
    names = sorted({sample.subject for sample in manifest.samples})
    splits = [name for name in names if key(name) in _SPLITS]
    if not splits:
        return manifest
    others = [name for name in names if name not in splits]
    if others:
        raise CorpusError(
            f"{root}: {splits[0]!r} is a split and {others[0]!r} a subject. Rename {splits[0]!r} "
            "if it is a person, or list the files in a manifest with the columns subject and split."
        )
    samples = tuple(
        replace(sample, subject="", split=_SPLITS[key(sample.subject)])
        for sample in manifest.samples
    )
    note = f"The folders {', '.join(splits)} are read as splits, not as persons."
    return replace(manifest, samples=samples, notes=(note,))
