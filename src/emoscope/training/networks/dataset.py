"""Labelled clips as torch tensors, augmented anew at every epoch."""

import zlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from emoscope.core.arrays import Float32Array, Float64Array, Int64Array
from emoscope.core.clipspec import ClipSpec
from emoscope.corpora.manifest import Sample
from emoscope.media.clips import Material, finish, frames_needed
from emoscope.media.sampling import sample_indices, sliding_windows
from emoscope.training.augment import Augmentation, draw
from emoscope.training.splits import VARIANT

__all__ = ["BlockDataset", "ClipDataset", "EpochSampler", "distributions", "shrunk"]

_MEMORY_BYTES = 2**29

Load = Callable[[Sample], Material]
Item = tuple[dict[str, Tensor], Tensor]


class ClipDataset(Dataset[Item]):
    """Clips -> ({stream: (T, C, H, W), (D,) or (T, mels)}, distribution (C,)).

    `(epoch, index)` and the seed decide every draw (which frames, how augmented), so that neither
    the order of access nor the number of workers matters, and a resumed training sees what an
    uninterrupted one does. Without an epoch (`index` alone) nothing is drawn, but for a sample that
    is a variant: its draw is its own, at every epoch and also where it is tested on. `whole` tells
    whether what is loaded holds all frames of a clip, or those alone that the spec's rule chooses.
    With `features` an item is {"features": what that says of the sample}, and nothing is drawn.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        labels: Sequence[str],
        spec: ClipSpec,
        load: Load,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        *,
        whole: bool = True,
        features: Callable[[Sample], Tensor] | None = None,
    ) -> None:
        self.samples, self.spec, self.load = list(samples), spec, load
        self.augmentation, self.seed, self.whole = augmentation, seed, whole
        self.features = features
        self.labels = tuple(labels)
        self.targets = torch.tensor(distributions(samples, labels), dtype=torch.float32)
        self._kept: dict[int, Material] = {}
        self._room = _MEMORY_BYTES

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: int | tuple[int, int]) -> Item:
        epoch, index = key if isinstance(key, tuple) else (None, key)
        if self.features is not None:
            return {"features": self.features(self.samples[index])}, self.targets[index]
        rng = None if epoch is None else np.random.default_rng((self.seed, epoch, index))
        material = self.material(index)
        if self.whole and self.spec.sampling is not None:
            material = material.take(sample_indices(self.spec.sampling, len(material), rng))
        streams = finish(self.augmented(material, index, rng), self.spec)
        return _tensors(streams), self.targets[index]

    def material(self, index: int) -> Material:
        """What a clip's streams are made of, kept in memory as long as there is room."""
        if index in self._kept:
            return self._kept[index]
        material = self.load(self.samples[index])
        size = sum(pictures.nbytes for pictures in material.pictures.values())
        size += sum(flow.nbytes for flow in material.flow.values())
        size += sum(vector.nbytes for vector in material.vectors.values())
        if size <= self._room:
            self._kept[index], self._room = material, self._room - size
        return material

    def augmented(
        self, material: Material, index: int, rng: np.random.Generator | None = None
    ) -> Material:
        """Changed by a draw of `rng`, or as the sample's variant is."""
        sample = self.samples[index]
        if VARIANT in sample.groups:
            name = zlib.crc32("/".join(sample.path.parts[-3:]).encode())
            rng = np.random.default_rng((self.seed, name, int(sample.groups[VARIANT])))
        if self.augmentation is None or rng is None:
            return material
        return draw(self.augmentation, rng).apply(material)


class BlockDataset(Dataset[dict[str, Tensor]]):
    """Clip by clip, every block of as many consecutive frames as the spec's rule needs, `every`
    frames apart -> {stream: (blocks, T, C, H, W)}. Of a block the rule chooses as of a clip: at
    indices -15 and -1 a block is a pair of frames. A shorter clip is one block, padded by the
    rule."""

    def __init__(self, clips: ClipDataset, every: int) -> None:
        self.clips, self.every = clips, every

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        clips, spec = self.clips, self.clips.spec
        material = clips.augmented(clips.material(index), index)
        built = [_tensors(finish(material.take(b), spec)) for b in self._blocks(len(material))]
        return {name: torch.stack([one[name] for one in built]) for name in built[0]}

    def _blocks(self, num_frames: int) -> list[Int64Array]:
        """Indices of the frames of each block."""
        rule, needed = self.clips.spec.sampling, frames_needed(self.clips.spec)
        assert rule is not None
        chosen = sample_indices(rule, min(num_frames, needed))
        if num_frames <= needed:
            return [chosen]
        return [block[chosen] for block in sliding_windows(num_frames, needed, self.every)]


class EpochSampler(Sampler[tuple[int, int]]):
    """(epoch, index) in an order that the seed and the epoch decide; with several processes each
    takes every `world`-th, all of them equally many."""

    def __init__(self, length: int, seed: int, rank: int = 0, world: int = 1) -> None:
        self.length, self.seed, self.rank, self.world = length, seed, rank, world
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls it before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length // self.world

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.length)
        mine = order[self.rank : len(self) * self.world : self.world]
        return iter([(self.epoch, index) for index in mine.tolist()])


def distributions(samples: Sequence[Sample], labels: Sequence[str]) -> Float64Array:
    """(N, C), rows that sum to 1: a sample's votes, or 1 for its label where nobody voted."""
    columns = np.eye(len(labels))
    votes = np.array(
        [columns[labels.index(s.label)] if s.votes is None else s.votes for s in samples]
    ).reshape(len(samples), len(labels))
    return np.asarray(votes / votes.sum(axis=1, keepdims=True))


def shrunk(inputs: dict[str, Tensor], part: float) -> dict[str, Tensor]:
    """{stream: (B, T, C, H, W)}, pictures of `part` of the height and of the width; what is no
    picture stays."""
    if part == 1:
        return inputs
    return {name: _smaller(x, part) if x.dim() == 5 else x for name, x in inputs.items()}


def _smaller(pictures: Tensor, part: float) -> Tensor:
    size_hw = [round(side * part) for side in pictures.shape[-2:]]
    small = F.interpolate(pictures.flatten(0, 1), size=size_hw, mode="area")
    return small.reshape(*pictures.shape[:3], *size_hw)


def _tensors(streams: dict[str, Float32Array]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(values) for name, values in streams.items()}
