"""Export of runs as bundles with their cards."""
