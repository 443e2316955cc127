"""eNTERFACE'05 (Martin et al., ICDE Workshops 2006): spoken sentences on film."""

import re
from pathlib import Path

from emoscope.core.labels import LABEL_SETS, canonical
from emoscope.corpora.layout import read_recordings
from emoscope.corpora.manifest import Manifest, Sample
from emoscope.corpora.registry import CORPORA
from emoscope.media.reading.container import VIDEO_SUFFIXES

__all__ = ["read_enterface05"]

_CODES = {
    "an": "anger",
    "di": "disgust",
    "fe": "fear",
    "ha": "happiness",
    "sa": "sadness",
    "su": "surprise",
}
_NAME = re.compile(r"s_?\d+_(?P<emotion>[a-z]+)", re.IGNORECASE)
_SUBJECT = re.compile(r"s(?:ubject)?[ _-]*(\d+)", re.IGNORECASE)


@CORPORA.register("enterface05")
def read_enterface05(root: Path) -> Manifest:
    """eNTERFACE'05 (Martin et al., 2006): `subject 1/anger/sentence 1/s1_an_1.avi`.

    The emotion is the code in the file name, or the folder's name where there is no code; the
    subject is the folder's. Subject 6 has no sentence folders. Raises CorpusError."""
    labels = LABEL_SETS["basic6"].labels

    def place(path: Path) -> Sample | str:
        matches = [_SUBJECT.fullmatch(part) for part in path.parts[:-1]]
        subject = next((str(int(match[1])) for match in matches if match), "")
        coded = _NAME.match(path.name)
        code = coded["emotion"].lower() if coded else ""
        names = [_CODES.get(code, code), *reversed(path.parts[:-1])]
        known = [label for label in map(canonical, names) if label in labels]
        if not known:
            return f"unknown code {code!r}" if code else "no emotion in name or folder"
        return Sample(root / path, known[0], subject) if subject else "no subject folder"

    expected = "subject 1/anger/sentence 1/s1_an_1.avi"
    return read_recordings(
        "enterface05", root, expected, place, suffixes=VIDEO_SUFFIXES, labels=labels
    )
