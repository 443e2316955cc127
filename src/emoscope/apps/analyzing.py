"""`emoscope analyze`: many files with one analyzer; a file that fails does not stop the others."""

import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from emoscope.analysis.analyzer import Analyzer
from emoscope.core.errors import EmoscopeError, MediaError
from emoscope.core.options import AnalyzeOptions
from emoscope.core.results import Timeline
from emoscope.media.files import check_writable
from emoscope.media.reading.container import SOUND_SUFFIXES, VIDEO_SUFFIXES
from emoscope.media.reading.images import is_image
from emoscope.media.video import probe
from emoscope.reports.formats import write_report
from emoscope.reports.palette import UNSURE

__all__ = ["Request", "analyze_all"]


@dataclass(frozen=True)
class Request:
    """The arguments of `emoscope analyze`."""

    videos: tuple[Path, ...]
    model: str
    options: AnalyzeOptions
    start_s: float
    end_s: float | None
    out: Path | None
    formats: tuple[str, ...]
    to_stdout: bool
    quiet: bool
    debug: bool


def analyze_all(request: Request) -> int:
    """Analyse all files, write the reports, and list the failures at the end.

    Returns the number of failures. Raises EmoscopeError if no file can be analysed at all, because
    of the model, the detector or the output folder."""
    # Names of files are printed as they are, even :smile: and [b].
    console = Console(
        stderr=True,
        quiet=request.quiet,
        soft_wrap=True,
        highlight=False,
        markup=False,
        emoji=False,
    )
    folder = request.out or Path.cwd()
    if request.formats:
        check_writable(folder)
    analyzer = Analyzer(request.model, request.options)
    if "rate_hz" in request.options.model_fields_set and not analyzer.uses_rate:
        console.print(f"--rate has no effect: {analyzer.name} is not a model of single images.")
    failures: list[str] = []
    stems: set[str] = set()
    for path in _inputs(request.videos, analyzer.looks, failures):
        try:
            with _progress(path, request, console) as progress:
                timeline = analyzer.analyze(
                    path, start_s=request.start_s, end_s=request.end_s, progress=progress
                )
                if request.formats:
                    stem = _unused_stem(path, stems)
                    write_report(timeline, folder, request.formats, video=path, stem=stem)
        except EmoscopeError as error:
            if request.debug:
                traceback.print_exc()
            failures.append(str(error))
            continue
        if request.to_stdout:
            _print_json(timeline)
        console.print(_summary_line(path, timeline, analyzer.looks))
    for failure in failures:
        sys.stderr.write(f"emoscope: {failure}\n")
    return len(failures)


def _inputs(given: tuple[Path, ...], looks: bool, failures: list[str]) -> Iterator[Path]:
    """Yield the files to analyse.

    A folder stands for its videos, or for itself if it holds numbered images. For a model of sound
    alone it stands for its videos and sound files. Hidden files and the annotated videos that
    `--format mp4` writes are left out."""
    suffixes = VIDEO_SUFFIXES if looks else VIDEO_SUFFIXES | SOUND_SUFFIXES
    for path in given:
        try:
            files = sorted(path.iterdir()) if path.is_dir() else None
        except OSError:
            files = None  # the analysis reports what is wrong
        if files is None:
            yield path
            continue
        files = [
            file
            for file in files
            if file.is_file() and not file.name.startswith(".") and ".annotated." not in file.name
        ]
        recordings = [item for item in files if item.suffix.lower() in suffixes]
        if recordings:
            yield from recordings
        elif looks and any(is_image(item) for item in files):
            yield path
        else:
            kinds = "videos or images" if looks else "videos or sound files"
            failures.append(f"{path}: the folder has no {kinds}. Choose another one.")


def _unused_stem(path: Path, stems: set[str]) -> str:
    """A name for the reports of a file that no earlier file has."""
    candidates = [path.stem, re.sub(r"\W", "_", path.name)]
    candidates += [f"{path.stem}-{i}" for i in range(2, len(stems) + 3)]
    stem = next(name for name in candidates if name not in stems)
    stems.add(stem)
    return stem


def _print_json(timeline: Timeline) -> None:
    """Print one line to standard output. Raises MediaError, for example if the disk is full."""
    try:
        sys.stdout.write(json.dumps(timeline.to_dict(), allow_nan=False) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise  # the reader has closed the pipe
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else flushed again at exit
        raise MediaError(f"Standard output cannot be written: {error.strerror}.") from None


def _summary_line(path: Path, timeline: Timeline, looks: bool) -> str:
    """The leading emotions of each face, or of the voice."""
    people = timeline.summary()
    if not people:
        nobody = "no face seen" if looks else "no voice heard"
        voice = ", but a voice heard" if timeline.seen.any() else ""
        return f"{path}: {nobody}{voice}"
    parts = []
    for person in people[:4]:
        best = sorted(person.probabilities.items(), key=lambda item: -item[1])[:3]
        named = ", ".join(f"{label} {value:.0%}" for label, value in best if value >= 0.05)
        unsure = "" if person.leading else f"{UNSURE}: "
        parts.append(f"#{person.track} {unsure}{named} ({person.seen_s:.1f} s)")
    count = f"{len(people)} {'face' if looks else 'voice'}{'s' if len(people) > 1 else ''}"
    return f"{path}: {count}; {'; '.join(parts)}"


@contextmanager
def _progress(
    path: Path, request: Request, console: Console
) -> Iterator[Callable[[float], None] | None]:
    """A progress bar over the seconds of the video on a terminal; nothing elsewhere."""
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
        duration_s = 0.0  # the analysis reports what is wrong
    end_s = min(request.end_s or duration_s, duration_s)
    with Progress(*columns, console=console, transient=True) as bar:
        total = end_s - request.start_s if end_s > request.start_s else None
        task = bar.add_task(path.name, total=total)
        yield lambda seconds: bar.update(task, completed=seconds - request.start_s)
