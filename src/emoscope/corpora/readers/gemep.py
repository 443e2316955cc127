"""GEMEP (Bänziger et al., Emotion 2012): actors who play seventeen emotions."""

import re
from pathlib import Path
from typing import Annotated

from emoscope.core.errors import CorpusError
from emoscope.core.labels import LABEL_SETS
from emoscope.corpora.layout import read_recordings
from emoscope.corpora.manifest import Manifest, Sample
from emoscope.corpora.registry import CORPORA
from emoscope.media.reading.container import SOUND_SUFFIXES, VIDEO_SUFFIXES

__all__ = ["GEMEP_PATTERN", "read_gemep"]

_CODES = {
    "adm": "admiration",
    "amu": "amusement",
    "att": "tenderness",  # attendrissement
    "col": "anger",
    "deg": "disgust",
    "des": "despair",
    "fie": "pride",
    "inq": "anxiety",
    "int": "interest",
    "irr": "irritation",
    "joi": "joy",
    "mep": "contempt",
    "peu": "fear",
    "pla": "pleasure",
    "sou": "relief",
    "sur": "surprise",
    "tri": "sadness",
}
GEMEP_PATTERN = r"(?<!\d)(?P<actor>\d{1,2})(?!\d)(?:.*?[^a-z])??(?P<emotion>[a-z]{3})(?![a-z])"
"""Actor number, then a three-letter word: `01adm_x.avi`, `A01_adm_1.avi`, `gemep_1-adm.mov`."""


@CORPORA.register("gemep")
def read_gemep(
    root: Path,
    *,
    pattern: Annotated[
        str,
        "Regular expression that finds the groups `actor` and `emotion` in a file name without "
        "its suffix, in upper or lower case. Releases name their files differently.",
    ] = GEMEP_PATTERN,
) -> Manifest:
    """GEMEP (Bänziger et al., 2012): a folder of films named by actor and French emotion code.

    Raises CorpusError, also for a `pattern` that cannot work."""
    try:
        name_pattern = re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        raise CorpusError(f"{pattern}: not a regular expression: {error}.") from None
    if not {"actor", "emotion"} <= set(name_pattern.groupindex):
        groups = ", ".join(name_pattern.groupindex) or "none"
        raise CorpusError(
            f"{pattern}: expected the named groups actor and emotion, found {groups}."
        )

    def place(path: Path) -> Sample | str:
        match = name_pattern.search(path.stem)
        if not match or not match["actor"] or not match["emotion"]:
            return "no actor and emotion in the name"
        actor, code = match["actor"], match["emotion"].lower()
        if code not in _CODES:
            return f"unknown code {code!r}"
        subject = str(int(actor)) if actor.isdecimal() else actor
        return Sample(root / path, _CODES[code], subject)

    expected = "films named by actor and French code, such as 01_adm.avi,"
    suffixes, labels = VIDEO_SUFFIXES | SOUND_SUFFIXES, LABEL_SETS["gemep17"].labels
    return read_recordings("gemep", root, expected, place, suffixes=suffixes, labels=labels)
