"""Effect of eight-bit weights on a trained face model: size, time, accuracy, beside float32.

    python benchmarks/eight_bits.py [--run RUN] [--ferplus DIR]

RUN is a finished run of `recipes/face-ferplus-refined.toml` (by default runs/face-ferplus-refined).
Its float32 weights are quantised twice: as ONNX Runtime does when it is told nothing else (every
operator, ranges from least to largest), and as `[bundle] precision = "int8"` does. Ranges are set
by pictures of the training side, accuracy is of the valid part.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from measuring import machine, percent, spread, table, unpacked
from stills import Still, read_stills

from emoscope.analysis.bundle import softmax
from emoscope.core.clipspec import ClipSpec
from emoscope.corpora.manifest import Sample
from emoscope.corpora.readers.ferplus import read_ferplus
from emoscope.media.clips import Material, finish
from emoscope.media.reading.images import read_image
from emoscope.training.jobs import prepare_run
from emoscope.training.metrics import accuracy, bootstrap_ci, uar, uar_ci
from emoscope.training.networks.dataset import ClipDataset
from emoscope.training.networks.onnx_graph import in_eight_bits, network_graph, quantised
from emoscope.training.run_folder import RunFolder, read_run

SIDE = (48, 48)
REPEATS, CALLS = 9, 50

FloatArray = npt.NDArray[np.floating]


def seen(picture: npt.NDArray[np.uint8], spec: ClipSpec) -> FloatArray:
    """(1, 1, 48, 48) of a still that is a face from edge to edge."""
    return finish(Material({SIDE: picture[None]}, {}, {}), spec)["gray"]


def learned_from(run: RunFolder, root: Path, spec: ClipSpec) -> ClipDataset:
    """The training side of the run, its pictures read from `root`."""
    there = {(s.path.parent.name, s.path.name): s.path for s in read_ferplus(root).samples}
    samples = [run.samples[row] for row in run.planned[0]["train"]]

    def load(sample: Sample) -> Material:
        path = there[sample.path.parent.name, sample.path.name]
        return Material({SIDE: np.asarray(read_image(path))[None]}, {}, {})

    return ClipDataset(samples, run.labels, spec, load)


def opened(graph: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def times_ms(sessions: Sequence[ort.InferenceSession], one: FloatArray) -> list[list[float]]:
    """Times for one picture on one thread, the sessions in turns."""
    took: list[list[float]] = [[] for _ in sessions]
    for _ in range(REPEATS):
        for session, spent in zip(sessions, took, strict=True):
            begun_s = time.thread_time()
            for _ in range(CALLS):
                session.run(None, {"gray": one})
            spent.append(1000 * (time.thread_time() - begun_s) / CALLS)
    return took


def answers(session: ort.InferenceSession, pictures: FloatArray) -> FloatArray:
    """(N, C) probabilities."""
    parts = np.split(pictures, range(100, len(pictures), 100))
    logits = [np.asarray(session.run(None, {"gray": part})[0]) for part in parts]
    return softmax(np.concatenate(logits))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--run", type=Path, default=Path("runs/face-ferplus-refined"))
    parser.add_argument("--ferplus", type=Path)
    args = parser.parse_args()
    root, run = args.ferplus or unpacked("ferplus"), read_run(args.run)
    model = prepare_run(run).trained_network(run)
    spec = model.clip_spec
    stills: list[Still] = read_stills(root, "valid")
    pictures = np.stack([seen(still.picture, spec) for still in stills])
    truth = np.array([still.truth for still in stills])
    clips, graph = learned_from(run, root, spec), network_graph(model)
    graphs = {
        "float32": graph,
        "int8, every operator, least to largest": quantised(graph, clips),
        'int8, as `precision = "int8"`': in_eight_bits(graph, clips),
    }
    sessions = [opened(one) for one in graphs.values()]
    took = times_ms(sessions, pictures[:1])
    exact, rows = answers(sessions[0], pictures), []
    for name, session, spent in zip(graphs, sessions, took, strict=True):
        said = answers(session, pictures)
        guess = said.argmax(axis=1)
        apart = (exact * np.log(exact / said)).sum(axis=1).mean()
        rows.append(
            [
                name,
                f"{len(graphs[name].SerializeToString()) / 1e6:.1f}",
                spread(spent),
                percent(accuracy(truth, guess), bootstrap_ci(guess == truth)),
                percent(uar(truth, guess), uar_ci(truth, guess)),
                f"{100 * (guess == exact.argmax(axis=1)).mean():.1f}",
                f"{apart:.5f}",
            ]
        )
    header = ("", "MB", "CPU-ms a face, one thread", "accuracy, %", "UAR, %")
    print(table([*header, "same label, %", "KL from float32, nats"], rows))
    parameters = sum(p.numel() for p in model.parameters())
    print(
        f"\n{run.recipe.name}, {parameters:,} parameters; {len(truth)} pictures of the valid part, "
        f"training prior. Times: median (min to max) of {REPEATS} means over {CALLS} calls, in "
        f"turns. {machine()}."
    )


if __name__ == "__main__":
    main()
