"""Columns of the table that a Timeline is converted to."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from emoscope.core.errors import MissingExtra

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["AFTER", "BEFORE", "TEXTS", "data_frame", "probability_columns"]

BEFORE = (  # columns before those of the labels; the boxes have py-feat's names
    *("start_s", "end_s", "track"),
    *("FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight"),
)
AFTER = ("leading", "modalities", "padded", "input", "model")
TEXTS = ("leading", "modalities", "input", "model")


def probability_columns(labels: Sequence[str]) -> tuple[str, ...]:
    """Name the column of each label: the label itself, with "p_" before the name of another column.

    >>> probability_columns(["calm", "track"])
    ('calm', 'p_track')
    """
    names: list[str] = []
    for label in labels:
        name = label
        while name in (*BEFORE, *AFTER) or (name != label and name in (*labels, *names)):
            name = f"p_{name}"
        names.append(name)
    return tuple(names)


def data_frame(columns: Mapping[str, Any]) -> "pd.DataFrame":
    """Convert the columns of `Timeline.to_columns` to pandas. Raises MissingExtra."""
    try:
        import pandas as pd
    except ImportError:
        raise MissingExtra("A pandas table", "pandas") from None
    # The type that pandas gives text: "str" from version 3 on, "object" before. Converting to it
    # by name would turn None into the text "None" in pandas 2.
    types: dict[str, Any] = dict.fromkeys(TEXTS, pd.Series(["text"]).dtype)
    types["track"] = "Int64"
    return pd.DataFrame(
        {name: pd.Series(values, dtype=types.get(name)) for name, values in columns.items()}
    )
