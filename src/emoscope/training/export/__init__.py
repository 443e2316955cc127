"""Runs as bundles, with their cards."""
