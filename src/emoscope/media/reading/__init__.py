"""Files to pixels: containers, decoding, numbered images."""
