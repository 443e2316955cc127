"""Timelines as files: JSON, tables, pages, annotated films. Core and media only."""
