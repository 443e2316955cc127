"""vgg16, vgg16-bilstm and vgg19-lstm: VGG (Simonyan & Zisserman, ICLR 2015, arXiv:1409.1556) on one
face, and an LSTM over its features of every frame.

vgg16-bilstm is from Fan & Ke ("Spatiotemporal networks for video emotion recognition"), vgg19-lstm
from Pan et al. (as cited by Miyoshi et al.). Weights have the names and shapes of torchvision's, so
that its ImageNet files can be loaded; with 2,622 classes, those of VGG-Face (Parkhi et al., BMVC
2015).
"""

import itertools
from collections.abc import Collection
from typing import Literal

import torch
from torch import Tensor, nn

from emoscope.core.clipspec import ClipSpec, Last, Normalisation, Stream, Uniform
from emoscope.core.errors import SpecError
from emoscope.models.checkpoints import Published
from emoscope.models.layers import scaled, window_for
from emoscope.models.network import Network
from emoscope.models.registry import MODELS, ModelEntry

__all__ = ["CNNRNN", "VGG", "vgg19_lstm"]

_Kind = Literal["gray", "rgb"]
_Layer = Literal["fc6", "fc7"]

_FILTERS = (64, 128, 256, 512, 512)
_DEPTHS = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
_SIZE_PX, _MIN_PX = 224, 32  # five poolings reduce 32 to one pixel
_ENDS = {"fc6": 2, "fc7": 5}  # layers of the classifier that compute these features

# As in the training of ImageNet weights; for grey images, the means over the three channels.
_NORMALISATIONS = {
    "rgb": Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    "gray": Normalisation(mean=(0.449,), std=(0.226,)),
}


class VGG(Network):
    """VGG for one grey face. gray (B, 1, 1, 224, 224) -> (B, num_classes).

    Images are grey, as in Fan & Ke, and repeated to the three channels of published weights here,
    so that cached and augmented clips have a third of the size of colour.

    depth        11, 13, 16 or 19
    batch_norm   batch normalisation after every convolution
    width        scales all filters and hidden units
    fc           hidden units of the classifier
    size_px      side of the images, at least 32; published weights need 224
    dropout      applied to both hidden layers of the classifier

    Weights are initialised as in He et al., ICCV 2015; without batch normalisation, other
    initialisations do not train at these depths. Raises SpecError."""

    def __init__(
        self,
        num_classes: int = 7,
        depth: int = 16,
        batch_norm: bool = False,
        width: float = 1.0,
        fc: int = 4096,
        size_px: int = _SIZE_PX,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        _check(depth, size_px)
        filters, (units,) = scaled(width, _FILTERS), scaled(width, (fc,))
        self.clip_spec = ClipSpec(
            region="face", sampling=Last(length=1), streams=(_stream("gray", size_px),)
        )
        self.features = _features(_DEPTHS[depth], filters, batch_norm)
        self.classifier = nn.Sequential(
            nn.Linear(filters[-1] * (size_px // 32) ** 2, units),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(units, units),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(units, num_classes),
        )
        self.published = Published(
            first="features.0",
            head=("classifier.0", "classifier.3", "classifier.6"),
            aliases=_aliases(self.features),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]  # never None here

    def forward(self, gray: Tensor) -> Tensor:
        """(B, 1, 1, S, S) -> logits (B, num_classes)."""
        return self.image_outputs(gray.squeeze(1))

    def trunk_features(self, gray: Tensor) -> Tensor:
        """(B, 1, 1, S, S) -> (B, hidden units), the input of the last layer."""
        images = gray.squeeze(1).expand(-1, 3, -1, -1)
        return self.classifier[:-1](self.features(images).flatten(1))

    def classify(self, features: Tensor) -> Tensor:
        """(B, hidden units) -> logits (B, num_classes)."""
        return self.classifier[-1](features)

    def image_outputs(self, images: Tensor) -> Tensor:
        """(N, 1 or 3, S, S) -> outputs of the last layer of the classifier (N, outputs)."""
        return self.classifier(self.features(images.expand(-1, 3, -1, -1)).flatten(1))


class CNNRNN(Network):
    """VGG-16 features of 64 frames, then a bidirectional LSTM.

    gray (B, 64, 1, 224, 224) -> (B, num_classes), from the last state in each direction (ours).

    stream          gray as in the paper, or rgb
    frames          frames sampled uniformly from the clip; a shorter clip repeats its last frame
    features        hidden layer of VGG's classifier that gives the features: fc6 or fc7
    hidden_size     size of the LSTM in each direction
    bidirectional   read the frames in both directions
    dropout         applied to the inputs and outputs of the LSTM
    width           scales hidden_size too

    The other options are those of vgg16. Raises SpecError."""

    def __init__(
        self,
        num_classes: int = 7,
        depth: int = 16,
        batch_norm: bool = False,
        stream: _Kind = "gray",
        frames: int = 64,
        features: _Layer = "fc6",
        hidden_size: int = 1024,
        bidirectional: bool = True,
        dropout: float = 0.85,
        width: float = 1.0,
        fc: int = 4096,
        size_px: int = _SIZE_PX,
    ) -> None:
        super().__init__()
        if frames < 1:
            raise SpecError(f"frames must be 1 or more, got {frames}.")
        _check_value("stream", stream, _NORMALISATIONS)
        _check_value("features", features, _ENDS)
        units, hidden = scaled(width, (fc, hidden_size))
        self.clip_spec = ClipSpec(
            region="face",
            sampling=Uniform(length=frames),
            window=window_for(frames, min_s=2.0),
            streams=(_stream(stream, size_px),),
        )
        self.trunk = VGG(depth=depth, batch_norm=batch_norm, width=width, fc=fc, size_px=size_px)
        self.trunk.classifier = nn.Sequential(*list(self.trunk.classifier)[: _ENDS[features]])
        self.dropout = nn.Dropout(dropout)  # nn.LSTM applies its own between layers only
        self.lstm = nn.LSTM(units, hidden, batch_first=True, bidirectional=bidirectional)
        self.classifier = nn.Linear(hidden * (2 if bidirectional else 1), num_classes)

    def forward(self, gray: Tensor | None = None, rgb: Tensor | None = None) -> Tensor:
        """(B, frames, 1 or 3, S, S) of the stream in use -> logits (B, num_classes)."""
        return self.classify(self.trunk_features(gray, rgb))

    def trunk_features(self, gray: Tensor | None = None, rgb: Tensor | None = None) -> Tensor:
        """(B, frames, 1 or 3, S, S) -> VGG features (B, frames, units)."""
        images = gray if rgb is None else rgb
        assert images is not None
        features = self.trunk.image_outputs(images.flatten(0, 1))  # all frames in one call
        return features.reshape(*images.shape[:2], -1)

    def classify(self, features: Tensor) -> Tensor:
        """(B, frames, units) -> logits (B, num_classes)."""
        _, (last, _) = self.lstm(self.dropout(features))
        return self.classifier(self.dropout(torch.cat(last.unbind(0), 1)))


def vgg19_lstm(
    num_classes: int = 6,
    depth: int = 19,
    batch_norm: bool = False,
    stream: _Kind = "rgb",
    frames: int = 16,
    features: _Layer = "fc7",
    hidden_size: int = 512,
    bidirectional: bool = False,
    dropout: float = 0.5,
    width: float = 1.0,
    fc: int = 4096,
    size_px: int = _SIZE_PX,
) -> CNNRNN:
    """VGG-19 features of every frame, then an LSTM. rgb (B, 16, 3, 224, 224) -> (B, num_classes).

    Options are those of vgg16-bilstm. Miyoshi et al. describe the network only as VGG-19 and LSTM:
    all defaults except the depth are ours, and the number of frames is that of four-stream."""
    return CNNRNN(
        num_classes,
        depth,
        batch_norm,
        stream,
        frames,
        features,
        hidden_size,
        bidirectional,
        dropout,
        width,
        fc,
        size_px,
    )


def _check(depth: int, size_px: int) -> None:
    if depth not in _DEPTHS:
        raise SpecError(f"depth must be one of {', '.join(map(str, _DEPTHS))}, got {depth}.")
    if size_px < _MIN_PX:
        raise SpecError(
            f"size_px {size_px} is too small for five poolings. Give {_MIN_PX} or more; the paper "
            f"uses {_SIZE_PX}."
        )


def _check_value(option: str, value: str, values: Collection[str]) -> None:
    if value not in values:
        raise SpecError(f"{option} must be one of {', '.join(values)}, got {value!r}.")


def _stream(kind: _Kind, size_px: int) -> Stream:
    return Stream(kind=kind, size_hw=(size_px, size_px), normalisation=_NORMALISATIONS[kind])


def _features(counts: tuple[int, ...], filters: tuple[int, ...], norm: bool) -> nn.Sequential:
    """Five stages of 3 × 3 convolutions. (N, 3, S, S) -> (N, filters[-1], S // 32, S // 32)."""
    layers: list[nn.Module] = []
    for (channels, wide), count in zip(itertools.pairwise((3, *filters)), counts, strict=True):
        for i in range(count):
            layers.append(nn.Conv2d(channels if i == 0 else wide, wide, 3, padding=1))
            layers += [nn.BatchNorm2d(wide)] if norm else []
            layers.append(nn.ReLU(inplace=True))
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def _aliases(features: nn.Sequential) -> dict[str, str]:
    """Layer names in VGG-Face files: conv_1_1 or conv1_1 ... fc8."""
    names = {"fc6": "classifier.0", "fc7": "classifier.3", "fc8": "classifier.6"}
    stage, conv = 1, 0
    for i, layer in enumerate(features):
        if isinstance(layer, nn.MaxPool2d):
            stage, conv = stage + 1, 0
        elif isinstance(layer, nn.Conv2d):
            conv += 1
            names[f"conv_{stage}_{conv}"] = names[f"conv{stage}_{conv}"] = f"features.{i}"
    return names


_SMALL = {"width": 1 / 16, "size_px": _MIN_PX}
_SMALL_RECURRENT = {**_SMALL, "frames": 4}
MODELS.add("vgg16", ModelEntry(VGG, small=_SMALL))
MODELS.add("vgg16-bilstm", ModelEntry(CNNRNN, small=_SMALL_RECURRENT))
MODELS.add("vgg19-lstm", ModelEntry(vgg19_lstm, small=_SMALL_RECURRENT))
