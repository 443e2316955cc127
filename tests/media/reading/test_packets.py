"""Kinds 6 and 13 of issue 18: clocks that restart or jump, read errors, files that are cut off."""

import errno
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from making import make_joined, make_sound, make_truncated, make_video, number_in

from emoscope.core.errors import MediaError, ReadError
from emoscope.media.reading import container as opening
from emoscope.media.reading.packets import PacketReader
from emoscope.media.sound.audio import read_sound
from emoscope.media.video import ReadLog, read_frames

JOINED = [".ts", ".flv", ".mkv"]


def part(path: Path, **settings: Any) -> Path:
    return make_video(path, **{"num_frames": 50, "sound_s": 2.0, "options": {"g": "10"}} | settings)


@pytest.mark.parametrize("suffix", JOINED)
def test_time_continues_where_the_clock_restarts(tmp_path: Path, suffix: str) -> None:
    """The parts were overlaid: the second one at double speed and without sound."""
    one = part(tmp_path / f"one{suffix}")
    alone = list(read_frames(one))
    path, log = make_joined(tmp_path / f"joined{suffix}", one, one), ReadLog()
    frames = list(read_frames(path, log=log))
    second = frames[-len(alone) :]
    assert len(frames) >= 2 * len(alone) - 1  # the last of a part in MPEG-TS may be marked damaged
    assert [number_in(f.rgb) for f in second] == [number_in(f.rgb) for f in alone]
    assert np.diff([f.time_s for f in second]) == pytest.approx(np.full(49, 0.04), abs=2e-3)
    assert log.end_s == pytest.approx(2 * read_sound(one).end_s, abs=0.09)
    assert log.restarts
    assert len(log.notes) == 1
    assert "clock restarts at 2." in log.notes[0]


@pytest.mark.parametrize("suffix", JOINED)
def test_pictures_and_sound_continue_on_one_clock(tmp_path: Path, suffix: str) -> None:
    """The second part is silent until its frame 25."""
    loud, late = (
        part(tmp_path / f"{name}{suffix}", silent_until_s=silent_s)
        for name, silent_s in (("loud", 0.0), ("late", 1.0))
    )
    path, log = make_joined(tmp_path / f"joined{suffix}", loud, late), ReadLog()
    frames = list(read_frames(path, log=log))
    sound = read_sound(path, log=log)
    (onset_s,) = [f.time_s for f in frames[-50:] if number_in(f.rgb) == 1][1:2]
    assert sound.end_s == pytest.approx(2 * read_sound(loud).end_s, abs=0.09)
    assert np.abs(sound.between(0.1, 1.9)).max() > 0.4
    assert np.abs(sound.between(onset_s - 0.9, onset_s - 0.1)).max() < 0.02
    assert np.abs(sound.between(onset_s + 0.1, onset_s + 0.9)).max() > 0.4
    assert len(log.notes) == 1  # the same remark on both


@pytest.mark.parametrize("suffix", JOINED)
def test_a_span_after_a_restart_is_that_of_the_whole(tmp_path: Path, suffix: str) -> None:
    one = part(tmp_path / f"one{suffix}")
    path = make_joined(tmp_path / f"joined{suffix}", one, one)
    inside = [f for f in read_frames(path) if 2.5 <= f.time_s < 3.1]
    frames = list(read_frames(path, start_s=2.5, end_s=3.1))
    assert [number_in(f.rgb) for f in frames] == [number_in(f.rgb) for f in inside]
    assert [f.time_s for f in frames] == pytest.approx([f.time_s for f in inside])
    assert np.abs(read_sound(path, start_s=2.5, end_s=3.1).samples).max() > 0.4


@pytest.mark.parametrize("suffix", [".ts", ".flv"])
def test_a_single_wrong_time_is_ignored(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A damaged timestamp is neither a gap of a day nor a restart."""
    demuxed = PacketReader._demuxed

    def damaged(reader: PacketReader) -> Iterator[Any]:
        for number, packet in enumerate(demuxed(reader)):
            if number in (20, 40):
                shift = round((-1.5 if number == 40 else 90_000.0) / packet.time_base)
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
            yield packet

    path = part(tmp_path / f"film{suffix}")
    expected = [f.time_s for f in read_frames(path)]
    samples = len(read_sound(path).samples)
    monkeypatch.setattr(PacketReader, "_demuxed", damaged)
    log = ReadLog()
    assert [f.time_s for f in read_frames(path, log=log)] == pytest.approx(expected, abs=0.021)
    assert len(read_sound(path, log=log).samples) == pytest.approx(samples, abs=2000)
    assert log.notes == []


@pytest.mark.parametrize("suffix", [".ts", ".mkv", ".mp4", ".flv"])
def test_a_gap_forward_is_kept(tmp_path: Path, suffix: str) -> None:
    times_s = [*(i / 25 for i in range(20)), *(61 + i / 25 for i in range(20))]
    log = ReadLog()
    read = list(read_frames(make_video(tmp_path / f"gap{suffix}", times_s=times_s), log=log))
    assert [f.time_s for f in read] == pytest.approx(times_s, abs=2e-3)
    assert log.notes == []


def test_a_gap_of_four_hours_in_the_sound_is_refused(tmp_path: Path) -> None:
    """It was filled with 2.8 GB of silence."""
    parts = [part(tmp_path / f"{hours}.ts", offset_s=hours * 3600.0) for hours in (0, 4)]
    path = make_joined(tmp_path / "gap.ts", *parts)
    with pytest.raises(MediaError, match=r"gap.ts: its sound has a gap of 4\.0 h at 2\.\d+ s"):
        read_sound(path)
    assert len(list(read_frames(path))) >= 99


def test_a_gap_of_minutes_in_the_sound_is_silence(tmp_path: Path) -> None:
    parts = [part(tmp_path / f"{start_s}.ts", offset_s=start_s) for start_s in (0.0, 120.0)]
    sound = read_sound(make_joined(tmp_path / "gap.ts", *parts))
    assert sound.end_s == pytest.approx(122.06, abs=0.1)
    assert not sound.between(2.2, 119.9).any()
    assert np.abs(sound.between(120.5, 121.5)).max() > 0.4


# Read errors


class Failing:
    """A container whose packets end with an error."""

    def __init__(self, container: Any, after: int, error: Exception) -> None:
        self._container, self._after, self._error = container, after, error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def __enter__(self) -> "Failing":
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def demux(self) -> Iterator[Any]:
        for number, packet in enumerate(self._container.demux()):
            if number == self._after:
                raise self._error
            yield packet


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (av.OSError(errno.EIO, "Input/output error"), "Input/output error"),  # type: ignore[attr-defined]
        (av.MemoryError(errno.ENOMEM, "Cannot allocate memory"), "Cannot allocate memory"),  # type: ignore[attr-defined]
        (MemoryError(), "not enough memory"),
    ],
)
@pytest.mark.parametrize("read", [lambda p: list(read_frames(p)), read_sound])
def test_a_read_error_is_not_the_end_of_the_film(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    reason: str,
    read: Callable[[Path], Any],
) -> None:
    path, whole = part(tmp_path / "film.mkv"), av.open
    monkeypatch.setattr(opening.av, "open", lambda *a, **k: Failing(whole(*a, **k), 60, error))
    with pytest.raises(ReadError, match=rf"film.mkv: reading stopped at [01]\.\d+ s: {reason}. "):
        read(path)


@pytest.mark.parametrize("error", [av.InvalidDataError(1, "bad"), av.ArgumentError(22, "bad")])  # type: ignore[attr-defined]
def test_damage_ends_a_film_with_a_remark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    path, whole, log = part(tmp_path / "film.mkv"), av.open, ReadLog()
    monkeypatch.setattr(opening.av, "open", lambda *a, **k: Failing(whole(*a, **k), 60, error))
    assert 10 < len(list(read_frames(path, log=log))) < 50
    assert log.ends_early


def test_packets_end_with_an_empty_one_and_damaged_ones_are_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    demuxed = PacketReader._demuxed
    with av.open(str(part(tmp_path / "film.mkv", sound_s=0))) as container:
        reader = PacketReader(container, container.streams.video[0], tmp_path)
        sizes = [packet.size for packet in reader]
    assert len(sizes) == 51
    assert min(sizes[:-1]) > 0
    assert sizes[-1] == 0  # flushes the decoder
    assert demuxed is PacketReader._demuxed


# Files that are cut off

STATING = [".mp4", ".mov", ".mkv", ".avi", ".flv"]


@pytest.mark.parametrize("suffix", [*STATING, ".webm", ".ts", ".mpg", ".wmv"])
def test_whole_files_have_no_remark(tmp_path: Path, suffix: str) -> None:
    codecs = {".webm": "libvpx", ".mpg": "mpeg2video", ".wmv": "wmv2"}
    sounds = {".webm": "libopus", ".mpg": "mp2", ".avi": "pcm_s16le", ".wmv": "libmp3lame"}
    path, log = tmp_path / f"film{suffix}", ReadLog()
    for sound_s in (0.0, 2.0, 3.0):
        make_video(
            path,
            num_frames=50,
            codec=codecs.get(suffix, "libx264"),
            sound_s=sound_s,
            sound_codec=sounds.get(suffix, "aac"),
        )
        list(read_frames(path, log=log))
        list(read_frames(path, start_s=1.0, end_s=1.5, rate_hz=10, log=log))
        if sound_s:
            read_sound(path, log=log)
    assert log.notes == []
    assert not log.ends_early


@pytest.mark.parametrize("suffix", STATING)
@pytest.mark.parametrize("share", [0.4, 0.8])
def test_a_film_that_is_cut_off_says_so(tmp_path: Path, suffix: str, share: float) -> None:
    whole = part(
        tmp_path / f"whole{suffix}",
        sound_codec="pcm_s16le" if suffix == ".avi" else "aac",
        faststart=suffix in (".mp4", ".mov"),
    )
    log = ReadLog()
    path = make_truncated(whole, tmp_path / f"cut{suffix}", share)
    last = list(read_frames(path, log=log))[-1]
    assert log.ends_early
    assert f"ends at {last.time_s + last.duration_s:.1f}"[:-1] in log.notes[0]
    assert " of 2." in log.notes[0]
    sound = ReadLog()
    assert read_sound(path, log=sound).end_s < 2
    assert sound.ends_early


def test_a_wmv_file_that_is_cut_off_says_so(tmp_path: Path) -> None:
    """FFmpeg reports no length for it, although its header states one."""
    whole, log = part(tmp_path / "whole.wmv"), ReadLog()
    list(read_frames(make_truncated(whole, tmp_path / "cut.wmv"), log=log))
    assert log.ends_early
    assert re.fullmatch(r"the picture ends at 1\.\d\d of 2\.\d\d s: .*", log.notes[0])


def test_a_span_before_the_cut_has_no_remark(tmp_path: Path) -> None:
    path = make_truncated(part(tmp_path / "whole.mkv"), tmp_path / "cut.mkv", 0.8)
    for end_s, is_cut in ((0.5, False), (1.9, True)):
        pictures, sound = ReadLog(), ReadLog()
        list(read_frames(path, end_s=end_s, log=pictures))
        read_sound(path, end_s=end_s, log=sound)
        assert pictures.ends_early == sound.ends_early == is_cut


@pytest.mark.parametrize(
    ("suffix", "codec"), [(".wav", "pcm_s16le"), (".flac", "flac"), (".mp3", "libmp3lame")]
)
def test_sound_that_is_cut_off_says_so(tmp_path: Path, suffix: str, codec: str) -> None:
    whole = make_sound(tmp_path / f"whole{suffix}", seconds=3.0, codec=codec)
    log = ReadLog()
    read_sound(whole, log=log)
    assert log.notes == []
    read_sound(make_truncated(whole, tmp_path / f"cut{suffix}"), log=log)
    assert log.ends_early
    assert re.match(r"the sound ends at (0\.9|1\.)", log.notes[0])
    assert " of 3.00 s: the file is cut off or damaged" in log.notes[0]
