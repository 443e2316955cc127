"""Options that every group of commands has."""

from typing import Annotated

import typer

__all__ = ["Debug", "pair"]


def _note_debug(ctx: typer.Context, debug: bool) -> bool:
    ctx.meta["debug"] = debug
    return debug


Debug = Annotated[
    bool, typer.Option("--debug", help="Show the traceback of an error.", callback=_note_debug)
]


def pair(text: str, form: str) -> tuple[str, str]:
    """KEY=VALUE as two. Raises typer.BadParameter."""
    key, equals, value = text.partition("=")
    if not (key and equals and value):
        raise typer.BadParameter(f"{text!r} is not of the form {form}.")
    return key, value
