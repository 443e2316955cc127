"""Options that every group of commands has."""

from typing import Annotated

import typer

__all__ = ["Debug", "End", "Start", "check_span", "pair"]


def _note_debug(ctx: typer.Context, debug: bool) -> bool:
    ctx.meta["debug"] = debug
    return debug


Debug = Annotated[
    bool, typer.Option("--debug", help="Show the traceback of an error.", callback=_note_debug)
]

Start = Annotated[float, typer.Option(min=0, help="Seconds to start at.")]
End = Annotated[float | None, typer.Option(min=0, help="Seconds to stop at.", show_default=False)]


def check_span(start_s: float, end_s: float | None) -> None:
    """Raises typer.BadParameter."""
    if end_s is not None and end_s <= start_s:
        raise typer.BadParameter(
            f"{end_s:g} s is not after --start ({start_s:g} s).", param_hint="--end"
        )


def pair(text: str, form: str) -> tuple[str, str]:
    """KEY=VALUE as two. Raises typer.BadParameter."""
    key, equals, value = text.partition("=")
    if not (key and equals and value):
        raise typer.BadParameter(f"{text!r} is not of the form {form}.")
    return key, value
