"""single-frame, early-fusion, late-fusion, slow-fusion, conv3d, cnn-gru: six ways to fuse frames
(Salinas, "Spatio-Temporal Emotion Recognition").

Parameter counts equal those of its Table I, which has 8 classes for the first three networks and 6
for the others; the default is 6, as in the paper's task. docs/time-fusion.md lists what the paper
leaves open.
"""

from torch import Tensor, nn

from emoscope.core.clipspec import Offsets
from emoscope.core.errors import SpecError
from emoscope.models.network import Network
from emoscope.models.registry import MODELS, ModelEntry
from emoscope.models.time_fusion_blocks import (
    MIN_PX,
    SIZE_PX,
    Sizes,
    Trunk,
    block,
    block3,
    block_in_time,
    channels_last,
    clip_spec,
    concatenate_pairs,
    head,
    initialise_as_keras,
    last_frames,
)

__all__ = ["CNNGRU", "Conv3D", "EarlyFusion", "LateFusion", "SingleFrame", "SlowFusion"]


class SingleFrame(Network):
    """Single-frame baseline. rgb (B, 1, 3, 170, 170) -> (B, num_classes).

    width     scales all filters and units
    size_px   side of the frames, at least 128
    """

    def __init__(self, num_classes: int = 6, width: float = 1.0, size_px: int = SIZE_PX) -> None:
        super().__init__()
        sizes = Sizes(width, size_px)
        self.clip_spec = last_frames(1, size_px)
        self.trunk = Trunk(sizes)
        self.head = head(sizes.features, sizes, num_classes)
        initialise_as_keras(self)

    def forward(self, rgb: Tensor) -> Tensor:
        """(B, 1, 3, S, S) -> logits (B, num_classes)."""
        return self.head(self.trunk(rgb.squeeze(1)))


class EarlyFusion(Network):
    """The last frames, stacked along channels. rgb (B, frames, 3, 170, 170) -> (B, num_classes).

    frames           last consecutive frames of the clip
    width, size_px   see single-frame
    """

    def __init__(
        self,
        num_classes: int = 6,
        frames: int = 10,
        width: float = 1.0,
        size_px: int = SIZE_PX,
    ) -> None:
        super().__init__()
        sizes = Sizes(width, size_px)
        self.clip_spec = last_frames(frames, size_px)
        self.trunk = Trunk(sizes, channels=3 * frames)
        self.head = head(sizes.features, sizes, num_classes)
        initialise_as_keras(self)

    def forward(self, rgb: Tensor) -> Tensor:
        """(B, frames, 3, S, S) -> logits (B, num_classes)."""
        return self.head(self.trunk(rgb.flatten(1, 2)))


class LateFusion(Network):
    """Two distant frames, compared by the fully connected layers.

    rgb (B, 2, 3, 170, 170) -> (B, num_classes).

    spacing          uses the frames at indices -spacing and -1
    width, size_px   see single-frame
    """

    def __init__(
        self,
        num_classes: int = 6,
        spacing: int = 15,
        width: float = 1.0,
        size_px: int = SIZE_PX,
    ) -> None:
        super().__init__()
        if spacing < 2:
            raise SpecError(
                f"spacing must be 2 or more, so that the two frames differ, got {spacing}."
            )
        sizes = Sizes(width, size_px)
        self.clip_spec = clip_spec(Offsets(offsets=(-spacing, -1)), spacing, size_px)
        self.trunk = Trunk(sizes)
        self.head = head(2 * sizes.features, sizes, num_classes)
        initialise_as_keras(self)

    def forward(self, rgb: Tensor) -> Tensor:
        """(B, 2, 3, S, S) -> logits (B, num_classes)."""
        features = self.trunk(rgb.flatten(0, 1))  # both towers in one call
        return self.head(concatenate_pairs(features))


class SlowFusion(Network):
    """Ten frames, fused block by block. rgb (B, 10, 3, 170, 170) -> (B, num_classes).

    Block 1 is applied to frames 0-3, 2-5, 4-7 and 6-9, block 2 to the first two and to the last two
    of its outputs, block 3 to both outputs of block 2.

    width, size_px   see single-frame
    """

    def __init__(self, num_classes: int = 6, width: float = 1.0, size_px: int = SIZE_PX) -> None:
        super().__init__()
        sizes = Sizes(width, size_px)
        first, second, *_ = sizes.filters
        self.clip_spec = last_frames(10, size_px)
        self.block1 = block(4 * 3, first, 11, stride=3)
        self.block2 = block(2 * first, second, 5)
        self.block3 = block3(2 * second, sizes)
        self.head = head(sizes.features, sizes, num_classes)
        initialise_as_keras(self)

    def forward(self, rgb: Tensor) -> Tensor:
        """(B, 10, 3, S, S) -> logits (B, num_classes)."""
        groups = rgb.unfold(1, 4, 2).movedim(-1, 2)  # (B, 4 groups, 4 frames, 3, S, S)
        towers = channels_last(groups.flatten(2, 3).flatten(0, 1))
        x = self.block1(towers)  # all four in one call
        x = self.block2(concatenate_pairs(x))
        return self.head(self.block3(concatenate_pairs(x)))


class Conv3D(Network):
    """Two blocks of 3-D convolutions, from five frames to three to one.

    rgb (B, 5, 3, 170, 170) -> (B, num_classes).

    width, size_px   see single-frame
    """

    def __init__(self, num_classes: int = 6, width: float = 1.0, size_px: int = SIZE_PX) -> None:
        super().__init__()
        sizes = Sizes(width, size_px)
        first, second, *_ = sizes.filters
        self.clip_spec = last_frames(5, size_px)
        self.block1 = block_in_time(3, first, 11, stride=3)
        self.block2 = block_in_time(first, second, 5)
        self.block3 = block3(second, sizes)
        self.head = head(sizes.features, sizes, num_classes)
        initialise_as_keras(self)

    def forward(self, rgb: Tensor) -> Tensor:
        """(B, 5, 3, S, S) -> logits (B, num_classes)."""
        x = self.block2(self.block1(rgb.transpose(1, 2)))
        return self.head(self.block3(x.squeeze(2)))


class CNNGRU(Network):
    """The trunk on every frame, then a GRU (Cho et al., EMNLP 2014); its last state is classified.

    rgb (B, frames, 3, 170, 170) -> (B, num_classes).

    hidden_size      size of the GRU; 5 follows from the paper's parameter count
    frames           last consecutive frames of the clip
    width, size_px   see single-frame
    """

    def __init__(
        self,
        num_classes: int = 6,
        hidden_size: int = 5,
        frames: int = 5,
        width: float = 1.0,
        size_px: int = SIZE_PX,
    ) -> None:
        super().__init__()
        sizes = Sizes(width, size_px)
        self.clip_spec = last_frames(frames, size_px)
        self.trunk = Trunk(sizes)
        self.gru = nn.GRU(sizes.features, hidden_size, batch_first=True)
        self.classifier = nn.Linear(hidden_size, num_classes)
        initialise_as_keras(self)

    def forward(self, rgb: Tensor) -> Tensor:
        """(B, frames, 3, S, S) -> logits (B, num_classes)."""
        features = self.trunk(rgb.flatten(0, 1))  # all frames in one call
        _, last = self.gru(features.unflatten(0, rgb.shape[:2]))
        return self.classifier(last[-1])


_SMALL = {"width": 1 / 16, "size_px": MIN_PX}
MODELS.add("single-frame", ModelEntry(SingleFrame, small=_SMALL))
MODELS.add("early-fusion", ModelEntry(EarlyFusion, small=_SMALL))
MODELS.add("late-fusion", ModelEntry(LateFusion, small=_SMALL))
MODELS.add("slow-fusion", ModelEntry(SlowFusion, small=_SMALL))
MODELS.add("conv3d", ModelEntry(Conv3D, small=_SMALL))
MODELS.add("cnn-gru", ModelEntry(CNNGRU, small=_SMALL))
