"""The 88 acoustic functionals of eGeMAPSv02 (Eyben et al., IEEE Trans. Affective Computing 2016).

Computed by openSMILE, which `emoscope[audio]` installs. Its licence permits research and teaching
only; commercial use requires audEERING's consent.
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


SHORTEST_S = 0.06  # length of the frames that pitch is computed from
_thread_local = threading.local()  # {rate: _Extractor}; threads cannot share one
_LOUDEST = np.float32(1 - 2**-15)  # openSMILE uses 16 bits, in which 1 would wrap around to -1


def egemaps(samples: FloatArray, rate_hz: int) -> Float32Array:
    """Compute the functionals of mono audio (N,) in [-1, 1] -> (88,), named by `feature_names`.

    NaN for audio shorter than `SHORTEST_S` and for silence (less than one step of 16-bit audio).
    Raises SpecError for samples that are not (N,) and finite, MissingExtra without openSMILE.
    """
    signal = np.asarray(samples, dtype=np.float32)
    if signal.ndim != 1 or not np.isfinite(signal).all():
        raise SpecError(f"Audio must be (N,) finite samples, got {signal.shape} or not finite.")
    cached: dict[int, _Extractor] = _thread_local.__dict__.setdefault("extractors", {})
    if rate_hz not in cached:
        cached[rate_hz] = _Extractor(rate_hz)
    if len(signal) < SHORTEST_S * rate_hz or is_silent(signal):
        return np.full(DIMENSIONS["egemaps"], np.nan, dtype=np.float32)
    return cached[rate_hz].functionals((signal.clip(-1, _LOUDEST) * 2**15).astype("<i2").tobytes())


def feature_names() -> tuple[str, ...]:
    """Names of the 88 functionals. Raises MissingExtra without openSMILE."""
    return tuple(_smile().feature_names)


class _Extractor:
    """An openSMILE instance for one sample rate, set up once.

    Reading its configuration takes as long as processing a quarter of a second of audio."""

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
        """Functionals (88,) of 16-bit mono audio."""
        run, self._run = self._ready(), None  # a failed instance is not reused
        rows: list[Float32Array] = [np.full(DIMENSIONS["egemaps"], np.nan, dtype=np.float32)]
        run.external_sink_set_callback_ex("extsink", lambda row, _: rows.append(row.copy()))
        run.external_audio_source_write_data("extsource", pcm)
        run.external_audio_source_set_eoi("extsource")
        run.run()
        self._run = run
        return rows[-1].astype(np.float32).reshape(DIMENSIONS["egemaps"])

    def _ready(self) -> Any:
        from opensmile.core.lib import OpenSMILE

        if self._run is None:
            run = OpenSMILE()
            run.initialize(self._config, self._options)
            return run
        self._run.reset()
        self._run._callbacks.clear()  # else it keeps the callbacks of all previous calls
        return self._run


@cache
def _smile() -> Any:
    """One instance per process: creating it takes a tenth of a second."""
    try:
        import opensmile
    except ImportError:
        raise MissingExtra("eGeMAPS features", "audio") from None
    return opensmile.Smile(
        feature_set=opensmile.FeatureSet.eGeMAPSv02,
        feature_level=opensmile.FeatureLevel.Functionals,
    )
