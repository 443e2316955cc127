"""Recipe → run → evaluation → bundle. Needs `emoscope[train]`."""
