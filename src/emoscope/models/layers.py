"""Helpers and layers that several families share."""

from collections.abc import Sequence

from torch import Tensor, nn

from emoscope.core.clipspec import Window
from emoscope.core.errors import SpecError

__all__ = ["SqueezeExcite", "scaled", "window_for"]

_SLOWEST_HZ = 24  # cinema: the lowest frame rate at which a window must still hold all frames


def scaled(width: float, channels: Sequence[int]) -> tuple[int, ...]:
    """Multiply channel counts by `width`, at least 1 each. Raises SpecError for width <= 0."""
    if not width > 0:
        raise SpecError(f"width {width} leaves no filters. Give a number above 0.")
    return tuple(max(1, round(width * count)) for count in channels)


def window_for(frames: int, min_s: float = 0.0) -> Window:
    """The shortest window of at least `min_s` that holds `frames` + 1 frames at 24 fps.

    Its stride is half its length."""
    length_s = max(min_s, round((frames + 1) / _SLOWEST_HZ, 2))
    return Window(length_s=length_s, stride_s=length_s / 2)


class SqueezeExcite(nn.Module):
    """Channel attention (Hu et al., CVPR 2018). (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        hidden = max(channels // reduction, 4)
        self.squeeze = nn.Conv2d(channels, hidden, 1)
        self.excite = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.squeeze(x.mean((2, 3), keepdim=True)).relu()
        return x * self.excite(weight).sigmoid()
