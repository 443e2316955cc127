"""Corpus trees for tests of readers: `from planting import facts, plant, read`."""

from collections.abc import Iterable
from pathlib import Path

from making import make_image

from emoscope.corpora import Manifest, Sample, read_corpus

ENTERFACE = "subject 1/anger/sentence 1/s1_an_1.avi"
AFEW = "Train_AFEW/Angry/000046280.avi"
RAVDESS = "Actor_12/03-01-05-01-02-01-12.wav"
CREMA = "VideoFlash/1001_DFA_ANG_XX.flv"


def plant(root: Path, names: Iterable[str]) -> Path:
    """A tree of files that hold their own names."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, encoding="utf-8")
    return root


def read(corpus: str, root: Path, *names: str) -> Manifest:
    """The manifest of a corpus whose files have these names."""
    return read_corpus(corpus, plant(root, names))


def only(manifest: Manifest) -> Sample:
    (sample,) = manifest.samples
    return sample


def facts(manifest: Manifest) -> list[tuple[str, str]]:
    """Label and subject of every sample."""
    return [(sample.label, sample.subject) for sample in manifest.samples]


def pictures(folder: Path, prefix: str, suffix: str, count: int = 2) -> None:
    """A folder of numbered pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, count + 1):
        make_image(folder / f"{prefix}{number:08d}{suffix}")
