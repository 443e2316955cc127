"""Labelled pictures and clips of known layouts."""
