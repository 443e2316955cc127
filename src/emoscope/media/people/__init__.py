"""Who is seen in a film: tracks, crops and sightings."""
