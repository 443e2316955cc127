"""Number of processors available to this process."""

import os

__all__ = ["usable_processors"]


def usable_processors() -> int:
    """Count the processors this process may use; `taskset` and containers can restrict them."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
