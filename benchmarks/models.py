"""CPU time of every network at its own size: forward, exported, and a training step.

    python benchmarks/models.py [NAME...] [--repeats 3] [--batches 1 32]

One thread of torch and one of ONNX Runtime, process time, random input. A training step is forward,
cross-entropy, backward and Adam. Everything of one network and batch takes turns within a repeat,
after a turn that is not counted. Networks that see several frames or groups of frames run their
towers as one batched call; beside it stands the same network with a Python loop over them. Of
single-frame the loop is over the batch, as over the frames of one sequence.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
import torch.nn.functional as F
from measuring import machine, spread, table
from torch import Tensor, nn

from emoscope import models
from emoscope.analysis.bundle import BundleCard
from emoscope.training.export.bundle import export_bundle

# Minutes a step on one thread; benchmarks/memory.py and four_stream.py have some of theirs.
_LONG = ("convlstm-body", "deformable-convlstm", "four-stream", "lstm")
_MOST_FRAMES = 320  # a batch: more do not fit into memory

Forward = Callable[[], Tensor]
Times = dict[str, list[float]]  # CPU milliseconds a clip, of every repeat


def frame_by_frame(model: Any, rgb: Tensor) -> Tensor:
    return torch.cat([model(rgb[i : i + 1]) for i in range(len(rgb))])


def late_loop(model: Any, rgb: Tensor) -> Tensor:
    return model.head(torch.cat([model.trunk(rgb[:, i]) for i in range(2)], 1))


def slow_loop(model: Any, rgb: Tensor) -> Tensor:
    first = [model.block1(rgb[:, i : i + 4].flatten(1, 2)) for i in (0, 2, 4, 6)]
    second = [model.block2(torch.cat(pair, 1)) for pair in (first[:2], first[2:])]
    return model.head(model.block3(torch.cat(second, 1)))


def gru_loop(model: Any, rgb: Tensor) -> Tensor:
    features = torch.stack([model.trunk(rgb[:, i]) for i in range(rgb.shape[1])], 1)
    return model.classifier(model.gru(features)[1][-1])


LOOPS: dict[str, Callable[..., Tensor]] = {
    "single-frame": frame_by_frame,
    "late-fusion": late_loop,
    "slow-fusion": slow_loop,
    "cnn-gru": gru_loop,
}


def exported(model: Any, classes: int) -> ort.InferenceSession:
    """The network as a bundle, in one thread."""
    card = BundleCard(
        name="benchmark",
        version="1",
        modality="face",
        labels=tuple(map(str, range(classes))),
        clip_spec=model.clip_spec,
        temperature=1.0,
        prior=(1 / classes,) * classes,
        licence="none",
        trained_on="nothing",
        figures={},
    )
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "benchmark.onnx"
        export_bundle(model, card, path)
        return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def training_step(model: nn.Module, adam: torch.optim.Optimizer, forward: Forward) -> None:
    """One step towards one class."""
    model.train()
    logits = forward()
    adam.zero_grad()
    loss = F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long))
    loss.backward()  # type: ignore[no-untyped-call]
    adam.step()
    model.eval()


def answer(forward: Forward) -> Tensor:
    """Without gradients."""
    with torch.inference_mode():
        return forward()


def jobs(
    name: str, model: Any, session: ort.InferenceSession, batch: int
) -> dict[str, Callable[[], object]]:
    """The calls to time for one network, after a check that loop and batched call agree."""
    inputs: Mapping[str, Tensor] = model.example_inputs(batch)
    arrays = {stream: tensor.numpy() for stream, tensor in inputs.items()}
    adam = torch.optim.Adam(model.parameters(), lr=1e-5)
    forwards: dict[str, Forward] = {"": lambda: model(**inputs)}
    if name in LOOPS and not (name == "single-frame" and batch == 1):
        forwards["loop "] = lambda: LOOPS[name](model, **inputs)
        torch.testing.assert_close(*map(answer, forwards.values()), atol=1e-4, rtol=1e-4)
    made: dict[str, Callable[[], object]] = {"exported": lambda: session.run(None, arrays)}
    for prefix, forward in forwards.items():
        made[f"{prefix}forward"] = lambda forward=forward: answer(forward)  # type: ignore[misc]
        if not (prefix and name == "single-frame"):  # which trains on one frame of a sequence
            made[f"{prefix}step"] = lambda forward=forward: training_step(  # type: ignore[misc]
                model, adam, forward
            )
    return made


def measured(work: Mapping[str, Callable[[], object]], batch: int, repeats: int) -> Times:
    """Every job in turn, over and over."""
    times: Times = {name: [] for name in work}
    for repeat in range(repeats + 1):
        for name, job in work.items():
            start = time.process_time()
            job()
            if repeat:
                times[name].append(1000 * (time.process_time() - start) / batch)
    return times


def ratios(times: Times, what: str) -> str:
    """The loop's time over the batched call's, repeat by repeat."""
    if f"loop {what}" not in times:
        return "-"
    return spread(np.divide(times[f"loop {what}"], times[what]).tolist())


def rows_of(
    name: str, batches: Sequence[int], repeats: int
) -> tuple[list[list[str]], list[list[str]]]:
    """Rows of times, and rows of loop over batched call, for one network."""
    torch.manual_seed(0)
    model: Any = models.create(name).eval()
    classes = model(**model.example_inputs(1)).shape[1]
    count = f"{sum(p.numel() for p in model.parameters()):,}"
    session = exported(model, classes)
    times_rows, loop_rows = [], []
    for batch in batches:
        if batch * model.clip_spec.length > _MOST_FRAMES:
            continue
        times = measured(jobs(name, model, session, batch), batch, repeats)
        columns = (spread(times[what], ".1f") for what in ("forward", "exported", "step"))
        times_rows.append([name, count, str(batch), *columns])
        if "loop forward" in times:
            loop_rows.append([name, str(batch), ratios(times, "forward"), ratios(times, "step")])
    return times_rows, loop_rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    quick = [name for name in models.names() if not name.endswith(_LONG)]
    parser.add_argument("names", nargs="*", default=quick, metavar="NAME")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32])
    args = parser.parse_args()
    torch.set_num_threads(1)
    times_rows, loop_rows = [], []
    for name in args.names:
        times, loops = rows_of(name, args.batches, args.repeats)
        times_rows += times
        loop_rows += loops
    print("CPU-ms a clip:\n")
    header = ["network", "parameters", "batch", "forward", "exported", "training step"]
    print(table(header, times_rows))
    if loop_rows:
        print("\nA Python loop over towers, times the CPU time of one batched call:\n")
        print(table(["network", "batch", "forward", "training step"], loop_rows))
    print(
        f"\n{args.repeats} repeats, median (min to max), one thread. torch {torch.__version__}, "
        f"ONNX Runtime {ort.__version__}. {machine()}."
    )


if __name__ == "__main__":
    main()
