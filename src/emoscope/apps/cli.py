"""The command line. Everything heavy is imported by the command that needs it."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

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


def _note_debug(ctx: typer.Context, debug: bool) -> bool:
    ctx.meta["debug"] = debug
    return debug


Debug = Annotated[
    bool, typer.Option("--debug", help="Show the traceback of an error.", callback=_note_debug)
]


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
Model = Annotated[str, typer.Option(help="An installed model's name or a bundle's path.")]
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
    str, typer.Option(help="haar, lbp, lbp=PATH, lbp-classic, yunet=PATH or none.")
]
Start = Annotated[float, typer.Option(min=0, help="Seconds to start at.")]
End = Annotated[float | None, typer.Option(min=0, help="Seconds to stop at.", show_default=False)]
Backend = Annotated[str, typer.Option(help="onnxruntime or openvino.")]
Prior = Annotated[
    PriorChoice, typer.Option(help="Take the training data's class shares out (uniform) or not.")
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
    detector: Detector = "haar",
    start: Start = 0.0,
    end: End = None,
    backend: Backend = "onnxruntime",
    prior: Prior = PriorChoice.uniform,
    to_stdout: ToStdout = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Read the emotions in videos.

    Prints a line a file; with --out, writes reports. A file that cannot be read is named at the end
    and does not stop the others.
    """
    from emoscope.apps.analyzing import Request, analyze_all

    if end is not None and end <= start:
        raise typer.BadParameter(
            f"{end:g} s is not after --start ({start:g} s).", param_hint="--end"
        )
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
        to_stdout=to_stdout,
        quiet=quiet,
        debug=debug,
    )
    raise typer.Exit(EXIT_FAILED if analyze_all(request) else 0)


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe (TOML).", show_default=False)],
    corpus: Annotated[
        str, typer.Option(help="NAME=DIR of the recipe's corpus.", show_default=False)
    ],
    out: Annotated[
        Path | None, typer.Option(help="The run's folder. By default runs/NAME.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Change a setting: schedule.epochs=2.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Train a recipe, measure it, export its bundle."""
    from emoscope.apps.training import train_recipe

    changes = dict(_pair(text, "--set KEY=VALUE") for text in settings or [])
    train_recipe(recipe, _corpus(corpus), out, changes)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run's folder.", show_default=False)],
    corpus: Annotated[str, typer.Option(help="NAME=DIR of the run's corpus.", show_default=False)],
    debug: Debug = False,
) -> None:
    """Measure a run.

    Fits its temperature on its hold-out, then measures on the corpus's valid part.
    """
    from emoscope.apps.training import evaluate_run

    evaluate_run(run, _corpus(corpus))


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A run's folder.", show_default=False)],
    out: Annotated[Path, typer.Option("-o", "--out", help="The bundle to write.")],
    debug: Debug = False,
) -> None:
    """Write a measured run as a bundle, with its card."""
    from emoscope.apps.training import export_bundle_of

    export_bundle_of(run, out)


corpus_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(corpus_app, name="corpus", help="Labelled recordings on disk.")


@corpus_app.callback()
def _corpus_root() -> None:
    """A group of commands, also while it has one only."""


@corpus_app.command()
def scan(
    name: Annotated[str, typer.Argument(help="Whose layout: ravdess, folder ...")],
    root: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="The folder it lies in.", show_default=False),
    ],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Write the manifest (CSV).", show_default=False),
    ] = None,
    debug: Debug = False,
) -> None:
    """Count a corpus's samples.

    By label, subject and split; what was left out and why; which files are the same.
    """
    from emoscope.apps.corpora import scan as scan_corpus

    scan_corpus(name, root, out)


def _formats(text: str | None, out: Path | None) -> tuple[str, ...]:
    if text is None:
        return ("json", "csv", "html") if out else ()
    from emoscope.analysis.report import FORMATS

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


def _corpus(text: str) -> tuple[str, Path]:
    name, folder = _pair(text, "--corpus NAME=DIR")
    return name, Path(folder)


def _pair(text: str, form: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals and value):
        raise typer.BadParameter(f"{text!r} is not of the form {form}.")
    return key, value


def main() -> None:
    """Entry point of the `emoscope` command."""
    app()
