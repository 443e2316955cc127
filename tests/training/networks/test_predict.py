"""Predictions of a network for clips equal its forward pass."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from emoscope.core.clipspec import ClipSpec, Stream, Uniform
from emoscope.core.errors import RecipeError
from emoscope.core.votes import VOTES
from emoscope.corpora.manifest import Sample
from emoscope.media.clips import Clip, Material, gather
from emoscope.training.augment import Augmentation
from emoscope.training.networks.dataset import BlockDataset, ClipDataset
from emoscope.training.networks.predict import clip_logits, clip_probs, voted_probs

LABELS = ("anger", "fear", "sadness")
SIZE = (4, 4)
SPEC = ClipSpec(
    sampling=Uniform(length=2, jitter=True), streams=(Stream(kind="rgb", size_hw=SIZE),)
)


class Net(nn.Module):
    """A layer on the pixels, and dropout, which must be off."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2 * 3 * 16, 3)
        self.dropout = nn.Dropout(0.5)
        self.most = 0  # clips in one call

    def forward(self, rgb: Tensor) -> Tensor:
        self.most = max(self.most, len(rgb))
        return self.layer(self.dropout(rgb.flatten(1)))


def load(sample: Sample) -> Material:
    """Noise; later clips are longer."""
    number = int(sample.path.stem)
    frames = np.random.default_rng(number).integers(0, 256, (4 + number, *SIZE, 3), np.uint8)
    return gather(Clip(list(frames)), SPEC, np.arange(len(frames)))


@pytest.fixture
def clips() -> ClipDataset:
    samples = [Sample(Path(f"{i}.mp4"), LABELS[i % 3]) for i in range(5)]
    return ClipDataset(samples, LABELS, SPEC, load, Augmentation(brightness=0.5), seed=0)


@pytest.fixture
def model() -> Net:
    torch.manual_seed(0)
    return Net()


@torch.inference_mode()
def plain(model: nn.Module, rgb: Tensor) -> Tensor:
    return model.eval()(rgb)


def test_logits_are_those_of_the_plain_forward(model: Net, clips: ClipDataset) -> None:
    model.train()
    expected = torch.cat([plain(model, clips[i][0]["rgb"][None]) for i in range(len(clips))])
    predicted = clip_logits(model.train(), clips)
    assert predicted.dtype == np.float32
    np.testing.assert_allclose(predicted, expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_probabilities_are_the_softmax_of_logits_over_the_temperature(
    model: Net, clips: ClipDataset, temperature: float
) -> None:
    logits = torch.from_numpy(clip_logits(model, clips))
    expected = torch.softmax(logits / temperature, dim=1).numpy()
    np.testing.assert_allclose(clip_probs(model, clips, temperature), expected, atol=1e-6)


def test_very_large_logits_do_not_overflow(model: Net, clips: ClipDataset) -> None:
    with torch.no_grad():
        model.layer.weight *= 1e5
    probs = clip_probs(model, clips, temperature=1.0)
    np.testing.assert_allclose(probs.sum(axis=1), 1)


@pytest.mark.parametrize("batch", [1, 2, 64])
def test_blocks_vote_by_their_probabilities_clip_by_clip(
    model: Net, clips: ClipDataset, batch: int
) -> None:
    blocks = [BlockDataset(clips, every=1)[i]["rgb"] for i in range(len(clips))]
    probs = [torch.softmax(plain(model, b) / 2.0, dim=1).numpy() for b in blocks]
    model.most = 0
    predicted = voted_probs(
        model, clips, temperature=2.0, every=1, votes=list(VOTES), batch_size=batch
    )
    assert list(predicted) == list(VOTES)
    means = [of_clip.mean(axis=0) for of_clip in probs]
    np.testing.assert_allclose(predicted["sum-probability"], means, atol=1e-6)
    shares = [np.bincount(of_clip.argmax(axis=1), minlength=3) / len(of_clip) for of_clip in probs]
    np.testing.assert_allclose(predicted["max-probability"], shares, atol=2e-4)  # 1e-4 where tied
    assert model.most == min(batch, 7), "the longest clip has 8 frames: 7 blocks"


def test_logits_that_are_not_finite_are_refused(model: Net, clips: ClipDataset) -> None:
    with torch.no_grad():
        model.layer.bias[1] = torch.inf
    message = r"logits are not finite\. Lower optimiser\.lr"
    with pytest.raises(RecipeError, match=message):
        clip_probs(model, clips, 1.0)
    with pytest.raises(RecipeError, match=message):
        voted_probs(model, clips, 1.0, 1, ["sum-probability"])
