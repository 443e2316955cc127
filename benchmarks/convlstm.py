"""CPU time of the gated ConvLSTM: what hoisting gives, what nine deformable steps cost.

    python benchmarks/convlstm.py [--repeats 5]

One thread, process time, random input. The layer is the body networks' (256 channels to 256, 3 x 3,
16 steps of 28 x 28) beside the same one with the input's convolutions and gates inside the loop
over steps, after a look whether they agree. The networks are whole and of their own size, a clip a
step. Gradients come to each form in the memory format of its answer, as a network's do. What is
compared takes turns within a repeat, after a turn that is not counted; a ratio is of
one repeat.

Hoisting makes large tensors. glibc gives blocks above 32 MiB back to the system when they are freed
and pays for every page of the next; "kept" is the same in a process that keeps them.
"""

import argparse
import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from measuring import machine, spread, table
from models import Times, answer, measured, training_step
from torch import Tensor, nn

from emoscope import models
from emoscope.models.body import salient_steps
from emoscope.models.convlstm import GatedConvLSTM

CHANNELS, STEPS, SIDE = 256, 16, 28


def step_by_step(layer: GatedConvLSTM, x: Tensor) -> Tensor:
    """The layer with everything inside the loop."""
    h = c = x.new_zeros(())
    states = []
    for t, frame in enumerate(x.unbind(1)):
        convolve = layer._deformed if t in layer.deformable_steps else layer.input_conv
        gates, candidate = layer.input_gates(frame.mean((2, 3))), convolve(frame)
        if t > 0:
            gates = gates + layer.hidden_gates(h.mean((2, 3)))
            candidate = candidate + layer.hidden_conv(h)
        i, f, o = gates.sigmoid()[..., None, None].chunk(3, 1)
        c = f * c + i * candidate.tanh()
        h = o * c.tanh()
        states.append(h)
    return torch.stack(states, 1)


def ratio(times: Times, over: str, under: str) -> str:
    """Ratio of the times of two jobs, repeat by repeat."""
    return spread(np.divide(times[over], times[under]).tolist(), ".3f")


def keep_memory() -> None:
    """From now on the process keeps what it has freed. On other C libraries than glibc, nothing."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        trim_threshold, mmap_threshold = -1, -3
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(mmap_threshold, 2**30)


def layer_row(
    deformable_steps: Sequence[int], batch: int, repeats: int, memory: str = ""
) -> list[str]:
    """Both forms of a layer: times, and hoisted over not."""
    torch.manual_seed(0)
    layer = GatedConvLSTM(CHANNELS, CHANNELS, deformable_steps=deformable_steps)
    x = torch.randn(batch, STEPS, CHANNELS, SIDE, SIDE, requires_grad=True)
    forms: dict[str, Callable[[], Tensor]] = {
        "hoisted": lambda: layer(x),
        "in the loop": lambda: step_by_step(layer, x),
    }
    found = {name: answer(form) for name, form in forms.items()}
    torch.testing.assert_close(*found.values(), atol=1e-4, rtol=1e-4)
    weight = torch.randn_like(x)
    weights = {name: torch.empty_like(of).copy_(weight) for name, of in found.items()}
    del found

    def trained(name: str) -> None:
        layer.zero_grad()
        x.grad = None
        forms[name]().backward(weights[name])  # type: ignore[no-untyped-call]

    work: dict[str, Callable[[], object]] = {}
    for name, form in forms.items():
        work[name] = lambda form=form: answer(form)  # type: ignore[misc]
        work[f"{name}, trained"] = lambda name=name: trained(name)  # type: ignore[misc]
    times = measured(work, batch, repeats)
    kind = f"{len(deformable_steps)} deformable steps" if deformable_steps else "plain"
    cells = [f"{kind}{memory}", str(batch)]
    for suffix in ("", ", trained"):
        hoisted, looped = f"hoisted{suffix}", f"in the loop{suffix}"
        cells += [spread(times[hoisted], ".0f"), spread(times[looped], ".0f")]
        cells.append(ratio(times, hoisted, looped))
    return cells


def network_rows(repeats: int) -> list[list[str]]:
    """A training step of the plain network, and of those with deformable steps."""
    networks: dict[str, Any] = {
        "convlstm-body": models.create("convlstm-body"),
        "deformable-convlstm": models.create("deformable-convlstm"),
        "deformable-convlstm, modulated": models.create("deformable-convlstm", modulated=True),
    }
    work = {name: _step_of(network) for name, network in networks.items()}
    times = measured(work, 1, repeats)
    plain = next(iter(networks))
    return [
        [name, f"{_count(network):,}", spread(times[name], ".0f"), ratio(times, name, plain)]
        for name, network in networks.items()
    ]


def _step_of(network: Any) -> Callable[[], object]:
    adam = torch.optim.Adam(network.parameters(), lr=1e-5)
    inputs = network.example_inputs(1)
    return lambda: training_step(network, adam, lambda: network(**inputs))


def _count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print("The layer, CPU-ms a clip; trained is forward and backward:\n")
    header = ["steps", "batch", "hoisted", "in the loop", "ratio"]
    rows = [
        layer_row(steps, batch, args.repeats)
        for steps in ((), salient_steps(STEPS))
        for batch in (1, 4)
    ]
    networks = network_rows(args.repeats)
    keep_memory()
    rows.append(layer_row((), 4, args.repeats, ", kept"))
    rows.append(layer_row(salient_steps(STEPS), 4, args.repeats, ", kept"))
    print(table([*header, *(f"{name}, trained" for name in header[2:])], rows))
    print("\nA training step of the whole network (32 frames of 112 x 112), CPU-ms:\n")
    header = ["network", "parameters", "a step", "times the plain network's"]
    print(table(header, networks))
    print(
        f"\n{args.repeats} repeats, median (min to max), one thread. Wanted: hoisted never above "
        f"1, nine steps at most 1.25. torch {torch.__version__}. {machine()}."
    )


if __name__ == "__main__":
    main()
