"""Emoscope beside the Python package `fer`: the same pictures, the same film, in one run.

    python benchmarks/peers.py [--model NAME_OR_PATH ...] [--ferplus DIR] [--skip-install]

`fer` classifies with mini-XCEPTION, by default as a quantised TensorFlow Lite file, on request as a
Keras model, and finds faces with OpenCV's Haar cascade, its default. It looks for faces in every
frame anew; Emoscope follows them in between. It runs in an environment of its own, which `pip
install` makes in the benchmarks' cache folder at the first run: its dependencies with TensorFlow
for the CPU only, and without the one that brings torch, for a detector that is not measured. All
but the pictures is asked of all tools in turns. Linux only.
"""

import argparse
import csv
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from footprint import installed_mb
from measuring import CACHE, SHARED, machine, percent, spread, table, unpacked
from peers_tools import FER, LOG, NEEDED, Tool, Worker, environment, resolved_mb, site_mb

from emoscope.analysis.bundle import load_bundle
from emoscope.core.labels import LABEL_SETS, canonical
from emoscope.core.processors import usable_processors
from emoscope.corpora.readers.ferplus import read_ferplus
from emoscope.media.video import probe, read_frames
from emoscope.media.writer import write_video
from emoscope.training.metrics import (
    accuracy,
    bootstrap_ci,
    paired_bootstrap,
    per_class,
    uar,
    uar_ci,
)

CLIP = SHARED / "clips" / "pyfeat_single_face.mp4"
CALLS = 50  # of the classifier, for one time
Answers = dict[str, dict[str, float]]  # picture -> label -> probability


@dataclass(frozen=True)
class Task:
    """Pictures with one of these labels each."""

    name: str
    labels: tuple[str, ...]
    paths: tuple[str, ...]
    truth: npt.NDArray[np.integer]

    def predicted(self, answers: Answers) -> npt.NDArray[np.integer]:
        """The most probable of these labels; one that a tool does not know it never says."""
        shares = [[answers[path].get(label, -1.0) for label in self.labels] for path in self.paths]
        return np.asarray(shares).argmax(axis=1)


def task(name: str, labels: tuple[str, ...], pictures: Sequence[tuple[Path, str]]) -> Task:
    """Select the pictures whose label is among these."""
    kept = [(str(path), labels.index(label)) for path, label in pictures if label in labels]
    paths, truth = zip(*kept, strict=True)
    return Task(name, labels, paths, np.array(truth))


def tasks(root: Path) -> tuple[Task, ...]:
    """The valid part by the votes of FER+ and by the labels of FER2013."""
    eight, seven = LABEL_SETS["ferplus8"].labels, LABEL_SETS["fer2013"].labels
    voted: list[tuple[Path, str]] = []
    clear: list[tuple[Path, str]] = []
    for sample in read_ferplus(root).samples:
        second, first = sorted(sample.votes or ())[-2:]
        if sample.split == "valid" and first > second:
            voted.append((sample.path, sample.label))
            clear += [voted[-1]] * (first > 0.5)
    with (root / "fer2013_labels.csv").open(newline="") as lines:
        labelled = [
            (root / row["folder"] / row["image"], canonical(row["emotion"]))
            for row in csv.DictReader(lines)
            if row["folder"] == "FER2013Valid"
        ]
    return (
        task("FER+, 8 classes", eight, voted),
        task("FER+, over half of the votes for one of 8", eight, clear),
        task("FER+, the 7 classes that both know", seven, voted),
        task("FER2013, 7 classes", seven, labelled),
    )


def answers_of(tool: Tool, paths: Sequence[str]) -> Answers:
    with Worker(tool) as ask:
        said = {path: ask(still=path) for path in paths}
    return {
        path: {canonical(label): share for label, share in shares.items()}
        for path, shares in said.items()
    }


def columns_of_stills(fers: Sequence[Tool], owns: Sequence[Tool]) -> list[Tool]:
    """A picture is a face from edge to edge: `fer` is not to add its ten pixels around it."""
    columns = [tool.having(offsets=(0, 0)) for tool in fers]
    return columns + [
        replace(tool.having(detector="none", prior=prior), name=f"{tool.name}, prior {prior}")
        for tool in owns
        for prior in ("train", "uniform")
    ]


def emphasised(values: Sequence[float], cells: Sequence[str]) -> list[str]:
    """The best in bold."""
    best = max(values)
    return [
        f"**{cell}**" if value == best else cell for value, cell in zip(values, cells, strict=True)
    ]


def accuracies(judged: Sequence[Task], said: dict[str, Answers]) -> Iterator[list[str]]:
    """Two rows a task."""
    for one in judged:
        guesses = [one.predicted(answers) for answers in said.values()]
        right = [accuracy(one.truth, guess) for guess in guesses]
        spans = [bootstrap_ci(guess == one.truth) for guess in guesses]
        counted = f"{one.name} ({len(one.truth)} pictures)"
        yield [f"{counted}: accuracy", *emphasised(right, list(map(percent, right, spans)))]
        recalls = [uar(one.truth, guess) for guess in guesses]
        spans = [uar_ci(one.truth, guess) for guess in guesses]
        yield [f"{one.name}: UAR", *emphasised(recalls, list(map(percent, recalls, spans)))]


def differences(judged: Sequence[Task], said: dict[str, Answers]) -> Iterator[list[str]]:
    """Points that each column has more than the first, paired."""
    for one in judged:
        first, *others = (one.predicted(answers) for answers in said.values())
        for metric in ("accuracy", "uar"):
            gains = (paired_bootstrap(one.truth, first, guess, metric=metric) for guess in others)
            parts = ((100 * part for part in (g.difference, g.low, g.high)) for g in gains)
            cells = ["{:+.1f} ({:+.1f} to {:+.1f})".format(*three) for three in parts]
            yield [f"{one.name}: {metric if metric == 'accuracy' else 'UAR'}", *cells]


def recalls_by_class(one: Task, said: dict[str, Answers]) -> str:
    tables = [per_class(one.truth, one.predicted(a), one.labels) for a in said.values()]
    rows = []
    for label in one.labels:
        values = [figures[label]["recall"] for figures in tables]
        count = tables[0][label]["samples"]
        cells = emphasised(values, [f"{100 * value:.1f}" for value in values])
        rows.append([f"{label} ({count:.0f})", *cells])
    return table([f"{one.name}: recall, %", *said], rows)


def report_stills(judged: Sequence[Task], columns: Sequence[Tool]) -> None:
    paths = sorted({path for one in judged for path in one.paths})
    said = {tool.name: answers_of(tool, paths) for tool in columns}
    print("Percent, 95 % intervals over pictures, the best in bold:\n")
    print(table(["", *said], list(accuracies(judged, said))))
    print(
        "\nThe pictures are FER2013's PublicTest part. FER+: the class with most votes; ties, and "
        "rows topped by unknown or no face, are left out. `fer` has no contempt: where that is one "
        "of 8, each such picture counts as wrong for it. Of 7, a probability of contempt is passed "
        "over. UAR is the mean of the classes' recalls. The training script that mini-XCEPTION's "
        "authors published learns from the first four fifths of FER2013, which are its Training "
        "part, and lets the rest, these pictures among it, decide on epoch and learning rate; it "
        "leaves copies of these pictures in Training. If `fer` has its weights from there, that "
        "favours it.\n"
    )
    first, *others = said
    print(f"Points more than {first}, paired over pictures:\n")
    print(table(["", *others], list(differences(judged, said))), end="\n\n")
    for one in (judged[0], judged[-1]):
        print(recalls_by_class(one, said), end="\n\n")


def in_turns(tools: Sequence[Tool], repeats: int, **job: Any) -> list[tuple[Any, ...]]:
    """Answers of each worker, `repeats` times after one that is not counted."""
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(tool)) for tool in tools]
        turns = [[ask(**job) for ask in workers] for _ in range(repeats + 1)][1:]
        return list(zip(*turns, strict=True))


def report_face(tools: Sequence[Tool], repeats: int) -> None:
    rows = []
    for name, processors in (("one processor", 1), (f"all {usable_processors()} processors", None)):
        bound = [replace(tool, processors=processors) for tool in tools]
        took = in_turns(bound, repeats, face=CALLS)
        for unit, key in (("CPU-ms", "cpu_s"), ("ms", "wall_s")):
            cells = [spread([1000 * turn[key] for turn in turns]) for turns in took]
            rows.append([f"{name}, {unit} a face", *cells])
    print(table(["the classifier alone", *(tool.name for tool in tools)], rows))
    print(f"\nOne face a call, means of {CALLS} calls, {repeats} times.\n")


def scaled_up(clip: Path) -> Path:
    """The clip as 1280 x 720, made once."""
    path = CACHE / f"{clip.stem}-720p.mp4"
    if not path.is_file():
        write_video(path, (replace(f, rgb=enlarged(f.rgb)) for f in read_frames(clip)))
    return path


def enlarged(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.asarray(cv2.resize(rgb, (1280, 720), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def numbers(film: Path, rate_hz: float | None) -> list[int]:
    """Which of the film's frames Emoscope looks at."""
    every = [frame.time_s for frame in read_frames(film)]
    return [every.index(frame.time_s) for frame in read_frames(film, rate_hz=rate_hz)]


def rows_of_film(
    film: Path, rate_hz: float | None, fers: Sequence[Tool], owns: Sequence[Tool], repeats: int
) -> Iterator[list[str]]:
    info, wanted = probe(film), numbers(film, rate_hz)
    tools = [*fers, *(tool.having(rate_hz=rate_hz) for tool in owns)]
    took = in_turns(tools, repeats, film=str(film), frames=wanted)
    for tool, turns in zip(tools, took, strict=True):
        looked, found = turns[0]["gave"]
        yield [
            f"{info.width} x {info.height}, {'every frame' if rate_hz is None else '10 Hz'}",
            tool.name,
            spread([info.num_frames / turn["wall_s"] for turn in turns], ".0f"),
            spread([turn["cpu_s"] / info.duration_s for turn in turns]),
            f"{found} of {looked}",
            f"{turns[-1]['peak_mib']:.0f}",
        ]


def report_films(fers: Sequence[Tool], owns: Sequence[Tool], repeats: int) -> None:
    header = (
        "film",
        "",
        "its frames a second",
        "CPU-s a second of film",
        "face found in",
        "peak MiB",
    )
    rows = [
        row
        for film in (CLIP, scaled_up(CLIP))
        for rate_hz in (None, 10.0)
        for row in rows_of_film(film, rate_hz, fers, owns, repeats)
    ]
    print(table(header, rows))
    print(
        f"\n{CLIP.name}, {probe(CLIP).duration_s:g} s, as it is and scaled up: decoded, faces "
        "found and classified, the models being loaded. All look at the same frames, and decode "
        "the ones between. Peak: resident memory of a fresh process that does this and nothing "
        f"else. Median (min to max) of {repeats} turns.\n"
    )


def started(tool: Tool) -> dict[str, float]:
    with Worker(tool) as ask:
        return ask.ready


def report_start(tools: Sequence[Tool], repeats: int) -> None:
    ready = [[started(tool) for tool in tools] for _ in range(repeats)]
    names = {"import_s": "to import", "ready_s": "to import and load the model"}
    rows = [
        [f"{name}, s", *(spread([turn[i][key] for turn in ready]) for i in range(len(tools)))]
        for key, name in names.items()
    ]
    print(table(["fresh process", *(tool.name for tool in tools)], rows), end="\n\n")


def report_sizes(python: str, *, skip_install: bool) -> None:
    measured: dict[str, Callable[[], float]] = {
        "Emoscope, `pip install .`": installed_mb,
        "the environment that `fer` ran in: TensorFlow for the CPU, no torch": lambda: site_mb(
            python
        ),
    }
    if not skip_install:
        name = f"`pip install {FER}`, which brings TensorFlow, and torch with CUDA"
        measured[name] = resolved_mb
    rows = [[name, f"{size():,.0f} MB"] for name, size in measured.items()]
    print(table(["installed, without bytecode", ""], rows), end="\n\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--model", action="append", help="face-ferplus; several make more columns")
    parser.add_argument("--ferplus", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--skip-install", action="store_true")
    args = parser.parse_args()
    CACHE.mkdir(exist_ok=True)
    LOG.unlink(missing_ok=True)
    python = environment(CACHE / "fer", NEEDED, ("--no-deps", FER))
    fers = [
        Tool("`fer`", python, "fer", {}),
        Tool("`fer`, Keras", python, "fer", {"use_tflite": False}),
    ]
    owns = [
        Tool(f"Emoscope, {own.name}", sys.executable, "emoscope", {"model": str(own.path)})
        for own in map(load_bundle, args.model or ["face-ferplus"])
    ]
    report_stills(tasks(args.ferplus or unpacked("ferplus")), columns_of_stills(fers, owns))
    report_face([*fers, *owns], args.repeats)
    report_films(fers, owns, args.repeats)
    report_start([*fers, *owns], args.repeats)
    report_sizes(python, skip_install=args.skip_install)
    print(f"{FER} with {NEEDED[1]}. Median (min to max). {machine()}.")


if __name__ == "__main__":
    main()
