"""Blocks, head and initialisation shared by the six time-fusion networks.

Blocks 1 to 3 are unpadded convolutions with pooling by 2, block 4 is fully connected (Salinas,
"Spatio-Temporal Emotion Recognition", Fig. 4). The numbers of filters follow from the paper's
parameter counts, which differ from those in its text: see docs/time-fusion.md.

The paper does not give the order of layers (here convolution → ReLU → batch normalisation →
pooling), the range of images (here [0, 1]) or the initialisation (here that of Keras 2, which the
paper used). The initialisation matters at the paper's learning rate of 1e-5: with torch's default,
whose weights are smaller, all clips get nearly the same logits.
"""

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from emoscope.core.clipspec import ClipSpec, Last, Sampling, Stream
from emoscope.core.errors import SpecError
from emoscope.models.layers import scaled, window_for

__all__ = [
    "MIN_PX",
    "SIZE_PX",
    "Sizes",
    "Trunk",
    "block",
    "block3",
    "block_in_time",
    "channels_last",
    "clip_spec",
    "concatenate_pairs",
    "head",
    "initialise_as_keras",
    "last_frames",
]

_FILTERS = (96, 256, 384, 384, 256)
_UNITS = 4096
SIZE_PX, MIN_PX = 170, 128


@dataclass(frozen=True)
class Sizes:
    """Filters and units scaled by `width`, and features of images of `size_px`.

    Raises SpecError for a width of zero or less and for images that are too small."""

    width: float
    size_px: int

    def __post_init__(self) -> None:
        if self.size_px < MIN_PX:
            raise SpecError(
                f"size_px {self.size_px} is too small for the three blocks. Give {MIN_PX} or more; "
                f"the paper uses {SIZE_PX}."
            )

    @property
    def filters(self) -> tuple[int, ...]:
        """Filters of the five convolutions."""
        return scaled(self.width, _FILTERS)

    @property
    def units(self) -> int:
        """Units of each fully connected layer."""
        return scaled(self.width, (_UNITS,))[0]

    @property
    def features(self) -> int:
        """Features that the three blocks compute from one image: 1024 in the paper."""
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
    """Block 1 or 2 in 3-D, over 3 frames. (N, channels, T, H, W) -> (N, filters, T - 2, ...)."""
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
    """Convert (N, C, H, W) to channels-last memory, which is faster for 2-D convolutions."""
    return x.contiguous(memory_format=torch.channels_last)


def concatenate_pairs(x: Tensor) -> Tensor:
    """Concatenate neighbouring towers along channels. (2N, C, ...) -> (N, 2C, ...)."""
    return torch.cat([x[0::2], x[1::2]], 1)  # a reshape would lose the memory format


def initialise_as_keras(model: nn.Module) -> None:
    """Initialise weights as Glorot uniform, recurrent ones as orthogonal, biases as zero."""
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


def clip_spec(sampling: Sampling, min_frames: int, size_px: int) -> ClipSpec:
    """Colour faces, in windows that hold at least `min_frames`.

    There is no time grid, as the paper counts frames at any frame rate."""
    return ClipSpec(
        region="face",
        sampling=sampling,
        window=window_for(min_frames),
        streams=(Stream(kind="rgb", size_hw=(size_px, size_px)),),
    )


def last_frames(frames: int, size_px: int) -> ClipSpec:
    """Colour faces of a clip's last frames. Raises SpecError for less than one frame."""
    if frames < 1:
        raise SpecError(f"frames must be 1 or more, got {frames}.")
    return clip_spec(Last(length=frames), frames, size_px)
