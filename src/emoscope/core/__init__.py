"""Errors, labels, the ClipSpec contract and results, used by every room. No I/O, no torch."""
