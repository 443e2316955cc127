"""One colour per label, the same in all pages and videos.

The first nine follow Okabe and Ito's colour-blind-safe set (2008), softened, with grey for
neutral. The others follow Tol's "muted" scheme (2021).
"""

from collections.abc import Sequence

__all__ = ["NO_COLOUR", "UNSURE", "colours", "rgb"]

UNSURE = "unsure"  # shown where a probability is below the minimum confidence
NO_COLOUR = "#7d8790"  # for UNSURE

_FIXED = {
    "neutral": "#b4bcc6",
    "happiness": "#f0b429",
    "surprise": "#62b6e6",
    "sadness": "#1f6bb0",
    "anger": "#d3541f",
    "disgust": "#1b9e77",
    "fear": "#c678a8",
    "contempt": "#5a4a78",
    "calm": "#9fd3c1",
}
_OTHERS = (
    "#44aa99",
    "#cc6677",
    "#88ccee",
    "#999933",
    "#882255",
    "#ddcc77",
    "#332288",
    "#aa4499",
    "#117733",
    "#e8a07c",
    "#8c6bb1",
)


def colours(labels: Sequence[str]) -> dict[str, str]:
    """Assign a colour to each label: `{label: "#rrggbb"}`."""
    unknown = [label for label in labels if label not in _FIXED]
    others = {label: _OTHERS[i % len(_OTHERS)] for i, label in enumerate(unknown)}
    return {label: _FIXED.get(label) or others[label] for label in labels}


def rgb(colour: str) -> tuple[int, int, int]:
    """Convert "#rrggbb" to three bytes."""
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue
