"""Names of registries in help texts, looked up when the help is shown.

    Detector = Annotated[
        str, typer.Option(help=f"One of: {choices('emoscope.media.detectors:DETECTORS')}.")
    ]

    @app.command(cls=CommandWithChoices)
    def scan(detector: Detector = "haar") -> None: ...

The registry is imported by `scan --help` only, so that other commands and `emoscope --help` stay
fast.
"""

import re
from importlib import import_module
from typing import Any

from typer.core import TyperCommand

__all__ = ["CommandWithChoices", "choices"]

_PLACEHOLDER = re.compile(r"\{([\w.]+):(\w+)\}")


def choices(registry: str) -> str:
    """A placeholder for the names in a registry, given as "module:NAME".

    >>> choices("emoscope.core.votes:VOTES")
    '{emoscope.core.votes:VOTES}'
    """
    return f"{{{registry}}}"


class CommandWithChoices(TyperCommand):
    """A command that fills in `choices` when it formats its help."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        for parameter in self.get_params(ctx):
            if text := getattr(parameter, "help", None):
                parameter.help = _PLACEHOLDER.sub(_names, text)  # type: ignore[attr-defined]
        super().format_options(ctx, formatter)


def _names(placeholder: re.Match[str]) -> str:
    module, registry = placeholder.groups()
    return ", ".join(getattr(import_module(module), registry))
