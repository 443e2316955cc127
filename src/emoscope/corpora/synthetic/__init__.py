"""Synthetic corpora: drawn people who act and sound."""

from emoscope.corpora.synthetic.corpus import KINDS, Kind, synthesise

__all__ = ["KINDS", "Kind", "synthesise"]
