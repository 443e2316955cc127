"""Pixels and samples: numpy in, numpy out."""
