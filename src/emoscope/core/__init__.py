"""Errors, labels, the ClipSpec contract and results, which every room uses. No I/O, no torch."""
