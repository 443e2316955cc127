"""AnalyzeOptions: checked at creation, equal to its keywords, carried into the provenance."""

from dataclasses import fields
from typing import Any, get_type_hints

import pytest
from pydantic import ValidationError

import emoscope
from emoscope.core.errors import SpecError, UnknownName
from emoscope.core.options import DEFAULT_SMOOTH_S, AnalyzeKeywords, AnalyzeOptions
from emoscope.core.provenance import Provenance
from emoscope.core.votes import DEFAULT_FRAME_VOTE, DEFAULT_VOTE

FIELDS = AnalyzeOptions.model_fields


def test_the_keywords_are_the_fields_with_the_same_types() -> None:
    assert get_type_hints(AnalyzeKeywords) == {name: f.annotation for name, f in FIELDS.items()}
    assert list(get_type_hints(AnalyzeKeywords)) == list(FIELDS)
    assert AnalyzeKeywords.__required_keys__ == frozenset()


def test_every_option_is_a_field_of_the_provenance() -> None:
    assert set(FIELDS) <= {field.name for field in fields(Provenance)}


def test_every_option_has_a_description_of_whole_sentences() -> None:
    for field in FIELDS.values():
        assert field.description
        assert field.description.endswith(".")


def test_descriptions_name_the_defaults_of_the_models() -> None:
    assert f"{DEFAULT_FRAME_VOTE} for image models" in str(FIELDS["vote"].description)
    assert f"{DEFAULT_VOTE} for others" in str(FIELDS["vote"].description)
    assert f"{DEFAULT_SMOOTH_S:g} for image models" in str(FIELDS["smooth_s"].description)


def test_options_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        AnalyzeOptions().rate_hz = 5.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"smoth_s": 1}, "No option 'smoth_s'. Did you mean 'smooth_s'?"),
        ({"smoth_s": 1, "rate_hz": -1}, "No option 'smoth_s'. Did you mean 'smooth_s'?"),
        ({"colour": "red"}, f"No option 'colour'. Known: {', '.join(FIELDS)}."),
        (
            {"prior": "flat"},
            "Option prior: Input should be 'uniform' or 'train' (got 'flat').",
        ),
        ({"rate_hz": 0}, "Option rate_hz: Input should be greater than 0 (got 0)."),
        ({"min_confidence": 2}, "Option min_confidence: Input should be less than or equal to 1"),
        ({"smooth_s": float("inf")}, "Option smooth_s: Input should be a finite number (got inf)."),
        ({"min_confidence": float("nan")}, "Option min_confidence: Input should be a finite"),
        ({"backend": 3}, "Option backend: Input should be a valid string (got 3)."),
    ],
)
def test_a_wrong_option_is_one_line(options: Any, message: str) -> None:
    with pytest.raises(SpecError) as raised:
        AnalyzeOptions(**options)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_an_unknown_vote_suggests_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"No vote named 'max-prob'. Did you mean 'max-prob"):
        AnalyzeOptions(vote="max-prob")


def test_replacing_keeps_what_was_given_and_checks_again() -> None:
    options = AnalyzeOptions(rate_hz=10.0).replace(smooth_s=1)
    assert options == AnalyzeOptions(smooth_s=1.0)
    assert options.model_fields_set == {"rate_hz", "smooth_s"}
    assert AnalyzeOptions().replace() == AnalyzeOptions()
    with pytest.raises(SpecError, match="Did you mean 'vote'"):
        options.replace(votes="sum-probability")  # type: ignore[call-arg]
    with pytest.raises(SpecError, match="smooth_s"):
        options.replace(smooth_s=-1)


def test_the_provenance_takes_all_options() -> None:
    options = AnalyzeOptions(
        detector="lbp",
        rate_hz=None,
        backend="openvino",
        prior="train",
        vote="max-probability",
        speaker="mouth",
        window_s=2.0,
        stride_s=1.0,
        smooth_s=2.0,
        min_confidence=0.3,
    )
    assert set(options.model_fields_set) == set(FIELDS)
    about = Provenance.from_options(options, model="m", backend="onnxruntime")
    assert {name: getattr(about, name) for name in FIELDS} == {
        **options.model_dump(),
        "backend": "onnxruntime",
    }
    assert about.model == "m"


def test_options_that_are_none_leave_the_provenance_at_its_defaults() -> None:
    about = Provenance.from_options(AnalyzeOptions())
    assert (about.speaker, about.vote, about.smooth_s) == ("", DEFAULT_VOTE, 0.0)


def test_the_package_exports_the_options() -> None:
    assert emoscope.AnalyzeOptions is AnalyzeOptions
