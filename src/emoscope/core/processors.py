"""How many processors there are for this process."""

import os

__all__ = ["usable_processors"]


def usable_processors() -> int:
    """Fewer than the machine's where `taskset` or a container binds the process to some of them."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
