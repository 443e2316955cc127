"""Published results, and ours beside them."""
