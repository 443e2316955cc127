"""Windows that the caller gives instead of the model's own (issue 18, kind 3)."""

import json
from pathlib import Path

import numpy as np
import pytest
from asking import ask
from making import make_video
from sounding import tone, write_wav
from tiny_bundles import answer, clip_bundle, image_bundle, voice_bundle

from emoscope.analysis.analyzer import Analyzer
from emoscope.core.errors import SpecError
from emoscope.core.results import Timeline


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Windows of 1 s every 0.5 s."""
    folder = tmp_path_factory.mktemp("bundles")
    image_bundle(folder / "image.onnx")
    clip_bundle(folder / "clip.onnx")
    voice_bundle(folder / "voice.onnx")
    return folder


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds; the first two are dark, the others bright."""

    def picture(index: int) -> np.ndarray:
        return np.full((48, 64, 3), 20 if index < 50 else 220, np.uint8)

    path = tmp_path_factory.mktemp("film") / "film.mp4"
    return make_video(path, num_frames=100, picture=picture, options={"qp": "0"})


def test_a_longer_window_takes_its_pictures_from_all_of_it(bundles: Path, film: Path) -> None:
    timeline = Analyzer(bundles / "clip.onnx", window_s=4.0, stride_s=4.0).analyze(film)
    assert timeline.spans_s.tolist() == [[0, 4]]
    assert timeline.probs[0] == pytest.approx(answer((20 + 220) / 2 / 255), abs=0.01)
    about = timeline.provenance
    assert (about.window_s, about.stride_s) == (4.0, 4.0)


def test_a_stride_alone_keeps_the_window(bundles: Path, film: Path) -> None:
    timeline = Analyzer(bundles / "clip.onnx", stride_s=1.0).analyze(film)
    assert timeline.spans_s.tolist() == [[0, 1], [1, 2], [2, 3], [3, 4]]
    assert (timeline.provenance.window_s, timeline.provenance.stride_s) == (1.0, 1.0)


def test_the_models_own_windows_are_in_the_provenance(bundles: Path, film: Path) -> None:
    own = Analyzer(bundles / "clip.onnx").analyze(film)
    assert (own.provenance.window_s, own.provenance.stride_s) == (1.0, 0.5)
    assert own.to_dict() == Analyzer(bundles / "clip.onnx", window_s=1).analyze(film).to_dict()
    image = Analyzer(bundles / "image.onnx", detector="none").analyze(film).provenance
    assert (image.window_s, image.stride_s) == (None, None)


def test_a_stream_uses_the_windows_given(bundles: Path, film: Path) -> None:
    from emoscope.media.video import read_frames

    analyzer = Analyzer(bundles / "clip.onnx", window_s=2.0, stride_s=1.0)
    live = Timeline.concatenate(analyzer.stream(read_frames(film)))
    np.testing.assert_allclose(live.probs, analyzer.analyze(film).probs, atol=1e-6)
    assert live.provenance.window_s == 2.0


def test_a_voice_model_uses_the_windows_given(bundles: Path, tmp_path: Path) -> None:
    pytest.importorskip("opensmile")
    path = write_wav(tmp_path / "a.wav", tone(220, 3.0))
    timeline = Analyzer(bundles / "voice.onnx", window_s=1.5, stride_s=1.5).analyze(path)
    assert timeline.spans_s.tolist() == [[0, 1.5], [1.5, 3]]


def test_a_system_gives_its_voice_the_windows(tmp_path: Path) -> None:
    pytest.importorskip("opensmile")
    pytest.importorskip("emoscope_voice")
    path = make_video(tmp_path / "a.mp4", num_frames=50, sound_s=2.0)
    analyzer = Analyzer("face-voice", detector="none", window_s=1.0, stride_s=0.25)
    face, voice = analyzer._analyzer.analyzers
    assert (face.options.window_s, voice.options.window_s) == (None, 1.0)
    about = analyzer.analyze(path).provenance
    assert (about.window_s, about.stride_s) == (1.0, 0.25)


def test_a_stride_longer_than_the_window_is_refused(bundles: Path) -> None:
    with pytest.raises(SpecError, match=r"a stride of 2 s is longer than the window of 1 s"):
        Analyzer(bundles / "clip.onnx", stride_s=2.0)
    with pytest.raises(SpecError, match=r"a stride of 0.5 s is longer than the window of 0.25 s"):
        Analyzer(bundles / "clip.onnx", window_s=0.25)


def test_a_model_of_images_has_no_window(bundles: Path) -> None:
    with pytest.raises(SpecError, match=r"tiny analyses single images, which have no window"):
        Analyzer(bundles / "image.onnx", detector="none", window_s=2.0)


def test_the_command_line_takes_window_and_stride(bundles: Path, film: Path) -> None:
    words = ["analyze", film, "--json", "-q", "--detector", "none"]
    given = ["--window", "2", "--stride", "1"]
    ran = ask(*words, "--model", bundles / "clip.onnx", *given)
    analyzer = Analyzer(bundles / "clip.onnx", detector="none", window_s=2, stride_s=1)
    assert json.loads(ran.stdout) == json.loads(json.dumps(analyzer.analyze(film).to_dict()))
    refused = ask(*words, "--model", bundles / "image.onnx", "--window", "2")
    assert refused.exit_code != 0
    assert "have no window" in refused.stderr
    assert "Traceback" not in refused.stderr
