"""Labelled recordings of known corpora, each read into a `Manifest`.

`CORPORA` lists the corpora that can be read; `read_corpus(name, folder)` reads one.
"""

from emoscope.corpora.manifest import Manifest, Sample
from emoscope.corpora.registry import CORPORA, ReaderOption, read_corpus, reader_options

__all__ = ["CORPORA", "Manifest", "ReaderOption", "Sample", "read_corpus", "reader_options"]
