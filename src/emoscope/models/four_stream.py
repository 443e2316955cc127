"""Four streams of a face in motion (Miyoshi, Nagata and Hashimoto, "Facial-Expression Recognition
from Video Using Enhanced Convolutional LSTM"): four-stream.

Pictures and their optical flow go through stacked ConvLSTM layers, the dynamic images of both
through a ResNet and tanh; the maps that come out are added and classified. The paper prints no
widths, sizes or lengths: all numbers here but the kernels and the counts of layers are ours.
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

_STREAMS: tuple[StreamKind, ...] = ("rgb", "flow", "dynamic_rgb", "dynamic_flow")
_SIZE_PX = 112
_FLOW_LIMIT, _FLOW_STD = 10.0, 2.5  # pixels a frame of 112 px
_KERNELS = (5, 5, 3, 3)
_HIDDEN = (64, 128, 256, 512)
_CONNECTED = (1024, 256)
_RATE_HZ = 8.0


class FourStream(Network):
    """rgb and flow (B, frames, 3 or 2, S, S), dynamic_rgb and dynamic_flow (B, 1, 3 or 2, D, D) ->
    (B, num_classes).

    streams         any of the four
    cell            "enhanced", or "conventional": of the ConvLSTM layers
    width           scales all channels and hidden units
    frames          of a clip, at 8 Hz
    size_px         S; halved by each of four layers
    dynamic_px      D, which a ResNet-18 divides by 32: twice S by default, so that all maps meet

    The last step's map of the last ConvLSTM layer stands for a clip. Raises SpecError, where maps
    would not meet with the size that makes them."""

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
            if stream.kind.startswith("dynamic_"):
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
        """The streams that the network was made with -> logits (B, num_classes)."""
        given = {
            "rgb": rgb,
            "flow": flow,
            "dynamic_rgb": dynamic_rgb,
            "dynamic_flow": dynamic_flow,
        }
        maps = [stack(given[kind]) for kind, stack in self.recurrent.items()]
        for kind, resnet in self.residual.items():
            image = given[kind]
            assert image is not None  # as of every stream that it was made with
            maps.append(resnet.features(image.squeeze(1)).tanh())  # type: ignore[operator]
        return self.classifier(sum(maps))


class _Stack(nn.Module):
    """Four ConvLSTM layers, max pooling after each. (B, T, C, S, S) -> (B, C', S/16, S/16) of the
    last step."""

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
    """The side of the maps that are added. Raises SpecError."""
    if not streams or len(set(streams)) < len(streams) or not set(streams) <= set(_STREAMS):
        raise SpecError(f"streams are any of {', '.join(_STREAMS)}, each once; got {streams}.")
    if cell not in get_args(Cell):
        raise SpecError(f"cell is one of {', '.join(get_args(Cell))}, got {cell!r}.")
    recurrent, residual = size_px // 16, -(-dynamic_px // 32)
    dynamic = [kind.startswith("dynamic_") for kind in streams]
    if not all(dynamic) and recurrent < 1:
        raise SpecError(f"size_px {size_px} is too small: four poolings leave nothing. Give 16.")
    if any(dynamic) and not all(dynamic) and recurrent != residual:
        raise SpecError(
            f"Maps of {recurrent} x {recurrent} (size_px {size_px}) and {residual} x {residual} "
            f"(dynamic_px {dynamic_px}) cannot be added: give dynamic_px {32 * recurrent}."
        )
    return residual if all(dynamic) else recurrent


def _clip_spec(
    streams: Sequence[StreamKind], frames: int, size_px: int, dynamic_px: int
) -> ClipSpec:
    """Windows of as many frames, half of them new, on a time grid that a stream can follow."""
    length_s = frames / _RATE_HZ
    return ClipSpec(
        region="face",
        sampling=Uniform(length=frames),
        rate_hz=_RATE_HZ,
        window=Window(length_s=length_s, stride_s=(frames - frames // 2) / _RATE_HZ),
        streams=tuple(_stream(kind, size_px, dynamic_px) for kind in _STREAMS if kind in streams),
    )


def _stream(kind: StreamKind, size_px: int, dynamic_px: int) -> Stream:
    if kind.startswith("dynamic_"):
        how, side = Normalisation(per_clip=True), dynamic_px
    elif kind == "rgb":
        how, side = Normalisation(mean=(0.5,), std=(0.25,)), size_px
    else:  # the same motion is fewer pixels of a smaller picture
        share = size_px / _SIZE_PX
        how, side = Normalisation(limit=share * _FLOW_LIMIT, std=(share * _FLOW_STD,)), size_px
    return Stream(kind=kind, size_hw=(side, side), normalisation=how)


MODELS.add(
    "four-stream",
    ModelEntry(FourStream, small={"width": 1 / 16, "frames": 4, "size_px": 32}),
)
