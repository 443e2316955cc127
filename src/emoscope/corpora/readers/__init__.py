"""Corpus readers, one module a corpus; the registry imports every module of this package."""
