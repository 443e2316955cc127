"""RAVDESS (Livingstone and Russo, PLOS ONE 2018): actors who speak and sing two sentences."""

import re
from pathlib import Path

from emoscope.core.labels import LABEL_SETS
from emoscope.corpora.layout import read_recordings
from emoscope.corpora.manifest import Manifest, Sample
from emoscope.corpora.registry import CORPORA

__all__ = ["read_ravdess"]

_NAME = re.compile(r"\d\d(?:-\d\d){6}")
_FIELDS = {  # in the order of the name, without emotion and actor
    "modality": {"01": "audio-video", "02": "video", "03": "audio"},
    "channel": {"01": "speech", "02": "song"},
    "intensity": {"01": "normal", "02": "strong"},
    "statement": {"01": "kids", "02": "dogs"},  # "Kids / Dogs are ... by the door"
    "repetition": {"01": "1", "02": "2"},
}


@CORPORA.register("ravdess")
def read_ravdess(root: Path) -> Manifest:
    """RAVDESS (Livingstone & Russo, 2018): `Actor_01/03-01-05-01-02-01-12.wav`, `.mp4`, `.flac`.

    Seven fields: modality, channel, emotion, intensity, statement, repetition, actor; odd actors
    are men. Raises CorpusError."""
    labels = LABEL_SETS["ravdess8"].labels  # in the order of the codes 01 to 08

    def place(path: Path) -> Sample | str:
        if not _NAME.fullmatch(path.stem):
            return "name is not seven two-digit fields"
        modality, channel, emotion, *rest, actor = path.stem.split("-")
        if not 1 <= int(emotion) <= len(labels):
            return f"unknown code {emotion!r} (emotion)"
        groups = {}
        for (name, words), code in zip(_FIELDS.items(), (modality, channel, *rest), strict=True):
            if code not in words:
                return f"unknown code {code!r} ({name})"
            groups[name] = words[code]
        groups["gender"] = "male" if int(actor) % 2 else "female"
        return Sample(root / path, labels[int(emotion) - 1], str(int(actor)), groups=groups)

    expected = "Actor_12/03-01-05-01-02-01-12.wav, .mp4 or .flac"
    suffixes = frozenset((".wav", ".mp4", ".flac"))
    return read_recordings("ravdess", root, expected, place, suffixes=suffixes, labels=labels)
