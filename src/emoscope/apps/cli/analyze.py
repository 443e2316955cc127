"""`emoscope analyze`: its arguments and options. Imported when the command is called."""

from pathlib import Path
from typing import Annotated, Any

import typer

from emoscope.apps.cli.command import Command, choices
from emoscope.apps.cli.options import Debug, End, Start, check_span, with_analyze_options
from emoscope.core.errors import EmoscopeError
from emoscope.core.options import DEFAULT_MODEL, AnalyzeOptions

__all__ = ["command"]

Videos = Annotated[
    list[Path],
    typer.Argument(
        metavar="VIDEO",
        help="Videos, images or folders; sound files for a voice model. A folder stands for all "
        "recordings in it and its subfolders. Numbered images of one size, such as 0001.png "
        "0002.png, are read as a film, other images one by one.",
        show_default=False,
    ),
]
Model = Annotated[
    str,
    typer.Option(
        metavar="MODEL",
        help="Name of an installed model or system (see `emoscope models list`), path of a bundle "
        "(.onnx) or system file (.toml), or a run folder with an exported bundle.",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Folder for the reports, which are named after the recordings. Earlier reports of "
        "the same recording and model are replaced. Reports of other recordings or models are "
        "kept: the report then gets a longer name.",
        file_okay=False,
        show_default=False,
    ),
]
Formats = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="LIST",
        help="Report formats, separated by commas: "
        f"{choices('emoscope.reports.formats:FORMATS')}. By default json,csv,html with --out, "
        "and no reports without it. Without --out they are written to the current folder.",
        show_default=False,
    ),
]
ToStdout = Annotated[
    bool, typer.Option("--json", help="Print each Timeline as one line of JSON on standard output.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")]


def analyze(
    videos: Videos,
    *,
    model: Model = DEFAULT_MODEL,
    out: Out = None,
    formats: Formats = None,
    start: Start = 0.0,
    end: End = None,
    options: AnalyzeOptions,
    to_stdout: ToStdout = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Analyse the emotions in videos.

    Prints one line per file, with notes on what limits its result, and writes reports with --out.
    Files that cannot be read are listed at the end; the others are still analysed.
    """
    from emoscope.apps.analyzing import Request, analyze_all

    check_span(start, end)
    request = Request(
        videos=tuple(videos),
        model=model,
        options=options,
        start_s=start,
        end_s=end,
        out=out,
        formats=_format_names(formats, out),
        to_stdout=to_stdout,
        quiet=quiet,
        debug=debug,
    )
    raise typer.Exit(1 if analyze_all(request) else 0)


def _format_names(text: str | None, out: Path | None) -> tuple[str, ...]:
    if text is None:
        return ("json", "csv", "html") if out else ()
    from emoscope.reports.formats import FORMATS

    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    try:
        for name in names:
            _ = FORMATS[name]
    except EmoscopeError as error:
        raise typer.BadParameter(str(error), param_hint="--format") from None
    if not names:
        raise typer.BadParameter(
            f"{text!r} names no format. Known: {', '.join(sorted(FORMATS))}.", param_hint="--format"
        )
    return names


def command() -> Any:
    """The command, with its options generated."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(cls=Command)(with_analyze_options(analyze))
    return typer.main.get_command(app)
