"""The command line. Each command imports what it needs when it is called."""

from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from emoscope.apps.cli.cache import cache
from emoscope.apps.cli.command import Command
from emoscope.apps.cli.corpus import corpus_app
from emoscope.apps.cli.models import models_app
from emoscope.apps.cli.training import add_training_commands
from emoscope.core.errors import EmoscopeError, UnknownName
from emoscope.core.version import VERSION

__all__ = ["app", "main"]

EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


class _Commands(TyperGroup):
    """Turns the errors of commands into one line and an exit code; `--debug` shows them in full."""

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


class _Analyze(TyperCommand):
    """Generates the options of `analyze` when it is called, to keep `emoscope --help` fast."""

    def make_context(self, *args: Any, **options: Any) -> Any:
        from emoscope.apps.cli.analyze import command

        return command().make_context(*args, **options)


app = typer.Typer(
    cls=_Commands,
    name="emoscope",
    help="Emotion in video, over time. Works offline.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich would triple the time of --help
)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(f"emoscope {VERSION}")
        raise typer.Exit


@app.command(cls=_Analyze)
def analyze() -> None:
    """Analyse the emotions in videos."""


add_training_commands(app)
app.command(cls=Command)(cache)
app.add_typer(corpus_app, name="corpus", help="Read, prepare and synthesise labelled corpora.")
app.add_typer(models_app, name="models", help="List and describe models.")


def main() -> None:
    """Entry point of the `emoscope` command."""
    app()
