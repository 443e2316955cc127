"""People in a video: tracks, crops and sightings."""
