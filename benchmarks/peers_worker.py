"""One tool, one job a line of standard input: see benchmarks/peers.py.

    python peers_worker.py SETTINGS

SETTINGS is JSON: {"tool": "fer" | "emoscope", "options": of `FER` or `Analyzer`, "processors": 1 or
null for all}. Answers are JSON, one line each: first how long the start took, then of every job
what it asks for. Linux only. It needs the tool it runs and nothing else, for `fer` lives in an
environment of its own.
"""

import importlib
import itertools
import json
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"


class Tool(Protocol):
    """Requests that both tools can answer."""

    def still(self, path: str) -> dict[str, float]:
        """{label: probability} of a picture that is a face from edge to edge."""

    def film(self, path: str, frames: Sequence[int]) -> tuple[int, int]:
        """How many frames were looked at, and in how many a face was found."""

    def face(self) -> Callable[[], object]:
        """The classifier alone, on one face of random pixels that is ready for it."""


class Fer:
    """The package `fer`; a film is decoded by OpenCV, as its own `Video` does."""

    def __init__(self, **options: Any) -> None:
        self.tool = importlib.import_module("fer.fer").FER(**options)
        self.cv2 = importlib.import_module("cv2")
        self.classify = self.tool._classify_emotions
        self.tool._classify_emotions = self.kept

    def kept(self, faces: Any) -> Any:
        """`detect_emotions` rounds to two digits, which would make ties."""
        self.said = self.classify(faces)
        return self.said

    def still(self, path: str) -> dict[str, float]:
        picture = self.cv2.imread(path)
        height, width = picture.shape[:2]
        self.tool.detect_emotions(picture, [(0, 0, width, height)])
        names = self.tool._get_labels()
        return {names[i]: float(share) for i, share in enumerate(self.said[0])}

    def film(self, path: str, frames: Sequence[int]) -> tuple[int, int]:
        wanted, looked, found = set(frames), 0, 0
        film = self.cv2.VideoCapture(path)
        for number in itertools.count():
            if not film.grab():
                return looked, found
            if number in wanted:
                looked += 1
                found += bool(self.tool.detect_emotions(film.retrieve()[1]))
        raise AssertionError("unreachable")

    def face(self) -> Callable[[], object]:
        rng = importlib.import_module("numpy").random.default_rng(0)
        face = rng.uniform(-1, 1, (1, 64, 64)).astype("float32")
        return lambda: self.classify(face)


class Emoscope:
    """`Analyzer`; the frames are those of its own grid, and are counted."""

    def __init__(self, **options: Any) -> None:
        self.tool = importlib.import_module("emoscope").Analyzer(**options)
        self.np = importlib.import_module("numpy")

    def still(self, path: str) -> dict[str, float]:
        rows = self.tool.analyze(path)
        return dict(zip(rows.labels, rows.probs[0].tolist(), strict=True))

    def film(self, path: str, frames: Sequence[int]) -> tuple[int, int]:
        rows = self.tool.analyze(path)
        starts = rows.spans_s[:, 0]
        looked, found = (len(self.np.unique(s)) for s in (starts, starts[rows.track >= 0]))
        if looked != len(frames):
            raise ValueError(f"{path}: {looked} frames were looked at, {len(frames)} asked for")
        return looked, found

    def face(self) -> Callable[[], object]:
        bundle, rng = self.tool.bundle, self.np.random.default_rng(0)
        inputs = {
            name: rng.random((1, *shape), dtype="float32")
            for name, shape in bundle.clip_spec.shapes().items()
        }
        return lambda: bundle.predict(inputs, prior=self.tool.prior)


TOOLS: dict[str, tuple[str, Callable[..., Tool]]] = {
    "fer": ("fer.fer", Fer),
    "emoscope": ("emoscope.analysis.analyzer", Emoscope),
}


def timed(job: Callable[[], object], times: int = 1) -> dict[str, Any]:
    """Result of the last run, and the mean wall and processor seconds of one run."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(times):
        gave = job()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"gave": gave, "wall_s": wall / times, "cpu_s": cpu / times}


def peak_mib() -> float:
    """Peak memory of this process; `getrusage` would include its parent's before the start."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024


def done(tool: Tool, job: dict[str, Any]) -> object:
    if "still" in job:
        return tool.still(job["still"])
    if "film" in job:
        took = timed(lambda: tool.film(job["film"], job["frames"]))
        return took | {"peak_mib": peak_mib()}
    face = tool.face()
    face()
    took = timed(face, job["face"])
    return {name: took[name] for name in ("wall_s", "cpu_s")}


def main() -> None:
    settings = json.loads(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the libraries say does not get between the answers
    if settings["processors"] == 1:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    module, kind = TOOLS[settings["tool"]]
    start = time.perf_counter()
    importlib.import_module(module)
    imported = time.perf_counter() - start
    tool = kind(**settings["options"])
    ready = {"import_s": imported, "ready_s": time.perf_counter() - start}
    print(json.dumps(ready), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(done(tool, json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
