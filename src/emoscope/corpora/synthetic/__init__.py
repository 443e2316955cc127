"""Synthetic corpora: drawn people with expressions and voices."""

from emoscope.corpora.synthetic.corpus import KINDS, Kind, synthesise

__all__ = ["KINDS", "Kind", "synthesise"]
