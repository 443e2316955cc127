"""Convolutional LSTM layers: x (B, T, C, H, W) -> h (B, T, hidden, H, W).

What does not depend on the recurrence, the input's part of the equations, is computed for all
steps before the loop over them.
"""

from collections.abc import Callable, Collection

import torch
from torch import Tensor, nn

from emoscope.core.errors import SpecError
from emoscope.models.deformable import deform_conv2d

__all__ = ["GatedConvLSTM"]


class GatedConvLSTM(nn.Module):
    """ConvLSTM whose gates look at pooled maps (Zhang et al., NeurIPS 2018, without its attention).
    x (B, T, C, H, W) -> h (B, T, hidden, H, W).

    With x̄ and h̄ the means of x_t and h_{t-1} over space, one number a channel,

        i = σ(W_xi x̄ + W_hi h̄ + b_i), f and o alike    g = tanh(W_xg * x_t + W_hg * h_{t-1} + b_g)
        c_t = f ⊙ c_{t-1} + i ⊙ g                       h_t = o ⊙ tanh(c_t)

    channels           of x
    kernel_size        of both convolutions; odd
    deformable_steps   where W_xg * is a deformable convolution of the same kernel (Dai et al., ICCV
                       2017); its offsets, from a convolution on x_t, start at zero
    modulated          deformable convolutions weigh their samples by 2σ(m) (Zhu et al., CVPR 2019;
                       twice theirs), which starts at one

    Convolutions start as in He et al., ICCV 2015, which is what its authors' code does; b_f starts
    at 1 (ours), so that gates are open for memory. Raises SpecError for settings that cannot be.
    """

    def __init__(
        self,
        channels: int,
        hidden: int,
        kernel_size: int = 3,
        deformable_steps: Collection[int] = (),
        modulated: bool = False,
    ) -> None:
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise SpecError(
                f"kernel_size must be odd, so that maps keep their size: {kernel_size}."
            )
        if min(deformable_steps, default=0) < 0:
            raise SpecError(f"deformable_steps count from 0, got {sorted(deformable_steps)}.")
        self.deformable_steps = tuple(sorted(set(deformable_steps)))
        self.modulated, self.padding = modulated, kernel_size // 2
        self.input_conv = nn.Conv2d(channels, hidden, kernel_size, padding=self.padding)
        self.hidden_conv = nn.Conv2d(hidden, hidden, kernel_size, padding=self.padding, bias=False)
        self.input_gates = nn.Linear(channels, 3 * hidden)
        self.hidden_gates = nn.Linear(hidden, 3 * hidden, bias=False)
        for conv in (self.input_conv, self.hidden_conv):
            nn.init.kaiming_normal_(conv.weight)
        nn.init.ones_(self.input_gates.bias[hidden : 2 * hidden])
        if self.deformable_steps:
            points = kernel_size**2
            count = (3 if modulated else 2) * points
            self.offset_conv = nn.Conv2d(channels, count, kernel_size, padding=self.padding)
            nn.init.zeros_(self.offset_conv.weight)
            nn.init.zeros_(self.offset_conv.bias)  # type: ignore[arg-type]  # it has one

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C, H, W) -> (B, T, hidden, H, W). Raises SpecError for a clip that ends before its
        deformable steps."""
        gates_of_x = self.input_gates(x.mean((3, 4))).unbind(1)
        candidates_of_x = self._candidates(x)
        h = c = x.new_zeros(())
        states = []
        for t, (gates, candidate) in enumerate(zip(gates_of_x, candidates_of_x, strict=True)):
            if t > 0:  # of a zero h, these are zero
                gates = gates + self.hidden_gates(h.mean((2, 3)))
                candidate = candidate + self.hidden_conv(h)
            i, f, o = gates.sigmoid()[..., None, None].chunk(3, 1)
            c = f * c + i * candidate.tanh()
            h = o * c.tanh()
            states.append(h)
        return torch.stack(states, 1)

    def _candidates(self, x: Tensor) -> list[Tensor]:
        """W_xg * x_t + b_g of every step: plain steps in one call, deformable ones in another."""
        steps, deformable = range(x.shape[1]), self.deformable_steps
        if not deformable:
            return list(_batched(self.input_conv, x))
        if deformable[-1] >= len(steps):
            raise SpecError(
                f"Step {deformable[-1]} is to be deformable, but the clip has {len(steps)}."
            )
        frames = x.unbind(1)
        plain = [t for t in steps if t not in deformable]
        terms: dict[int, Tensor] = {}
        for some, convolve in ((plain, self.input_conv), (deformable, self._deformed)):
            if some:
                found = _batched(convolve, torch.stack([frames[t] for t in some], 1))
                terms.update(zip(some, found, strict=True))
        return [terms[t] for t in steps]

    def _deformed(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, hidden, H, W), by the kernel of the plain convolution."""
        offset, mask = self.offset_conv(x), None
        if self.modulated:
            points = self.offset_conv.out_channels // 3
            offset, mask = offset.split((2 * points, points), 1)
            mask = 2 * mask.sigmoid()
        conv = self.input_conv
        return deform_conv2d(x, offset, conv.weight, conv.bias, padding=self.padding, mask=mask)


def _batched(convolve: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, ...]:
    """The convolution of every step of (B, T, C, H, W), in one call."""
    found: Tensor = convolve(x.flatten(0, 1))
    return found.unflatten(0, x.shape[:2]).unbind(1)  # type: ignore[no-untyped-call]
