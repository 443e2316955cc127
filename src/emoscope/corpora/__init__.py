"""Labelled clips and pictures of every known layout, as one Manifest each.

`CORPORA` names the layouts, `read_corpus(name, folder)` reads one.
"""

from emoscope.corpora.manifest import CORPORA, Manifest, Sample, read_corpus
from emoscope.corpora.readers import (  # noqa: F401  # each registers its readers
    image_sequences,
    stills,
    video_corpora,
)

__all__ = ["CORPORA", "Manifest", "Sample", "read_corpus"]
