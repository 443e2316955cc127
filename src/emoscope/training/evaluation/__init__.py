"""Finished runs measured, compared, fused."""
