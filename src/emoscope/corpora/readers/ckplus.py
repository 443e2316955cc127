"""CK+ (Lucey et al., CVPR Workshops 2010): posed expressions as folders of numbered pictures."""

from collections import Counter
from pathlib import Path

from emoscope.core.errors import CorpusError
from emoscope.core.labels import LABEL_SETS
from emoscope.corpora.layout import contents, has_pictures
from emoscope.corpora.manifest import Manifest, Sample
from emoscope.corpora.registry import CORPORA

__all__ = ["read_ckplus"]

_FPS = 30.0


@CORPORA.register("ckplus")
def read_ckplus(root: Path) -> Manifest:
    """CK+ (Lucey et al., CVPR Workshops 2010): `cohn-kanade-images/` beside `Emotion/`.

    `cohn-kanade-images/S005/001/*.png` is a sequence from neutral to apex at 30 frames a second.
    Its label is the one number from 0 to 7 in `Emotion/S005/001/S005_001_00000011_emotion.txt`.
    Sequences without an emotion file (266 of 593) or without pictures are left out and counted.
    Raises CorpusError.
    """
    images, emotions = root / "cohn-kanade-images", root / "Emotion"
    if not images.is_dir() or not emotions.is_dir():
        raise CorpusError(
            f"{root}: expected the folders cohn-kanade-images and Emotion, found {contents(root)}."
        )
    labels = LABEL_SETS["ckplus8"].labels  # in the order of the codes
    samples: list[Sample] = []
    left_out: Counter[str] = Counter()
    folders = (p for top in (images, emotions) for p in top.glob("S[0-9]*/[0-9]*") if p.is_dir())
    for subject, sequence in sorted({(path.parent.name, path.name) for path in folders}):
        code = _emotion_code(emotions, subject, sequence)
        path = images / subject / sequence
        if code is None:
            left_out["no emotion file"] += 1
        elif not has_pictures(path):
            left_out["no pictures"] += 1
        else:
            samples.append(Sample(path, labels[code], subject, fps=_FPS))
    if not samples:
        raise CorpusError(
            f"{root}: expected pictures in cohn-kanade-images/S005/001 and so on, and "
            f"Emotion/S005/001/S005_001_00000011_emotion.txt, found {contents(images)} and "
            f"{contents(emotions)}."
        )
    return Manifest("ckplus", labels, tuple(samples), dict(left_out))


def _emotion_code(emotions: Path, subject: str, sequence: str) -> int | None:
    """The code in a sequence's emotion file, None without one. Raises CorpusError for another."""
    files = sorted((emotions / subject / sequence).glob(f"{subject}_{sequence}_*_emotion.txt"))
    if not files:
        return None
    words = " ".join(path.read_text(encoding="utf-8", errors="replace") for path in files).split()
    try:
        (code,) = map(float, words)
    except ValueError:
        code = -1.0
    if code not in range(len(LABEL_SETS["ckplus8"])):
        raise CorpusError(
            f"{files[0]}: expected one number from 0 to 7, found {' '.join(words) or 'nothing'}."
        )
    return int(code)
