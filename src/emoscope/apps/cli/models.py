"""`emoscope models`: its arguments. Imports what it needs when it is called."""

from typing import Annotated

import typer

from emoscope.apps.cli.command import Command
from emoscope.apps.cli.options import Debug

__all__ = ["models_app"]

models_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@models_app.command("list", cls=Command)
def list_models(debug: Debug = False) -> None:
    """List all models.

    First the installed models and systems, for `emoscope analyze --model`. Then the networks and
    estimators that a recipe can name, if the train extra is installed.
    """
    from emoscope.apps.models import list_all

    list_all()


@models_app.command("show", cls=Command)
def show_model(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="An installed model or system, a network or an estimator.",
            show_default=False,
        ),
    ],
    debug: Debug = False,
) -> None:
    """Describe one model.

    For an installed model: labels, licence, training data, measured figures and inputs. For a
    system: its members and fusion rule. For a network or an estimator: size, inputs and options.
    """
    from emoscope.apps.models import show_one

    show_one(name)
