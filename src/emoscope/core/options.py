"""Options of an analysis: one frozen object that goes from the caller to the provenance.

To add an option, add a field to AnalyzeOptions, its type to AnalyzeKeywords, and a field of the
same name to `core.provenance.Provenance`. The command line offers it without further code.

`start_s` and `end_s` are not options: they belong to one recording, so `analyze` takes them as
arguments beside its path.
"""

import difflib
from typing import Any, Literal, Self, TypedDict, Unpack

from pydantic import BaseModel, Field, ValidationError, field_validator

from emoscope.core.clipspec import explain
from emoscope.core.errors import SpecError

__all__ = [
    "DEFAULT_MODEL",
    "DEFAULT_RATE_HZ",
    "DEFAULT_SMOOTH_S",
    "AnalyzeKeywords",
    "AnalyzeOptions",
    "Prior",
    "Speaker",
]

DEFAULT_MODEL = "face-ferplus"
DEFAULT_RATE_HZ = 10.0
DEFAULT_SMOOTH_S = 0.5  # of image models; other models are not smoothed by default

Prior = Literal["uniform", "train"]
Speaker = Literal["all", "mouth"]


class AnalyzeKeywords(TypedDict, total=False):
    """The options as keyword arguments of `emoscope.analyze` and `emoscope.Analyzer`."""

    detector: str
    rate_hz: float | None
    backend: str
    prior: Prior
    vote: str | None
    speaker: Speaker | None
    window_s: float | None
    stride_s: float | None
    smooth_s: float | None
    min_confidence: float


class AnalyzeOptions(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """How videos are analysed. None means the model's own default, except for `rate_hz`.

    Raises SpecError for a value out of bounds or an unknown option, UnknownName for an unknown
    vote. Names of detectors and backends are checked when a model is opened.

    >>> options = AnalyzeOptions(rate_hz=5, smooth_s=1)
    >>> options.rate_hz, options.detector
    (5.0, 'auto')
    >>> AnalyzeOptions(smoth_s=1)
    Traceback (most recent call last):
        ...
    emoscope.core.errors.SpecError: No option 'smoth_s'. Did you mean 'smooth_s'?
    """

    detector: str = Field(
        default="auto",
        description="Detector that finds the faces, or the people for a model of bodies. auto is "
        "haar for faces and hog for bodies; NAME=PATH reads the detector from a file; none takes "
        "the whole frame as one face.",
    )
    rate_hz: float | None = Field(
        default=DEFAULT_RATE_HZ,
        gt=0,
        description="Frames per second of video that an image model analyses; None analyses every "
        "frame. Models of clips and of sound ignore it.",
    )
    backend: str = Field(default="onnxruntime", description="Library that runs the model.")
    prior: Prior = Field(
        default="uniform",
        description="Class prior: uniform removes the class frequencies of the training data from "
        "the probabilities, train keeps them.",
    )
    vote: str | None = Field(
        default=None,
        description="Rule that combines the answers for overlapping windows, and for all moments "
        "of a face, into one. By default expressive-weighted for image models and sum-probability "
        "for others.",
    )
    speaker: Speaker | None = Field(
        default=None,
        description="Faces that the voice counts for, if a system analyses face and voice. all: "
        "every face; mouth: only the face whose mouth moves with the sound. By default as the "
        "system's file says.",
    )
    window_s: float | None = Field(
        default=None,
        ge=0.1,
        description="Length in seconds of the windows that a model of clips or sound analyses. By "
        "default the model's own, the length that it was trained on.",
    )
    stride_s: float | None = Field(
        default=None,
        ge=0.01,
        description="Seconds from the start of one window to the next, and the length of a row, at "
        "most the length of the window. By default the model's own.",
    )
    smooth_s: float | None = Field(
        default=None,
        ge=0,
        description="Length of the smoothing window in seconds; 0 disables smoothing. By default "
        f"{DEFAULT_SMOOTH_S:g} for image models and 0 for others.",
    )
    min_confidence: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Minimum confidence: moments and faces whose highest probability is lower get "
        "no label. Their probabilities are still reported.",
    )

    def __init__(self, **options: Unpack[AnalyzeKeywords]) -> None:
        try:
            super().__init__(**options)
        except ValidationError as error:
            raise SpecError(_message(type(self), error)) from None

    @field_validator("vote")
    @classmethod
    def _vote_exists(cls, vote: str | None) -> str | None:
        if vote is not None:
            from emoscope.core.votes import VOTES  # it imports numpy: help must not wait for it

            _ = VOTES[vote]
        return vote

    def replace(self, **changes: Unpack[AnalyzeKeywords]) -> Self:
        """The same options with some changed, validated like at creation.

        >>> AnalyzeOptions(rate_hz=5).replace(vote="max-probability").vote
        'max-probability'
        """
        options: Any = {name: getattr(self, name) for name in self.model_fields_set} | changes
        return type(self)(**options)


def _message(model: type[BaseModel], error: ValidationError) -> str:
    for problem in error.errors(include_url=False):
        if problem["type"] == "extra_forbidden":
            name, known = str(problem["loc"][0]), list(model.model_fields)
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known)}."
            return f"No option {name!r}. {hint}"
    return f"Option {explain(error)}."
