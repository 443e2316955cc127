"""CREMA-D (Cao et al., IEEE TAFFC 2014): actors who speak twelve sentences."""

import re
from pathlib import Path

from emoscope.core.labels import LABEL_SETS
from emoscope.corpora.layout import read_recordings
from emoscope.corpora.manifest import Manifest, Sample
from emoscope.corpora.registry import CORPORA
from emoscope.media.reading.container import SOUND_SUFFIXES, VIDEO_SUFFIXES

__all__ = ["read_crema_d"]

_NAME = re.compile(r"(\d{4})_([A-Z]{3})_([A-Z]{3})_([A-Z]{1,2})", re.IGNORECASE)
_CODES = {
    "ANG": "anger",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happiness",
    "NEU": "neutral",
    "SAD": "sadness",
}
_LEVELS = {
    "LO": "low",
    "MD": "medium",
    "HI": "high",
    "XX": "unspecified",
    "X": "unspecified",  # the release has one name with a single X
}


@CORPORA.register("crema-d")
def read_crema_d(root: Path) -> Manifest:
    """CREMA-D (Cao et al., 2014): `VideoFlash/1001_DFA_ANG_XX.flv`, `AudioWAV/...wav`.

    Four fields: subject, sentence, emotion, level. Each performance exists as film and as sound;
    the group `modality` distinguishes them. Raises CorpusError."""

    def place(path: Path) -> Sample | str:
        match = _NAME.fullmatch(path.stem)
        if not match:
            return "name is not subject_sentence_emotion_level"
        suffix = path.suffix.lower()
        if suffix == ".mp3":
            return "MP3 copy of AudioWAV"
        subject, sentence, emotion, level = match[1], *(match[i].upper() for i in (2, 3, 4))
        if emotion not in _CODES:
            return f"unknown code {emotion!r} (emotion)"
        if level not in _LEVELS:
            return f"unknown code {level!r} (level)"
        groups = {
            "modality": "audio-video" if suffix in VIDEO_SUFFIXES else "audio",
            "sentence": sentence,
            "level": _LEVELS[level],
        }
        return Sample(root / path, _CODES[emotion], subject, groups=groups)

    expected = "VideoFlash/1001_DFA_ANG_XX.flv or AudioWAV/1001_DFA_ANG_XX.wav"
    suffixes, labels = VIDEO_SUFFIXES | SOUND_SUFFIXES, LABEL_SETS["crema6"].labels
    return read_recordings("crema-d", root, expected, place, suffixes=suffixes, labels=labels)
