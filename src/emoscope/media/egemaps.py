"""The 88 acoustic functionals of eGeMAPSv02 (Eyben et al., IEEE Trans. Affective Computing 2016).

They are openSMILE's, which `emoscope[audio]` installs. openSMILE is not free software: its own
licence allows research and teaching only, and no commercial use without audEERING's consent.
"""

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from emoscope.core.clipspec import DIMENSIONS
from emoscope.core.errors import MissingExtra, SpecError

__all__ = ["SHORTEST_S", "egemaps", "feature_names"]

FloatArray = npt.NDArray[np.float32]

SHORTEST_S = 0.06  # the frame that pitch is read from
_LOUDEST = np.float32(1 - 2**-15)  # openSMILE works in 16 bits, where 1 would turn over to -1


def egemaps(samples: npt.NDArray[np.floating], rate_hz: int) -> FloatArray:
    """The functionals of mono sound (N,) in [-1, 1] -> (88,), in the order of `feature_names`.

    NaN where there is nothing to measure: sound shorter than `SHORTEST_S`, and silence, which is
    sound below the last of 16 bits. Raises SpecError for samples that are not (N,) and finite,
    MissingExtra without openSMILE.
    """
    signal = np.asarray(samples, dtype=np.float32)
    if signal.ndim != 1 or not np.isfinite(signal).all():
        raise SpecError(f"Sound is (N,) finite samples, got {signal.shape} or not finite.")
    smile = _smile()
    if len(signal) < SHORTEST_S * rate_hz or np.abs(signal).max() < 2**-15:
        return np.full(DIMENSIONS["egemaps"], np.nan, dtype=np.float32)
    values = smile(signal.clip(-1, _LOUDEST), rate_hz)
    return np.asarray(values, dtype=np.float32).reshape(DIMENSIONS["egemaps"])


def feature_names() -> tuple[str, ...]:
    """The 88 functionals' names. Raises MissingExtra without openSMILE."""
    return tuple(_smile().feature_names)


@cache
def _smile() -> Any:
    """One a process: to set it up takes a tenth of a second."""
    try:
        import opensmile
    except ImportError:
        raise MissingExtra("eGeMAPS features", "audio") from None
    return opensmile.Smile(
        feature_set=opensmile.FeatureSet.eGeMAPSv02,
        feature_level=opensmile.FeatureLevel.Functionals,
    )
