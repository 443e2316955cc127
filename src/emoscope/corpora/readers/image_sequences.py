"""Corpora whose clips are folders of numbered pictures: CK+ and Oulu-CASIA."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from emoscope.core.errors import CorpusError
from emoscope.core.labels import LABEL_SETS, canonical
from emoscope.corpora.manifest import CORPORA, Manifest, Sample, contents
from emoscope.media.reading.images import is_image

__all__ = ["read_ckplus", "read_oulu_casia"]

_CKPLUS_FPS, _OULU_FPS = 30.0, 25.0
_OULU_LABELS = "|".join(label.capitalize() for label in LABEL_SETS["basic6"].labels)


@CORPORA.register("ckplus")
def read_ckplus(root: Path) -> Manifest:
    """CK+ (Lucey et al., CVPR Workshops 2010): `cohn-kanade-images/` beside `Emotion/`.

    `cohn-kanade-images/S005/001/*.png` is a sequence, and the one float from 0 to 7 in
    `Emotion/S005/001/S005_001_00000011_emotion.txt` its label. From neutral to
    apex, 30 frames a second. Sequences without an emotion (266 of 593) or without pictures are left
    out and counted. Raises CorpusError.
    """
    images, emotions = root / "cohn-kanade-images", root / "Emotion"
    if not images.is_dir() or not emotions.is_dir():
        raise CorpusError(
            f"{root}: expected the folders cohn-kanade-images and Emotion, found {contents(root)}."
        )
    labels = LABEL_SETS["ckplus8"].labels  # in the order of the codes
    samples: list[Sample] = []
    left_out: Counter[str] = Counter()
    for subject, sequence in _ckplus_sequences(images, emotions):
        code = _ckplus_code(emotions, subject, sequence)
        path = images / subject / sequence
        if code is None:
            left_out["no emotion file"] += 1
        elif not _has_pictures(path):
            left_out["no pictures"] += 1
        else:
            samples.append(Sample(path, labels[code], subject, fps=_CKPLUS_FPS))
    if not samples:
        raise CorpusError(
            f"{root}: expected pictures in cohn-kanade-images/S005/001 and so on, and "
            f"Emotion/S005/001/S005_001_00000011_emotion.txt, found {contents(images)} and "
            f"{contents(emotions)}."
        )
    return Manifest("ckplus", labels, tuple(samples), dict(left_out))


def _ckplus_sequences(*roots: Path) -> list[tuple[str, str]]:
    """Subject and number of every sequence that any of the roots holds."""
    folders = (p for root in roots for p in root.glob("S[0-9]*/[0-9]*") if p.is_dir())
    return sorted({(path.parent.name, path.name) for path in folders})


def _ckplus_code(emotions: Path, subject: str, sequence: str) -> int | None:
    """The code in a sequence's emotion file; None where there is no file."""
    folder = emotions / subject / sequence
    found = sorted(folder.glob(f"{subject}_{sequence}_*_emotion.txt"))
    if not found:
        return None
    words = " ".join(path.read_text(encoding="utf-8", errors="replace") for path in found).split()
    try:
        (code,) = map(float, words)
    except ValueError:
        code = -1.0
    if code not in range(len(LABEL_SETS["ckplus8"])):
        raise CorpusError(
            f"{found[0]}: expected one number from 0 to 7, found {' '.join(words) or 'nothing'}."
        )
    return int(code)


@CORPORA.register("oulu-casia")
def read_oulu_casia(root: Path) -> Manifest:
    """Oulu-CASIA (Zhao et al., IVC 2011): `OriginalImg/`, `PreProcess Img/` or both.

    `OriginalImg/VL/Strong/P001/Anger/000.jpeg` is a picture of a sequence, and so is
    `PreProcess Img/VL_Acropped/Strong/P001/Anger/000.jpeg`. From neutral to
    apex, 25 frames a second. Groups: camera (VL visible, NI near infrared), light (Strong, Weak,
    Dark), cropped (yes, no). Folders without pictures are left out and counted. Raises CorpusError.
    """
    labels = LABEL_SETS["basic6"].labels
    samples: list[Sample] = []
    empty = 0
    for path, groups in _oulu_sequences(root):
        if _has_pictures(path):
            subject, label = path.parent.name, canonical(path.name)
            samples.append(Sample(path, label, subject, fps=_OULU_FPS, groups=groups))
        else:
            empty += 1
    if not samples:
        raise CorpusError(
            f"{root}: expected pictures as in OriginalImg/VL/Strong/P001/Anger or "
            f"PreProcess Img/VL_Acropped/Strong/P001/Anger, found {contents(root)}."
        )
    return Manifest("oulu-casia", labels, tuple(samples), {"no pictures": empty} if empty else {})


def _oulu_sequences(root: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """The folder of every sequence, and its groups. Raises CorpusError for a name out of place."""
    for top, camera_like, cropped in (
        ("OriginalImg", "VL|NI", "no"),
        ("PreProcess Img", "(VL|NI)_[A-Z]?cropped", "yes"),
    ):
        for camera in _inside(root / top, camera_like, "VL or NI, with _Acropped where cropped"):
            for light in _inside(camera, "Strong|Weak|Dark", "Strong, Weak and Dark"):
                groups = {"camera": camera.name[:2], "light": light.name, "cropped": cropped}
                for person in _inside(light, r"P\d{3}", "P001 to P080"):
                    for path in _inside(person, _OULU_LABELS, _OULU_LABELS.replace("|", ", ")):
                        yield path, groups


def _inside(folder: Path, pattern: str, expected: str) -> list[Path]:
    """The folders in a folder, by name; all must match. Raises CorpusError."""
    found = sorted(path for path in folder.glob("[!.]*") if path.is_dir())
    odd = [path.name for path in found if not re.fullmatch(pattern, path.name)]
    if odd:
        raise CorpusError(f"{folder}: expected folders named {expected}, found {odd[0]}.")
    return found


def _has_pictures(folder: Path) -> bool:
    return any(is_image(path) for path in folder.glob("[!.]*"))
