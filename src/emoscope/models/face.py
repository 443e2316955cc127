"""face-cnn, a small residual network for one grey face, and face-gru, a GRU over its features.

Residual blocks (He et al., CVPR 2016, arXiv:1512.03385) with squeeze-and-excitation (Hu et al.,
CVPR 2018, arXiv:1709.01507) and average pooling in strided shortcuts (He et al., "Bag of tricks",
CVPR 2019). The architecture is ours, sized for 48 px stills such as FER2013 and for one CPU core:
2.7 M parameters. The default weights are a face-cnn.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from emoscope.core.clipspec import ClipSpec, Last, Normalisation, Stream, Uniform
from emoscope.models.checkpoints import Published
from emoscope.models.layers import SqueezeExcite
from emoscope.models.network import Network
from emoscope.models.registry import MODELS, ModelEntry

__all__ = ["FaceCNN", "FaceGRU"]


class _Block(nn.Module):
    """conv 3x3 → BN → ReLU → conv 3x3 → BN → SE, plus shortcut, ReLU.

    (N, channels_in, H, W) -> (N, channels, H/stride, W/stride)."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.attention = SqueezeExcite(channels)
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut.append(nn.AvgPool2d(stride))
        if channels_in != channels:
            self.shortcut.append(nn.Conv2d(channels_in, channels, 1, bias=False))
            self.shortcut.append(nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.attention(self.bn2(self.conv2(y)))
        return F.relu(y + self.shortcut(x))


class FaceCNN(Network):
    """Residual network for one grey face. gray (B, 1, 1, 48, 48) -> (B, num_classes).

    stem      channels of the first convolution
    widths    channels of each stage; every stage halves the image
    blocks    residual blocks of each stage
    dropout   applied to the pooled features

    The weights.pt of one run can initialise another ([model] weights), also with other labels.
    """

    published = Published(first="stem.0", head=("classifier",))

    def __init__(
        self,
        num_classes: int = 8,
        stem: int = 32,
        widths: Sequence[int] = (64, 128, 256),
        blocks: Sequence[int] = (1, 2, 2),
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.clip_spec = ClipSpec(
            region="face",
            sampling=Last(length=1),
            streams=(
                Stream(kind="gray", size_hw=(48, 48), normalisation=Normalisation(per_clip=True)),
            ),
        )
        self.stem = nn.Sequential(
            nn.Conv2d(1, stem, 3, padding=1, bias=False), nn.BatchNorm2d(stem), nn.ReLU()
        )
        self.stages = nn.Sequential()
        channels = stem
        for width, count in zip(widths, blocks, strict=True):
            for i in range(count):
                self.stages.append(_Block(channels, width, stride=2 if i == 0 else 1))
                channels = width
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, gray: Tensor) -> Tensor:
        """(B, 1, 1, 48, 48) -> logits (B, num_classes)."""
        return self.classify(self.trunk_features(gray))

    def trunk_features(self, gray: Tensor) -> Tensor:
        """(B, 1, 1, 48, 48) -> (B, channels of the last stage)."""
        return self.stages(self.stem(gray.squeeze(1))).mean((2, 3))

    def classify(self, features: Tensor) -> Tensor:
        """(B, channels of the last stage) -> logits (B, num_classes)."""
        return self.classifier(self.dropout(features))


class FaceGRU(Network):
    """Temporal baseline: face-cnn on every frame, then a GRU (Cho et al., EMNLP 2014).

    gray (B, frames, 1, 48, 48) -> (B, num_classes), from the last state of the GRU. The mean over
    the clip is subtracted from the features, which removes the person's identity; without this the
    network hardly learns from a few dozen people.

    frames        frames sampled uniformly from the clip
    features      features per frame
    hidden_size   size of the GRU

    The other options are those of face-cnn.
    """

    def __init__(
        self,
        num_classes: int = 8,
        frames: int = 16,
        features: int = 64,
        hidden_size: int = 64,
        stem: int = 32,
        widths: Sequence[int] = (64, 128, 256),
        blocks: Sequence[int] = (1, 2, 2),
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        trunk = FaceCNN(stem=stem, widths=widths, blocks=blocks)
        self.clip_spec = trunk.clip_spec.model_copy(update={"sampling": Uniform(length=frames)})
        self.stem, self.stages = trunk.stem, trunk.stages
        side = 48 // 2 ** len(widths)
        self.project = nn.Linear(widths[-1] * side**2, features)
        self.gru = nn.GRU(features, hidden_size, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(hidden_size, num_classes)

    def forward(self, gray: Tensor) -> Tensor:
        """(B, T, 1, 48, 48) -> logits (B, num_classes)."""
        maps = self.stages(self.stem(gray.flatten(0, 1)))
        features = F.relu(self.project(maps.flatten(1)))
        features = features.reshape(*gray.shape[:2], -1)
        _, last = self.gru(features - features.mean(1, keepdim=True))
        return self.classifier(self.dropout(last[-1]))


_SMALL = {"stem": 8, "widths": (8, 16), "blocks": (1, 1)}
MODELS.add("face-cnn", ModelEntry(FaceCNN, small=_SMALL))
MODELS.add(
    "face-gru",
    ModelEntry(FaceGRU, small={**_SMALL, "frames": 4, "features": 16, "hidden_size": 16}),
)
