"""Samples, and what models hear of them: eGeMAPS, log-mel bands."""
