"""Audio: reading samples, eGeMAPS features, log-mel spectrograms."""
