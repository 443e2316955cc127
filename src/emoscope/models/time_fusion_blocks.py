"""What the six systems of time fusion are built of: the trunk's blocks, the head, the start.

Blocks 1 to 3 are unpadded convolutions with pooling by 2, block 4 is fully connected (Salinas,
"Spatio-Temporal Emotion Recognition", Fig. 4). The filters are those of the paper's parameter
counts, which are not those of its text: docs/time-fusion.md has the arithmetic.

Where the paper is silent: convolution → ReLU → batch normalisation → pooling; pictures in [0, 1];
weights start as in Keras 2, which it used. That start matters at its learning rate of 1e-5: with
torch's own, whose weights are smaller, all clips have nearly the same logits.
"""

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from emoscope.core.clipspec import ClipSpec, Last, Sampling, Stream
from emoscope.core.errors import SpecError
from emoscope.models.layers import window_for

__all__ = [
    "LEAST_PX",
    "SIZE_PX",
    "Sizes",
    "Trunk",
    "block",
    "block3",
    "block_in_time",
    "channels_last",
    "clip_spec",
    "head",
    "joined_pairs",
    "last_frames",
    "start_as_keras",
]

_FILTERS = (96, 256, 384, 384, 256)
_UNITS = 4096
SIZE_PX, LEAST_PX = 170, 128


@dataclass(frozen=True)
class Sizes:
    """Filters and units, scaled by `width`, and the features of pictures of `size_px`.

    Raises SpecError where nothing would be left of either."""

    width: float
    size_px: int

    def __post_init__(self) -> None:
        if not self.width > 0:
            raise SpecError(f"width {self.width} leaves no filters; the paper's is 1.")
        if self.size_px < LEAST_PX:
            raise SpecError(
                f"size_px {self.size_px} is too small: the three blocks leave nothing of it. "
                f"Give {LEAST_PX} or more; the paper's is {SIZE_PX}."
            )

    @property
    def filters(self) -> tuple[int, ...]:
        """Of the five convolutions."""
        return tuple(max(1, round(self.width * filters)) for filters in _FILTERS)

    @property
    def units(self) -> int:
        """Of each fully connected layer."""
        return max(1, round(self.width * _UNITS))

    @property
    def features(self) -> int:
        """Numbers that the three blocks make of one picture: 1024 in the paper."""
        side = ((self.size_px - 11) // 3 + 1) // 2
        side = (side - 4) // 2
        side = (side - 6) // 2
        return side * side * self.filters[-1]


def block(channels: int, filters: int, kernel_px: int, stride: int = 1) -> nn.Sequential:
    """Block 1 or 2. (N, channels, H, W) -> (N, filters, H', W')."""
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(channels, filters, kernel_px, stride),
            relu=nn.ReLU(inplace=True),
            norm=nn.BatchNorm2d(filters),
            pool=nn.MaxPool2d(2),
        )
    )


def block_in_time(channels: int, filters: int, kernel_px: int, stride: int = 1) -> nn.Sequential:
    """The same over three frames at a time. (N, channels, T, H, W) -> (N, filters, T - 2, ...)."""
    kernel = (3, kernel_px, kernel_px)
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv3d(channels, filters, kernel, (1, stride, stride)),
            relu=nn.ReLU(inplace=True),
            norm=nn.BatchNorm3d(filters),
            pool=nn.MaxPool3d((1, 2, 2)),
        )
    )


def block3(channels: int, sizes: Sizes) -> nn.Sequential:
    """Block 3, flattened. (N, channels, H, W) -> (N, features)."""
    _, _, first, second, third = sizes.filters
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, first, 3),
            relu1=nn.ReLU(inplace=True),
            conv2=nn.Conv2d(first, second, 3),
            relu2=nn.ReLU(inplace=True),
            conv3=nn.Conv2d(second, third, 3),
            relu3=nn.ReLU(inplace=True),
            pool=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
        )
    )


def head(features: int, sizes: Sizes, num_classes: int) -> nn.Sequential:
    """Block 4. (N, features) -> logits (N, num_classes)."""
    return nn.Sequential(
        OrderedDict(
            fc1=nn.Linear(features, sizes.units),
            relu1=nn.ReLU(inplace=True),
            fc2=nn.Linear(sizes.units, sizes.units),
            relu2=nn.ReLU(inplace=True),
            classifier=nn.Linear(sizes.units, num_classes),
        )
    )


class Trunk(nn.Module):
    """Blocks 1 to 3. (N, channels, S, S) -> (N, features)."""

    def __init__(self, sizes: Sizes, channels: int = 3) -> None:
        super().__init__()
        first, second, *_ = sizes.filters
        self.block1 = block(channels, first, 11, stride=3)
        self.block2 = block(first, second, 5)
        self.block3 = block3(second, sizes)

    def forward(self, x: Tensor) -> Tensor:
        return self.block3(self.block2(self.block1(channels_last(x))))


def channels_last(x: Tensor) -> Tensor:
    """The same (N, C, H, W), C innermost in memory: 2-D convolutions are faster so."""
    return x.contiguous(memory_format=torch.channels_last)


def joined_pairs(x: Tensor) -> Tensor:
    """Neighbouring towers joined on channels. (2N, C, ...) -> (N, 2C, ...)."""
    return torch.cat([x[0::2], x[1::2]], 1)  # a reshape would lose the order in memory


def start_as_keras(model: nn.Module) -> None:
    """Glorot uniform weights, orthogonal recurrent ones, biases at zero."""
    for module in model.modules():
        if not isinstance(module, nn.Conv2d | nn.Conv3d | nn.Linear | nn.GRU):
            continue
        for name, parameter in module.named_parameters():
            if name.startswith("bias"):
                nn.init.zeros_(parameter)
            elif name.startswith("weight_hh"):
                nn.init.orthogonal_(parameter)
            else:
                nn.init.xavier_uniform_(parameter)


def clip_spec(sampling: Sampling, needed: int, size_px: int) -> ClipSpec:
    """Faces in colour. A window holds the frames `needed`, and one to spare, of a slow film too;
    the paper counts frames whatever their rate, so there is no time grid."""
    return ClipSpec(
        region="face",
        sampling=sampling,
        window=window_for(needed),
        streams=(Stream(kind="rgb", size_hw=(size_px, size_px)),),
    )


def last_frames(frames: int, size_px: int) -> ClipSpec:
    """The same of a clip's last frames. Raises SpecError."""
    if frames < 1:
        raise SpecError(f"frames must be 1 or more, got {frames}.")
    return clip_spec(Last(length=frames), frames, size_px)
