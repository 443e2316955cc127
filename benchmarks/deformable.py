"""Cost of a deformable convolution over an ordinary one, forward and with its gradients.

    python benchmarks/deformable.py [--threads 1] [--repeats 9]

Process time at (16, 256, 28, 28), 256 filters of 3 x 3, random offsets of 1.5 px; all take turns
within a repeat, after one that is not counted, and ratios are taken within a repeat. Beside ours:
the obvious version, `grid_sample` into columns and a matrix product, and ONNX Runtime's DeformConv.
Memory is what the peak resident size of a process of its own grows by in its first call. With more
threads set OMP_WAIT_POLICY=passive, or process time counts how long they spin for each other.
"""

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
import torch.nn.functional as F
from measuring import machine, spread, table
from onnx import TensorProto, helper
from torch import Tensor

from emoscope.models.deformable import deform_conv2d

BATCH, CHANNELS, SIDE = 16, 256, 28
Jobs = dict[str, Callable[[], object]]


def by_grid_sample(x: Tensor, offset: Tensor, weight: Tensor) -> Tensor:
    """3 x 3, padded by 1: the version that comes to mind first."""
    (batch, channels, height, width), points = x.shape, 9
    offset = offset.view(batch, points, 2, height, width)
    steps = torch.arange(points)
    y = offset[:, :, 0] + torch.arange(height)[:, None] + (steps // 3 - 1)[:, None, None]
    x_px = offset[:, :, 1] + torch.arange(width) + (steps % 3 - 1)[:, None, None]
    grid = torch.stack([(2 * x_px + 1) / width - 1, (2 * y + 1) / height - 1], -1)
    samples = F.grid_sample(x, grid.flatten(1, 2), align_corners=False)
    columns = samples.view(batch, channels * points, height * width)
    return (weight.flatten(1) @ columns).view(batch, -1, height, width)


def in_onnx_runtime(inputs: dict[str, Tensor], threads: int) -> Callable[[], object]:
    node = helper.make_node(
        "DeformConv", ["x", "weight", "offset"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]
    )
    infos = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, tensor.shape)
        for name, tensor in inputs.items()
    ]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "deformable", infos, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    arrays = {name: tensor.detach().numpy() for name, tensor in inputs.items()}
    return lambda: session.run(None, arrays)[0]


def jobs(threads: int) -> Jobs:
    """Everything that is timed, after a look whether all three compute the same."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(BATCH, CHANNELS, SIDE, SIDE, generator=rng, requires_grad=True)
    weight = torch.randn(CHANNELS, CHANNELS, 3, 3, generator=rng, requires_grad=True)
    offset = torch.randn(BATCH, 18, SIDE, SIDE, generator=rng).mul_(1.5).requires_grad_()
    mask = torch.rand(BATCH, 9, SIDE, SIDE, generator=rng, requires_grad=True)
    forwards: dict[str, Callable[[], Tensor]] = {
        "conv2d": lambda: F.conv2d(x, weight, padding=1),
        "deform_conv2d": lambda: deform_conv2d(x, offset, weight, padding=1),
        "deform_conv2d, masked": lambda: deform_conv2d(x, offset, weight, padding=1, mask=mask),
        "grid_sample": lambda: by_grid_sample(x, offset, weight),
    }
    runtime = in_onnx_runtime({"x": x, "weight": weight, "offset": offset}, threads)
    grad = torch.randn(BATCH, CHANNELS, SIDE, SIDE, generator=rng)
    made: Jobs = {}
    for name, forward in forwards.items():
        made[f"{name} forward"] = lambda forward=forward: without_gradients(forward)  # type: ignore[misc]
        made[f"{name} both"] = lambda forward=forward: torch.autograd.backward(forward(), grad)  # type: ignore[misc]
    made["ONNX Runtime forward"] = runtime
    return made


def without_gradients(forward: Callable[[], Tensor]) -> Tensor:
    with torch.no_grad():
        return forward()


def agree(work: Jobs) -> None:
    """All deformable ones, to a thousandth of the outputs' spread of about 48."""
    ours = np.asarray(work["deform_conv2d forward"]())
    for name in ("grid_sample forward", "ONNX Runtime forward"):
        np.testing.assert_allclose(np.asarray(work[name]()), ours, atol=0.05)


def measured(work: Jobs, repeats: int) -> dict[str, list[float]]:
    """CPU milliseconds of every job in turn, over and over."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for repeat in range(repeats + 1):
        for name, job in work.items():
            start = time.process_time()
            job()
            if repeat:
                times[name].append(1000 * (time.process_time() - start))
    return times


def peak_mib() -> float:
    """Peak memory of this process; `ru_maxrss` would include its parent's."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    return int(found[1]) / 1024 if found else float("nan")


def memory(name: str, threads: int) -> str:
    """MiB, from a process of its own."""
    command = [sys.executable, __file__, "--threads", str(threads), "--memory-of", name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return f"{float(done.stdout):.0f}"


def row(name: str, times: dict[str, list[float]], threads: int) -> list[str]:
    cells = [name]
    for what in ("forward", "both"):
        job = f"{name} {what}"
        if job not in times:
            cells += ["-", "-", "-"]
            continue
        ratios = np.divide(times[job], times[f"conv2d {what}"]).tolist()
        cells += [spread(times[job], ".0f"), spread(ratios), memory(job, threads)]
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--memory-of", metavar="JOB", help="print only what one job needs, in MiB")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    work = jobs(args.threads)
    if args.memory_of:
        before = peak_mib()
        work[args.memory_of]()
        print(peak_mib() - before)
        return
    agree(work)
    times = measured(work, args.repeats)
    header = ["", "forward CPU-ms", "over conv2d", "MiB"]
    header += ["forward + backward CPU-ms", "over conv2d", "MiB"]
    names = dict.fromkeys(job.rpartition(" ")[0] for job in work)
    print(table(header, [row(name, times, args.threads) for name in names]))
    print(
        f"\nWanted: forward <= 3.5, forward + backward <= 3. {args.repeats} repeats, median (min "
        f"to max), {args.threads} thread(s). torch {torch.__version__}, ONNX Runtime "
        f"{ort.__version__}. {machine()}."
    )


if __name__ == "__main__":
    main()
