from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from making import make_image_folder, make_sound, make_text, make_truncated, make_video
from sounding import from_ravdess, tone, write_wav

from emoscope.core.errors import MediaError
from emoscope.media.sound.audio import Sound, is_silent, read_sound

RATE_HZ = 16_000


def noise(seconds: float, rate_hz: int) -> np.ndarray:
    """Noise below 2 kHz, which any rate can represent; reveals a shift of one sample."""
    n = round(seconds * rate_hz)
    spectrum = np.fft.rfft(np.random.default_rng(0).normal(size=n))
    spectrum[np.arange(len(spectrum)) > 2000 * seconds] = 0
    values = np.fft.irfft(spectrum, n)
    return (0.7 * values / np.abs(values).max()).astype(np.float32)


def encode(path: Path, codec: str, samples: np.ndarray, rate_hz: int, layout: str = "mono") -> Path:
    """The same in every channel."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate_hz, layout=layout)
        channels = av.AudioLayout(layout).nb_channels
        for start in range(0, len(samples), 1024):
            block = np.repeat(samples[None, start : start + 1024], channels, axis=0)
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
            frame.sample_rate, frame.time_base = rate_hz, Fraction(1, rate_hz)
            frame.pts = start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def onset_s(sound: Sound) -> float:
    return sound.start_s + int(np.argmax(np.abs(sound.samples) > 0.2)) / sound.rate_hz


# Samples


def test_samples_at_the_requested_rate_are_unchanged(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-32768, 32768, 4000) / 32768
    sound = read_sound(write_wav(tmp_path / "a.wav", samples))
    assert (sound.samples.dtype, sound.rate_hz, sound.start_s) == (np.float32, RATE_HZ, 0.0)
    np.testing.assert_array_equal(sound.samples, samples.astype(np.float32))


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 44_100, 48_000])
def test_another_rate_is_the_same_sound_at_the_same_time(tmp_path: Path, rate_hz: int) -> None:
    sound = read_sound(write_wav(tmp_path / "a.wav", tone(440, 0.5, rate_hz), rate_hz))
    inner = slice(200, -200)  # a filter needs both sides
    expected = tone(440, 0.5)
    assert len(sound.samples) == len(expected)
    np.testing.assert_allclose(sound.samples[inner], expected[inner], atol=1e-4)


def test_frequencies_above_the_rates_limit_are_removed(tmp_path: Path) -> None:
    """10 kHz at 48 kHz would come back as 6 kHz at 16 kHz."""
    sound = read_sound(write_wav(tmp_path / "a.wav", tone(10_000, 0.5, 48_000), 48_000))
    assert np.abs(sound.samples[200:-200]).max() < 1e-3


def test_channels_are_averaged_and_do_not_clip(tmp_path: Path) -> None:
    left, right = tone(200, 0.2), tone(300, 0.2)
    sound = read_sound(write_wav(tmp_path / "a.wav", np.stack([2 * left, right], axis=1)))
    np.testing.assert_allclose(sound.samples, left + right / 2, atol=2e-4)


@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1"])
def test_equal_channels_keep_their_level(tmp_path: Path, layout: str) -> None:
    path = encode(tmp_path / "a.mkv", "flac", 2 * tone(200, 0.3), RATE_HZ, layout)
    np.testing.assert_allclose(read_sound(path).samples, 2 * tone(200, 0.3), atol=2e-4)


def test_invalid_floating_point_samples_are_clipped(tmp_path: Path) -> None:
    samples = np.tile(np.float32([0.5, 3.0, -3.0, np.nan, np.inf]), 1000)
    sound = read_sound(encode(tmp_path / "a.wav", "pcm_f32le", samples, RATE_HZ))
    np.testing.assert_array_equal(sound.samples[:5], np.float32([0.5, 1, -1, 0, 1]))


# Times


SPANS = [
    ("a.wav", "pcm_s16le", 44_100),
    ("a.flac", "flac", 22_050),
    ("a.mp3", "libmp3lame", 44_100),
    ("a.m4a", "aac", 44_100),
    ("a.mp4", "aac", 48_000),
    ("a.mov", "aac", 16_000),
    ("a.ts", "aac", 44_100),
    ("a.aac", "aac", 44_100),
]


@pytest.mark.parametrize(("name", "codec", "rate_hz"), SPANS, ids=[name for name, _, _ in SPANS])
def test_a_span_contains_its_samples_of_the_whole(
    tmp_path: Path, name: str, codec: str, rate_hz: int
) -> None:
    """Equal except for the noise that AAC synthesises."""
    path = encode(tmp_path / name, codec, noise(4.0, rate_hz), rate_hz)
    whole = read_sound(path).samples
    for start_s, end_s in ((0.0, 0.5), (2.0, 2.5), (3.05, 3.2)):
        part = read_sound(path, start_s=start_s, end_s=end_s)
        first, last = round(start_s * RATE_HZ), round(end_s * RATE_HZ)
        assert part.start_s == start_s
        np.testing.assert_allclose(part.samples, whole[first:last], atol=5e-3)
    np.testing.assert_allclose(read_sound(path, start_s=2.3).samples, whole[36_800:], atol=5e-3)


def test_rounded_times_cause_no_gaps(tmp_path: Path) -> None:
    exact, rounded = (
        read_sound(encode(tmp_path / name, "flac", noise(2.0, 44_100), 44_100))
        for name in ("exact.flac", "rounded.mkv")
    )
    np.testing.assert_array_equal(exact.samples, rounded.samples)


def test_a_span_of_a_container_with_milliseconds_is_exact_to_half_of_one(tmp_path: Path) -> None:
    samples = np.where(np.arange(4 * 44_100) < 2.5 * 44_100, 0, tone(1000, 4.0, 44_100))
    path = encode(tmp_path / "a.mkv", "flac", samples.astype(np.float32), 44_100)
    assert onset_s(read_sound(path)) == pytest.approx(2.5, abs=2e-4)
    assert onset_s(read_sound(path, start_s=2.3)) == pytest.approx(2.5, abs=7e-4)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_time_zero_is_that_of_the_video(tmp_path: Path, suffix: str) -> None:
    """The video starts at 0 s, its audio half a second later, after silence."""
    path = tmp_path / f"late{suffix}"
    late = make_sound(tmp_path / "tone.wav", seconds=0.6, codec="pcm_s16le")
    make_video(tmp_path / "film.mp4", num_frames=25)
    with (
        av.open(str(tmp_path / "film.mp4")) as film,
        av.open(str(late)) as spoken,
        av.open(str(path), "w") as out,
    ):
        pictures = out.add_stream_from_template(film.streams.video[0])
        voice = out.add_stream("aac", rate=RATE_HZ, layout="mono")
        packets: list[Any] = [p for p in film.demux() if p.dts is not None]
        for packet in packets:
            packet.stream = pictures
        sound_packets: list[Any] = []
        for frame in spoken.decode(audio=0):
            frame.pts += RATE_HZ // 2
            sound_packets += voice.encode(frame)
        out.mux([*packets, *sound_packets, *voice.encode(None)])
    sound = read_sound(path)
    assert not sound.samples[: round(0.4 * RATE_HZ)].any()
    assert onset_s(sound) == pytest.approx(0.5, abs=0.07)  # an encoder's lead-in is sound too
    assert not read_sound(path, end_s=0.3).samples.any()
    assert len(read_sound(path, end_s=0.3).samples) == round(0.3 * RATE_HZ)


def test_a_missing_part_is_silent_and_the_rest_stays_in_time(tmp_path: Path) -> None:
    whole = encode(tmp_path / "whole.mkv", "pcm_s16le", noise(2.0, RATE_HZ), RATE_HZ)
    holed = tmp_path / "holed.mkv"
    with av.open(str(whole)) as source, av.open(str(holed), "w") as out:
        stream = out.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.pts is not None and not 500 <= packet.pts < 1000:
                packet.stream = stream
                out.mux(packet)
    expected, decoded = read_sound(whole).samples, read_sound(holed).samples
    assert not decoded[round(0.6 * RATE_HZ) : round(0.95 * RATE_HZ)].any()
    np.testing.assert_array_equal(decoded[:7_000], expected[:7_000])
    shifts = range(-8, 9)  # Matroska tells times to a millisecond
    assert any(
        np.array_equal(decoded[20_000 + k : 30_000 + k], expected[20_000:30_000]) for k in shifts
    )


def test_a_stretch_of_sound_is_cut_by_times() -> None:
    sound = Sound(np.arange(100, dtype=np.float32), 10, start_s=2.0)
    assert sound.end_s == 12.0
    assert sound.between(3.0, 3.5).tolist() == [10, 11, 12, 13, 14]
    assert sound.between(11.8, 13.0).tolist() == [98, 99]
    assert sound.between(12.0, 13.0).tolist() == []
    assert sound.between(1.0, 2.1).tolist() == [0]


# What cannot be read


def test_a_span_beyond_the_audio_is_padded_with_silence() -> None:
    sound = Sound(np.arange(1, 101, dtype=np.float32), rate_hz=10, start_s=2.0)
    assert sound.during(3.0, 3.5).tolist() == [11, 12, 13, 14, 15]
    assert sound.during(1.8, 2.2).tolist() == [0, 0, 1, 2]
    assert sound.during(11.8, 12.2).tolist() == [99, 100, 0, 0]
    assert sound.during(0.0, 0.3).tolist() == sound.during(13.0, 13.3).tolist() == [0, 0, 0]
    assert sound.during(3.0, 3.0).tolist() == []


def test_silence_is_less_than_one_step_of_16_bits() -> None:
    assert is_silent(np.zeros(0))
    assert is_silent(np.array([0, -(2**-15.1)]))
    assert not is_silent(np.array([0, -(2**-15)]))


def test_a_truncated_file_gives_the_samples_it_contains(tmp_path: Path) -> None:
    for name, codec in (("a.wav", "pcm_s16le"), ("a.flac", "flac"), ("a.mp3", "libmp3lame")):
        whole = encode(tmp_path / name, codec, noise(2.0, RATE_HZ), RATE_HZ)
        cut = read_sound(make_truncated(whole, tmp_path / f"cut-{name}"))
        assert 0.6 < cut.end_s < 1.3
        inner = slice(0, round(0.6 * RATE_HZ))
        np.testing.assert_allclose(cut.samples[inner], read_sound(whole).samples[inner], atol=1e-6)


@pytest.mark.parametrize(("name", "codec"), [("a.flac", "flac"), ("a.m4a", "aac")])
def test_damaged_bytes_do_not_shift_the_rest(tmp_path: Path, name: str, codec: str) -> None:
    path = encode(tmp_path / name, codec, noise(2.0, RATE_HZ), RATE_HZ)
    whole = read_sound(path).samples
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 500] = bytes(500)
    path.write_bytes(bytes(data))
    decoded = read_sound(path).samples
    assert len(decoded) == len(whole)
    assert not np.array_equal(decoded, whole)
    for rest in (slice(0, 9_000), slice(-5_000, None)):
        np.testing.assert_allclose(decoded[rest], whole[rest], atol=5e-3)


def test_a_time_beyond_the_end_of_the_file_is_ignored(tmp_path: Path) -> None:
    """Otherwise one damaged byte could cause days of silence."""
    path = tmp_path / "a.mkv"
    wav = write_wav(tmp_path / "a.wav", noise(2.0, RATE_HZ))
    with (
        av.open(str(wav)) as source,
        av.open(str(path), "w", options={"cluster_time_limit": "500"}) as out,
    ):
        stream = out.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux():
            if packet.pts is not None:
                packet.stream = stream
                out.mux(packet)
    data = path.read_bytes()
    clusters = [i for i in range(len(data)) if data.startswith(b"\x1f\x43\xb6\x75", i)]
    time = data.index(b"\xe7\x82", clusters[2])  # of the cluster, in two bytes of milliseconds
    path.write_bytes(data[: time + 2] + b"\xff\xff" + data[time + 4 :])
    with av.open(str(path)) as container:
        assert max(packet.pts or 0 for packet in container.demux()) >= 65_535
    np.testing.assert_array_equal(read_sound(path).samples, read_sound(wav).samples)


def test_a_video_without_audio_is_refused(tmp_path: Path) -> None:
    path = make_video(tmp_path / "silent.mp4")
    with pytest.raises(MediaError, match=r"silent.mp4: the file has no sound. Give one with"):
        read_sound(path)


def test_a_folder_of_images_has_no_sound(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="images: a folder has no sound"):
        read_sound(make_image_folder(tmp_path / "images", num_images=1))


def test_a_file_that_is_no_media_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    for path, reason in (
        (tmp_path / "none.wav", "no such file"),
        (tmp_path / "empty.wav", "the file is empty"),
        (make_text(tmp_path / "text.wav"), "not a video, image or sound"),
        (write_wav(tmp_path / "zero.wav", np.zeros(0)), "its sound cannot be decoded"),
    ):
        with pytest.raises(MediaError, match=f"{path.name}: .*{reason}"):
            read_sound(path)


@pytest.mark.parametrize(
    ("span", "reason"),
    [
        ({"start_s": 5.0}, r"the start \(5 s\) is past the end"),
        ({"start_s": 1.0}, r"the start \(1 s\) is past the end"),
        ({"start_s": -1.0}, "the start must be 0 s or more, got -1"),
        ({"start_s": float("nan")}, "the start must be 0 s or more, got nan"),
        ({"start_s": 0.5, "end_s": 0.5}, "the end .* is not after the start"),
        ({"rate_hz": 0}, "the rate must be 1 Hz or more, got 0"),
    ],
)
def test_an_invalid_span_is_refused(tmp_path: Path, span: Any, reason: str) -> None:
    path = write_wav(tmp_path / "second.wav", tone(440, 1.0))
    with pytest.raises(MediaError, match=f"second.wav: {reason}"):
        read_sound(path, **span)


# Real files


@pytest.mark.data
def test_speech_is_read_bit_exactly(shared: Path, tmp_path: Path) -> None:
    path = from_ravdess(shared, "03-01-05-02-01-01-17", tmp_path)
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
    raw = np.concatenate(frames)
    assert raw.dtype == np.int16
    np.testing.assert_array_equal(read_sound(path).samples, raw / np.float32(32768))


@pytest.mark.data
def test_the_audio_of_real_clips_has_their_duration(shared: Path) -> None:
    for name, lasts_s in (("pyfeat_single_face.mp4", 2.4), ("pyfeat_noface_face.mov", 3.9)):
        sound = read_sound(shared / "clips" / name)
        assert sound.end_s == pytest.approx(lasts_s, abs=0.1)
        assert 0.005 < np.abs(sound.samples).max() <= 1
