"""Corpora of films and sounds: the emotion stands in the file's name or in its folder's."""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from emoscope.core.errors import CorpusError
from emoscope.core.labels import LABEL_SETS, canonical
from emoscope.corpora.manifest import CORPORA, Manifest, Sample, contents
from emoscope.media.reading.container import SOUND_SUFFIXES, VIDEO_SUFFIXES
from emoscope.media.reading.images import IMAGE_SUFFIXES, natural_key

__all__ = [
    "GEMEP_PATTERN",
    "read_afew",
    "read_crema_d",
    "read_enterface05",
    "read_folder",
    "read_gemep",
    "read_ravdess",
]

_Place = Callable[[Path], Sample | str]
"""A recording's path, relative to the corpus, to its sample, or to the reason to leave it out."""


def _read(
    name: str,
    root: Path,
    expected: str,
    place: _Place,
    *,
    suffixes: frozenset[str],
    labels: tuple[str, ...] | None = None,
) -> Manifest:
    """Place every recording below `root`. `labels` None: those that occur, sorted.

    Raises CorpusError where none finds its place."""
    if not root.is_dir():
        raise CorpusError(f"{root}: expected a folder with {expected}, found a file.")
    samples: list[Sample] = []
    left_out: Counter[str] = Counter()
    misplaced = ""
    for path in _files(root):
        if any(part.startswith((".", "__MACOSX")) for part in path.parts):
            left_out["hidden file"] += 1
        elif path.suffix.lower() not in suffixes:
            left_out["not a recording"] += 1
        elif isinstance(placed := place(path), str):
            left_out[placed] += 1
            misplaced = misplaced or f"{path} ({placed})"
        else:
            samples.append(placed)
    if not samples:
        raise CorpusError(f"{root}: expected {expected}, found {misplaced or contents(root)}.")
    labels = labels or tuple(sorted({sample.label for sample in samples}))
    return Manifest(name, labels, tuple(samples), dict(left_out))


def _files(root: Path) -> list[Path]:
    """Files below a folder, relative to it, numbers in their order: "subject 2" before "10"."""
    found = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    return sorted(found, key=lambda path: ([natural_key(part) for part in path.parts], str(path)))


_ENTERFACE_CODES = {
    "an": "anger",
    "di": "disgust",
    "fe": "fear",
    "ha": "happiness",
    "sa": "sadness",
    "su": "surprise",
}
_ENTERFACE_NAME = re.compile(r"s_?\d+_(?P<emotion>[a-z]+)", re.IGNORECASE)
_ENTERFACE_SUBJECT = re.compile(r"s(?:ubject)?[ _-]*(\d+)", re.IGNORECASE)


@CORPORA.register("enterface05")
def read_enterface05(root: Path) -> Manifest:
    """eNTERFACE'05 (Martin et al., 2006): `subject 1/anger/sentence 1/s1_an_1.avi`.

    The emotion is the file name's code, else the folder's name; the subject is the folder's.
    Subject 6 has no sentence folders. Raises CorpusError."""
    labels = LABEL_SETS["basic6"].labels

    def place(path: Path) -> Sample | str:
        subjects = [_ENTERFACE_SUBJECT.fullmatch(part) for part in path.parts[:-1]]
        subject = next((str(int(found[1])) for found in subjects if found), "")
        coded = _ENTERFACE_NAME.match(path.name)
        code = coded["emotion"].lower() if coded else ""
        names = [_ENTERFACE_CODES.get(code, code), *reversed(path.parts[:-1])]
        known = [label for label in map(canonical, names) if label in labels]
        if not known:
            return f"unknown code {code!r}" if code else "no emotion in name or folder"
        return Sample(root / path, known[0], subject) if subject else "no subject folder"

    expected = "subject 1/anger/sentence 1/s1_an_1.avi"
    return _read("enterface05", root, expected, place, suffixes=VIDEO_SUFFIXES, labels=labels)


@CORPORA.register("afew")
def read_afew(root: Path) -> Manifest:
    """AFEW (Dhall et al., 2012): `Train_AFEW/Angry/000046280.avi`, `Val_AFEW/...`.

    Its split is fixed and its subjects are not published. The test part has no labels and is left
    out. Raises CorpusError."""
    labels = LABEL_SETS["basic7"].labels
    parts = {"train_afew": "train", "val_afew": "valid"}

    def place(path: Path) -> Sample | str:
        folders = [part.lower() for part in path.parts[:-1]]
        split = next((parts[folder] for folder in folders if folder in parts), "")
        if not split:
            return "outside Train_AFEW and Val_AFEW"
        label = canonical(folders[-1])
        if label not in labels:
            return f"unknown emotion folder {path.parent.name!r}"
        return Sample(root / path, label, split=split)

    expected = "Train_AFEW/Angry/*.avi and Val_AFEW/Angry/*.avi"
    return _read("afew", root, expected, place, suffixes=VIDEO_SUFFIXES, labels=labels)


_GEMEP_CODES = {
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


def read_gemep(root: Path, *, pattern: str = GEMEP_PATTERN) -> Manifest:
    """GEMEP (Bänziger et al., 2012): a flat folder of films named by actor and French code.

    Releases differ in their names: `pattern` is searched in the name without its suffix, whatever
    the case, and has the groups `actor` and `emotion`. Raises CorpusError."""
    try:
        search = re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        raise CorpusError(f"{pattern}: not a regular expression: {error}.") from None
    if not {"actor", "emotion"} <= set(search.groupindex):
        groups = ", ".join(search.groupindex) or "none"
        raise CorpusError(
            f"{pattern}: expected the named groups actor and emotion, found {groups}."
        )

    def place(path: Path) -> Sample | str:
        found = search.search(path.stem)
        if not found or not found["actor"] or not found["emotion"]:
            return "no actor and emotion in the name"
        actor, code = found["actor"], found["emotion"].lower()
        if code not in _GEMEP_CODES:
            return f"unknown code {code!r}"
        subject = str(int(actor)) if actor.isdecimal() else actor
        return Sample(root / path, _GEMEP_CODES[code], subject)

    expected = "films named by actor and French code, such as 01_adm.avi,"
    labels = LABEL_SETS["gemep17"].labels
    return _read(
        "gemep", root, expected, place, suffixes=VIDEO_SUFFIXES | SOUND_SUFFIXES, labels=labels
    )


CORPORA.add("gemep", read_gemep)  # as a decorator it would hide `pattern` from type checkers


_RAVDESS_NAME = re.compile(r"\d\d(?:-\d\d){6}")
_RAVDESS_FIELDS = {  # in the order of the name; the emotion and the actor stand apart
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
        if not _RAVDESS_NAME.fullmatch(path.stem):
            return "name is not seven two-digit fields"
        modality, channel, emotion, *rest, actor = path.stem.split("-")
        if not 1 <= int(emotion) <= len(labels):
            return f"unknown code {emotion!r} (emotion)"
        groups = {}
        for (name, words), code in zip(
            _RAVDESS_FIELDS.items(), (modality, channel, *rest), strict=True
        ):
            if code not in words:
                return f"unknown code {code!r} ({name})"
            groups[name] = words[code]
        groups["gender"] = "male" if int(actor) % 2 else "female"
        return Sample(root / path, labels[int(emotion) - 1], str(int(actor)), groups=groups)

    expected = "Actor_12/03-01-05-01-02-01-12.wav, .mp4 or .flac"
    suffixes = frozenset((".wav", ".mp4", ".flac"))
    return _read("ravdess", root, expected, place, suffixes=suffixes, labels=labels)


_CREMA_NAME = re.compile(r"(\d{4})_([A-Z]{3})_([A-Z]{3})_([A-Z]{1,2})", re.IGNORECASE)
_CREMA_CODES = {
    "ANG": "anger",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happiness",
    "NEU": "neutral",
    "SAD": "sadness",
}
_CREMA_LEVELS = {
    "LO": "low",
    "MD": "medium",
    "HI": "high",
    "XX": "unspecified",
    "X": "unspecified",  # the release has one name with a single X
}


@CORPORA.register("crema-d")
def read_crema_d(root: Path) -> Manifest:
    """CREMA-D (Cao et al., 2014): `VideoFlash/1001_DFA_ANG_XX.flv`, `AudioWAV/...wav`.

    Four fields: subject, sentence, emotion, level. A performance is there as film and as sound:
    the group `modality` tells them apart. Raises CorpusError."""

    def place(path: Path) -> Sample | str:
        found = _CREMA_NAME.fullmatch(path.stem)
        if not found:
            return "name is not subject_sentence_emotion_level"
        suffix = path.suffix.lower()
        if suffix == ".mp3":
            return "MP3 copy of AudioWAV"
        subject, sentence, emotion, level = found[1], *(found[i].upper() for i in (2, 3, 4))
        if emotion not in _CREMA_CODES:
            return f"unknown code {emotion!r} (emotion)"
        if level not in _CREMA_LEVELS:
            return f"unknown code {level!r} (level)"
        groups = {
            "modality": "audio-video" if suffix in VIDEO_SUFFIXES else "audio",
            "sentence": sentence,
            "level": _CREMA_LEVELS[level],
        }
        return Sample(root / path, _CREMA_CODES[emotion], subject, groups=groups)

    expected = "VideoFlash/1001_DFA_ANG_XX.flv or AudioWAV/1001_DFA_ANG_XX.wav"
    labels = LABEL_SETS["crema6"].labels
    return _read(
        "crema-d", root, expected, place, suffixes=VIDEO_SUFFIXES | SOUND_SUFFIXES, labels=labels
    )


@CORPORA.register("folder")
def read_folder(root: Path) -> Manifest:
    """Any films, sounds or pictures: `LABEL/file` or `SUBJECT/LABEL/file`, told by the depth.

    The two are not mixed: a folder too many would turn labels into subjects. Raises CorpusError."""
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
    manifest = _read("folder", root, expected, place, suffixes=suffixes)
    if len(depths) > 1:
        both = " and ".join(str(path) for path in depths.values())
        raise CorpusError(
            f"{root}: expected either LABEL/file or SUBJECT/LABEL/file, found {both}."
        )
    return manifest
