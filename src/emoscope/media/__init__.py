"""Reading and processing video and audio; numpy in, numpy out."""
