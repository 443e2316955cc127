"""Thin programs: they parse, call and print."""
