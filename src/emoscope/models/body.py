"""convlstm-body and deformable-convlstm: body video (Tahghighi et al., "Deformable Convolutional
LSTM for Human Body Emotion Recognition").

3-D CNN → ConvLSTM → 2-D CNN on the map of every step. The paper does not give all settings: the
filters of the 3-D CNN and the two ConvLSTM levels of 256 channels follow the code of its reference
(Zhang et al., ICCV Workshops 2017 and NeurIPS 2018); the filters of the 2-D CNN (128, 256, 256) and
images in [0, 1] are ours.
"""

import itertools
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from emoscope.core.clipspec import ClipSpec, Stream, Uniform, Window
from emoscope.core.errors import SpecError
from emoscope.models.convlstm import GatedConvLSTM
from emoscope.models.layers import scaled
from emoscope.models.network import Network
from emoscope.models.registry import MODELS, ModelEntry

__all__ = ["ConvLSTMBody", "deformable_convlstm", "salient_steps"]

_FILTERS_3D = (64, 128, 256)
_FILTERS_2D = (128, 256, 256)
_SIZE_PX, _MIN_PX = 112, 32  # five poolings reduce 32 to one pixel


def salient_steps(steps: int) -> tuple[int, ...]:
    """Three steps from each of 25 %, 50 % and 75 % of a sequence: 4-6, 8-10 and 12-14 of 16.

    The paper uses "three different frames" of each part; that they are consecutive is ours."""
    starts = [-(-steps * quarter // 4) for quarter in (1, 2, 3)]
    salient = {start + i for start in starts for i in range(3)}
    return tuple(sorted(t for t in salient if t < steps))


class ConvLSTMBody(Network):
    """ConvLSTM over 3-D CNN features of a body. rgb (B, 32, 3, 112, 112) -> (B, num_classes).

    width              scales all filters and hidden channels
    frames, size_px    length and side of the clip, at least 2 and 32; the ConvLSTM has half as many
                       steps as there are frames
    hidden             hidden channels of each ConvLSTM level
    deformable_steps   steps of every level that use deformable convolutions
    modulated          modulate these, see `GatedConvLSTM`
    activation_checkpointing
                       keep only the inputs of blocks (three of the 3-D CNN, three of the 2-D CNN,
                       each level) in training and recompute the rest for the gradients (Chen et
                       al., arXiv:1604.06174): less memory, more time, the same results

    Raises SpecError for settings that leave nothing to compute."""

    def __init__(
        self,
        num_classes: int = 17,
        width: float = 1.0,
        frames: int = 32,
        size_px: int = _SIZE_PX,
        hidden: Sequence[int] = (256, 256),
        deformable_steps: Collection[int] = (),
        modulated: bool = False,
        activation_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        _check(frames, size_px, deformable_steps)
        filters = scaled(width, _FILTERS_3D)
        widths = (filters[-1], *scaled(width, hidden))
        self.activation_checkpointing = activation_checkpointing
        self.clip_spec = ClipSpec(
            region="frame",  # corpora that show the full body are not cropped
            sampling=Uniform(length=frames, jitter=True),
            window=Window(length_s=2.0, stride_s=1.0),
            streams=(Stream(kind="rgb", size_hw=(size_px, size_px)),),
        )
        self.cnn3d = _cnn3d(filters)
        self.levels = nn.Sequential(
            *(
                GatedConvLSTM(*pair, deformable_steps=deformable_steps, modulated=modulated)
                for pair in itertools.pairwise(widths)
            )
        )
        self.cnn2d = _cnn2d((widths[-1], *scaled(width, _FILTERS_2D)))
        self.classifier = nn.Linear(scaled(width, _FILTERS_2D)[-1], num_classes)

    def forward(self, rgb: Tensor) -> Tensor:
        """(B, frames, 3, S, S) -> logits (B, num_classes)."""
        recompute = self.activation_checkpointing and self.training and torch.is_grad_enabled()
        run: Callable[..., Any] = _checkpointed if recompute else nn.Module.__call__
        maps = run(self.cnn3d, rgb.transpose(1, 2))  # (B, 256, frames // 2, S/4, S/4)
        maps = run(self.levels, maps.transpose(1, 2))
        features = run(self.cnn2d, maps.flatten(0, 1)).mean((2, 3))
        return self.classifier(features.unflatten(0, maps.shape[:2]).mean(1))


def deformable_convlstm(
    num_classes: int = 17,
    width: float = 1.0,
    frames: int = 32,
    size_px: int = _SIZE_PX,
    hidden: Sequence[int] = (256, 256),
    deformable_steps: Collection[int] | None = None,
    modulated: bool = False,
    activation_checkpointing: bool = False,
) -> ConvLSTMBody:
    """convlstm-body with deformable input-to-state convolutions at nine of its 16 steps.

    rgb (B, 32, 3, 112, 112) -> (B, num_classes).

    Options are those of convlstm-body, whose weights can be loaded. `deformable_steps` defaults to
    `salient_steps`. Offsets start at zero, where both networks give equal logits."""
    if deformable_steps is None:
        deformable_steps = salient_steps(frames // 2)
    return ConvLSTMBody(
        num_classes,
        width,
        frames,
        size_px,
        hidden,
        deformable_steps,
        modulated,
        activation_checkpointing,
    )


def _check(frames: int, size_px: int, deformable_steps: Collection[int]) -> None:
    if frames < 2:
        raise SpecError(f"frames must be 2 or more, as pooling halves them, got {frames}.")
    if size_px < _MIN_PX:
        raise SpecError(
            f"size_px {size_px} is too small for the pooling layers. Give {_MIN_PX} or more; the "
            f"paper uses {_SIZE_PX}."
        )
    if max(deformable_steps, default=0) >= frames // 2:
        raise SpecError(
            f"deformable_steps must be below {frames // 2}, half the frames, "
            f"got {sorted(deformable_steps)}."
        )


def _cnn3d(filters: Sequence[int]) -> nn.Sequential:
    """(B, 3, T, S, S) -> (B, filters[-1], T // 2, S // 4, S // 4).

    As in the reference's code, there is no activation between the last two convolutions. Biases
    are omitted, as batch normalisation cancels them."""
    first, second, third = filters
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv3d(3, first, 3, padding=1, bias=False),
            norm1=nn.BatchNorm3d(first),
            relu1=nn.ReLU(inplace=True),
            pool1=nn.MaxPool3d((1, 2, 2)),
            conv2=nn.Conv3d(first, second, 3, padding=1, bias=False),
            norm2=nn.BatchNorm3d(second),
            relu2=nn.ReLU(inplace=True),
            pool2=nn.MaxPool3d(2),
            conv3a=nn.Conv3d(second, third, 3, padding=1, bias=False),
            conv3b=nn.Conv3d(third, third, 3, padding=1, bias=False),
            norm3=nn.BatchNorm3d(third),
            relu3=nn.ReLU(inplace=True),
        )
    )


def _cnn2d(channels: Sequence[int]) -> nn.Sequential:
    """(N, channels[0], S, S) -> (N, channels[-1], S // 8, S // 8)."""
    layers: list[nn.Module] = []
    for channels_in, filters in itertools.pairwise(channels):
        layers += [
            nn.Conv2d(channels_in, filters, 3, padding=1, bias=False),
            nn.BatchNorm2d(filters),
            nn.ReLU(inplace=True),
            nn.AvgPool2d(2),
        ]
    return nn.Sequential(*layers)


def _checkpointed(part: nn.Sequential, x: Tensor) -> Tensor:
    """Apply a part block by block with activation checkpointing.

    A block ends after a layer that is no convolution, normalisation or activation."""
    inside = (nn.Conv2d, nn.Conv3d, _BatchNorm, nn.ReLU)
    ends = [i for i, layer in enumerate(part, 1) if not isinstance(layer, inside)]
    for start, end in itertools.pairwise(sorted({0, *ends, len(part)})):
        block = part[start:end]
        x = checkpoint(
            block,
            x,
            use_reentrant=False,
            preserve_rng_state=False,  # the blocks are deterministic
            context_fn=partial(_contexts, block),
        )
    return x


def _contexts(
    block: nn.Module,
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Contexts of the forward pass and of its recomputation."""
    return nullcontext(), _frozen_statistics(block)


@contextmanager
def _frozen_statistics(block: nn.Module) -> Iterator[None]:
    """Let batch normalisation update copies of its statistics: a batch must count only once."""
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm)]
    originals = [(norm, name, value) for norm in norms for name, value in norm.named_buffers()]
    for norm, name, value in originals:
        setattr(norm, name, value.clone())
    try:
        yield
    finally:
        for norm, name, value in originals:
            setattr(norm, name, value)


_SMALL = {"width": 1 / 16, "frames": 8, "size_px": 32}
MODELS.add("convlstm-body", ModelEntry(ConvLSTMBody, small=_SMALL))
MODELS.add("deformable-convlstm", ModelEntry(deformable_convlstm, small=_SMALL))
