"""Predictions of a network for clips."""

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
    """(N, C) float32 logits of clips, each sampled once by the spec's rule.

    Raises RecipeError for logits that are not finite."""
    loader: DataLoader[tuple[dict[str, Tensor], Tensor]] = DataLoader(clips, batch_size)
    return np.concatenate([_logits(model, inputs) for inputs, _ in loader])


def clip_probs(
    model: nn.Module, clips: ClipDataset, temperature: float, batch_size: int = 64
) -> FloatArray:
    """(N, C) probabilities: the softmax of `clip_logits` / `temperature`."""
    return softmax(clip_logits(model, clips, batch_size) / temperature)


def voted_probs(
    model: nn.Module,
    clips: ClipDataset,
    temperature: float,
    every: int,
    votes: Sequence[str],
    batch_size: int = 64,
) -> dict[str, FloatArray]:
    """{vote: (N, C)} probabilities: the network predicts every block of a clip's frames, `every`
    frames apart, and each vote combines the blocks of a clip."""
    voted: dict[str, list[FloatArray]] = {vote: [] for vote in votes}
    for probs in _block_probs(model, clips, temperature, every, batch_size):
        for vote, rows in voted.items():
            rows.append(VOTES[vote](probs, labels=clips.labels))
    return {vote: np.stack(rows) for vote, rows in voted.items()}


def _block_probs(
    model: nn.Module, clips: ClipDataset, temperature: float, every: int, batch_size: int
) -> Iterator[FloatArray]:
    """(blocks, C) calibrated probabilities of each clip."""
    for blocks in DataLoader(BlockDataset(clips, every), batch_size=None):
        parts = zip(*(value.split(batch_size) for value in blocks.values()), strict=True)
        logits = [_logits(model, dict(zip(blocks, part, strict=True))) for part in parts]
        yield softmax(np.concatenate(logits) / temperature)


@torch.inference_mode()
def _logits(model: nn.Module, inputs: dict[str, Tensor]) -> FloatArray:
    device = next((weights.device for weights in model.parameters()), torch.device("cpu"))
    moved = {name: value.to(device) for name, value in inputs.items()}
    logits = model.eval()(**moved).float().cpu().numpy()
    if not np.isfinite(logits).all():
        raise RecipeError(
            "The network's logits are not finite. Lower optimiser.lr or use precision = '32-true'."
        )
    return logits
