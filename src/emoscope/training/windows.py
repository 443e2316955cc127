"""The window of a run's bundle: the stretches of a recording that `analyze` gives to the model."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emoscope.core.clipspec import ClipSpec, Uniform, Window
from emoscope.core.errors import EmoscopeError
from emoscope.corpora.manifest import Sample
from emoscope.media.video import probe
from emoscope.training.recipe import Recipe

__all__ = ["BundleWindow", "bundle_window"]

_IMAGE_FPS = 25.0  # of a folder of pictures whose corpus gives no rate
_MEASURED = 1000  # clips, evenly spread over the corpus
_MUCH = 2.0  # ratio of the 90th to the 10th percentile of the lengths


@dataclass(frozen=True)
class BundleWindow:
    """The window of a bundle, where it comes from, and a warning about it or ""."""

    window: Window
    source: str
    warning: str = ""

    def facts(self) -> dict[str, float | str]:
        """The window for run.json."""
        return {**self.window.model_dump(), "source": self.source}


def bundle_window(recipe: Recipe, spec: ClipSpec, samples: Sequence[Sample]) -> BundleWindow:
    """Choose the window of a clip model that is trained on some samples.

    A model that samples uniformly sees each training clip whole, so its time scale is the length of
    the clips: the window is their median, and the stride keeps its share of it. The model's own
    window stays if the recipe states one, for other sampling rules, whose span is that of their
    frames, with `evaluation.every`, whose blocks are of that span too, and if no length is known.
    """
    if "window" in recipe.clip:
        return BundleWindow(spec.window, "stated in the recipe")
    own = BundleWindow(spec.window, "the model's own")
    if not isinstance(spec.sampling, Uniform) or recipe.evaluation.every:
        return own
    spans = list({(s.path, s.start_s, s.end_s): s for s in samples}.values())
    chosen = np.linspace(0, len(spans) - 1, min(len(spans), _MEASURED)).round().astype(int)
    lengths_s = [length for i in chosen if (length := _length_s(spans[i])) >= 0.01]
    if not lengths_s:
        return own
    short, middle, long = np.percentile(lengths_s, (10, 50, 90)).tolist()
    length_s = round(middle, 2)
    stride_s = max(round(length_s * spec.window.stride_s / spec.window.length_s, 3), 0.001)
    warning = ""
    if long > _MUCH * short:
        warning = (
            f"The training clips last {short:.3g} to {long:.3g} s (10th and 90th percentile). The "
            f"bundle's window is their median, {length_s:g} s, and suits the others less. Cut the "
            "clips alike, or set clip.window."
        )
    window = Window(length_s=length_s, stride_s=stride_s)
    return BundleWindow(window, "median of the training clips", warning)


def _length_s(sample: Sample) -> float:
    """Length of a clip as labelled, else as its file states; NaN if unknown, 0 for a picture."""
    if sample.end_s is not None:
        return sample.end_s - sample.start_s
    try:
        return probe(sample.path, image_fps=sample.fps or _IMAGE_FPS).duration_s - sample.start_s
    except EmoscopeError:
        return math.nan
