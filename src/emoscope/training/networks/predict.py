"""What a network says of clips."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from emoscope.analysis.bundle import softmax
from emoscope.core.arrays import FloatArray
from emoscope.core.errors import RecipeError
from emoscope.core.votes import VOTES
from emoscope.training.networks.dataset import BlockDataset, ClipDataset

__all__ = ["clip_logits", "clip_probs", "voted_probs"]


def clip_logits(model: nn.Module, clips: ClipDataset, batch_size: int = 64) -> FloatArray:
    """(N, C) float32: of the one stretch of each clip that the spec's rule chooses.

    Raises RecipeError for a network that has learnt to answer nothing."""
    loader: DataLoader[tuple[dict[str, Tensor], Tensor]] = DataLoader(clips, batch_size)
    return np.concatenate([_logits(model, inputs) for inputs, _ in loader])


def clip_probs(
    model: nn.Module, clips: ClipDataset, temperature: float, batch_size: int = 64
) -> FloatArray:
    """(N, C) calibrated probabilities of the same stretches."""
    return softmax(clip_logits(model, clips, batch_size) / temperature)


def voted_probs(
    model: nn.Module,
    clips: ClipDataset,
    temperature: float,
    every: int,
    votes: Sequence[str],
    batch_size: int = 64,
) -> dict[str, FloatArray]:
    """{vote: (N, C)}: what each vote makes of the calibrated probabilities of every block of a
    clip's frames, `every` frames apart. The network is asked once, however many the votes."""
    answers: dict[str, list[FloatArray]] = {vote: [] for vote in votes}
    for probs in _block_probs(model, clips, temperature, every, batch_size):
        for vote, said in answers.items():
            said.append(VOTES[vote](probs, labels=clips.labels))
    return {vote: np.stack(said) for vote, said in answers.items()}


def _block_probs(
    model: nn.Module, clips: ClipDataset, temperature: float, every: int, batch_size: int
) -> Iterator[FloatArray]:
    """(blocks, C), clip by clip."""
    for blocks in DataLoader(BlockDataset(clips, every), batch_size=None):
        parts = zip(*(value.split(batch_size) for value in blocks.values()), strict=True)
        logits = [_logits(model, dict(zip(blocks, part, strict=True))) for part in parts]
        yield softmax(np.concatenate(logits) / temperature)


@torch.inference_mode()
def _logits(model: nn.Module, inputs: dict[str, Tensor]) -> FloatArray:
    device = next((held.device for held in model.parameters()), torch.device("cpu"))
    there = {name: value.to(device) for name, value in inputs.items()}
    logits = model.eval()(**there).float().cpu().numpy()
    if not np.isfinite(logits).all():
        raise RecipeError(
            "The network's answers are not numbers. Lower optimiser.lr or use precision = "
            "'32-true'."
        )
    return logits
