"""One clip through evaluation and through `analyze`: the same label, under either vote."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from making import make_video
from tiny_bundles import TEMPERATURE, answer, clip_bundle, image_bundle
from torch import Tensor, nn

from emoscope.analysis.analyzer import Analyzer
from emoscope.analysis.bundle import load_bundle
from emoscope.core.clipspec import Last, Offsets, Sampling, Uniform, Window
from emoscope.core.votes import VOTES
from emoscope.corpora.manifest import Sample
from emoscope.corpora.prepare import prepare
from emoscope.training.networks.dataset import ClipDataset
from emoscope.training.networks.predict import voted_probs

FPS = 8
NARROW, SURE = 0.36, 0.05  # middling by a little, surely dark


class Twin(nn.Module):
    """A tiny bundle's network in torch: logits that are linear in the mean over all pictures."""

    def __init__(self) -> None:
        super().__init__()
        at = torch.tensor(np.array([answer(x, "train") for x in (0.0, 1.0)])).log() * TEMPERATURE
        self.biases = nn.Parameter(at[0].float())
        self.slopes = nn.Parameter((at[1] - at[0]).float())

    def forward(self, **streams: Tensor) -> Tensor:
        (pictures,) = streams.values()
        return pictures.flatten(1).mean(dim=1)[:, None] * self.slopes + self.biases


def film(path: Path, levels: list[float], fps: int = FPS) -> Path:
    def picture(index: int) -> Any:
        return np.full((16, 16, 3), round(255 * levels[index]), np.uint8)

    return make_video(path, num_frames=len(levels), fps=fps, picture=picture, options={"qp": "0"})


def evaluated(bundle: Path, clip: Path, every: int, cache: Path) -> dict[str, np.ndarray]:
    """{vote: (C,)} as evaluation predicts the clip."""
    spec, labels = load_bundle(bundle).clip_spec, load_bundle(bundle).labels
    sample = Sample(clip, labels[0])
    ready = prepare([sample], spec, cache, detector="none", whole=True, workers=1)
    clips = ClipDataset([sample], labels, spec, ready.load)
    expected = voted_probs(Twin(), clips, TEMPERATURE, every, list(VOTES))
    return {vote: probs[0] for vote, probs in expected.items()}


def analyzed(bundle: Path, clip: Path, vote: str) -> tuple[str, list[float]]:
    """The leading label and the probabilities, of the whole clip."""
    by_frame = {"detector": "none", "rate_hz": None, "smooth_s": 0}
    looking = Analyzer(bundle, **by_frame, prior="train", vote=vote)  # type: ignore[arg-type]
    (face,) = looking.analyze(clip).summary()
    return face.leading, list(face.probabilities.values())


def assert_same(bundle: Path, clip: Path, every: int, cache: Path) -> None:
    """The votes give different labels, so that the comparison can fail."""
    labels = load_bundle(bundle).labels
    expected = evaluated(bundle, clip, every, cache)
    assert {labels[probs.argmax()] for probs in expected.values()} == {"middling", "dark"}
    for vote, probs in expected.items():
        leading, probabilities = analyzed(bundle, clip, vote)
        assert leading == labels[probs.argmax()]
        assert probabilities == pytest.approx(probs, abs=1e-5)


def test_frame_by_frame(tmp_path: Path) -> None:
    clip = film(tmp_path / "clip.mp4", [NARROW, SURE, NARROW, NARROW, SURE])
    assert_same(image_bundle(tmp_path / "image.onnx"), clip, 1, tmp_path / "cache")


def test_frame_by_frame_where_the_votes_are_tied(tmp_path: Path) -> None:
    """Two frames against two; the surer side wins, though the seconds of frames are rounded."""
    bundle = image_bundle(tmp_path / "image.onnx")
    clip = film(tmp_path / "clip.mp4", [NARROW, SURE, SURE, NARROW], fps=30)
    expected = evaluated(bundle, clip, 1, tmp_path / "cache")["max-probability"]
    leading, probabilities = analyzed(bundle, clip, "max-probability")
    assert expected.argmax() == 0
    assert leading == "dark"
    assert probabilities == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("sampling", [Last(length=4), Uniform(length=4), Offsets(offsets=(-4, -1))])
def test_block_by_block_side_by_side(tmp_path: Path, sampling: Sampling) -> None:
    """Five blocks of four frames."""
    window = Window(length_s=4 / FPS, stride_s=4 / FPS)
    bundle = clip_bundle(tmp_path / "clip.onnx", sampling=sampling, window=window)
    levels = [level for block in (NARROW, SURE, NARROW, NARROW, SURE) for level in [block] * 4]
    clip = film(tmp_path / "clip.mp4", levels)
    assert_same(bundle, clip, 4, tmp_path / "cache")


@pytest.mark.parametrize("sampling", [Last(length=4), Uniform(length=4), Offsets(offsets=(-4, -1))])
def test_a_clip_shorter_than_a_block_is_padded_alike(tmp_path: Path, sampling: Sampling) -> None:
    bundle = clip_bundle(tmp_path / "clip.onnx", sampling=sampling)
    clip = film(tmp_path / "clip.mp4", [0.1, 0.9, 0.5])
    expected = evaluated(bundle, clip, 1, tmp_path / "cache")["sum-probability"]
    assert analyzed(bundle, clip, "sum-probability")[1] == pytest.approx(expected, abs=1e-5)


def test_the_twin_is_the_bundle(tmp_path: Path) -> None:
    bundle = load_bundle(image_bundle(tmp_path / "image.onnx"))
    gray = np.random.default_rng(0).random((3, 1, 1, 8, 8), dtype=np.float32)
    with torch.inference_mode():
        mine = torch.softmax(Twin()(gray=torch.from_numpy(gray)) / TEMPERATURE, dim=1)
    np.testing.assert_allclose(bundle.predict({"gray": gray}), mine.numpy(), atol=1e-5)
