"""`emoscope analyze`: many files with one analyzer; a file that fails does not stop the others."""

import json
import os
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
from emoscope.media.reading.images import UNREADABLE_SUFFIXES, is_animated, is_film, is_image
from emoscope.media.video import probe
from emoscope.reports.formats import FORMATS, write_report
from emoscope.reports.names import report_stem
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
    inputs = (
        path for given in request.videos for path in _inputs(given, analyzer, console, failures)
    )
    for path in inputs:
        renamed = ""
        try:
            with _progress(path, request, console) as progress:
                timeline = analyzer.analyze(
                    path, start_s=request.start_s, end_s=request.end_s, progress=progress
                )
                if request.formats:
                    reports = write_report(timeline, folder, request.formats, video=path)
                    renamed = _renamed(path, reports[0], request.formats[0])
        except EmoscopeError as error:
            if request.debug:
                traceback.print_exc()
            failures.append(str(error))
            continue
        if request.to_stdout:
            _print_json(timeline)
        console.print(_summary_line(path, timeline, analyzer.looks))
        for note in (*timeline.provenance.notes, renamed):
            if note:
                console.print(f"{path}: note: {note}")
    for failure in failures:
        sys.stderr.write(f"emoscope: {failure}\n")
    return len(failures)


def _renamed(path: Path, report: Path, format_name: str) -> str:
    """A note if the reports are not named after the file, "" otherwise."""
    usual = report_stem(path)
    stem = report.name.removesuffix(FORMATS[format_name].suffix)
    if stem == usual:
        return ""
    return f"its reports are named {stem}: {usual} is taken by another recording, model or file"


def _inputs(
    given: Path, analyzer: Analyzer, console: Console, failures: list[str]
) -> Iterator[Path]:
    """Yield the files to analyse: a file itself, or the recordings in a folder and its subfolders.

    Prints how the images of a folder are read, and counts what the model cannot use."""
    try:
        is_folder = given.is_dir()
    except OSError:
        is_folder = False  # the analysis reports what is wrong
    if not is_folder:
        yield given
        return
    is_empty, visited, left_out = True, set[Path](), list[str]()
    for path in _recordings(given, analyzer, console, visited, left_out):
        is_empty = False
        yield path
    if is_empty:
        kinds = "videos or images" if analyzer.looks else "videos or sound files"
        failures.append(f"{given}: the folder has no {kinds}. Choose another one.")
    else:
        for line in left_out:
            console.print(line)


def _recordings(
    folder: Path, analyzer: Analyzer, console: Console, visited: set[Path], left_out: list[str]
) -> Iterator[Path]:
    """Yield the recordings in a folder and its subfolders; links are followed.

    Hidden files, the annotated videos that `--format mp4` writes and folders in `visited` are left
    out. Files that the model cannot use are counted in `left_out`, one line per folder."""
    real = folder.resolve()
    if real in visited:  # a link to a folder that has been read, or that this one is in
        return
    visited.add(real)
    files: list[Path] = []
    subfolders: list[Path] = []
    try:
        for item in sorted(folder.iterdir()):
            if not item.name.startswith(".") and ".annotated." not in item.name:
                (subfolders if item.is_dir() else files).append(item)
    except OSError:
        yield folder  # the analysis reports what is wrong
        return
    videos = [item for item in files if item.suffix.lower() in VIDEO_SUFFIXES]
    sounds = [item for item in files if item.suffix.lower() in SOUND_SUFFIXES]
    images = [item for item in files if is_image(item)]
    if analyzer.looks and is_film(images):
        console.print(f"{folder}: {len(images)} numbered images, read as a film at 25 fps")
        yield from (*videos, folder)
        unused = _count(len(sounds), "sound file")
    elif analyzer.looks:
        pictures = [image for image in images if not is_animated(image)]
        if pictures:
            console.print(f"{folder}: {_count(len(pictures), 'picture')}, read one by one")
        yield from sorted(videos + images)
        unused = _count(len(sounds), "sound file")
    else:
        yield from sorted(videos + sounds)
        unused = _count(len(images), "picture")
    if unused:
        needs = "a picture" if analyzer.looks else "sound"
        left_out.append(f"{folder}: {unused} left out: {analyzer.name} needs {needs}")
    unreadable = [item for item in files if item.suffix.lower() in UNREADABLE_SUFFIXES]
    if unreadable and analyzer.looks:
        kinds = ", ".join(sorted({item.suffix.lower() for item in unreadable}))
        left_out.append(
            f"{folder}: {_count(len(unreadable), 'picture')} left out: {kinds} cannot be read;"
            " convert to JPEG"
        )
    for subfolder in subfolders:
        yield from _recordings(subfolder, analyzer, console, visited, left_out)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number > 1 else ''}" if number else ""


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
        nothing = "no face seen" if looks else "no voice heard"
        voice = ", but a voice heard" if timeline.seen.any() else ""
        return f"{path}: {nothing}{voice}"
    parts = []
    for person in people[:4]:
        best = sorted(person.probabilities.items(), key=lambda item: -item[1])[:3]
        named = ", ".join(f"{label} {value:.0%}" for label, value in best if value >= 0.05)
        unsure = "" if person.leading else f"{UNSURE}: "
        parts.append(f"#{person.track} {unsure}{named} ({person.seen_s:.1f} s)")
    count = _count(len(people), "face" if looks else "voice")
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
