"""four-stream: images, optical flow and dynamic images of a face (Miyoshi, Nagata and Hashimoto,
"Facial-Expression Recognition from Video Using Enhanced Convolutional LSTM").

Images and optical flow are processed by stacked ConvLSTM layers, the dynamic images of both by a
ResNet and tanh; the resulting maps are added and classified. The paper gives no widths, sizes or
lengths: all numbers here except kernel sizes and layer counts are ours.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from emoscope.core.clipspec import ClipSpec, Normalisation, Stream, StreamKind, Uniform, Window
from emoscope.core.errors import SpecError
from emoscope.models.convlstm import ConvLSTM, EnhancedConvLSTM
from emoscope.models.layers import scaled
from emoscope.models.network import Network
from emoscope.models.registry import MODELS, ModelEntry
from emoscope.models.resnet import ResNet

__all__ = ["FourStream"]

Cell = Literal["conventional", "enhanced"]

_DYNAMIC: tuple[StreamKind, ...] = ("dynamic_rgb", "dynamic_flow")
_STREAMS: tuple[StreamKind, ...] = ("rgb", "flow", *_DYNAMIC)
_SIZE_PX = 112
_FLOW_LIMIT, _FLOW_STD = 10.0, 2.5  # in pixels per frame at 112 px
_KERNELS = (5, 5, 3, 3)
_HIDDEN = (64, 128, 256, 512)
_CONNECTED = (1024, 256)
_RATE_HZ = 8.0


class FourStream(Network):
    """ConvLSTM and ResNet streams whose maps are added.

    rgb and flow (B, frames, 3 or 2, S, S), dynamic_rgb and dynamic_flow (B, 1, 3 or 2, D, D) ->
    (B, num_classes). A ConvLSTM stream is represented by the last layer's map of the last step.

    streams      any of the four
    cell         ConvLSTM layers: "enhanced" (`EnhancedConvLSTM`) or "conventional" (`ConvLSTM`)
    width        scales all channels and hidden units
    frames       frames of a clip, at 8 Hz
    size_px      S; each of four layers halves it
    dynamic_px   D, which the ResNet-18 divides by 32; default 2 S, so that all maps have one size

    Raises SpecError for settings that do not fit together; for sizes it names one that fits."""

    def __init__(
        self,
        num_classes: int = 6,
        streams: Sequence[StreamKind] = _STREAMS,
        cell: Cell = "enhanced",
        width: float = 1.0,
        frames: int = 16,
        size_px: int = _SIZE_PX,
        dynamic_px: int | None = None,
    ) -> None:
        super().__init__()
        dynamic_px = 2 * size_px if dynamic_px is None else dynamic_px
        side = _meeting_side(streams, cell, size_px, dynamic_px)
        self.clip_spec = _clip_spec(streams, frames, size_px, dynamic_px)
        hidden, connected = scaled(width, _HIDDEN), scaled(width, _CONNECTED)
        self.recurrent, self.residual = nn.ModuleDict(), nn.ModuleDict()
        for stream in self.clip_spec.pictures:
            if stream.is_dynamic:
                resnet = ResNet(None, width=width, channels_in=stream.channels)
                self.residual[stream.kind] = resnet
            else:
                self.recurrent[stream.kind] = _Stack(cell, stream.channels, hidden, size_px)
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(hidden[-1] * side**2, connected[0]),
            nn.ReLU(),
            nn.Linear(connected[0], connected[1]),
            nn.ReLU(),
            nn.Linear(connected[1], num_classes),
        )

    def forward(
        self,
        rgb: Tensor | None = None,
        flow: Tensor | None = None,
        dynamic_rgb: Tensor | None = None,
        dynamic_flow: Tensor | None = None,
    ) -> Tensor:
        """Streams of the `clip_spec` -> logits (B, num_classes)."""
        inputs = {
            "rgb": rgb,
            "flow": flow,
            "dynamic_rgb": dynamic_rgb,
            "dynamic_flow": dynamic_flow,
        }
        maps = [stack(inputs[kind]) for kind, stack in self.recurrent.items()]
        for kind, resnet in self.residual.items():
            image = inputs[kind]
            assert image is not None
            maps.append(resnet.features(image.squeeze(1)).tanh())  # type: ignore[operator]
        return self.classifier(sum(maps))


class _Stack(nn.Module):
    """Four ConvLSTM layers, each followed by max pooling.

    (B, T, C, S, S) -> (B, C', S/16, S/16) of the last step."""

    def __init__(self, cell: Cell, channels: int, hidden: Sequence[int], size_px: int) -> None:
        super().__init__()
        layer = EnhancedConvLSTM if cell == "enhanced" else ConvLSTM
        self.layers = nn.ModuleList()
        for kernel_size, filters in zip(_KERNELS, hidden, strict=True):
            size_hw = (size_px, size_px)
            self.layers.append(layer(channels, filters, kernel_size, size_hw=size_hw))
            channels, size_px = filters, size_px // 2

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = F.max_pool3d(layer(x).transpose(1, 2), (1, 2, 2)).transpose(1, 2)
        return F.max_pool2d(self.layers[-1](x)[:, -1], 2)


def _meeting_side(streams: Sequence[StreamKind], cell: Cell, size_px: int, dynamic_px: int) -> int:
    """Side of the maps that are added. Raises SpecError."""
    if not streams or len(set(streams)) < len(streams) or not set(streams) <= set(_STREAMS):
        raise SpecError(
            f"streams must be one or more of {', '.join(_STREAMS)}, each once; got "
            f"{tuple(streams)}."
        )
    if cell not in get_args(Cell):
        raise SpecError(f"cell must be one of {', '.join(get_args(Cell))}, got {cell!r}.")
    recurrent, residual = size_px // 16, -(-dynamic_px // 32)
    dynamic = set(streams) & set(_DYNAMIC)
    if dynamic == set(streams):
        return residual
    if recurrent < 1:
        raise SpecError(f"size_px {size_px} is too small for four poolings. Give 16 or more.")
    if dynamic and recurrent != residual:
        raise SpecError(
            f"Maps of {recurrent} x {recurrent} (size_px {size_px}) and {residual} x {residual} "
            f"(dynamic_px {dynamic_px}) cannot be added: give dynamic_px {32 * recurrent}."
        )
    return recurrent


def _clip_spec(
    streams: Sequence[StreamKind], frames: int, size_px: int, dynamic_px: int
) -> ClipSpec:
    """Windows that hold exactly `frames`, with half a window as stride, on a grid of 8 Hz."""
    length_s = frames / _RATE_HZ
    return ClipSpec(
        region="face",
        sampling=Uniform(length=frames),
        rate_hz=_RATE_HZ,
        window=Window(length_s=length_s, stride_s=(frames - frames // 2) / _RATE_HZ),
        streams=tuple(_stream(kind, size_px, dynamic_px) for kind in _STREAMS if kind in streams),
    )


def _stream(kind: StreamKind, size_px: int, dynamic_px: int) -> Stream:
    if kind in _DYNAMIC:
        normalisation, side = Normalisation(per_clip=True), dynamic_px
    elif kind == "rgb":
        normalisation, side = Normalisation(mean=(0.5,), std=(0.25,)), size_px
    else:
        scale = size_px / _SIZE_PX  # the same motion is fewer pixels of a smaller frame
        normalisation = Normalisation(limit=scale * _FLOW_LIMIT, std=(scale * _FLOW_STD,))
        side = size_px
    return Stream(kind=kind, size_hw=(side, side), normalisation=normalisation)


MODELS.add(
    "four-stream",
    ModelEntry(FourStream, small={"width": 1 / 16, "frames": 4, "size_px": 32}),
)
