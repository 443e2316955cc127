from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest
from making import make_sound, make_text, make_video

from emoscope.core.errors import MediaError
from emoscope.media.reading.container import existing, open_media, zero_s


class Demuxed:
    """A container that yields packets and then fails."""

    def __init__(self, given: list[Any], error: Exception) -> None:
        self.given, self.error = given, error

    def demux(self, _: object) -> Iterator[Any]:
        yield from self.given
        raise self.error


@pytest.mark.parametrize("error", [av.InvalidDataError(1, "bad"), IndexError("out of range")])
def test_packets_end_where_the_file_becomes_unreadable(error: Exception) -> None:
    whole, damaged = av.Packet(b"whole"), av.Packet(b"damaged")
    damaged.is_corrupt = True
    result = list(packets(Demuxed([whole, damaged, whole], error), None))  # type: ignore[arg-type]
    assert [packet.size for packet in result] == [5, 5, 0]  # the empty one flushes the decoder


def test_a_missing_file_and_one_below_a_file_do_not_exist(tmp_path: Path) -> None:
    text = make_text(tmp_path / "text.mp4")
    assert existing(text) == text
    for path in (tmp_path / "none.mp4", text / "none.mp4", "none.mp4"):
        with pytest.raises(MediaError, match=r"none\.mp4: no such file"):
            existing(path)


def test_a_name_is_never_taken_for_a_protocol(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_video(tmp_path / "plain.mp4").rename(tmp_path / "file:concat:a.mp4")
    monkeypatch.chdir(tmp_path)
    with open_media("file:concat:a.mp4") as container:
        assert container.streams.video


def test_the_container_is_closed_whatever_happens(tmp_path: Path) -> None:
    path = make_sound(tmp_path / "tone.m4a")
    with pytest.raises(RuntimeError), open_media(path) as container:
        raise RuntimeError
    with pytest.raises(AssertionError):
        next(container.demux())


@pytest.mark.parametrize("offset_s", [0.0, 1.4, 1 / 3])
def test_time_zero_is_the_start_of_the_earlier_of_audio_and_video(
    tmp_path: Path, offset_s: float
) -> None:
    path = make_video(tmp_path / "film.ts", times_s=[0.5, 0.6], sound_s=0.5, offset_s=offset_s)
    with open_media(path) as container:
        starts_s = [float(s.start_time * s.time_base) for s in container.streams]
        assert zero_s(container) == min(starts_s)
        assert zero_s(container) == pytest.approx(offset_s, abs=0.07)
