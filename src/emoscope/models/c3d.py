"""c3d: 3-D convolutions over 16 frames (Tran et al., "Learning spatiotemporal features with 3D
convolutional networks", ICCV 2015, arXiv:1412.0767), as used by Fan & Ke.

Weights have the names and shapes of the torch conversions of the Sports-1M weights: pool5 is
padded, so that fc6 has 8192 inputs.
"""

from torch import Tensor, nn

from emoscope.core.clipspec import ClipSpec, Last, Normalisation, Stream
from emoscope.core.errors import SpecError
from emoscope.models.checkpoints import Published
from emoscope.models.layers import scaled, window_for
from emoscope.models.network import Network
from emoscope.models.registry import MODELS, ModelEntry

__all__ = ["C3D"]

_STAGES = (
    ("conv1",),
    ("conv2",),
    ("conv3a", "conv3b"),
    ("conv4a", "conv4b"),
    ("conv5a", "conv5b"),
)
_FILTERS = (64, 128, 256, 512, 512)
_FRAMES, _SIZE_PX, _MIN_PX = 16, 112, 16
_UNITS = 4096
_CONVS = [name for stage in _STAGES for name in stage]
# Names in files of another implementation: one nn.Sequential of convolutions, activations and
# poolings, and one of the fully connected layers.
_ALIASES = {
    **{f"features.{i}": conv for i, conv in zip((0, 3, 6, 8, 11, 13, 16, 18), _CONVS, strict=True)},
    "classifier.0": "fc6",
    "classifier.3": "fc7",
    "classifier.6": "fc8",
}


class C3D(Network):
    """Eight 3-D convolutions over the last 16 frames. rgb (B, 16, 3, 112, 112) -> (B, num_classes).

    batch_norm   batch normalisation after every convolution
    width        scales all filters and hidden units
    size_px      side of the frames, at least 16; published weights need 112
    dropout      applied to both hidden layers

    Weights are initialised as in He et al., ICCV 2015. Raises SpecError."""

    published = Published(first="conv1", head=("fc6", "fc7", "fc8"), aliases=_ALIASES)

    def __init__(
        self,
        num_classes: int = 7,
        batch_norm: bool = False,
        width: float = 1.0,
        size_px: int = _SIZE_PX,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if size_px < _MIN_PX:
            raise SpecError(
                f"size_px {size_px} is too small for the pooling layers. Give {_MIN_PX} or more; "
                f"the paper uses {_SIZE_PX}."
            )
        filters, (units,) = scaled(width, _FILTERS), scaled(width, (_UNITS,))
        imagenet = Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
        self.clip_spec = ClipSpec(
            region="face",
            sampling=Last(length=_FRAMES),  # consecutive frames, as in the paper and Sports-1M
            window=window_for(_FRAMES),
            streams=(Stream(kind="rgb", size_hw=(size_px, size_px), normalisation=imagenet),),
        )
        self.batch_norm = batch_norm
        channels = 3
        for stage, wide in zip(_STAGES, filters, strict=True):
            for name in stage:
                self.add_module(name, nn.Conv3d(channels, wide, 3, padding=1))
                if batch_norm:
                    self.add_module(_norm(name), nn.BatchNorm3d(wide))
                channels = wide
        self.pools = nn.ModuleList(
            [
                nn.MaxPool3d((1, 2, 2)),
                *(nn.MaxPool3d(2) for _ in range(3)),
                nn.MaxPool3d(2, padding=(0, 1, 1)),
            ]
        )
        side = size_px // 16 // 2 + 1  # pool5 is padded
        self.relu, self.dropout = nn.ReLU(inplace=True), nn.Dropout(dropout)
        self.fc6 = nn.Linear(filters[-1] * side**2, units)
        self.fc7 = nn.Linear(units, units)
        self.fc8 = nn.Linear(units, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv3d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]  # never None here

    def forward(self, rgb: Tensor) -> Tensor:
        """(B, 16, 3, S, S) -> logits (B, num_classes)."""
        return self.classify(self.trunk_features(rgb))

    def trunk_features(self, rgb: Tensor) -> Tensor:
        """(B, 16, 3, S, S) -> (B, hidden units), the input of the last layer."""
        x = rgb.transpose(1, 2)
        for stage, pool in zip(_STAGES, self.pools, strict=True):
            for name in stage:
                x = self.get_submodule(name)(x)
                if self.batch_norm:
                    x = self.get_submodule(_norm(name))(x)
                x = self.relu(x)
            x = pool(x)
        x = self.dropout(self.relu(self.fc6(x.flatten(1))))
        return self.dropout(self.relu(self.fc7(x)))

    def classify(self, features: Tensor) -> Tensor:
        """(B, hidden units) -> logits (B, num_classes)."""
        return self.fc8(features)


def _norm(conv: str) -> str:
    return conv.replace("conv", "bn")


MODELS.add("c3d", ModelEntry(C3D, small={"width": 1 / 16, "size_px": 32}))
