"""AFEW (Dhall et al., IEEE MultiMedia 2012): short scenes of feature films."""

from pathlib import Path

from emoscope.core.labels import LABEL_SETS, canonical
from emoscope.corpora.layout import read_recordings
from emoscope.corpora.manifest import Manifest, Sample
from emoscope.corpora.registry import CORPORA
from emoscope.media.reading.container import VIDEO_SUFFIXES

__all__ = ["read_afew"]


@CORPORA.register("afew")
def read_afew(root: Path) -> Manifest:
    """AFEW (Dhall et al., 2012): `Train_AFEW/Angry/000046280.avi`, `Val_AFEW/...`.

    The split is fixed and the subjects are not published. The test part has no labels and is left
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
    return read_recordings("afew", root, expected, place, suffixes=VIDEO_SUFFIXES, labels=labels)
