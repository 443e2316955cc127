"""Damaged inputs of every kind, each a `Target` in a file of its own; docs/fuzzing.md."""
