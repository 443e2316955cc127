import os
from collections.abc import Callable
from pathlib import Path

import pytest
from making import make_image_folder, make_sound, make_text, make_video

from emoscope.core.errors import MediaError
from emoscope.media.reading.container import existing, open_media, zero_s
from emoscope.media.reading.images import read_image
from emoscope.media.sound.audio import read_sound
from emoscope.media.video import probe, read_frames


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


@pytest.mark.parametrize(
    "read", [probe, lambda path: list(read_frames(path)), read_sound, read_image]
)
@pytest.mark.parametrize("name", ["pipe.mp4", "pipe.png", "pipe.wav"])
def test_a_pipe_is_refused_and_not_waited_for(
    tmp_path: Path, name: str, read: Callable[[Path], object]
) -> None:
    """Kind 17 of issue 18: without a writer, opening a pipe waits for ever."""
    os.mkfifo(tmp_path / name)
    with pytest.raises(MediaError, match=rf"{name}: not a regular file\. "):
        read(tmp_path / name)


def test_a_pipe_among_numbered_images_is_refused(tmp_path: Path) -> None:
    folder = make_image_folder(tmp_path / "images", num_images=2)
    os.mkfifo(folder / "frame9.png")
    with pytest.raises(MediaError, match=r"frame9\.png: not a regular file"):
        list(read_frames(folder))
