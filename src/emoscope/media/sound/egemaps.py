"""The 88 acoustic functionals of eGeMAPSv02 (Eyben et al., IEEE Trans. Affective Computing 2016).

They are openSMILE's, which `emoscope[audio]` installs. openSMILE is not free software: its own
licence allows research and teaching only, and no commercial use without audEERING's consent.
"""

import threading
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from emoscope.core.arrays import Float32Array, FloatArray
from emoscope.core.clipspec import DIMENSIONS
from emoscope.core.errors import MissingExtra, SpecError
from emoscope.media.sound.audio import is_silent

__all__ = ["SHORTEST_S", "egemaps", "feature_names"]


SHORTEST_S = 0.06  # the frame that pitch is read from
_LOUDEST = np.float32(1 - 2**-15)  # openSMILE works in 16 bits, where 1 would turn over to -1


def egemaps(samples: FloatArray, rate_hz: int) -> Float32Array:
    """The functionals of mono sound (N,) in [-1, 1] -> (88,), in the order of `feature_names`.

    NaN where there is nothing to measure: sound shorter than `SHORTEST_S`, and silence, which is
    sound below the last of 16 bits. Raises SpecError for samples that are not (N,) and finite,
    MissingExtra without openSMILE.
    """
    signal = np.asarray(samples, dtype=np.float32)
    if signal.ndim != 1 or not np.isfinite(signal).all():
        raise SpecError(f"Sound is (N,) finite samples, got {signal.shape} or not finite.")
    smile = _ears(rate_hz)
    if len(signal) < SHORTEST_S * rate_hz or is_silent(signal):
        return np.full(DIMENSIONS["egemaps"], np.nan, dtype=np.float32)
    return smile.functionals((signal.clip(-1, _LOUDEST) * 2**15).astype("<i2").tobytes())


def feature_names() -> tuple[str, ...]:
    """The 88 functionals' names. Raises MissingExtra without openSMILE."""
    return tuple(_smile().feature_names)


class _Ears:
    """An openSMILE that is set up once: reading its configuration takes as long as to measure a
    quarter of a second."""

    def __init__(self, rate_hz: int) -> None:
        smile = _smile()
        shared = Path(smile.default_config_root) / "shared"
        self._options = {
            "source": shared / "standard_external_wave_input.conf.inc",
            "sink": shared / "standard_external_data_output_single.conf.inc",
            "sampleRate": rate_hz,
        }
        self._config, self._run = smile.config_path, None

    def functionals(self, pcm: bytes) -> Float32Array:
        """Of 16-bit mono sound -> (88,)."""
        run, self._run = self._ready(), None  # a run that fails is not run again
        heard: list[Float32Array] = [np.full(DIMENSIONS["egemaps"], np.nan, dtype=np.float32)]
        run.external_sink_set_callback_ex("extsink", lambda row, _: heard.append(row.copy()))
        run.external_audio_source_write_data("extsource", pcm)
        run.external_audio_source_set_eoi("extsource")
        run.run()
        self._run = run
        return heard[-1].astype(np.float32).reshape(DIMENSIONS["egemaps"])

    def _ready(self) -> Any:
        from opensmile.core.lib import OpenSMILE

        if self._run is None:
            run = OpenSMILE()
            run.initialize(self._config, self._options)
            return run
        self._run.reset()
        self._run._callbacks.clear()  # else it keeps those of all runs
        return self._run


_of_thread = threading.local()  # a run cannot be shared


def _ears(rate_hz: int) -> _Ears:
    """Those of this thread for a rate. Raises MissingExtra without openSMILE."""
    known: dict[int, _Ears] = _of_thread.__dict__.setdefault("ears", {})
    if rate_hz not in known:
        known[rate_hz] = _Ears(rate_hz)
    return known[rate_hz]


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
