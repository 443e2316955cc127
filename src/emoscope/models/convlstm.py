"""Convolutional LSTM layers: x (B, T, C, H, W) -> h (B, T, hidden, H, W).

ConvLSTM is from Shi et al., NIPS 2015, arXiv:1506.04214; each class names the paper of its variant.
Convolutions of the input do not depend on the recurrence and are computed for many steps at once.
"""

from collections.abc import Collection, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emoscope.core.errors import SpecError
from emoscope.models.deformable import deform_conv2d

__all__ = ["ConvLSTM", "EnhancedConvLSTM", "GatedConvLSTM"]

_GROUPS = 32
# glibc returns freed blocks above 32 MiB to the system, and the next one causes page faults. With
# 8 MiB, training is as fast as with one call per step; with 16 MiB it is slower.
_BLOCK_BYTES = 2**23


class GatedConvLSTM(nn.Module):
    """ConvLSTM with gates computed from pooled maps (Zhang et al., NeurIPS 2018, no attention).

    x (B, T, C, H, W) -> h (B, T, hidden, H, W). With x̄ and h̄ the means of x_t and h_{t-1} over
    space, one value per channel,

        i = σ(W_xi x̄ + W_hi h̄ + b_i), likewise f, o    g = tanh(W_xg * x_t + W_hg * h_{t-1} + b_g)
        c_t = f ⊙ c_{t-1} + i ⊙ g                       h_t = o ⊙ tanh(c_t)

    channels           channels of x
    hidden             channels of h
    kernel_size        of both convolutions; odd
    deformable_steps   steps at which W_xg * is a deformable convolution with the same kernel (Dai
                       et al., ICCV 2017); its offsets, from a convolution of x_t, start at zero
    modulated          weight the samples of deformable convolutions by 2σ(m) (Zhu et al., CVPR
                       2019, without the factor 2), which starts at one

    Convolutions are initialised as in He et al., ICCV 2015, as in the authors' code; b_f starts at
    1 (ours), so that the memory is kept. Raises SpecError for invalid settings.

    >>> import torch
    >>> from emoscope.models.convlstm import GatedConvLSTM
    >>> layer = GatedConvLSTM(channels=3, hidden=8, deformable_steps=(2, 3))
    >>> layer(torch.zeros(1, 5, 3, 16, 16)).shape
    torch.Size([1, 5, 8, 16, 16])
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
            raise SpecError(f"deformable_steps must be 0 or more, got {sorted(deformable_steps)}.")
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
            nn.init.zeros_(self.offset_conv.bias)  # type: ignore[arg-type]  # never None here

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C, H, W) -> (B, T, hidden, H, W).

        Raises SpecError for a clip that is too short for the deformable steps."""
        input_gates = self.input_gates(x.mean((3, 4))).unbind(1)
        input_candidates = self._input_candidates(x)
        h = c = x.new_zeros(())
        states = []
        for t, (gates, candidate) in enumerate(zip(input_gates, input_candidates, strict=True)):
            if t > 0:  # h is zero at t = 0
                gates = gates + self.hidden_gates(h.mean((2, 3)))
                candidate = candidate + self.hidden_conv(h)
            i, f, o = gates.sigmoid()[..., None, None].chunk(3, 1)
            c = f * c + i * candidate.tanh()
            h = o * c.tanh()
            states.append(h.permute(0, 2, 3, 1))
        return torch.stack(states, 1).permute(0, 1, 4, 2, 3)

    def _input_candidates(self, x: Tensor) -> list[Tensor]:
        """W_xg * x_t + b_g of every step: plain steps in one call, deformable ones in another.

        Maps are channels-last in memory, and those of one step contiguous, which is the fast layout
        for convolutions on a CPU; the copy is made once for all steps."""
        steps, deformable = range(x.shape[1]), self.deformable_steps
        if deformable and deformable[-1] >= len(steps):
            raise SpecError(
                f"Step {deformable[-1]} is deformable, but the clip has only {len(steps)} steps."
            )
        maps = x.permute(1, 0, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
        if not deformable:
            return list(self.input_conv(maps.flatten(0, 1)).unflatten(0, maps.shape[:2]))
        frames = maps.unbind()
        plain = [t for t in steps if t not in deformable]
        terms: dict[int, Tensor] = {}
        for group, convolve in ((plain, self.input_conv), (deformable, self._deformed)):
            if group:
                maps = convolve(torch.cat([frames[t] for t in group]))
                terms.update(zip(group, maps.unflatten(0, (len(group), -1)), strict=True))
        return [terms[t] for t in steps]

    def offsets_and_mask(self, output: Tensor) -> tuple[Tensor, Tensor | None]:
        """Split the output of `offset_conv`.

        Returns the offsets (N, 2·K, H, W) in pixels of the map, (y, x) for each point of the
        kernel, and the mask (N, K, H, W), None if the convolution is not modulated."""
        if not self.modulated:
            return output, None
        points = self.offset_conv.out_channels // 3
        offset, mask = output[:, : 2 * points], output[:, 2 * points :]
        return offset, 2 * mask.sigmoid()

    def _deformed(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, hidden, H, W), with the kernel of `input_conv`."""
        offset, mask = self.offsets_and_mask(self.offset_conv(x))
        conv = self.input_conv
        return deform_conv2d(x, offset, conv.weight, conv.bias, padding=self.padding, mask=mask)


class ConvLSTM(nn.Module):
    """ConvLSTM with peepholes (Shi et al., NIPS 2015, in the form of Miyoshi et al.).

    x (B, T, C, H, W) -> h (B, T, hidden, H, W). As in Miyoshi et al., o_t depends on c_{t-1}:

        i_t = σ(W_xi * x_t + W_hi * h_{t-1} + W_ci ⊙ c_{t-1} + b_i), likewise f_t and o_t
        c_t = f_t ⊙ c_{t-1} + i_t ⊙ tanh(W_xc * x_t + W_hc * h_{t-1} + b_c)
        h_t = o_t ⊙ tanh(c_t)

    channels      channels of x
    hidden        channels of h
    kernel_size   of all convolutions; odd
    peephole      use the terms W_ci, W_cf and W_co, maps (hidden, H, W) that fix the size of x
    size_hw       (H, W) of x; required with peepholes

    The papers do not give the initialisation. As in the code of E3D-LSTM (Wang et al., ICLR 2019),
    the kernels of the four gates together follow Glorot and Bengio, AISTATS 2010, b_f is 1 and
    other biases are zero; peepholes start at zero (ours). The cell state is float32 under autocast.
    Raises SpecError for invalid settings.

    >>> import torch
    >>> from emoscope.models.convlstm import ConvLSTM
    >>> layer = ConvLSTM(channels=3, hidden=8, kernel_size=5, size_hw=(16, 16))
    >>> layer(torch.zeros(1, 5, 3, 16, 16)).shape
    torch.Size([1, 5, 8, 16, 16])
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
            raise SpecError(
                "Peepholes need size_hw, the size (H, W) of x. Give it, or set peephole=False."
            )
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
        nn.init.zeros_(self.input_conv.bias)  # type: ignore[arg-type]  # never None here
        nn.init.ones_(self.input_conv.bias[hidden : 2 * hidden])  # type: ignore[index]

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C, H, W) -> (B, T, hidden, H, W).

        Raises SpecError if (H, W) is not the size of the peepholes."""
        peepholes, hidden, dtype = self.peepholes, self.hidden, self.hidden_conv.weight.dtype
        if peepholes is not None and x.shape[3:] != peepholes.shape[2:]:
            raise SpecError(
                f"The peepholes are maps of {tuple(peepholes.shape[2:])}, x is of "
                f"{tuple(x.shape[3:])}: build the layer with size_hw of x."
            )
        states: list[Tensor] = []
        c = x.new_zeros(1, 1, 1, 1, dtype=dtype)
        for terms in self._input_terms(x):
            input_term, *skips = terms.split(4 * hidden, 1)  # type: ignore[no-untyped-call]
            sums = input_term.to(dtype)
            if states:  # h is zero before the first step
                sums = self.hidden_conv(states[-1]).to(dtype).add_(input_term)
            gates, candidate = sums.split((3 * hidden, hidden), 1)
            gates = gates.unflatten(1, (3, hidden))
            if peepholes is not None:
                gates = torch.addcmul(gates, peepholes, c.unsqueeze(1))
            i, f, o = gates.sigmoid().unbind(1)
            c = torch.addcmul(f * c, i, _tanh(candidate))
            states.append(self._state(o * _tanh(c), skips, states))
        return torch.stack(states, 1)

    def _input_terms(self, x: Tensor) -> Iterator[Tensor]:
        """Yield the convolutions of x_t for every step.

        All steps are computed in one call; on a CPU, in blocks of about `_BLOCK_BYTES`."""
        weight, bias = self._input_kernels()
        steps = x.shape[1]
        if x.device.type == "cpu" and not torch.compiler.is_compiling():
            step_bytes = x[:, 0, 0].numel() * len(weight) * x.element_size()
            steps = max(1, _BLOCK_BYTES // step_bytes)
        for block in x.split(steps, 1):  # type: ignore[no-untyped-call]
            maps = F.conv2d(block.flatten(0, 1), weight, bias, padding=self.padding)
            yield from maps.unflatten(0, block.shape[:2]).unbind(1)  # type: ignore[no-untyped-call]

    def _input_kernels(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of all convolutions of x_t, those of the four gates first."""
        return self.input_conv.weight, self.input_conv.bias

    def _state(self, output: Tensor, skips: Sequence[Tensor], states: Sequence[Tensor]) -> Tensor:
        """Compute h_t from o_t ⊙ tanh(c_t), further convolutions of x_t, and previous states."""
        return output


class EnhancedConvLSTM(ConvLSTM):
    """ConvLSTM with temporal and spatial skip connections (Miyoshi et al., "Facial-Expression
    Recognition from Video Using Enhanced Convolutional LSTM").

    x (B, T, C, H, W) -> h (B, T, hidden, H, W). The equations of `ConvLSTM` with

        h_t = GroupNorm(o_t ⊙ tanh(c_t) + h_{t-2} + W_xs * x_t), where h_{-1} = h_{-2} = 0

    temporal_skip   use the term h_{t-2}
    spatial_skip    use the term W_xs * x_t, with the layer's kernel size and no bias
    norm            use group normalisation (Wu and He, ECCV 2018) with a scale and a shift per
                    channel, shared by all steps. The number of groups is ours: the largest divisor
                    of `hidden` up to 32

    The other options are those of `ConvLSTM`, whose weights can be loaded. W_xs is initialised as
    in Glorot and Bengio.

    >>> import torch
    >>> from emoscope.models.convlstm import EnhancedConvLSTM
    >>> layer = EnhancedConvLSTM(channels=3, hidden=8, size_hw=(16, 16))
    >>> layer(torch.zeros(1, 5, 3, 16, 16)).shape
    torch.Size([1, 5, 8, 16, 16])
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

    def _input_kernels(self) -> tuple[Tensor, Tensor | None]:
        weight, bias = super()._input_kernels()
        if self.skip_conv is None or bias is None:
            return weight, bias
        return torch.cat([weight, self.skip_conv.weight]), F.pad(bias, (0, self.hidden))

    def _state(self, output: Tensor, skips: Sequence[Tensor], states: Sequence[Tensor]) -> Tensor:
        for skip in skips:
            output = output + skip
        if self.temporal_skip and len(states) > 1:
            output = output + states[-2]
        return output if self.norm is None else self.norm(output)


def _padding(kernel_size: int) -> int:
    """Padding that preserves the size of maps. Raises SpecError for an even kernel size."""
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise SpecError(f"kernel_size must be odd to preserve the size of maps, got {kernel_size}.")
    return kernel_size // 2


def _tanh(x: Tensor) -> Tensor:
    """tanh to 2e-7 in float32; on a CPU as 2σ(2x) - 1, which torch computes five times faster."""
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return x.tanh()
    return (2 * x).sigmoid().mul(2).sub_(1)
