"""The papers' printed figures, and ours beside them."""
