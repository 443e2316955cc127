"""Oulu-CASIA (Zhao et al., IVC 2011): posed expressions under three kinds of light."""

import re
from collections.abc import Iterator
from pathlib import Path

from emoscope.core.errors import CorpusError
from emoscope.core.labels import LABEL_SETS, canonical
from emoscope.corpora.layout import contents, has_pictures, subfolders
from emoscope.corpora.manifest import Manifest, Sample
from emoscope.corpora.registry import CORPORA

__all__ = ["read_oulu_casia"]

_FPS = 25.0
_EMOTIONS = "|".join(label.capitalize() for label in LABEL_SETS["basic6"].labels)


@CORPORA.register("oulu-casia")
def read_oulu_casia(root: Path) -> Manifest:
    """Oulu-CASIA (Zhao et al., IVC 2011): `OriginalImg/`, `PreProcess Img/` or both.

    `OriginalImg/VL/Strong/P001/Anger/000.jpeg` and
    `PreProcess Img/VL_Acropped/Strong/P001/Anger/000.jpeg` are pictures of a sequence from neutral
    to apex at 25 frames a second. Groups: camera (VL visible, NI near infrared), light (Strong,
    Weak, Dark), cropped (yes, no). Folders without pictures are left out and counted.
    Raises CorpusError.
    """
    labels = LABEL_SETS["basic6"].labels
    samples: list[Sample] = []
    empty = 0
    for path, groups in _sequences(root):
        if has_pictures(path):
            subject, label = path.parent.name, canonical(path.name)
            samples.append(Sample(path, label, subject, fps=_FPS, groups=groups))
        else:
            empty += 1
    if not samples:
        raise CorpusError(
            f"{root}: expected pictures as in OriginalImg/VL/Strong/P001/Anger or "
            f"PreProcess Img/VL_Acropped/Strong/P001/Anger, found {contents(root)}."
        )
    return Manifest("oulu-casia", labels, tuple(samples), {"no pictures": empty} if empty else {})


def _sequences(root: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """Folder and groups of every sequence. Raises CorpusError for a folder out of place."""
    for top, camera_like, cropped in (
        ("OriginalImg", "VL|NI", "no"),
        ("PreProcess Img", "(VL|NI)_[A-Z]?cropped", "yes"),
    ):
        for camera in _folders(root / top, camera_like, "VL or NI, with _Acropped where cropped"):
            for light in _folders(camera, "Strong|Weak|Dark", "Strong, Weak and Dark"):
                groups = {"camera": camera.name[:2], "light": light.name, "cropped": cropped}
                for person in _folders(light, r"P\d{3}", "P001 to P080"):
                    for path in _folders(person, _EMOTIONS, _EMOTIONS.replace("|", ", ")):
                        yield path, groups


def _folders(parent: Path, name_pattern: str, expected: str) -> list[Path]:
    """Sub-folders by name. Raises CorpusError for a name that does not match."""
    folders = subfolders(parent)
    for folder in folders:
        if not re.fullmatch(name_pattern, folder.name):
            raise CorpusError(f"{parent}: expected folders named {expected}, found {folder.name}.")
    return folders
