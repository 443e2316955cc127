"""CPU time of ConvLSTM and Enhanced ConvLSTM layers beside Keras 3, compiled and un-hoisted.

    python benchmarks/convlstm_layers.py [--repeats 5]

One layer of 64 channels to 64, 3 x 3, on random x (4, 16, 64, 28, 28): inference, and training,
which is forward and the gradients of weights and x. One thread on one processor, process time.
Everything takes turns within a repeat, after a turn that is not counted; a ratio is of one repeat.

"in the loop" is the same layer with a call for each step's input convolution. Keras' ConvLSTM2D has
no peepholes; it runs in a process and an environment of its own, compiled by its backend (`pip
install` into the benchmarks' cache folder at the first run).
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from convlstm import ratio
from measuring import CACHE, machine, spread, table
from models import Times, answer
from torch import nn

from emoscope.models import convlstm
from emoscope.models.convlstm import ConvLSTM, EnhancedConvLSTM

CHANNELS, BATCH, STEPS, SIDE = 64, 4, 16, 28
WORK = ("inference", "training")
BACKENDS = {"tensorflow": "tensorflow-cpu", "jax": "jax"}
Turn = Callable[[str], float]  # inference or training -> ms


class Keras:
    """A worker: one job at a time."""

    def __init__(self, python: Path, backend: str) -> None:
        sizes = map(str, (CHANNELS, BATCH, STEPS, SIDE))
        script = Path(__file__).with_name("keras_worker.py")
        self.process = subprocess.Popen(
            [str(python), str(script), backend, *sizes],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.versions = self._line()

    def __call__(self, what: str) -> float:
        assert self.process.stdin
        print(what, file=self.process.stdin, flush=True)
        return float(self._line())

    def _line(self) -> str:
        assert self.process.stdout
        line = self.process.stdout.readline().strip()
        if not line:
            raise OSError("the worker ended")
        return line


def keras_or_reason(backend: str) -> Keras | str:
    """A worker whose jobs ran once, or why there is none."""
    folder = CACHE / f"keras-{backend}"
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    try:
        if not (folder / "ready").is_file():
            venv.create(folder, clear=True, with_pip=True)
            wanted = ["keras>=3", BACKENDS[backend]]
            pip = [str(python), "-m", "pip", "install", "--quiet", *wanted]
            subprocess.run(pip, check=True, stdout=sys.stderr)
            (folder / "ready").touch()
        worker = Keras(python, backend)
        for what in WORK:
            worker(what)
        return worker
    except (OSError, subprocess.SubprocessError) as error:
        return f"Keras on {backend}: not measured ({type(error).__name__})"


def turn_of(layer: nn.Module, block_bytes: int | None = None) -> Turn:
    """Inference or training once; with a block's size other than the layer's own."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(BATCH, STEPS, CHANNELS, SIDE, SIDE, generator=generator).requires_grad_()
    weight = torch.randn(BATCH, STEPS, CHANNELS, SIDE, SIDE, generator=generator)
    size = convlstm._BLOCK_BYTES if block_bytes is None else block_bytes

    def turn(what: str) -> float:
        layer.zero_grad()
        x.grad = None
        with mock.patch.object(convlstm, "_BLOCK_BYTES", size):
            start = time.process_time()
            if what == "inference":
                answer(lambda: layer(x))
            else:
                layer(x).backward(weight)
            return 1000 * (time.process_time() - start)

    return turn


def layers() -> dict[str, nn.Module]:
    made: dict[str, nn.Module] = {}
    for name, kind, options in (
        ("ConvLSTM without peepholes", ConvLSTM, {"peephole": False}),
        ("ConvLSTM", ConvLSTM, {}),
        ("EnhancedConvLSTM", EnhancedConvLSTM, {}),
    ):
        torch.manual_seed(0)
        settings: dict[str, Any] = {"size_hw": (SIDE, SIDE), **options}
        made[name] = kind(CHANNELS, CHANNELS, **settings)
    return made


def same(one: nn.Module) -> None:
    """The layer and its steps one by one agree."""
    x = torch.randn(1, 4, CHANNELS, SIDE, SIDE)
    whole = answer(lambda: one(x))
    with mock.patch.object(convlstm, "_BLOCK_BYTES", 1):
        torch.testing.assert_close(answer(lambda: one(x)), whole, atol=1e-4, rtol=1e-4)


def compiled(layer: nn.Module) -> Turn | str:
    """By torch.compile, after one turn of each kind, or why there is none."""
    turn = turn_of(torch.compile(layer))  # type: ignore[arg-type]
    try:
        for what in WORK:
            turn(what)
    except Exception as error:  # no C++ compiler, and whatever else it runs into
        return f"torch.compile: not measured ({type(error).__name__})"
    return turn


def measured(turns: Mapping[str, Turn], repeats: int) -> dict[str, Times]:
    """Everything in turn, over and over: ms by kind of work and name."""
    times: dict[str, Times] = {what: {name: [] for name in turns} for what in WORK}
    for repeat in range(repeats + 1):
        for what in WORK:
            for name, turn in turns.items():
                took = turn(what)
                if repeat:
                    times[what][name].append(took)
    return times


def rows_of(made: Mapping[str, nn.Module], times: dict[str, Times]) -> list[list[str]]:
    """Every layer beside the same in the loop, compiled, and Keras."""
    rows = []
    for name in made:
        others = [f"{name}, in the loop", f"{name}, compiled"]
        others += [other for other in times[WORK[0]] if other.startswith("Keras")]
        for other in others:
            if other not in times[WORK[0]]:
                continue
            row = [name, other.removeprefix(f"{name}, ")]
            for what in WORK:
                row += [spread(times[what][who], ".0f") for who in (name, other)]
                row.append(ratio(times[what], name, other))
            rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    made = layers()
    turns: dict[str, Turn] = {}
    for name, layer in made.items():
        same(layer)
        turns |= {name: turn_of(layer), f"{name}, in the loop": turn_of(layer, block_bytes=1)}
    with tempfile.TemporaryDirectory() as folder:  # so that compiling is not a look into a cache
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        start = time.perf_counter()
        turn = compiled(made["EnhancedConvLSTM"])
        if isinstance(turn, str):
            notes = [f"{turn}."]
        else:
            turns["EnhancedConvLSTM, compiled"] = turn
            notes = [f"torch.compile took {time.perf_counter() - start:.0f} s."]
        for backend in BACKENDS:
            worker = keras_or_reason(backend)
            if isinstance(worker, str):
                notes.append(f"{worker}.")
            else:
                turns[f"Keras on {backend}"] = worker
                notes.append(f"{worker.versions}.")
        times = measured(turns, args.repeats)
    header = ["layer", "beside"]
    for what in WORK:
        header += [f"{what}, ms", "the other, ms", "ratio"]
    print(table(header, rows_of(made, times)))
    print(
        f"\n{args.repeats} repeats, median (min to max), one thread. Wanted: ratios at most 1. "
        f"{' '.join(notes)} torch {torch.__version__}. {machine()}."
    )


if __name__ == "__main__":
    main()
