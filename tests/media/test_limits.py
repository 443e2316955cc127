"""Headers that state absurd sizes and lengths: refused in one line, without gigabytes or hours."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from making import make_animation, make_image, make_sound, make_video
from sounding import tone, write_wav

from emoscope.core.errors import MediaError
from emoscope.media.limits import MAX_FRAME_PIXELS, MAX_PICTURE_PIXELS
from emoscope.media.reading.images import read_image
from emoscope.media.sound.audio import read_sound
from emoscope.media.video import ReadLog, probe, read_frames


def write_pcm(path: Path, rate_hz: int, channels: int) -> Path:
    """Half a second of a constant 0.5 in every channel at 16 kHz, under the header that is asked
    for."""
    data = struct.pack("<h", 1 << 14) * (8000 * channels)
    frame_bytes = 2 * channels
    rates = struct.pack("<HHIIHH", 1, channels, rate_hz, 16_000 * frame_bytes, frame_bytes, 16)
    chunks = b"fmt " + struct.pack("<I", 16) + rates + b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
    return path


# Sound (kinds: a raw error for a number of channels without a layout; gigabytes for a rate)


@pytest.mark.parametrize("channels", [9, 17, 64])
def test_channels_without_a_layout_are_mixed(tmp_path: Path, channels: int) -> None:
    sound = read_sound(write_pcm(tmp_path / "a.wav", 16_000, channels))
    np.testing.assert_allclose(sound.samples, np.full(8000, 0.5), atol=1e-5)


@pytest.mark.parametrize(
    ("rate_hz", "channels"), [(16_000, 65), (16_000, 300), (1, 1), (925_000_000, 1)]
)
def test_absurd_rates_and_numbers_of_channels_are_refused(
    tmp_path: Path, rate_hz: int, channels: int
) -> None:
    path = write_pcm(tmp_path / "a.wav", rate_hz, channels)
    message = rf"a\.wav: its header states {rate_hz} Hz and {channels} channels[^\n]*Convert it\.$"
    with pytest.raises(MediaError, match=message):
        read_sound(path)


def test_the_highest_rate_of_recordings_is_read(tmp_path: Path) -> None:
    sound = read_sound(write_wav(tmp_path / "a.wav", tone(440, 0.2, 768_000), 768_000))
    assert len(sound.samples) == 3200


def test_a_frame_of_an_absurd_kind_midway_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = [make_sound(tmp_path / f"{hz}.aac", rate_hz=hz) for hz in (16_000, 96_000, 16_000)]
    path = tmp_path / "joined.aac"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    whole_s = read_sound(path).end_s
    monkeypatch.setattr("emoscope.media.sound.audio.MAX_SAMPLE_RATE_HZ", 48_000)
    assert read_sound(path).end_s < whole_s - 0.5
    assert read_sound(path).end_s > 1.9


# Pictures (kind: a few bytes claim a huge picture, which is allocated before it is decoded)


def huge_headers(folder: Path) -> dict[str, bytes]:
    """Images of every kind whose intact header claims 30000 by 16000 pixels or more."""
    small = {
        suffix: make_image(folder / f"small.{suffix}").read_bytes()
        for suffix in ("png", "jpg", "bmp", "tiff")
    }
    size = struct.pack(">II", 30_000, 16_000)
    chunk = b"IHDR" + size + small["png"][24:29]
    png = small["png"][:12] + chunk + zlib.crc32(chunk).to_bytes(4, "big") + small["png"][33:]
    frame = small["jpg"].index(b"\xff\xc0") + 5
    jpg = small["jpg"][:frame] + struct.pack(">HH", 16_000, 30_000) + small["jpg"][frame + 4 :]
    bmp = small["bmp"][:18] + struct.pack("<ii", 30_000, -16_000) + small["bmp"][26:]
    tiff = bytearray(small["tiff"])
    (start,) = struct.unpack_from("<I", tiff, 4)
    (count,) = struct.unpack_from("<H", tiff, start)
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        if struct.unpack_from("<H", tiff, entry)[0] in (256, 257):
            struct.pack_into("<HII", tiff, entry + 2, 4, 1, 30_000)
    webp = bytearray(make_animation(folder / "small.webp", [40, 40]).read_bytes())
    webp[24:30] = b"\xff\xff\0\xff\x7f\0"
    return {"png": png, "jpg": jpg, "bmp": bmp, "tiff": bytes(tiff), "webp": bytes(webp)}


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tiff", "webp"])
def test_a_picture_that_claims_to_be_huge_is_refused_before_it_is_decoded(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"huge.{suffix}"
    path.write_bytes(huge_headers(tmp_path)[suffix])
    for decoder in ("imdecode", "imdecodeanimation"):
        monkeypatch.setattr(cv2, decoder, lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(MediaError, match=r"huge\.\w+: its header states \d+ x \d+ pixels"):
        probe(path)
    with pytest.raises(MediaError, match=r"at most 200 million are read\. Scale it down"):
        list(read_frames(path))


def test_photos_of_a_hundred_megapixels_are_within_the_limits() -> None:
    assert MAX_PICTURE_PIXELS > 11_648 * 8_736
    assert MAX_FRAME_PIXELS > 8_192 * 4_320


def test_a_picture_of_the_limit_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_image(tmp_path / "a.png")
    monkeypatch.setattr("emoscope.media.reading.images.MAX_PICTURE_PIXELS", 48 * 64)
    assert read_image(path).shape == (48, 64, 3)
    monkeypatch.setattr("emoscope.media.reading.images.MAX_PICTURE_PIXELS", 48 * 64 - 1)
    with pytest.raises(MediaError, match="states 64 x 48 pixels"):
        read_image(path)


# Films (kind: a frame header claims a huge picture)


def test_a_film_of_huge_pictures_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_video(tmp_path / "a.mp4", num_frames=2)
    monkeypatch.setattr("emoscope.media.reading.decoding.MAX_FRAME_PIXELS", 64 * 48 - 1)
    with pytest.raises(MediaError, match=r"its pictures have 64 x 48 pixels, .* Scale them down"):
        probe(path)
    with pytest.raises(MediaError, match="its pictures have 64 x 48 pixels"):
        list(read_frames(path))


def test_frames_that_claim_to_be_huge_midway_are_skipped(tmp_path: Path) -> None:
    """The last twelve of 24 VP8 pictures claim 6000 by 8000 pixels; their decoder would comply."""
    path = tmp_path / "a.webm"
    make_video(path, num_frames=24, codec="libvpx", options={"g": "1"})
    start = b"\x9d\x01\x2a"  # of a key frame
    pictures = path.read_bytes().split(start)
    assert len(pictures) == 25
    huge = [struct.pack("<HH", 6_000, 8_000) + part[4:] for part in pictures[13:]]
    path.write_bytes(start.join([*pictures[:13], *huge]))
    log = ReadLog()
    frames = list(read_frames(path, log=log))
    assert [frame.rgb.shape for frame in frames] == [(48, 64, 3)] * 12
    assert log.ends_early
