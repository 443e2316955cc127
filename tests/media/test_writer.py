import resource
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from making import (
    Picture,
    corner_picture,
    grey_picture,
    make_image,
    make_joined,
    make_sound,
    make_text,
    make_video,
    number_in,
)

from emoscope.core.errors import MediaError
from emoscope.media.video import Frame, probe, read_frames
from emoscope.media.writer import write_video

IRREGULAR_S = [0.0, 0.04, 0.1, 0.11, 0.3, 0.5, 0.52, 0.9]


def frames_at(
    times_s: list[float], picture: Picture | None = None, duration_s: float = 0.04
) -> Iterator[Frame]:
    for index, time_s in enumerate(times_s):
        yield Frame(grey_picture(index) if picture is None else picture, time_s, index, duration_s)


def sound_packets(path: Path) -> list[tuple[float, bytes]]:
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        assert stream.time_base is not None
        return [
            (float(packet.pts * stream.time_base), bytes(packet))
            for packet in container.demux(stream)
            if packet.pts is not None
        ]


def loudness(path: Path) -> dict[float, float]:
    """Root mean square of every tenth of a second of audio."""
    samples: dict[float, list[float]] = {}
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            block = frame.to_ndarray().mean(axis=0)
            assert frame.time is not None
            samples.setdefault(round(frame.time, 1), []).append(float(np.sqrt((block**2).mean())))
    return {time_s: float(np.mean(values)) for time_s, values in samples.items()}


def test_times_and_pictures_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    write_video(path, frames_at(IRREGULAR_S))
    frames = list(read_frames(path))
    assert [f.time_s for f in frames] == pytest.approx(IRREGULAR_S, abs=1e-5)
    assert frames[-1].duration_s == pytest.approx(0.04, abs=1e-5)
    assert [number_in(f.rgb) for f in frames] == list(range(8))
    info = probe(path)
    assert (info.codec, info.num_frames, info.has_sound) == ("h264", 8, False)
    assert info.duration_s == pytest.approx(0.94, abs=1e-3)


def test_colours_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    write_video(path, frames_at([0.0, 0.1], corner_picture((160, 120))))
    rgb = next(read_frames(path)).rgb
    for y, x in [(30, 40), (30, 120), (90, 40), (90, 120)]:
        np.testing.assert_allclose(rgb[y, x].astype(int), corner_picture((160, 120))[y, x], atol=5)


@pytest.mark.parametrize("size_wh", [(63, 47), (64, 47), (63, 48), (1, 1), (16, 16)])
def test_odd_sizes_are_padded_by_their_edge(tmp_path: Path, size_wh: tuple[int, int]) -> None:
    path, (width, height) = tmp_path / "out.mp4", size_wh
    write_video(path, frames_at([0.0, 0.1], corner_picture(size_wh)))
    rgb = next(read_frames(path)).rgb
    assert rgb.shape == (height + height % 2, width + width % 2, 3)
    np.testing.assert_allclose(rgb[-1, -1].astype(int), corner_picture(size_wh)[-1, -1], atol=6)


@pytest.mark.parametrize(
    ("suffix", "codec", "offset_s"),
    [
        (".mp4", "aac", 0.0),
        (".mp4", "libmp3lame", 0.0),
        (".mkv", "flac", 0.0),
        (".mkv", "aac", 0.5),
        (".ts", "aac", 1.4),
    ],
)
def test_sound_is_copied_packet_by_packet(
    tmp_path: Path, suffix: str, codec: str, offset_s: float
) -> None:
    source = make_video(
        tmp_path / f"in{suffix}",
        num_frames=30,
        sound_s=1.2,
        sound_codec=codec,
        offset_s=offset_s,
    )
    path = tmp_path / "out.mp4"
    write_video(path, read_frames(source), sound_from=source)
    before, after = sound_packets(source), sound_packets(path)
    skipped = 7 if suffix == ".ts" else 0  # the ADTS header, which MP4 does without
    assert [data for _, data in after] == [data[skipped:] for _, data in before]
    first_s = next(read_frames(source)).time_s - next(read_frames(path)).time_s
    with av.open(str(source)) as container:
        first_s += container.start_time / av.time_base
    shifts = [old_s - new_s - first_s for (old_s, _), (new_s, _) in zip(before, after, strict=True)]
    assert max(map(abs, shifts)) < 1.1e-3


@pytest.mark.parametrize("codec", ["pcm_s16le", "mp2"])
def test_audio_that_mp4_does_not_support_is_encoded_to_aac(tmp_path: Path, codec: str) -> None:
    source = make_sound(tmp_path / "tone.mka", codec=codec, rate_hz=44_100, seconds=1.0)
    path = tmp_path / "out.mp4"
    write_video(path, frames_at([0.0, 0.5]), sound_from=source)
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        assert (stream.codec_context.name, stream.rate) == ("aac", 44_100)
        num_samples = sum(frame.samples for frame in container.decode(stream))
    assert num_samples / 44_100 == pytest.approx(1.0, abs=0.06)
    assert loudness(path)[0.5] == pytest.approx(0.5 / 2**0.5, rel=0.05)


@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
def test_audio_stays_in_sync_in_a_span(tmp_path: Path, codec: str) -> None:
    """Silence until 1 s, then a tone: in a span from 0.6 s, the tone starts at 0.4 s."""
    source = make_sound(tmp_path / "late.mkv", codec=codec, seconds=2.0, silent_until_s=1.0)
    path = tmp_path / "out.mp4"
    times_s = [0.6 + i / 25 for i in range(25)]
    write_video(path, frames_at(times_s), sound_from=source, start_s=0.6, end_s=1.6)
    levels = loudness(path)
    assert max(levels[t] for t in (0.1, 0.2)) < 0.01
    assert min(levels[t] for t in (0.6, 0.7, 0.8)) > 0.3
    assert max(levels) == pytest.approx(1.0, abs=0.15)
    assert len(sound_packets(path)) <= 1.2 * 16_000 / 1024  # no more than the stretch needs
    assert [f.time_s for f in read_frames(path)] == pytest.approx(np.arange(25) / 25, abs=1e-4)


def test_sources_without_sound_add_none(tmp_path: Path) -> None:
    silent = make_video(tmp_path / "silent.mp4")
    for source in (silent, make_image(tmp_path / "face.png"), tmp_path):
        write_video(tmp_path / "out.mp4", frames_at([0.0, 0.1]), sound_from=source)
        assert not probe(tmp_path / "out.mp4").has_sound


def test_a_file_is_replaced_only_when_the_new_one_is_whole(tmp_path: Path) -> None:
    path = make_video(tmp_path / "out.mp4")
    old = path.read_bytes()

    def failing(error: BaseException) -> Iterator[Frame]:
        yield from frames_at([i / 25 for i in range(40)])  # more than the encoder holds back
        assert len(list(tmp_path.iterdir())) == 2  # the old file, and the one being written
        raise error

    for error in (RuntimeError("in the middle"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught:
            write_video(path, failing(error))
        assert caught.value is error
        assert list(tmp_path.iterdir()) == [path]
        assert path.read_bytes() == old
    write_video(path, frames_at([0.0]))
    assert probe(path).num_frames == 1


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (20, 240, 320, 3), dtype=np.uint8)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(MediaError, match=r"out\.mp4: cannot be written: .*\.$") as caught:
            write_video(
                tmp_path / "out.mp4", (Frame(rgb, i / 25, i) for i, rgb in enumerate(noise))
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_target_is_refused_before_any_frame_is_read(tmp_path: Path) -> None:
    def unread() -> Iterator[Frame]:
        pytest.fail("a frame was asked for")
        yield

    source = make_video(tmp_path / "in.mp4")
    for name, sound_from, reason in [
        ("in.mp4/out.mp4", None, "cannot be written"),
        ("in.mp4", source, "replace the original"),
        ("out.mp4", tmp_path / "absent.mp4", "no such file"),
        ("out.mp4", make_text(tmp_path / "text.mp4"), "renamed"),
    ]:
        with pytest.raises(MediaError, match=reason):
            write_video(tmp_path / name, unread(), sound_from=sound_from)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder nobody may write to")
def test_a_read_only_folder_is_refused_at_the_first_frame() -> None:
    def one() -> Iterator[Frame]:
        yield from frames_at([0.0])
        pytest.fail("a second frame was asked for")

    with pytest.raises(MediaError, match=r"^/proc/self/out\.mp4: cannot be written"):
        write_video("/proc/self/out.mp4", one())


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([], "no frames"),
        ([Frame(grey_picture(0), 0.1, 0), Frame(grey_picture(1), 0.1, 1)], "does not come after"),
        ([Frame(grey_picture(0), 0.1, 0), Frame(grey_picture(1), 0.0, 1)], "does not come after"),
    ],
)
def test_frames_that_do_not_fit_together_are_refused(
    tmp_path: Path, frames: list[Frame], reason: str
) -> None:
    with pytest.raises(MediaError, match=reason):
        write_video(tmp_path / "out.mp4", frames)
    assert list(tmp_path.iterdir()) == []


# Kind 7 of issue 18: shapes


def test_frames_of_another_size_are_fitted_into_the_first(tmp_path: Path) -> None:
    """They were refused, and no annotated film was written."""
    frames = [
        Frame(grey_picture(5), 0.0, 0, 0.04),
        Frame(grey_picture(5, (128, 96)), 0.04, 1, 0.04),
        Frame(grey_picture(5, (64, 24)), 0.08, 2, 0.04),
        Frame(grey_picture(5, (24, 48)), 0.12, 3, 0.04),
    ]
    path = tmp_path / "out.mp4"
    write_video(path, frames)
    same, larger, wide, tall = (frame.rgb for frame in read_frames(path))
    grey = grey_picture(5)[0, 0, 0]
    for whole in (same, larger):
        np.testing.assert_allclose(whole, grey, atol=3)
    np.testing.assert_allclose(wide[14:34], grey, atol=4)
    np.testing.assert_allclose(tall[:, 22:42], grey, atol=4)
    for bar in (wide[:10], wide[38:], tall[:, :18], tall[:, 46:]):
        assert bar.max() < 10


def test_an_annotated_film_keeps_its_shape(tmp_path: Path) -> None:
    path = make_video(
        tmp_path / "film.mp4", size_wh=(72, 58), num_frames=3, aspect=Fraction(64, 45)
    )
    write_video(tmp_path / "out.mp4", read_frames(path))
    info, written = probe(path), probe(tmp_path / "out.mp4")
    assert (written.width, written.height) == (info.width, info.height) == (102, 58)


@pytest.mark.parametrize("codec", ["aac", "mp2"])
def test_sound_continues_where_the_clock_restarts(tmp_path: Path, codec: str) -> None:
    """Copied, and encoded."""
    part = make_video(
        tmp_path / "one.ts", num_frames=50, sound_s=2.0, sound_codec=codec, options={"g": "10"}
    )
    path, out = make_joined(tmp_path / "joined.ts", part, part), tmp_path / "out.mp4"
    write_video(out, read_frames(path), sound_from=path)
    levels = loudness(out)
    assert max(levels) == pytest.approx(4.1, abs=0.15)
    assert np.mean([level > 0.2 for level in levels.values()]) > 0.9
