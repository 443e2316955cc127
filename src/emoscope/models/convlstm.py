"""Convolutional LSTM layers: x (B, T, C, H, W) -> h (B, T, hidden, H, W).

What does not depend on the recurrence, the input's part of the equations, is computed for many
steps at once, outside the loop over them.
"""

import functools
from collections.abc import Collection, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emoscope.core.errors import SpecError
from emoscope.models.deformable import deform_conv2d

__all__ = ["ConvLSTM", "EnhancedConvLSTM", "GatedConvLSTM"]

_GROUPS = 32
# glibc gives larger blocks than 32 MiB back to the system when they are freed, and pays for every
# page of the next. With 8 MiB training is level with a call a step, with 16 it was slower.
_BLOCK_BYTES = 2**23


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
        if min(deformable_steps, default=0) < 0:
            raise SpecError(f"deformable_steps count from 0, got {sorted(deformable_steps)}.")
        self.deformable_steps = tuple(sorted(set(deformable_steps)))
        self.modulated, self.padding = modulated, _padding(kernel_size)
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
            states.append(h.permute(0, 2, 3, 1))
        return torch.stack(states, 1).permute(0, 1, 4, 2, 3)

    def _candidates(self, x: Tensor) -> list[Tensor]:
        """W_xg * x_t + b_g of every step: plain steps in one call, deformable ones in another.

        Maps have their channels last in memory, and one step's lie together: convolutions of a CPU
        want them so, and hoisting pays for the copy once."""
        steps, deformable = range(x.shape[1]), self.deformable_steps
        if deformable and deformable[-1] >= len(steps):
            raise SpecError(
                f"Step {deformable[-1]} is to be deformable, but the clip has {len(steps)}."
            )
        maps = x.permute(1, 0, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
        if not deformable:
            return list(self.input_conv(maps.flatten(0, 1)).unflatten(0, maps.shape[:2]))
        frames = maps.unbind()
        plain = [t for t in steps if t not in deformable]
        terms: dict[int, Tensor] = {}
        for some, convolve in ((plain, self.input_conv), (deformable, self._deformed)):
            if some:
                found = convolve(torch.cat([frames[t] for t in some]))
                terms.update(zip(some, found.unflatten(0, (len(some), -1)), strict=True))
        return [terms[t] for t in steps]

    def offsets_and_mask(self, found: Tensor) -> tuple[Tensor, Tensor | None]:
        """What `offset_conv` gives -> (N, 2·K, H, W) in px of the map, y before x of each point of
        the kernel, and the weights (N, K, H, W) where the convolution is modulated."""
        if not self.modulated:
            return found, None
        points = self.offset_conv.out_channels // 3
        offset, mask = found[:, : 2 * points], found[:, 2 * points :]
        return offset, 2 * mask.sigmoid()

    def _deformed(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, hidden, H, W), by the kernel of the plain convolution."""
        offset, mask = self.offsets_and_mask(self.offset_conv(x))
        conv = self.input_conv
        return deform_conv2d(x, offset, conv.weight, conv.bias, padding=self.padding, mask=mask)


class ConvLSTM(nn.Module):
    """ConvLSTM with peepholes (Shi et al., NIPS 2015, as Miyoshi et al. print it: o_t looks at
    c_{t-1}). x (B, T, C, H, W) -> h (B, T, hidden, H, W).

        i_t = σ(W_xi * x_t + W_hi * h_{t-1} + W_ci ⊙ c_{t-1} + b_i), f_t and o_t alike
        c_t = f_t ⊙ c_{t-1} + i_t ⊙ tanh(W_xc * x_t + W_hc * h_{t-1} + b_c)
        h_t = o_t ⊙ tanh(c_t)

    channels      of x
    kernel_size   of all convolutions; odd
    peephole      the terms W_ci, W_cf and W_co: whole maps (hidden, H, W), so that x has one size
    size_hw       of x, wherever there are peepholes

    Neither paper prints how weights start. As in the code of E3D-LSTM (Wang et al., ICLR 2019),
    kernels of the four gates together as in Glorot and Bengio, AISTATS 2010, b_f at 1, other biases
    at zero; peepholes at zero (ours). Memory is float32 under autocast. Raises SpecError for
    settings that cannot be.
    """

    def __init__(
        self,
        channels: int,
        hidden: int,
        kernel_size: int = 3,
        peephole: bool = True,
        size_hw: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        if peephole and size_hw is None:
            raise SpecError("Peepholes are maps: give size_hw, the size of x, or peephole=False.")
        self.hidden, self.padding = hidden, _padding(kernel_size)
        self.input_conv = nn.Conv2d(channels, 4 * hidden, kernel_size, padding=self.padding)
        self.hidden_conv = nn.Conv2d(
            hidden, 4 * hidden, kernel_size, padding=self.padding, bias=False
        )
        self.peepholes: nn.Parameter | None = None
        if peephole and size_hw is not None:
            self.peepholes = nn.Parameter(torch.zeros(3, hidden, *size_hw))
        for conv in (self.input_conv, self.hidden_conv):
            nn.init.xavier_uniform_(conv.weight)
        nn.init.zeros_(self.input_conv.bias)  # type: ignore[arg-type]  # it has one
        nn.init.ones_(self.input_conv.bias[hidden : 2 * hidden])  # type: ignore[index]

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C, H, W) -> (B, T, hidden, H, W). Raises SpecError for maps of a size that is not
        the peepholes'."""
        peepholes, hidden, kind = self.peepholes, self.hidden, self.hidden_conv.weight.dtype
        if peepholes is not None and x.shape[3:] != peepholes.shape[2:]:
            raise SpecError(
                f"The peepholes are maps of {tuple(peepholes.shape[2:])}, x is of "
                f"{tuple(x.shape[3:])}: build the layer with size_hw of x."
            )
        states: list[Tensor] = []
        c = x.new_zeros(1, 1, 1, 1, dtype=kind)
        for terms in self._terms(x):
            of_x, *skips = terms.split(4 * hidden, 1)  # type: ignore[no-untyped-call]
            sums = of_x.to(kind)
            if states:  # of a zero h it is zero
                sums = self.hidden_conv(states[-1]).to(kind).add_(of_x)
            gates, candidate = sums.split((3 * hidden, hidden), 1)
            gates = gates.unflatten(1, (3, hidden))
            if peepholes is not None:
                gates = torch.addcmul(gates, peepholes, c.unsqueeze(1))
            i, f, o = gates.sigmoid().unbind(1)
            c = torch.addcmul(f * c, i, _tanh(candidate))
            states.append(self._state(o * _tanh(c), skips, states))
        return torch.stack(states, 1)

    def _terms(self, x: Tensor) -> Iterator[Tensor]:
        """What the kernels of x give, step by step: of all steps in one call, on a CPU of as many
        as give a block of `_BLOCK_BYTES`."""
        weight, bias = self._kernels()
        together = x.shape[1]
        if x.device.type == "cpu" and not torch.compiler.is_compiling():
            of_a_step = x[:, 0, 0].numel() * len(weight) * x.element_size()
            together = max(1, _BLOCK_BYTES // of_a_step)
        convolve = functools.partial(F.conv2d, weight=weight, bias=bias, padding=self.padding)
        for some in x.split(together, 1):  # type: ignore[no-untyped-call]
            found = convolve(some.flatten(0, 1))
            yield from found.unflatten(0, some.shape[:2]).unbind(1)  # type: ignore[no-untyped-call]

    def _kernels(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of all that looks at x, the four gates first."""
        return self.input_conv.weight, self.input_conv.bias

    def _state(self, output: Tensor, skips: Sequence[Tensor], states: Sequence[Tensor]) -> Tensor:
        """h_t from o_t ⊙ tanh(c_t), what further kernels give of x_t, and earlier states."""
        return output


class EnhancedConvLSTM(ConvLSTM):
    """ConvLSTM with skips in time and space (Miyoshi et al., "Facial-Expression Recognition from
    Video Using Enhanced Convolutional LSTM"). x (B, T, C, H, W) -> h (B, T, hidden, H, W).

        h_t = GroupNorm(o_t ⊙ tanh(c_t) + h_{t-2} + W_xs * x_t), and h_{-1} = h_{-2} = 0

    temporal_skip   the term h_{t-2}
    spatial_skip    the term W_xs * x_t, of the layer's own kernel size and without a bias
    norm            group normalisation (Wu and He, ECCV 2018) with a scale and a shift a channel,
                    the same at every step. Groups are ours: as many as divide `hidden`, 32 at most

    The others are those of ConvLSTM, whose weights fit. W_xs starts as in Glorot and Bengio.
    """

    def __init__(
        self,
        channels: int,
        hidden: int,
        kernel_size: int = 3,
        peephole: bool = True,
        size_hw: tuple[int, int] | None = None,
        temporal_skip: bool = True,
        spatial_skip: bool = True,
        norm: bool = True,
    ) -> None:
        super().__init__(channels, hidden, kernel_size, peephole, size_hw)
        self.temporal_skip = temporal_skip
        self.skip_conv: nn.Conv2d | None = None
        if spatial_skip:
            self.skip_conv = nn.Conv2d(
                channels, hidden, kernel_size, padding=self.padding, bias=False
            )
            nn.init.xavier_uniform_(self.skip_conv.weight)
        groups = max(n for n in range(1, min(hidden, _GROUPS) + 1) if hidden % n == 0)
        self.norm = nn.GroupNorm(groups, hidden) if norm else None

    def _kernels(self) -> tuple[Tensor, Tensor | None]:
        weight, bias = super()._kernels()
        if self.skip_conv is None or bias is None:
            return weight, bias
        return torch.cat([weight, self.skip_conv.weight]), F.pad(bias, (0, self.hidden))

    def _state(self, output: Tensor, skips: Sequence[Tensor], states: Sequence[Tensor]) -> Tensor:
        for of_x in skips:
            output = output + of_x
        if self.temporal_skip and len(states) > 1:
            output = output + states[-2]
        return output if self.norm is None else self.norm(output)


def _padding(kernel_size: int) -> int:
    """By which maps keep their size. Raises SpecError."""
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise SpecError(f"kernel_size must be odd, so that maps keep their size: {kernel_size}.")
    return kernel_size // 2


def _tanh(x: Tensor) -> Tensor:
    """tanh, to 2e-7 in float32: on a CPU torch computes 2σ(2x) - 1 in a fifth of tanh's time."""
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return x.tanh()
    return (2 * x).sigmoid().mul(2).sub_(1)
