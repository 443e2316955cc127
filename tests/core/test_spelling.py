"""Issue 18, kind 4: one person under two spellings."""

import unicodedata

import pytest

from emoscope.core.labels import canonical
from emoscope.core.spelling import collisions, is_missing, key, tidy

NFC, NFD = (unicodedata.normalize(form, "Zoë Ärger") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    "spelling", ["S1", "S1 ", "\tS1", "S1\u00a0", "\ufeffS1", "S\u200b1"], ids=ascii
)
def test_spaces_around_and_invisible_characters_make_no_other_name(spelling: str) -> None:
    assert tidy(spelling) == "S1"


def test_unicode_forms_make_no_other_name() -> None:
    assert NFC != NFD
    assert tidy(NFC) == tidy(NFD) == NFC
    assert canonical(NFC) == canonical(NFD) == "zoë ärger"


def test_spaces_within_a_name_are_kept_as_one() -> None:
    assert tidy("Anna \u00a0 Maria") == "Anna Maria" != tidy("AnnaMaria")


@pytest.mark.parametrize(
    ("one", "other"),
    [("S1", "s1"), ("1", "1.0"), ("01", "1"), ("2.50", "02.5"), ("STRASSE", "Straße")],
)
def test_case_and_number_format_are_collisions(one: str, other: str) -> None:
    assert key(one) == key(other)
    assert tidy(one) != tidy(other)
    assert collisions([one, other, one, "unlike"]) == [tuple(sorted((one, other)))]


@pytest.mark.parametrize(
    ("one", "other"),
    [("1", "10"), ("1", "1.5"), ("S1", "S01"), ("1000", "1_000"), ("100", "1e2"), ("a", "ä")],
)
def test_other_names_stay_apart(one: str, other: str) -> None:
    assert key(one) != key(other)
    assert collisions([one, other]) == []


def test_spellings_that_are_one_name_are_no_collision() -> None:
    assert collisions(["S1", "S1 ", NFC, NFD]) == []


def test_numbers_of_many_digits_are_not_rounded() -> None:
    assert key("1" * 40) != key("1" * 39 + "2")


@pytest.mark.parametrize("text", ["", " ", "\u00a0", "nan", "NaN", "None", "<NA>"])
def test_the_words_for_a_missing_value_are_known(text: str) -> None:
    assert is_missing(text)
    assert not is_missing(f"{text} anna")
