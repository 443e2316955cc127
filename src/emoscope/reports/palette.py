"""One colour a label, the same in every picture Emoscope draws.

The first nine follow Okabe and Ito's colour-blind-safe set (2008), softened and with neutral as
a quiet grey; the rest follow Tol's "muted" scheme (2021).
"""

from collections.abc import Sequence

__all__ = ["NO_COLOUR", "UNSURE", "colours", "rgb"]

UNSURE = "unsure"  # in place of a label, where the least confidence is not reached
NO_COLOUR = "#7d8790"

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
    """`{label: "#rrggbb"}`. A label outside the known ones takes the next free colour."""
    free = [label for label in labels if label not in _FIXED]
    others = {label: _OTHERS[i % len(_OTHERS)] for i, label in enumerate(free)}
    return {label: _FIXED.get(label) or others[label] for label in labels}


def rgb(colour: str) -> tuple[int, int, int]:
    """ "#rrggbb" as three bytes."""
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue
