"""`emoscope analyze`: many files through one analyzer; a bad one does not stop the others."""

import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from emoscope.analysis.system import open_analyzer
from emoscope.core.errors import EmoscopeError, MediaError
from emoscope.core.results import Timeline, TrackSummary
from emoscope.media.files import check_writable
from emoscope.media.reading.container import SOUND_SUFFIXES, VIDEO_SUFFIXES
from emoscope.media.reading.images import is_image
from emoscope.media.video import probe
from emoscope.reports.formats import write_report
from emoscope.reports.palette import UNSURE

__all__ = ["Request", "analyze_all"]


@dataclass(frozen=True)
class Request:
    """What the user asked for."""

    videos: tuple[Path, ...]
    model: str
    out: Path | None
    formats: tuple[str, ...]
    rate_hz: float | None
    rate_given: bool
    detector: str
    start_s: float
    end_s: float | None
    backend: str
    prior: Literal["uniform", "train"]
    vote: str | None
    speaker: Literal["all", "mouth"] | None
    smooth_s: float | None
    min_confidence: float
    to_stdout: bool
    quiet: bool
    debug: bool


def analyze_all(request: Request) -> int:
    """Analyse every input, report as asked, name what failed at the end. Returns how many failed.

    Raises EmoscopeError where nothing could be analysed at all: no such model or detector."""
    console = _console(request.quiet)
    if request.formats:
        check_writable(request.out or Path.cwd())
    analyzer = open_analyzer(
        request.model,
        speaker=request.speaker,
        detector=request.detector,
        rate_hz=request.rate_hz,
        backend=request.backend,
        prior=request.prior,
        vote=request.vote,
        smooth_s=request.smooth_s,
        min_confidence=request.min_confidence,
    )
    if request.rate_given and not analyzer.takes_rate:
        console.print(f"--rate is for image models: {analyzer.name} has its own windows.")
    failures: list[str] = []
    stems: set[str] = set()
    for path in _inputs(request.videos, analyzer.listens, failures):
        try:
            with _progress(path, request, console) as report:
                timeline = analyzer.analyze(
                    path, start_s=request.start_s, end_s=request.end_s, progress=report
                )
                _write(timeline, path, _unused_stem(path, stems), request)
        except EmoscopeError as error:
            if request.debug:
                traceback.print_exc()
            failures.append(str(error))
            continue
        if request.to_stdout:
            _print_json(timeline)
        console.print(_line(path, timeline, analyzer.listens))
    for failure in failures:
        sys.stderr.write(f"emoscope: {failure}\n")
    return len(failures)


def _console(quiet: bool) -> Console:
    """Standard error, with the names of files as they are: :smile: and [b] too."""
    return Console(
        stderr=True, quiet=quiet, soft_wrap=True, highlight=False, markup=False, emoji=False
    )


def _inputs(given: tuple[Path, ...], listens: bool, failures: list[str]) -> Iterator[Path]:
    """Each file; of a folder its videos, or the folder itself where it holds numbered images; for
    a voice model its videos and sound files."""
    suffixes = VIDEO_SUFFIXES | SOUND_SUFFIXES if listens else VIDEO_SUFFIXES
    kinds = "no video and no sound" if listens else "no video and no image"
    for path in given:
        try:
            files = _files(path) if path.is_dir() else None
        except OSError:
            files = None  # the analysis will say what is wrong
        if files is None:
            yield path
            continue
        recordings = [item for item in files if item.suffix.lower() in suffixes]
        if recordings:
            yield from recordings
        elif not listens and any(is_image(item) for item in files):
            yield path
        else:
            failures.append(f"{path}: the folder holds {kinds}. Name another one.")


def _files(folder: Path) -> list[Path]:
    """What a folder holds, but for hidden files and the films that `--format mp4` leaves."""
    return sorted(
        item
        for item in folder.iterdir()
        if item.is_file() and not item.name.startswith(".") and ".annotated." not in item.name
    )


def _unused_stem(path: Path, stems: set[str]) -> str:
    """A name for the reports that no earlier input of this call has."""
    candidates = [path.stem, re.sub(r"\W", "_", path.name)]
    candidates += [f"{path.stem}-{i}" for i in range(2, len(stems) + 3)]
    stem = next(name for name in candidates if name not in stems)
    stems.add(stem)
    return stem


def _write(timeline: Timeline, path: Path, stem: str, request: Request) -> None:
    if request.formats:
        folder = request.out or Path.cwd()
        write_report(timeline, folder, request.formats, video=path, stem=stem)


def _print_json(timeline: Timeline) -> None:
    """One line to standard output. Raises MediaError, as on a full disk behind it."""
    try:
        sys.stdout.write(json.dumps(timeline.to_dict(), allow_nan=False) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise  # the reader has had enough
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else flushed again at exit
        raise MediaError(f"Standard output cannot be written: {error.strerror}.") from None


def _line(path: Path, timeline: Timeline, listens: bool) -> str:
    """One file in one line: the leading emotions of each face, or of the voice."""
    people = timeline.summary()
    if not people:
        nobody = "no voice heard" if listens else "no face seen"
        return f"{path}: {nobody}{', but a voice heard' if timeline.seen.any() else ''}"
    count = f"{len(people)} {'voice' if listens else 'face'}{'s' if len(people) > 1 else ''}"
    return f"{path}: {count}; " + "; ".join(_leading(person) for person in people[:4])


def _leading(person: TrackSummary) -> str:
    best = sorted(person.probabilities.items(), key=lambda item: -item[1])[:3]
    named = ", ".join(f"{label} {value:.0%}" for label, value in best if value >= 0.05)
    unsure = "" if person.leading else f"{UNSURE}: "
    return f"#{person.track} {unsure}{named} ({person.seen_s:.1f} s)"


@contextmanager
def _progress(
    path: Path, request: Request, console: Console
) -> Iterator[Callable[[float], None] | None]:
    """A bar over the seconds of the video, on a terminal; nothing elsewhere."""
    if request.quiet or not console.is_terminal:
        yield None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
    )
    try:
        duration_s = probe(path).duration_s
    except MediaError:
        duration_s = 0.0  # the analysis will say what is wrong
    end_s = min(request.end_s or duration_s, duration_s)
    with Progress(*columns, console=console, transient=True) as bar:
        total = end_s - request.start_s if end_s > request.start_s else None
        task = bar.add_task(path.name, total=total)
        yield lambda seconds: bar.update(task, completed=seconds - request.start_s)
