"""c3d: 3-D convolutions over sixteen frames (Tran et al., "Learning spatiotemporal features with 3D
convolutional networks", ICCV 2015), as Fan & Ke use it.

Names and shapes of the weights are those of the Sports-1M files that are in use with torch: pool5
is padded, so that fc6 sees 8192 numbers.
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
_FRAMES, _SIZE_PX, _LEAST_PX = 16, 112, 16
_UNITS = 4096
_CONVS = [name for stage in _STAGES for name in stage]
# The same weights as others name them, in one nn.Sequential of convolutions, activations and pools
# and one of the fully connected layers.
_ALIASES = {
    **{f"features.{i}": conv for i, conv in zip((0, 3, 6, 8, 11, 13, 16, 18), _CONVS, strict=True)},
    "classifier.0": "fc6",
    "classifier.3": "fc7",
    "classifier.6": "fc8",
}


class C3D(Network):
    """Eight 3-D convolutions over consecutive frames of a face. rgb (B, 16, 3, 112, 112) ->
    (B, num_classes).

    batch_norm   after every convolution
    width        scales all filters and hidden units
    size_px      side of the pictures; 16 at least, and 112 for published weights
    dropout      on both hidden layers

    Weights start as in He et al., ICCV 2015. Raises SpecError."""

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
        if size_px < _LEAST_PX:
            raise SpecError(
                f"size_px {size_px} is too small: pooling leaves nothing of it. Give {_LEAST_PX} "
                f"or more; the paper's is {_SIZE_PX}."
            )
        filters, (units,) = scaled(width, _FILTERS), scaled(width, (_UNITS,))
        self.clip_spec = _clip_spec(size_px)
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
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]  # all have one

    def forward(self, rgb: Tensor) -> Tensor:
        """(B, 16, 3, S, S) -> logits (B, num_classes)."""
        return self.classify(self.trunk_features(rgb))

    def trunk_features(self, rgb: Tensor) -> Tensor:
        """(B, 16, 3, S, S) -> (B, hidden units): what the last layer is shown."""
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


def _clip_spec(size_px: int) -> ClipSpec:
    """Consecutive frames, as the paper stacks them and Sports-1M's weights have learnt them."""
    how = Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    return ClipSpec(
        region="face",
        sampling=Last(length=_FRAMES),
        window=window_for(_FRAMES),
        streams=(Stream(kind="rgb", size_hw=(size_px, size_px), normalisation=how),),
    )


MODELS.add("c3d", ModelEntry(C3D, small={"width": 1 / 16, "size_px": 32}))
