"""The reader of manifests: any recordings, listed in a CSV file."""

from pathlib import Path

from emoscope.corpora.manifest import Manifest, read_rows
from emoscope.corpora.registry import CORPORA

__all__ = ["read_manifest"]


@CORPORA.register("manifest")
def read_manifest(path: Path) -> Manifest:
    """A CSV file: path, label[, subject, split, start_s, end_s, fps, group:NAME, vote:LABEL].

    Relative paths start at the table's own folder. Rows whose file is missing are left out and
    counted. Raises CorpusError."""
    voted, samples = read_rows(path)
    present = tuple(sample for sample in samples if sample.path.exists())
    labels = voted or tuple(sorted({sample.label for sample in samples}))
    missing = len(samples) - len(present)
    return Manifest(path.stem, labels, present, {"file is missing": missing} if missing else {})
