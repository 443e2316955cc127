"""ResNet 18, 34 and 50 (He et al., "Deep residual learning for image recognition", CVPR 2016,
arXiv:1512.03385).

Weights have the names and shapes of torchvision's, so that its ImageNet files can be loaded. As
there, the stride of a bottleneck is in its 3 × 3 convolution; in the paper it is in the first
1 × 1.
"""

from collections import OrderedDict

from torch import Tensor, nn

from emoscope.core.errors import SpecError
from emoscope.models.checkpoints import Published
from emoscope.models.layers import scaled

__all__ = ["ResNet"]

_FILTERS = (64, 128, 256, 512)


class _Basic(nn.Module):
    """Two 3 × 3 convolutions and a shortcut. (N, C, H, W) -> (N, filters, H/stride, ...)."""

    expansion = 1

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(channels, filters, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + self.downsample(x))


class _Bottleneck(nn.Module):
    """1 × 1, 3 × 3, 1 × 1 and a shortcut. (N, C, H, W) -> (N, 4 filters, H/stride, ...)."""

    expansion = 4

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        wide = self.expansion * filters
        self.conv1 = nn.Conv2d(channels, filters, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.conv3 = nn.Conv2d(filters, wide, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(wide)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(channels, wide, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + self.downsample(x))


_Block = type[_Basic] | type[_Bottleneck]
_DEPTHS: dict[int, tuple[_Block, tuple[int, ...]]] = {
    18: (_Basic, (2, 2, 2, 2)),
    34: (_Basic, (3, 4, 6, 3)),
    50: (_Bottleneck, (3, 4, 6, 3)),
}


class ResNet(nn.Module):
    """Residual network for images. (N, channels_in, H, W) -> (N, num_classes).

    num_classes   None omits the last layer: the output is (N, channels_out)
    depth         18, 34 or 50
    width         scales all channels
    channels_in   3 for colour, 2 for flow

    Convolutions are initialised as in He et al., ICCV 2015. Raises SpecError."""

    published = Published(first="conv1", head=("fc",))

    def __init__(
        self,
        num_classes: int | None = 1000,
        depth: int = 18,
        width: float = 1.0,
        channels_in: int = 3,
    ) -> None:
        super().__init__()
        if depth not in _DEPTHS:
            raise SpecError(f"depth must be one of {', '.join(map(str, _DEPTHS))}, got {depth}.")
        block, counts = _DEPTHS[depth]
        filters = scaled(width, _FILTERS)
        outputs = [filters[0], *(block.expansion * count for count in filters)]
        self.conv1 = nn.Conv2d(channels_in, filters[0], 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(filters[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            _stage(block, channels, filters[i], counts[i], stride=1 if i == 0 else 2)
            for i, channels in enumerate(outputs[:-1])
        )
        self.channels_out = outputs[-1]
        self.fc = nn.Identity() if num_classes is None else nn.Linear(outputs[-1], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, x: Tensor) -> Tensor:
        """(N, channels_in, H, W) -> (N, channels_out, H/32, W/32), rounded up."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels_in, H, W) -> (N, num_classes)."""
        return self.fc(self.features(x).mean((2, 3)))


def _stage(block: _Block, channels: int, filters: int, count: int, stride: int) -> nn.Sequential:
    wide = block.expansion * filters
    others = (block(wide, filters, stride=1) for _ in range(count - 1))
    return nn.Sequential(block(channels, filters, stride), *others)


def _shortcut(channels: int, filters: int, stride: int) -> nn.Sequential:
    """Identity, or a strided 1 × 1 convolution if the shape changes."""
    if stride == 1 and channels == filters:
        return nn.Sequential()
    return nn.Sequential(
        OrderedDict(
            {
                "0": nn.Conv2d(channels, filters, 1, stride, bias=False),
                "1": nn.BatchNorm2d(filters),
            }
        )
    )
