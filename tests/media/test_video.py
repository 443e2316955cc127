import gc
import math
import mmap
import weakref
from pathlib import Path

import numpy as np
import pytest
from making import (
    corner_picture,
    make_animation,
    make_image,
    make_image_folder,
    make_sound,
    make_text,
    make_truncated,
    make_video,
    number_in,
)

from emoscope.core.errors import MediaError
from emoscope.media.reading.decoding import PictureReader
from emoscope.media.reading.pixels import Converter
from emoscope.media.video import Frame, ReadLog, probe, read_frames

IRREGULAR_S = [0.0, 0.04, 0.1, 0.11, 0.3, 0.5, 0.52, 0.9]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds at 30 fps, with B frames and a key frame every 12: frames arrive out of order."""
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    return make_video(path, num_frames=60, fps=30, options={"bf": "3", "g": "12"}, sound_s=1.0)


def facts(frames: list[Frame]) -> list[tuple[float, int, int]]:
    return [(f.time_s, f.index, number_in(f.rgb)) for f in frames]


def test_every_frame_arrives_once_in_order_at_its_time(clip: Path) -> None:
    frames = list(read_frames(clip))
    assert [number_in(f.rgb) for f in frames] == [i % 24 for i in range(60)]
    assert [f.index for f in frames] == list(range(60))
    assert [f.time_s for f in frames] == pytest.approx([i / 30 for i in range(60)], abs=1e-9)
    assert [f.duration_s for f in frames] == pytest.approx([1 / 30] * 60, abs=1e-9)
    assert frames[0].rgb.dtype == np.uint8
    assert frames[0].rgb.shape == (48, 64, 3)


def test_irregular_times_are_preserved(tmp_path: Path) -> None:
    path = make_video(tmp_path / "vfr.mp4", times_s=IRREGULAR_S)
    frames = list(read_frames(path))
    assert [f.time_s for f in frames] == pytest.approx(IRREGULAR_S, abs=1e-9)
    assert [f.duration_s for f in frames[:-1]] == pytest.approx(np.diff(IRREGULAR_S), abs=1e-9)
    assert [number_in(f.rgb) for f in frames] == list(range(8))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_video_that_starts_after_the_audio_keeps_its_delay(tmp_path: Path, suffix: str) -> None:
    path = make_video(tmp_path / f"late{suffix}", times_s=[0.48, 0.52, 0.56], sound_s=0.8)
    times_s = [f.time_s for f in read_frames(path)]
    # AAC leads in 1024 samples, 64 ms, before zero: MP4 says so and hides it, the others shift.
    lead_s = 0.0 if suffix == ".mp4" else times_s[0] - 0.48
    assert 0 <= lead_s <= 0.0645
    assert times_s == pytest.approx([t + lead_s for t in (0.48, 0.52, 0.56)], abs=2e-3)


@pytest.mark.parametrize("offset_s", [1.4, 1 / 3])
@pytest.mark.parametrize("suffix", [".ts", ".mkv", ".mov"])
def test_time_zero_is_exactly_the_start_of_the_file(
    tmp_path: Path, suffix: str, offset_s: float
) -> None:
    path = make_video(tmp_path / f"late{suffix}", offset_s=offset_s, fps=30)
    frames = list(read_frames(path))
    assert frames[0].time_s == 0.0
    assert facts(frames) == [(pytest.approx(i / 30, abs=1e-3), i, i) for i in range(10)]
    if suffix != ".mkv":  # whose length counts from its clock's zero
        assert probe(path).duration_s == pytest.approx(1 / 3, abs=2e-3)
    part = list(read_frames(path, start_s=0.15))
    assert [f.index for f in part] == [5, 6, 7, 8, 9]


@pytest.mark.parametrize(
    ("rate_hz", "expected"),
    [
        (10.0, list(range(0, 60, 3))),
        (7.5, list(range(0, 60, 4))),
        (12.0, [0, 3, 5, 8, 10, 13, 15, 18, 20, 23, 25, 28]),
        (30.0, list(range(60))),
        (200.0, list(range(60))),
        (0.7, [0, 43]),
    ],
)
def test_rate_takes_the_first_frame_at_or_after_each_instant(
    clip: Path, rate_hz: float, expected: list[int]
) -> None:
    frames = list(read_frames(clip, rate_hz=rate_hz))
    assert [f.index for f in frames[: len(expected)]] == expected
    assert [number_in(f.rgb) for f in frames] == [f.index % 24 for f in frames]


def test_the_rate_is_exact_for_times_rounded_to_milliseconds(tmp_path: Path) -> None:
    """At 29.97 fps in Matroska, frame 3k is up to 1 ms before or after the instant k / 10."""
    times_s = [round(k * 1001 / 30, 0) / 1000 for k in range(90)]
    path = make_video(tmp_path / "ntsc.mkv", times_s=times_s, size_wh=(16, 16))
    assert [f.index for f in read_frames(path, rate_hz=10)] == list(range(0, 90, 3))


def test_a_gap_longer_than_an_instant_yields_no_frame_twice(tmp_path: Path) -> None:
    path = make_video(tmp_path / "gap.mp4", times_s=[0.0, 0.05, 1.02, 1.05, 1.12])
    assert [f.index for f in read_frames(path, rate_hz=10)] == [0, 2, 4]


def test_skipped_frames_are_not_converted(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    converted = []
    convert = Converter.rgb
    monkeypatch.setattr(
        Converter, "rgb", lambda self, frame: converted.append(frame) or convert(self, frame)
    )
    assert len(list(read_frames(clip, rate_hz=5, start_s=0.5, end_s=1.5))) == 5
    assert len(converted) == 5


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".avi", ".mov"])
@pytest.mark.parametrize("rate_hz", [None, 10.0, 7.3])
def test_a_span_contains_exactly_its_frames_of_the_whole(
    tmp_path: Path, suffix: str, rate_hz: float | None
) -> None:
    path = make_video(
        tmp_path / f"clip{suffix}", num_frames=75, size_wh=(32, 32), options={"bf": "3", "g": "20"}
    )
    whole = list(read_frames(path, rate_hz=rate_hz))
    # 0.76 s is a key frame: whether the grid takes it depends on frames before it.
    spans_s = [(0.0, 0.5), (0.76, 1.21), (0.79, 0.81), (1.6, 2.0), (1.633, None), (2.96, None)]
    for start_s, end_s in spans_s:
        part = list(read_frames(path, rate_hz=rate_hz, start_s=start_s, end_s=end_s))
        inside = [f for f in whole if start_s <= f.time_s < (end_s or math.inf)]
        assert facts(part) == facts(inside)


def test_late_span_does_not_decode_what_is_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_video(tmp_path / "long.mp4", num_frames=250, size_wh=(32, 32), options={"g": "25"})
    decoded: list[float] = []
    shown_at_s = PictureReader._display_time_s
    monkeypatch.setattr(
        PictureReader,
        "_display_time_s",
        lambda self, frame: decoded.append(shown_at_s(self, frame)) or decoded[-1],
    )
    assert [f.index for f in read_frames(path, start_s=9.5, end_s=9.6)] == [238, 239]
    assert min(decoded) >= 8.9


def test_unneeded_frames_are_not_decoded(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the clip are B frames that no other frame refers to."""
    decoded: list[object] = []
    left_out_before = PictureReader._skipped_before
    monkeypatch.setattr(
        PictureReader,
        "_skipped_before",
        lambda self, frame: decoded.append(frame) or left_out_before(self, frame),
    )
    assert len(list(read_frames(clip, rate_hz=5))) == 10
    assert 10 <= len(decoded) <= 45


def test_longest_side_is_limited_and_the_shape_kept(tmp_path: Path) -> None:
    path = make_video(tmp_path / "wide.mp4", picture=lambda _: corner_picture((160, 90)))
    whole, small = (next(read_frames(path, max_side=side)) for side in (None, 48))
    assert whole.rgb.shape == (90, 160, 3)
    assert small.rgb.shape == (27, 48, 3)
    for y, x in [(6, 12), (6, 36), (20, 12), (20, 36)]:
        np.testing.assert_allclose(small.rgb[y, x], whole.rgb[y * 10 // 3, x * 10 // 3], atol=4)
    assert next(read_frames(path, max_side=500)).rgb.shape == (90, 160, 3)


def test_only_one_frame_is_in_memory_at_a_time(clip: Path) -> None:
    frames = read_frames(clip)
    alive: list[weakref.ref[Frame]] = []
    for _ in range(40):
        alive.append(weakref.ref(next(frames)))
    assert sum(ref() is not None for ref in alive) == 0


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's memory figures")
def test_memory_does_not_grow_even_without_the_garbage_collector(tmp_path: Path) -> None:
    def resident_mib() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE / 2**20

    path = make_video(
        tmp_path / "film.mp4",
        num_frames=150,
        size_wh=(640, 480),
        options={"preset": "ultrafast"},
        rotation=90,
    )
    gc.disable()
    try:
        frames = read_frames(path)
        resident = [resident_mib() for _ in frames]
    finally:
        gc.enable()
    assert len(resident) == 150
    assert resident[-1] - resident[30] < 20  # 120 frames kept would be 53 MiB, 105 in RGB


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's list of open files")
def test_a_reader_that_is_abandoned_closes_the_file(clip: Path) -> None:
    def is_open() -> bool:
        links = Path("/proc/self/fd").iterdir()
        return any(link.is_symlink() and link.readlink() == clip for link in links)

    frames = read_frames(clip)
    next(frames)
    assert is_open()
    del frames
    assert not is_open()


def test_probe_reads_the_metadata(clip: Path, tmp_path: Path) -> None:
    info = probe(clip)
    assert (info.width, info.height, info.num_frames) == (64, 48, 60)
    assert (info.codec, info.has_sound, info.path) == ("h264", True, clip)
    assert (info.fps, info.duration_s) == (30.0, 2.0)
    silent = probe(make_video(tmp_path / "silent.mkv"))
    assert (silent.has_sound, silent.num_frames) == (False, None)
    assert silent.duration_s == pytest.approx(0.4)


def test_one_frame_is_a_video(tmp_path: Path) -> None:
    path = make_video(tmp_path / "one.mp4", num_frames=1)
    assert facts(list(read_frames(path, rate_hz=10))) == [(0.0, 0, 0)]
    assert probe(path).num_frames == 1


@pytest.mark.parametrize("size_wh", [(16, 16), (63, 47), (2, 2), (640, 2)])
def test_any_size_is_read(tmp_path: Path, size_wh: tuple[int, int]) -> None:
    path = make_video(tmp_path / "odd.mkv", size_wh=size_wh, codec="ffv1", num_frames=3)
    frames = list(read_frames(path))
    assert [f.rgb.shape for f in frames] == [(size_wh[1], size_wh[0], 3)] * 3
    assert [number_in(f.rgb) for f in frames] == [0, 1, 2]


def test_8k_is_read(tmp_path: Path) -> None:
    path = make_video(
        tmp_path / "8k.mp4", size_wh=(7680, 4320), num_frames=1, options={"preset": "ultrafast"}
    )
    assert next(read_frames(path)).rgb.shape == (4320, 7680, 3)
    assert next(read_frames(path, max_side=640)).rgb.shape == (360, 640, 3)


def test_an_image_is_one_frame_at_zero(tmp_path: Path) -> None:
    path = make_image(tmp_path / "face.png")
    frames = list(read_frames(path, rate_hz=10))
    assert [(f.time_s, f.index) for f in frames] == [(0.0, 0)]
    np.testing.assert_array_equal(frames[0].rgb, corner_picture())
    assert next(read_frames(path, max_side=32)).rgb.shape == (24, 32, 3)
    info = probe(path)
    assert (info.width, info.height, info.num_frames, info.codec) == (64, 48, 1, "png")


def test_numbered_images_are_a_video(tmp_path: Path) -> None:
    folder = make_image_folder(tmp_path / "images", num_images=12)
    frames = list(read_frames(folder))
    assert facts(frames) == [(i / 25, i, i) for i in range(12)]
    slow = list(read_frames(folder, image_fps=4, rate_hz=2, start_s=0.75))
    assert facts(slow) == [(i / 4, i, i) for i in (4, 6, 8, 10)]
    for read in (read_frames, probe):
        with pytest.raises(MediaError, match="above 0"):
            read(folder, image_fps=0)
    info = probe(folder, image_fps=4)
    assert (info.num_frames, info.fps, info.duration_s) == (12, 4, 3.0)


def empty(folder: Path) -> Path:
    (folder / "none.mp4").touch()
    return folder / "none.mp4"


def empty_folder(folder: Path) -> Path:
    (folder / "nothing").mkdir()
    (folder / "nothing" / "notes.txt").touch()
    return folder / "nothing"


def cut_in_the_header(folder: Path) -> Path:
    return make_truncated(make_video(folder / "whole.mp4"), folder / "cut.mp4", 0.5)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda d: d / "none.mp4", "no such file"),
        (lambda d: make_text(d / "a.txt") / "b.mp4", "no such file"),
        (empty, "the file is empty"),
        (empty_folder, "no images"),
        (lambda d: make_text(d / "text.mp4"), "renamed"),
        (lambda d: make_text(d / "notes.txt"), "text"),
        (lambda d: make_text(d / "text.png"), "not an image"),
        (cut_in_the_header, "cut off"),
        (lambda d: make_sound(d / "sound.m4a"), "no picture"),
        (lambda d: make_video(d / "zero.avi", num_frames=0), "no frame can be decoded"),
        (lambda d: make_video(d / "zero.mp4", num_frames=0), "no picture"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    tmp_path: Path, make: object, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = make(tmp_path)  # type: ignore[operator]
    capfd.readouterr()
    for read in (lambda: list(read_frames(path)), lambda: probe(path)):
        with pytest.raises(MediaError) as caught:
            read()
        message = str(caught.value)
        assert message.startswith(f"{path}: ")
        assert reason in message
        assert "\n" not in message
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("span", "reason"),
    [
        ({"start_s": 0.4}, "lasts 0.4 s"),
        ({"start_s": 90.0}, "lasts 0.4 s"),
        ({"start_s": 0.2, "end_s": 0.2}, "not after the start"),
        ({"start_s": 0.2, "end_s": 0.1}, "not after the start"),
        ({"start_s": -1.0}, "must be 0 s or more"),
        ({"start_s": math.nan}, "must be 0 s or more"),
        ({"rate_hz": 0.0}, "above 0"),
        ({"rate_hz": math.inf}, "above 0"),
        ({"max_side": 0}, "1 or more"),
    ],
)
def test_an_invalid_span_or_rate_is_refused(
    tmp_path: Path, span: dict[str, float], reason: str
) -> None:
    film = make_video(tmp_path / "film.mp4")
    folder = make_image_folder(tmp_path / "images", num_images=10)
    for path in (film, folder):
        with pytest.raises(MediaError, match=reason) as caught:
            list(read_frames(path, **span))  # type: ignore[arg-type]
        assert str(caught.value).startswith(f"{path}: ")


def test_a_span_between_two_frames_is_empty(tmp_path: Path) -> None:
    path = make_video(tmp_path / "film.mp4")
    assert list(read_frames(path, start_s=0.01, end_s=0.03)) == []
    assert list(read_frames(path, start_s=0.37)) == []


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "size_wh", "num_frames"),
    [
        ("pyfeat_single_face.mp4", (640, 360), 72),
        ("pyfeat_noface_face.mov", (960, 540), 169),
        ("pyfeat_WolfgangLanger_Pexels.mp4", (640, 360), 472),
    ],
)
def test_real_clips(shared: Path, name: str, size_wh: tuple[int, int], num_frames: int) -> None:
    path = shared / "clips" / name
    info = probe(path)
    assert (info.width, info.height, info.num_frames) == (*size_wh, num_frames)
    whole = list(read_frames(path, max_side=32))
    assert [f.index for f in whole] == list(range(num_frames))
    assert whole[-1].time_s + whole[-1].duration_s == pytest.approx(info.duration_s, abs=0.01)
    middle_s = info.duration_s / 2
    part = list(read_frames(path, max_side=32, start_s=middle_s, rate_hz=10))
    by_time = {f.time_s: f.rgb for f in whole}
    assert len(part) == pytest.approx((info.duration_s - middle_s) * 10, abs=1.5)
    for frame in part:
        np.testing.assert_array_equal(frame.rgb, by_time[frame.time_s])


@pytest.mark.parametrize("suffix", [".gif", ".png"])
def test_an_animation_that_is_cut_off_has_a_note(tmp_path: Path, suffix: str) -> None:
    """Kind: a file that ends before its end, of a format that states no length."""
    path = make_animation(tmp_path / f"whole{suffix}", [100] * 8)
    log = ReadLog()
    assert len(list(read_frames(path, log=log))) == 8
    assert log.notes == []
    path.write_bytes(path.read_bytes() + b"\0" * 8)  # padded by a program
    list(read_frames(path, log=log))
    assert log.notes == []
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 7 // 10])
    assert len(list(read_frames(path, log=log))) < 8
    assert log.ends_early
    assert "the file is cut off" in log.notes[0]
