"""Parts of reading video and images: containers, decoding, pixel formats, prefetching."""
