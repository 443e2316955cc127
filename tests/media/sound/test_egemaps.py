import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from sounding import from_ravdess, semitones, silence, tone

from emoscope.core.errors import MissingExtra, SpecError
from emoscope.media.sound import egemaps as module
from emoscope.media.sound.audio import read_sound
from emoscope.media.sound.egemaps import SHORTEST_S, egemaps, feature_names

opensmile = pytest.importorskip("opensmile")


def feature(samples: np.ndarray, name: str, rate_hz: int = 16_000) -> float:
    return float(egemaps(samples, rate_hz)[feature_names().index(name)])


def test_there_are_88_features_with_openSMILEs_names() -> None:  # noqa: N802
    assert len(set(feature_names())) == 88
    assert feature_names()[0] == "F0semitoneFrom27.5Hz_sma3nz_amean"
    assert feature_names()[-1] == "equivalentSoundLevel_dBp"


@pytest.mark.parametrize("hz", [110, 220, 440])
@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
def test_a_tone_has_its_pitch(hz: int, rate_hz: int) -> None:
    pitch = feature(tone(hz, 0.5, rate_hz), "F0semitoneFrom27.5Hz_sma3nz_amean", rate_hz)
    assert pitch == pytest.approx(semitones(hz), abs=0.1)


def test_half_as_loud_is_six_decibels_less() -> None:
    loud, soft = (feature(k * tone(220, 0.5), "equivalentSoundLevel_dBp") for k in (1, 0.5))
    assert loud - soft == pytest.approx(6.02, abs=0.05)


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000])
def test_audio_shorter_than_the_minimum_is_nan(
    rate_hz: int,
) -> None:
    count = int(np.ceil(SHORTEST_S * rate_hz))
    sound = tone(440, 1.0, rate_hz)
    assert np.isfinite(egemaps(sound[:count], rate_hz)).all()
    assert np.isnan(egemaps(sound[: count - 1], rate_hz)).all()


@pytest.mark.parametrize(
    "samples", [silence(0), silence(0.5), np.full(8_000, 2e-5)], ids=["none", "zero", "faint"]
)
def test_silence_is_nan(samples: np.ndarray) -> None:
    values = egemaps(samples, 16_000)
    assert (values.shape, values.dtype) == ((88,), np.float32)
    assert np.isnan(values).all()


def test_full_scale_does_not_wrap_around() -> None:
    """1 is out of range for 16 bits and would wrap around to -1."""
    square = np.sign(tone(220, 0.5))
    nearly = egemaps(0.9999 * square, 16_000)
    np.testing.assert_allclose(egemaps(square, 16_000), nearly, rtol=0.02, atol=0.01)
    np.testing.assert_array_equal(egemaps(2 * square, 16_000), egemaps(square, 16_000))


def test_functionals_do_not_depend_on_previous_calls() -> None:
    first = egemaps(tone(220, 0.5), 16_000)
    egemaps(tone(440, 0.3), 16_000)
    egemaps(tone(440, 0.3, 8_000), 8_000)
    np.testing.assert_array_equal(egemaps(tone(220, 0.5), 16_000), first)


def test_threads_can_run_in_parallel() -> None:
    sounds = [tone(100 + 20 * i, 0.2 + 0.05 * i) for i in range(6)]
    alone = [egemaps(sound, 16_000) for sound in sounds]
    with ThreadPoolExecutor(3) as threads:
        together = list(threads.map(lambda sound: egemaps(sound, 16_000), sounds * 2))
    np.testing.assert_array_equal(together, alone * 2)


def test_a_failed_instance_is_not_reused(monkeypatch: pytest.MonkeyPatch) -> None:
    first = egemaps(tone(220, 0.5), 16_000)

    def fail(_: object) -> None:
        raise RuntimeError("broken")

    with monkeypatch.context() as broken:
        broken.setattr("opensmile.core.lib.OpenSMILE.run", fail)
        with pytest.raises(RuntimeError, match="broken"):
            egemaps(tone(300, 0.2), 16_000)
    np.testing.assert_array_equal(egemaps(tone(220, 0.5), 16_000), first)


@pytest.mark.parametrize("samples", [np.zeros((2, 800)), np.array([0.1, np.nan] * 800)])
def test_invalid_samples_are_refused(samples: np.ndarray) -> None:
    with pytest.raises(SpecError, match="finite samples"):
        egemaps(samples, 16_000)


def test_without_openSMILE_the_extra_is_named(  # noqa: N802
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opensmile", None)
    monkeypatch.setattr(module, "_smile", module._smile.__wrapped__)
    monkeypatch.setattr(module, "_thread_local", threading.local())
    with pytest.raises(MissingExtra, match=r"eGeMAPS features needs .* 'emoscope\[audio\]'"):
        egemaps(tone(220, 0.5), 16_000)


@pytest.mark.data
def test_functionals_of_speech_equal_openSMILEs(  # noqa: N802
    shared: Path, tmp_path: Path
) -> None:
    sound = read_sound(from_ravdess(shared, "03-01-05-02-01-01-17", tmp_path))
    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
    table = smile.process_signal(sound.samples, sound.rate_hz)
    assert tuple(table.columns) == feature_names()
    np.testing.assert_array_equal(egemaps(sound.samples, sound.rate_hz), table.to_numpy()[0])
