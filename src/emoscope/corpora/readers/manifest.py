"""The reader of manifests: any recordings, listed in a CSV file."""

from pathlib import Path

from emoscope.core.errors import CorpusError
from emoscope.corpora.manifest import Manifest, exists, read_rows
from emoscope.corpora.registry import CORPORA

__all__ = ["read_manifest"]


@CORPORA.register("manifest")
def read_manifest(path: Path) -> Manifest:
    """A CSV file: path, label[, subject, split, start_s, end_s, fps, group:NAME, vote:LABEL].

    Relative paths start at the table's own folder. Rows whose file is missing are left out and
    counted. A path with Windows' separators is read with this system's. Raises CorpusError, also
    where none of the files exists."""
    voted, samples = read_rows(path)
    present = tuple(sample for sample in samples if exists(sample.path))
    if not present:
        first = (
            f"none of its {len(samples)} files, first {samples[0].path}" if samples else "no row"
        )
        raise CorpusError(
            f"{path}: expected paths of recordings, absolute or relative to the table's folder, "
            f"found {first}."
        )
    labels = voted or tuple(sorted({sample.label for sample in samples}))
    missing = len(samples) - len(present)
    return Manifest(path.stem, labels, present, {"file is missing": missing} if missing else {})
