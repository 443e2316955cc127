"""The reader of plain folders: any recordings, sorted into folders by label."""

from pathlib import Path

from emoscope.core.errors import CorpusError
from emoscope.core.labels import canonical
from emoscope.corpora.layout import read_recordings
from emoscope.corpora.manifest import Manifest, Sample
from emoscope.corpora.registry import CORPORA
from emoscope.media.reading.container import SOUND_SUFFIXES, VIDEO_SUFFIXES
from emoscope.media.reading.images import IMAGE_SUFFIXES

__all__ = ["read_folder"]


@CORPORA.register("folder")
def read_folder(root: Path) -> Manifest:
    """Any films, sounds or pictures in folders: `LABEL/file` or `SUBJECT/LABEL/file`.

    A folder holds one of the two layouts: mixed depths would take labels for subjects.
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
    return manifest
