"""Memory of training the body networks at the paper's size, with and without checkpointing.

    python benchmarks/memory.py [--steps 3] [--batch 2]

A row is a process of its own: a few training steps (forward, cross-entropy, backward, Adam) on
random clips of 32 frames of 112 x 112, one thread. The peak is the largest resident set of the
process, torch's own memory included. The first step, which fills caches, is not timed. Checkpointed
rows are told as ratios to the same row without: of time, the medians'.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

import torch
from measuring import machine, spread, table
from models import training_step

from emoscope import models

NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "convlstm-body": ("convlstm-body", {}),
    "deformable-convlstm": ("deformable-convlstm", {}),
    "deformable-convlstm, modulated": ("deformable-convlstm", {"modulated": True}),
}
PRECISIONS = ("32-true", "bf16-mixed")
LIMIT_MIB = 4000 * 1e6 / 2**20


def own_row(network: str, precision: str, checkpointing: bool, steps: int, batch: int) -> None:
    """Train in this process; print its peak in MiB and the CPU seconds of every step."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    name, options = NETWORKS[network]
    model: Any = models.create(name, activation_checkpointing=checkpointing, **options)
    adam = torch.optim.Adam(model.parameters(), lr=1e-5)
    inputs = model.example_inputs(batch)

    def forward() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
            logits: torch.Tensor = model(**inputs)
        return logits.float()

    times_s = []
    for _ in range(steps + 1):
        start = time.process_time()
        training_step(model, adam, forward)
        times_s.append(time.process_time() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"peak_mib": peak, "times_s": times_s[1:]}))


def measured(network: str, precision: str, checkpointing: bool, args: argparse.Namespace) -> Any:
    """The same in a process of its own."""
    row = json.dumps([network, precision, checkpointing, args.steps, args.batch])
    done = subprocess.run(
        [sys.executable, __file__, "--row", row], stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout)


def rows_of(network: str, precision: str, args: argparse.Namespace) -> list[list[str]]:
    """Without and with checkpointing."""
    rows, plain = [], None
    for checkpointing in (False, True):
        found = measured(network, precision, checkpointing, args)
        plain = plain or found
        middle, plain_middle = (statistics.median(of["times_s"]) for of in (found, plain))
        rows.append(
            [
                network,
                precision,
                "yes" if checkpointing else "no",
                f"{found['peak_mib']:.0f}",
                "yes" if found["peak_mib"] < LIMIT_MIB else "no",
                spread(found["times_s"], ".1f"),
                f"{found['peak_mib'] / plain['peak_mib']:.2f}",
                f"{middle / plain_middle:.2f}",
            ]
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--row", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.row:
        own_row(*args.row)
        return
    rows = [row for name in NETWORKS for kind in PRECISIONS for row in rows_of(name, kind, args)]
    header = ["network", "precision", "checkpointing", "peak MiB", "fits in 4 GB"]
    print(table([*header, "CPU-s a step", "times the memory", "times the time"], rows))
    print(
        f"\nBatch {args.batch}, {args.steps} steps, median (min to max), one thread. "
        f"torch {torch.__version__}. {machine()}."
    )


if __name__ == "__main__":
    main()
