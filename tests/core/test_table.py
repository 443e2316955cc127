"""Columns of the table of a Timeline (kinds: missing texts, labels that are names of columns)."""

import itertools

import pytest

from emoscope.core.table import AFTER, BEFORE, data_frame, probability_columns


def test_an_ordinary_label_is_its_own_column() -> None:
    labels = ("anger", "p_anger", "Track", "happiness")
    assert probability_columns(labels) == labels


@pytest.mark.parametrize("label", [*BEFORE, *AFTER])
def test_a_label_with_the_name_of_a_column_gets_a_prefix(label: str) -> None:
    assert probability_columns(["anger", label]) == ("anger", f"p_{label}")


def test_a_prefix_never_makes_two_columns_equal() -> None:
    labels = ("track", "p_track", "p_p_track", "leading")
    for order in itertools.permutations(labels):
        columns = probability_columns(order)
        assert len({*columns, *BEFORE, *AFTER}) == len(labels) + len(BEFORE) + len(AFTER)


@pytest.mark.parametrize("leading", [["joy", None], [None, None], []])
def test_a_missing_text_is_missing(leading: list[str | None]) -> None:
    pytest.importorskip("pandas")
    track = [1, None][: len(leading)]
    table = data_frame({"track": track, "leading": leading})
    assert table["leading"].isna().tolist() == [text is None for text in leading]
    assert table["track"].isna().tolist() == [number is None for number in track]
    assert table["track"].dtype == "Int64"
    assert (table["leading"] == "None").sum() == 0
