"""Upper bounds of what is read, far beyond ordinary recordings.

A damaged header can state any size or length; within these bounds it costs neither gigabytes nor
hours. What exceeds them is a MediaError, or is skipped as damaged where it occurs midway.
"""

__all__ = [
    "MAX_CHANNELS",
    "MAX_FRAME_PIXELS",
    "MAX_GAP_S",
    "MAX_PICTURE_PIXELS",
    "MAX_SAMPLE_RATE_HZ",
    "MAX_SILENT_S",
    "MIN_SAMPLE_RATE_HZ",
]

MAX_PICTURE_PIXELS = 200_000_000  # of an image; the largest sensors of phones have as many
MAX_FRAME_PIXELS = 40_000_000  # of a film; 8K cinema, 8192 by 4320, has 35 million
MIN_SAMPLE_RATE_HZ = 1_000
MAX_SAMPLE_RATE_HZ = 768_000
MAX_CHANNELS = 64  # ambisonics of the seventh order
MAX_GAP_S = 90 * 60.0  # of silence in one sound track; at 16 kHz it takes a third of a gigabyte
MAX_SILENT_S = 12 * 3600.0  # of a film without sound, for a model of sound
