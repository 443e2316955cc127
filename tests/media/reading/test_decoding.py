from pathlib import Path

import numpy as np
import pytest
from av.video.frame import VideoFrame
from making import make_sound, make_truncated, make_video, number_in

from emoscope.core.errors import MediaError
from emoscope.media.reading.decoding import Grid, PictureReader
from emoscope.media.video import read_frames

KINDS = [
    (".mp4", "libx264", {"bf": "3"}),
    (".mkv", "libx264", {"bf": "3"}),
    (".ts", "libx264", {"bf": "3"}),
    (".flv", "libx264", {"bf": "3"}),
    (".avi", "libx264", {"bf": "3"}),
    (".avi", "mpeg4", {"bf": "2", "qmax": "2"}),
    (".avi", "mjpeg", {}),
    (".mpg", "mpeg2video", {"bf": "2", "qmax": "2"}),
    (".webm", "libvpx-vp9", {"cpu-used": "8", "deadline": "realtime"}),
    (".h264", "libx264", {"bf": "3"}),
    (".wmv", "wmv2", {"qmax": "2"}),
]


def film(folder: Path, suffix: str, codec: str, options: dict[str, str], frames: int = 50) -> Path:
    return make_video(
        folder / f"film{suffix}",
        num_frames=frames,
        codec=codec,
        pix_fmt="yuvj420p" if codec == "mjpeg" else "yuv420p",
        options={"g": "12", **options},
    )


@pytest.mark.parametrize(("suffix", "codec", "options"), KINDS)
def test_every_container_gives_the_same_times(
    tmp_path: Path, suffix: str, codec: str, options: dict[str, str]
) -> None:
    frames = list(read_frames(film(tmp_path, suffix, codec, options)))
    assert [number_in(f.rgb) for f in frames] == [i % 24 for i in range(50)]
    assert [f.index for f in frames] == list(range(50))
    exact_s = 0.09 if suffix == ".mpg" else 1e-3  # the program stream times some frames only
    assert [f.time_s for f in frames] == pytest.approx([i / 25 for i in range(50)], abs=exact_s)


# Which frames of a program stream have a time depends on where one begins.
@pytest.mark.parametrize(
    ("suffix", "codec", "options"), [kind for kind in KINDS if kind[0] != ".mpg"]
)
def test_rate_and_span_agree_with_the_whole_in_every_container(
    tmp_path: Path, suffix: str, codec: str, options: dict[str, str]
) -> None:
    """Skipping frames and seeking must not change the result."""
    path = film(tmp_path, suffix, codec, options)
    grid = Grid(7.3)
    taken = [f for f in read_frames(path) if grid.takes(f.time_s)]
    for start_s, end_s in ((0.0, 9.0), (0.7, 1.3), (1.5, 9.0)):
        part = list(read_frames(path, rate_hz=7.3, start_s=start_s, end_s=end_s))
        expected = [f for f in taken if start_s <= f.time_s < end_s]
        assert [f.index for f in part] == [f.index for f in expected]
        assert [f.time_s for f in part] == pytest.approx([f.time_s for f in expected])
        assert [number_in(f.rgb) for f in part] == [number_in(f.rgb) for f in expected]


def test_a_truncated_file_gives_the_frames_it_contains(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = film(tmp_path, ".mkv", "libx264", {})
    frames = list(read_frames(make_truncated(whole, tmp_path / "cut.mkv", 0.6)))
    assert 10 < len(frames) < 50
    assert [number_in(f.rgb) for f in frames] == [i % 24 for i in range(len(frames))]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_a_truncated_mp4_with_its_index_in_front_is_read(tmp_path: Path, suffix: str) -> None:
    whole = make_video(tmp_path / f"whole{suffix}", num_frames=50, faststart=True)
    frames = list(read_frames(make_truncated(whole, tmp_path / f"cut{suffix}", 0.8)))
    assert 5 < len(frames) < 50
    assert [number_in(f.rgb) for f in frames] == [i % 24 for i in range(len(frames))]


def test_a_seek_that_misses_starts_over(tmp_path: Path) -> None:
    """MPEG-TS seeks between key frames; with a single one, reading must start over."""
    path = make_video(
        tmp_path / "film.ts",
        num_frames=50,
        options={"bf": "3", "g": "250", "sc_threshold": "0"},
        offset_s=1.4,
    )
    assert [f.index for f in read_frames(path, start_s=1.0, end_s=1.2)] == [25, 26, 27, 28, 29]


def test_a_late_start_in_a_truncated_file_reports_its_duration(tmp_path: Path) -> None:
    whole = film(tmp_path, ".mkv", "libx264", {})
    cut = make_truncated(whole, tmp_path / "cut.mkv", 0.5)
    with pytest.raises(MediaError, match=r"past the end: it lasts 0?1?\.\d+ s"):
        list(read_frames(cut, start_s=1.9))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".avi"])
def test_damaged_parts_are_skipped(
    tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (8, 96, 96, 3), dtype=np.uint8)  # much data a frame
    path = make_video(
        tmp_path / f"film{suffix}",
        num_frames=100,
        picture=lambda index: pictures[index % 8],
        options={"bf": "3", "g": "12"},
    )
    data = bytearray(path.read_bytes())
    start, length = len(data) * 2 // 5, len(data) // 20
    data[start : start + length] = rng.integers(0, 256, length, dtype=np.uint8).tobytes()
    path.write_bytes(data)
    capfd.readouterr()
    times_s = [f.time_s for f in read_frames(path, max_side=16)]
    assert 70 <= len(times_s) < 100
    assert (np.diff(times_s) > 0).all()
    assert times_s[-1] == pytest.approx(99 / 25, abs=0.25)
    assert 4 <= len(list(read_frames(path, max_side=16, rate_hz=5, start_s=3.0))) <= 6
    assert capfd.readouterr() == ("", "")


def test_times_increase_past_a_wrong_one_and_catch_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_video(tmp_path / "film.mp4", num_frames=30)
    shown_at_s = PictureReader._display_time_s

    def damaged(reader: PictureReader, frame: VideoFrame) -> float | None:
        time_s = shown_at_s(reader, frame)
        return {0.2: 0.4, 0.8: None}.get(round(time_s or 0.0, 3), time_s)

    monkeypatch.setattr(PictureReader, "_display_time_s", damaged)
    times_s = [f.time_s for f in read_frames(path)]
    exact_s = np.arange(30) / 25
    assert (np.diff(times_s) > 0).all()
    np.testing.assert_allclose(times_s[:5], exact_s[:5])
    assert times_s[5] == pytest.approx(0.4)
    np.testing.assert_allclose(times_s[16:], exact_s[16:])


def test_cover_art_is_not_a_video(tmp_path: Path) -> None:
    path = make_sound(tmp_path / "song.mp3", codec="libmp3lame", cover=True)
    with pytest.raises(MediaError, match="sound but no picture"):
        list(read_frames(path))


def test_the_grid_skips_packets_only_when_certain() -> None:
    """Packets arrive in decoding order: a later frame of a cell does not make it skippable."""
    grid = Grid(10.0)
    assert not grid.skips(0.09)
    assert not grid.skips(0.03)
    assert grid.skips(0.06)
    assert grid.skips(0.09)
    assert not grid.skips(0.1)
    assert not Grid(None).skips(0.1)


def test_the_grid_selects_one_frame_per_instant() -> None:
    grid = Grid(10.0)
    times_s = [0.02, 0.05, 0.0995, 0.15, 0.21, 0.55, 0.56]
    assert [grid.takes(t) for t in times_s] == [True, False, True, False, True, True, False]
    assert all(Grid(None).takes(t) for t in times_s)
