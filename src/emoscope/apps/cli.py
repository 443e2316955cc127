"""The command line. Everything heavy is imported by the command that needs it."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from emoscope.apps.cli_corpus import corpus_app
from emoscope.apps.cli_options import Debug, End, Start, check_span
from emoscope.apps.cli_training import add_training_commands
from emoscope.core.errors import EmoscopeError, UnknownName
from emoscope.core.version import VERSION

__all__ = ["app", "main"]

EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


class _Commands(TyperGroup):
    """What a command raises becomes one line and an exit code; `--debug` lets it through."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.echo("emoscope: interrupted; nothing half-written.", err=True)
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except EmoscopeError as error:
            if ctx.meta.get("debug"):
                raise
            typer.echo(f"emoscope: {error}", err=True)
            code = EXIT_USAGE if isinstance(error, UnknownName) else EXIT_FAILED
            raise typer.Exit(code) from None


app = typer.Typer(
    cls=_Commands,
    name="emoscope",
    help="Emotion in video, over time. Offline.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich would treble the time that --help takes
)


class SpeakerChoice(StrEnum):
    """Of several faces, whose the sound is."""

    all = "all"
    mouth = "mouth"


class PriorChoice(StrEnum):
    """Whether the class shares of the training data stay in the probabilities."""

    uniform = "uniform"
    train = "train"


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(f"emoscope {VERSION}")
        raise typer.Exit


Videos = Annotated[
    list[Path],
    typer.Argument(
        help="Videos, images, folders of videos, or folders of numbered images.",
        show_default=False,
    ),
]
Model = Annotated[
    str,
    typer.Option(help="An installed model's or system's name, a bundle's or system file's path."),
]
Out = Annotated[
    Path | None,
    typer.Option(help="Folder for the reports.", file_okay=False, show_default=False),
]
Formats = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="Any of json,csv,parquet,html,mp4, into --out or the current folder. "
        "With --out alone: json,csv,html.",
        show_default=False,
    ),
]
Rate = Annotated[
    str | None,
    typer.Option(
        help="Looks a second of an image model: a number or 'native'. By default 10.",
        show_default=False,
    ),
]
Detector = Annotated[
    str,
    typer.Option(
        help="auto (faces: haar, bodies: hog), haar, hog, lbp, lbp=PATH, yunet=PATH or none."
    ),
]
Backend = Annotated[str, typer.Option(help="onnxruntime or openvino.")]
Prior = Annotated[
    PriorChoice, typer.Option(help="Take the training data's class shares out (uniform) or not.")
]
Vote = Annotated[
    str | None,
    typer.Option(
        help="How windows, and a face's rows, make one label: sum-probability, max-probability or "
        "expressive-weighted. By default the last for an image model, else the first.",
        show_default=False,
    ),
]
Speaker = Annotated[
    SpeakerChoice | None,
    typer.Option(
        help="Of a system that looks and listens: whose the sound is where several faces show. By "
        "default as the system says.",
        show_default=False,
    ),
]
Smooth = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        help="Average each face's probabilities over so long a window; 0: not. By default "
        "0.5 of an image model, 0 of one whose windows overlap.",
        min=0,
        show_default=False,
    ),
]
MinConfidence = Annotated[
    float,
    typer.Option(
        metavar="P",
        help="No label where the highest probability is below P, from 0 to 1.",
        min=0,
        max=1,
    ),
]
ToStdout = Annotated[
    bool, typer.Option("--json", help="Print the Timelines as JSON, a line a file.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]


@app.command()
def analyze(
    videos: Videos,
    model: Model = "face-ferplus",
    out: Out = None,
    formats: Formats = None,
    rate: Rate = None,
    detector: Detector = "auto",
    start: Start = 0.0,
    end: End = None,
    backend: Backend = "onnxruntime",
    prior: Prior = PriorChoice.uniform,
    vote: Vote = None,
    speaker: Speaker = None,
    smooth: Smooth = None,
    min_confidence: MinConfidence = 0.0,
    to_stdout: ToStdout = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Read the emotions in videos.

    Prints a line a file; with --out, writes reports. A file that cannot be read is named at the end
    and does not stop the others.
    """
    from emoscope.apps.analyzing import Request, analyze_all

    check_span(start, end)
    request = Request(
        videos=tuple(videos),
        model=model,
        out=out,
        formats=_formats(formats, out),
        rate_hz=_rate(rate),
        rate_given=rate is not None,
        detector=detector,
        start_s=start,
        end_s=end,
        backend=backend,
        prior=prior.value,
        vote=vote,
        speaker=speaker.value if speaker else None,
        smooth_s=smooth,
        min_confidence=min_confidence,
        to_stdout=to_stdout,
        quiet=quiet,
        debug=debug,
    )
    raise typer.Exit(EXIT_FAILED if analyze_all(request) else 0)


add_training_commands(app)
app.add_typer(corpus_app, name="corpus", help="Labelled recordings on disk.")


def _formats(text: str | None, out: Path | None) -> tuple[str, ...]:
    if text is None:
        return ("json", "csv", "html") if out else ()
    from emoscope.reports.formats import FORMATS

    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    try:
        for name in names:
            FORMATS[name]
    except EmoscopeError as error:
        raise typer.BadParameter(str(error), param_hint="--format") from None
    if not names:
        known = ", ".join(FORMATS)
        raise typer.BadParameter(f"{text!r} names none. Known: {known}.", param_hint="--format")
    return names


def _rate(text: str | None) -> float | None:
    """Looks a second; None is every frame."""
    if text == "native":
        return None
    try:
        rate = 10.0 if text is None else float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise typer.BadParameter(
            f"{text!r} is neither a rate in Hz nor 'native'.", param_hint="--rate"
        )
    return rate


def main() -> None:
    """Entry point of the `emoscope` command."""
    app()
