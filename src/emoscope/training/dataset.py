"""Labelled clips as torch tensors: read once, augmented and built anew at every epoch."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from emoscope.core.clipspec import ClipSpec
from emoscope.corpora.manifest import Sample
from emoscope.media.clips import Clip, build_clip
from emoscope.media.images import read_image
from emoscope.training.augment import Augmentation, augment

__all__ = ["StillDataset", "distributions", "split_by_content"]


class StillDataset(Dataset[tuple[dict[str, Tensor], Tensor]]):
    """Stills as one-frame clips -> ({stream: (T, C, H, W)}, distribution (C,)).

    With an `augmentation`, each access draws from a generator of its own: the seed, `epoch` (set it
    before each one) and the index decide the draw, whatever the order of access.
    """

    def __init__(
        self,
        stills: Sequence[Sample],
        labels: Sequence[str],
        spec: ClipSpec,
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        self.spec = spec
        self.augmentation = augmentation
        self.seed = seed
        self.pictures = [read_image(still.path) for still in stills]
        self.targets = torch.tensor(distributions(stills, labels), dtype=torch.float32)
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


def distributions(samples: Sequence[Sample], labels: Sequence[str]) -> npt.NDArray[np.float64]:
    """(N, C): a sample's votes, or 1 for its label where nobody voted."""
    columns = np.eye(len(labels))
    return np.stack(
        [columns[labels.index(s.label)] if s.votes is None else s.votes for s in samples]
    )


def split_by_content(
    samples: Sequence[Sample], part: float, seed: int, digests: Mapping[Path, str]
) -> tuple[list[Sample], list[Sample]]:
    """Two parts, the second about `part` of the whole; byte-identical samples stay together."""
    contents = sorted({digests[sample.path] for sample in samples})
    rng = np.random.default_rng(seed)
    chosen = set(rng.permutation(contents)[: round(part * len(contents))].tolist())
    rest = [sample for sample in samples if digests[sample.path] not in chosen]
    return rest, [sample for sample in samples if digests[sample.path] in chosen]
