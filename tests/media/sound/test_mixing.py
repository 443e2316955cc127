"""Kind 11 of issue 18: channels are mixed so that no voice is lost."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from sounding import RATE_HZ, silence, tone, write_wav

from emoscope.media.sound.audio import read_sound
from emoscope.media.sound.mixing import mixed


def encoded(path: Path, channels: np.ndarray, layout: str) -> Path:
    """(channels, n) without loss, in order of the layout."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_f32le", rate=RATE_HZ, layout=layout)
        for start in range(0, channels.shape[1], 1024):
            block = np.ascontiguousarray(channels[:, start : start + 1024].T.reshape(1, -1))
            frame = av.AudioFrame.from_ndarray(block, format="flt", layout=layout)
            frame.sample_rate, frame.time_base = RATE_HZ, Fraction(1, RATE_HZ)
            frame.pts = start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.square(samples).mean()))


@pytest.mark.parametrize("right", [-1.0, -0.9, -1.1])
def test_stereo_in_antiphase_is_heard(tmp_path: Path, right: float) -> None:
    """Its mean is silence."""
    voice = tone(200, 2.5)
    sound = read_sound(write_wav(tmp_path / "a.wav", np.stack([voice, right * voice], axis=1)))
    assert rms(sound.samples) == pytest.approx(max(1, -right) * rms(voice), rel=0.01)


@pytest.mark.parametrize("right", [0.0, 0.5, 1.0, -0.3])
def test_other_stereo_is_averaged(tmp_path: Path, right: float) -> None:
    voice = tone(200, 1.5)
    sound = read_sound(write_wav(tmp_path / "a.wav", np.stack([voice, right * voice], axis=1)))
    np.testing.assert_allclose(sound.samples, voice * (1 + right) / 2, atol=2e-4)


def test_only_the_seconds_that_cancel_take_one_channel(tmp_path: Path) -> None:
    left = tone(200, 3.0)
    right = left * np.repeat([1, -1, 1], RATE_HZ)
    path = write_wav(tmp_path / "a.wav", np.stack([left, right], axis=1))
    np.testing.assert_allclose(read_sound(path).samples, left, atol=2e-4)
    part = read_sound(path, start_s=1.2, end_s=2.3).samples
    np.testing.assert_allclose(part, left[19_200:36_800], atol=2e-4)


@pytest.mark.parametrize("layout", ["3.0", "5.0", "5.1", "7.1"])
def test_a_voice_in_the_centre_keeps_its_level(tmp_path: Path, layout: str) -> None:
    """It arrived at 0.29 of its level in 5.1."""
    names = [channel.name for channel in av.AudioLayout(layout).channels]
    channels = np.zeros((len(names), RATE_HZ), np.float32)
    channels[names.index("FC")] = tone(200, 1.0)
    sound = read_sound(encoded(tmp_path / "a.wav", channels, layout))
    np.testing.assert_allclose(sound.samples, tone(200, 1.0), atol=1e-4)


@pytest.mark.parametrize(
    ("name", "level"), [("FL", 0.5), ("FR", 0.5), ("LFE", 0.0), ("BL", 1.0), ("BR", 1.0)]
)
def test_a_sound_in_one_other_channel(tmp_path: Path, name: str, level: float) -> None:
    """A quarter of a surround channel alone would be too little: that channel is taken."""
    channels = np.zeros((6, RATE_HZ), np.float32)
    channels[["FL", "FR", "FC", "LFE", "BL", "BR"].index(name)] = tone(200, 1.0)
    sound = read_sound(encoded(tmp_path / "a.wav", channels, "5.1"))
    np.testing.assert_allclose(sound.samples, level * tone(200, 1.0), atol=1e-4)


def test_a_sum_beyond_full_scale_is_not_clipped() -> None:
    rows = np.stack([2.5 * tone(200, 1.0), *np.zeros((3, RATE_HZ), np.float32)])
    (mono,) = mixed([rows], RATE_HZ)
    assert np.abs(mono).max() == pytest.approx(1.0)
    assert np.corrcoef(mono, tone(200, 1.0))[0, 1] == pytest.approx(1.0)


def test_blocks_of_any_length_become_seconds() -> None:
    samples = np.arange(250, dtype=np.float32)
    blocks = [samples[None, a:b] for a, b in ((0, 3), (3, 3), (3, 120), (120, 250))]
    seconds = list(mixed(blocks, 100))
    assert [len(second) for second in seconds] == [100, 100, 50]
    np.testing.assert_array_equal(np.concatenate(seconds), samples)


def test_silence_stays_silence(tmp_path: Path) -> None:
    both = np.stack([silence(1.5), silence(1.5)], axis=1)
    assert not read_sound(write_wav(tmp_path / "a.wav", both)).samples.any()
