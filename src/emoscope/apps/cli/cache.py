"""`emoscope cache` on the command line."""

from pathlib import Path
from typing import Annotated

import typer

from emoscope.apps.cli.options import Debug

__all__ = ["cache"]


def cache(
    clear: Annotated[
        bool, typer.Option("--clear", help="Delete the files. They are made again when needed.")
    ] = False,
    older_than: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="DAYS",
            help="With --clear: delete only files written more than DAYS days ago.",
            show_default=False,
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before deleting.")] = False,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--cache",
            metavar="FOLDER",
            help="Folder of the cache, as in `corpus prepare`.",
            file_okay=False,
            show_default=False,
        ),
    ] = None,
    debug: Debug = False,
) -> None:
    """Show the cache and its size, or delete its files.

    The cache holds clips that `corpus prepare` and `train` cut, and features of frozen networks.
    Clips are listed by corpus and model input; a clip that two of them share counts in both.
    """
    from emoscope.apps.cache import clear_cache, show_cache

    if clear:
        clear_cache(folder, older_than or 0.0, yes)
        return
    if yes or older_than is not None:
        raise typer.BadParameter("only with --clear.", param_hint="--yes, --older-than")
    show_cache(folder)
