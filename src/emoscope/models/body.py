"""Whole bodies in motion (Tahghighi et al., "Deformable Convolutional LSTM for Human Body Emotion
Recognition"): convlstm-body, and deformable-convlstm, which deforms at nine of its steps.

3-D CNN → ConvLSTM → 2-D CNN on every map. Where the paper is silent: the 3-D CNN's filters and the
two levels of 256 are those of its reference's code (Zhang et al., ICCV Workshops 2017 and NeurIPS
2018), the 2-D CNN's 128, 256, 256 are ours, pictures are in [0, 1].
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
_SIZE_PX, _LEAST_PX = 112, 32  # five poolings leave one pixel of the latter


def salient_steps(steps: int) -> tuple[int, ...]:
    """Three steps after each of 25 %, 50 % and 75 % of a sequence: 4-6, 8-10 and 12-14 of 16.

    The paper says "three different frames" in each of these parts; consecutive ones are ours."""
    starts = [-(-steps * quarter // 4) for quarter in (1, 2, 3)]
    chosen = {start + i for start in starts for i in range(3)}
    return tuple(sorted(t for t in chosen if t < steps))


class ConvLSTMBody(Network):
    """Plain ConvLSTM over short-term features of a whole body. rgb (B, 32, 3, 112, 112) ->
    (B, num_classes).

    width              scales all filters and hidden channels
    frames, size_px    of the clip; 2 and 32 at least. The ConvLSTM has half as many steps
    hidden             channels of each of its levels
    deformable_steps   of the ConvLSTM, in every level; modulated: of `GatedConvLSTM`
    activation_checkpointing
                       training keeps what goes into a block (three of the 3-D CNN, three of the 2-D
                       CNN, each level) and computes what is inside again for its gradients (Chen
                       et al., arXiv:1604.06174): less memory, more time, the same numbers
    """

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
        self.clip_spec = _clip_spec(frames, size_px)
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
        forget = self.activation_checkpointing and self.training and torch.is_grad_enabled()
        run: Callable[..., Any] = _forgetful if forget else nn.Module.__call__
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
    """convlstm-body with deformable input-to-state convolutions at nine of its 16 steps. rgb
    (B, 32, 3, 112, 112) -> (B, num_classes).

    Options are those of convlstm-body, whose weights fit; `deformable_steps` None are
    `salient_steps`. Before it has learned its offsets, it answers as convlstm-body does."""
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
        raise SpecError(f"frames must be 2 or more, as pooling halves them; got {frames}.")
    if size_px < _LEAST_PX:
        raise SpecError(
            f"size_px {size_px} is too small: pooling leaves nothing of it. Give {_LEAST_PX} or "
            f"more; the paper's is {_SIZE_PX}."
        )
    if max(deformable_steps, default=0) >= frames // 2:
        raise SpecError(
            f"deformable_steps must be below {frames // 2}, half the frames; "
            f"got {sorted(deformable_steps)}."
        )


def _clip_spec(frames: int, size_px: int) -> ClipSpec:
    """The whole frame, as the corpora of full-length actors have it."""
    return ClipSpec(
        region="frame",
        sampling=Uniform(length=frames, jitter=True),
        window=Window(length_s=2.0, stride_s=1.0),
        streams=(Stream(kind="rgb", size_hw=(size_px, size_px)),),
    )


def _cnn3d(filters: Sequence[int]) -> nn.Sequential:
    """(B, 3, T, S, S) -> (B, filters[-1], T // 2, S // 4, S // 4).

    No activation between the last two convolutions, as in the reference's code; no biases, which
    the normalisations would take away."""
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


def _forgetful(part: nn.Sequential, x: Tensor) -> Tensor:
    """The part's answer; of its insides, what goes into a block is kept for the gradients."""
    for block in _blocks(part):
        x = checkpoint(
            block,
            x,
            use_reentrant=False,
            preserve_rng_state=False,  # nothing is drawn
            context_fn=partial(_contexts, block),
        )
    return x


def _blocks(part: nn.Sequential) -> Iterator[nn.Module]:
    """A part cut after what is neither convolution, normalisation nor activation."""
    inside = (nn.Conv2d, nn.Conv3d, _BatchNorm, nn.ReLU)
    ends = [i for i, layer in enumerate(part, 1) if not isinstance(layer, inside)]
    for start, end in itertools.pairwise(sorted({0, *ends, len(part)})):
        yield part[start:end]


def _contexts(
    block: nn.Module,
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Of the first time and of the second."""
    return nullcontext(), _counted_once(block)


@contextmanager
def _counted_once(block: nn.Module) -> Iterator[None]:
    """While it is computed again, normalisations count on copies of their statistics."""
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm)]
    kept = [(norm, name, value) for norm in norms for name, value in norm.named_buffers()]
    for norm, name, value in kept:
        setattr(norm, name, value.clone())
    try:
        yield
    finally:
        for norm, name, value in kept:
            setattr(norm, name, value)


_SMALL = {"width": 1 / 16, "frames": 8, "size_px": 32}
MODELS.add("convlstm-body", ModelEntry(ConvLSTMBody, small=_SMALL))
MODELS.add("deformable-convlstm", ModelEntry(deformable_convlstm, small=_SMALL))
