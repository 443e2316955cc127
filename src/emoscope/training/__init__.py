"""Recipe → run → evaluation → bundle. Needs `emoscope[train]`."""

from emoscope.core.offline import keep_matplotlib_in_cache

keep_matplotlib_in_cache()
