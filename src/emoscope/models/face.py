"""face-cnn: a small residual network for one grey face, the default weights' architecture;
face-gru: the same, frame by frame, and a recurrent layer over the frames.

Residual blocks (He et al., CVPR 2016) with squeeze-and-excitation (Hu et al., CVPR 2018), average
pooling in the shortcut of a strided block (He et al., "Bag of tricks", CVPR 2019). Ours, sized for
48 px stills such as FER2013's and for one CPU core: 2.7 M parameters.
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
    """conv 3x3 → BN → ReLU → conv 3x3 → BN → SE, added to a shortcut, ReLU."""

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
    """One grey 48 x 48 face -> logits. gray (B, 1, 1, 48, 48) -> (B, num_classes).

    stem       channels of the first convolution
    widths     channels of each stage; every stage halves the picture
    blocks     residual blocks of each stage
    dropout    on the pooled features

    A run's weights.pt can be what another begins with ([model] weights), also of other labels.
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
    """A plain temporal baseline: face-cnn's maps of every frame, a GRU (Cho et al., EMNLP 2014)
    over them, its last state classified. gray (B, frames, 1, 48, 48) -> (B, num_classes).

    From a frame's features their mean over the clip is taken off: who it is cancels out, what
    moves stays. (Without that it hardly learns from a few dozen people.)

    frames        sampled uniformly from the clip
    features      of a frame
    hidden_size   of the GRU
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
