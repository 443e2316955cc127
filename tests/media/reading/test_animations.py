"""Animated images (kind: their first frame is taken for the whole)."""

from pathlib import Path

import pytest
from making import make_animation, make_truncated, number_in

from emoscope.core.errors import MediaError
from emoscope.media.reading import animations
from emoscope.media.video import probe, read_frames

DURATIONS_MS = [40, 200, 80, 120]
STARTS_S = [0.0, 0.04, 0.24, 0.32]


@pytest.mark.parametrize("suffix", [".png", ".webp", ".gif"])
@pytest.mark.parametrize("alpha", [False, True])
def test_an_animated_image_is_a_film(tmp_path: Path, suffix: str, alpha: bool) -> None:
    path = make_animation(tmp_path / f"a{suffix}", DURATIONS_MS, alpha=alpha)
    frames = list(read_frames(path))
    if suffix != ".gif":  # it has a palette
        assert [number_in(frame.rgb) for frame in frames] == [0, 1, 2, 3]
    assert [frame.time_s for frame in frames] == pytest.approx(STARTS_S)
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    assert (probe(path).width, probe(path).height) == (64, 48)


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_spans_rates_and_sizes_apply(tmp_path: Path, suffix: str) -> None:
    path = make_animation(tmp_path / f"a{suffix}", [40] * 10)
    frames = list(read_frames(path, start_s=0.1, end_s=0.3, max_side=32))
    assert [number_in(frame.rgb) for frame in frames] == [3, 4, 5, 6, 7]
    assert frames[0].rgb.shape == (24, 32, 3)
    assert [round(f.time_s, 6) for f in read_frames(path, rate_hz=10)] == [0, 0.12, 0.2, 0.32]
    with pytest.raises(MediaError, match="past the end"):
        list(read_frames(path, start_s=1.0))


def test_webp_states_its_length(tmp_path: Path) -> None:
    info = probe(make_animation(tmp_path / "a.webp", DURATIONS_MS))
    assert (info.num_frames, info.codec) == (4, "webp")
    assert info.duration_s == pytest.approx(0.44)
    assert info.fps == pytest.approx(4 / 0.44)


def test_webp_is_decoded_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(animations, "_BLOCK_BYTES", 3 * 64 * 48 * 3)
    path = make_animation(tmp_path / "a.webp", [40] * 9)
    assert [number_in(rgb) for rgb in animations.animated_webp(path)] == list(range(9))


@pytest.mark.parametrize("share", [0.15, 0.5, 0.95])
def test_a_truncated_webp_is_refused_without_further_output(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], share: float
) -> None:
    whole = make_animation(tmp_path / "a.webp", DURATIONS_MS)
    capfd.readouterr()
    with pytest.raises(MediaError, match=r"cut\.webp: not an image, or cut off"):
        list(read_frames(make_truncated(whole, tmp_path / "cut.webp", share)))
    assert capfd.readouterr() == ("", "")
