"""Gradient that reaches the first of 64 frames: both skips and the normalisation, on and off.

    python benchmarks/gradients.py [--seeds 7]

Fresh Enhanced ConvLSTM layers and random input, in float64: no times, the same at every run.
"""

import argparse
import itertools
import statistics

import torch
from measuring import spread, table

from emoscope.models.convlstm import EnhancedConvLSTM

STEPS, CHANNELS, HIDDEN, SIDE = 64, 16, 64, 7
OPTIONS = ("temporal_skip", "spatial_skip", "norm")
Chosen = tuple[bool, ...]


def reaches(chosen: Chosen, seed: int) -> tuple[float, float]:
    """Norm of the gradient at the first frame and at the last, of h_last in a random direction of
    length 1."""
    torch.manual_seed(seed)
    options = dict(zip(OPTIONS, chosen, strict=True))
    layer = EnhancedConvLSTM(CHANNELS, HIDDEN, size_hw=(SIDE, SIDE), **options).double()
    generator = torch.Generator().manual_seed(seed)
    shape = (1, STEPS, CHANNELS, SIDE, SIDE)
    x = torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
    last = layer(x)[:, -1]
    direction = torch.randn(last.shape, generator=generator, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(last, x, direction / direction.norm())
    return float(gradient[:, 0].norm()), float(gradient[:, -1].norm())


def verdict(medians: dict[Chosen, float]) -> str:
    """Effect of each option on the gradient at the first frame, alone and with the others."""

    def times(over: Chosen, under: Chosen) -> str:
        return f"{medians[over] / medians[under]:.1e} times"

    none, norm = (False, False, False), (False, False, True)
    return (
        f"At the first frame the temporal skip alone makes it {times((True, False, False), none)} "
        f"what it is without any of the three, normalisation alone {times(norm, none)}, the "
        f"spatial skip alone {times((False, True, False), none)}, all three "
        f"{times((True, True, True), none)}. Where there is normalisation, the temporal skip makes "
        f"it {times((True, False, True), norm)} what it was, the spatial skip "
        f"{times((False, True, True), norm)}; where there is that, too, the temporal skip "
        f"{times((True, True, True), (False, True, True))}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows, medians = [], {}
    for chosen in itertools.product((False, True), repeat=3):
        found = [reaches(chosen, seed) for seed in range(args.seeds)]
        first = [one for one, _ in found]
        medians[chosen] = statistics.median(first)
        marks = ["yes" if on else "-" for on in chosen]
        shares = [one / last for one, last in found]
        rows.append([*marks, spread(first, ".1e"), spread(shares, ".1e")])
    print(
        f"The norm of the gradient at the first of {STEPS} frames, of the last state in a random "
        f"direction of length 1, and the same over the gradient at the last frame, which takes "
        f"away what only scales a state. Layers of {CHANNELS} channels to {HIDDEN}, 3 x 3, maps of "
        f"{SIDE} x {SIDE}, as they start (the forget gate's bias at 1); frames are independent "
        f"noise. {args.seeds} seeds, median (min to max).\n"
    )
    header = ["temporal skip", "spatial skip", "normalisation", "first frame", "first over last"]
    print(table(header, rows))
    print(f"\n{verdict(medians)} torch {torch.__version__}.")


if __name__ == "__main__":
    main()
