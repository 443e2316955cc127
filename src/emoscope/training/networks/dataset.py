"""Labelled clips as torch tensors, augmented differently in every epoch."""

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

    A key is `(epoch, index)` or `index`. The frames and the augmentation are a function of the key
    and the seed: the order of access and the number of workers do not matter, and a resumed
    training sees the same clips. With `index` alone nothing is random, except that a variant
    (`augmented-random-80-20`) always has its own augmentation.

    whole      whether `load` gives all frames of a clip, or only those that the spec samples
    features   if given, an item is ({"features": features(sample)}, distribution)
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
        """The material of a clip; kept in memory, up to 512 MiB in all."""
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
        """The material augmented by a draw from `rng`, or by the draw of the sample's variant."""
        sample = self.samples[index]
        if VARIANT in sample.groups:
            name = zlib.crc32("/".join(sample.path.parts[-3:]).encode())
            rng = np.random.default_rng((self.seed, name, int(sample.groups[VARIANT])))
        if self.augmentation is None or rng is None:
            return material
        return draw(self.augmentation, rng).apply(material)


class BlockDataset(Dataset[dict[str, Tensor]]):
    """All blocks of a clip: {stream: (blocks, T, C, H, W)}.

    A block has as many consecutive frames as the spec's sampling needs; blocks start `every` frames
    apart. The spec samples a block as it samples a clip. A shorter clip is one padded block."""

    def __init__(self, clips: ClipDataset, every: int) -> None:
        self.clips, self.every = clips, every

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        clips, spec = self.clips, self.clips.spec
        material = clips.augmented(clips.material(index), index)
        blocks = [_tensors(finish(material.take(b), spec)) for b in self._blocks(len(material))]
        return {name: torch.stack([block[name] for block in blocks]) for name in blocks[0]}

    def _blocks(self, num_frames: int) -> list[Int64Array]:
        """The sampled frame indices of each block."""
        rule, needed = self.clips.spec.sampling, frames_needed(self.clips.spec)
        assert rule is not None  # every spec with pictures has one
        chosen = sample_indices(rule, min(num_frames, needed))
        if num_frames <= needed:
            return [chosen]
        return [block[chosen] for block in sliding_windows(num_frames, needed, self.every)]


class EpochSampler(Sampler[tuple[int, int]]):
    """(epoch, index) in an order given by the seed and the epoch. Each of `world` processes takes
    every `world`-th; all take the same number."""

    def __init__(self, length: int, seed: int, rank: int = 0, world: int = 1) -> None:
        self.length, self.seed, self.rank, self.world = length, seed, rank, world
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length // self.world

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.length)
        mine = order[self.rank : len(self) * self.world : self.world]
        return iter([(self.epoch, index) for index in mine.tolist()])


def distributions(samples: Sequence[Sample], labels: Sequence[str]) -> Float64Array:
    """(N, C) label distributions: a sample's votes divided by their sum, or 1 for its label."""
    columns = np.eye(len(labels))
    votes = np.array(
        [columns[labels.index(s.label)] if s.votes is None else s.votes for s in samples]
    ).reshape(len(samples), len(labels))
    return np.asarray(votes / votes.sum(axis=1, keepdims=True))


def shrunk(inputs: dict[str, Tensor], scale: float) -> dict[str, Tensor]:
    """Scale the height and width of pictures (B, T, C, H, W); other streams stay as they are."""
    if scale == 1:
        return inputs
    scaled = dict(inputs)
    for name, pictures in inputs.items():
        if pictures.dim() == 5:
            size_hw = [round(side * scale) for side in pictures.shape[-2:]]
            small = F.interpolate(pictures.flatten(0, 1), size=size_hw, mode="area")
            scaled[name] = small.reshape(*pictures.shape[:3], *size_hw)
    return scaled


def _tensors(streams: dict[str, Float32Array]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(values) for name, values in streams.items()}
