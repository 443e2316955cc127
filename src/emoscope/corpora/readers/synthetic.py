"""The reader of the synthetic corpora that `emoscope corpus synth` draws."""

from pathlib import Path

from emoscope.core.errors import CorpusError
from emoscope.corpora.layout import contents
from emoscope.corpora.manifest import SYNTHETIC, Manifest, synthetic_kind
from emoscope.corpora.readers.manifest import read_manifest
from emoscope.corpora.registry import CORPORA

__all__ = ["read_synthetic"]


@CORPORA.register("synthetic")
def read_synthetic(root: Path) -> Manifest:
    """A corpus drawn by `emoscope corpus synth`: `manifest.csv` beside `synthetic.json`.

    Raises CorpusError."""
    if not synthetic_kind(root):
        raise CorpusError(
            f"{root}: expected {SYNTHETIC} and manifest.csv, found {contents(root)}. Make such a "
            "corpus with `emoscope corpus synth`."
        )
    return read_manifest(root / "manifest.csv")
