"""Drawn walkers for tests of bodies: `from walking import film`."""

import numpy as np
from numpy.typing import NDArray

from emoscope.corpora.synthetic.figures import draw_figure
from emoscope.corpora.synthetic.motion import FPS, act


def film(seed: int, frames: int, fps: int = FPS, size_px: int = 128) -> list[NDArray[np.uint8]]:
    """A person who walks upright, (size_px, size_px, 3) each."""
    rng = np.random.default_rng(seed)
    walker = draw_figure(rng)
    acting = act(rng, "none", "sudden", (frames * FPS // fps + 1) / FPS)
    return list(walker.film(rng, acting, size_px))[:: FPS // fps][:frames]
