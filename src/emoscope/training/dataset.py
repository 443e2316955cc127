"""Labelled clips as torch tensors: read once, augmented and built anew at every epoch."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from emoscope.core.clipspec import ClipSpec
from emoscope.corpora.stills import LabelledStill
from emoscope.media.clips import Clip, build_clip
from emoscope.media.images import read_image
from emoscope.training.augment import Augmentation, augment

__all__ = ["StillDataset", "split_by_content"]


class StillDataset(Dataset[tuple[dict[str, Tensor], Tensor]]):
    """Stills as one-frame clips -> ({stream: (T, C, H, W)}, distribution (C,)).

    With an `augmentation`, each access draws from a generator of its own: the seed, `epoch` (set it
    before each one) and the index decide the draw, whatever the order of access.
    """

    def __init__(
        self,
        stills: Sequence[LabelledStill],
        spec: ClipSpec,
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        self.spec = spec
        self.augmentation = augmentation
        self.seed = seed
        self.pictures = [read_image(still.path) for still in stills]
        self.targets = torch.tensor(
            np.stack([still.distribution for still in stills]), dtype=torch.float32
        )
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[dict[str, Tensor], Tensor]:
        frames = [self.pictures[index]]
        rng = np.random.default_rng((self.seed, self.epoch, index))
        if self.augmentation is not None:
            frames = augment(frames, self.augmentation, rng)
        streams = build_clip(Clip(frames), self.spec, rng)
        return {k: torch.from_numpy(v) for k, v in streams.items()}, self.targets[index]


def split_by_content(
    stills: Sequence[LabelledStill], part: float, seed: int
) -> tuple[list[LabelledStill], list[LabelledStill]]:
    """Two parts, the second about `part` of the whole; byte-identical pictures stay together."""
    digests = sorted({still.digest for still in stills})
    rng = np.random.default_rng(seed)
    chosen = set(rng.permutation(digests)[: round(part * len(digests))].tolist())
    rest = [still for still in stills if still.digest not in chosen]
    return rest, [still for still in stills if still.digest in chosen]
