"""Where a Timeline came from."""

import math
from dataclasses import dataclass
from typing import Any, Self

from emoscope.core.options import AnalyzeOptions
from emoscope.core.votes import DEFAULT_VOTE

__all__ = ["Provenance"]


@dataclass(frozen=True)
class Provenance:
    """Where a Timeline came from: enough to repeat the analysis.

    It has a field for every option of AnalyzeOptions, under the same name. The JSON of a Timeline
    keeps the order of the fields.
    """

    path: str = ""
    model: str = ""
    model_version: str = ""
    backend: str = ""
    detector: str = ""
    prior: str = ""
    vote: str = DEFAULT_VOTE  # a name in VOTES
    rule: str = ""  # fusion rule of a system
    members: tuple[str, ...] = ()  # models of a system: "face-ferplus 0.1.0" ...
    speaker: str = ""  # the faces that a system gives the voice to: "all" or "mouth"
    window_s: float | None = None  # length of the windows of a model of clips or sound
    stride_s: float | None = None  # seconds from one window to the next
    smooth_s: float = 0.0  # length of the smoothing window
    min_confidence: float = 0.0  # a row whose highest probability is lower has no label
    rate_hz: float | None = None
    start_s: float = 0.0
    end_s: float | None = None
    duration_s: float = math.nan
    fps: float = math.nan
    width: int = 0
    height: int = 0
    emoscope: str = ""
    notes: tuple[str, ...] = ()

    @classmethod
    def from_options(cls, options: AnalyzeOptions, **fields: Any) -> Self:
        """The provenance of an analysis with these options; `fields` are added or replace them.

        >>> Provenance.from_options(AnalyzeOptions(prior="train"), model="face-ferplus").prior
        'train'
        """
        values = {name: value for name, value in options.model_dump().items() if value is not None}
        return cls(**(values | fields))
