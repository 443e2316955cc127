"""The class of every command: its help names no Python types and lists names from registries.

    Detector = Annotated[
        str, typer.Option(help=f"One of: {choices('emoscope.media.detectors:DETECTORS')}.")
    ]

    @app.command(cls=Command)
    def scan(detector: Detector = "haar") -> None: ...

The registry is imported by `scan --help` only, so that other commands and `emoscope --help` stay
fast.
"""

import re
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

from typer.core import TyperCommand

__all__ = ["Command", "choices"]

_PLACEHOLDER = re.compile(r"\{([\w.]+):(\w+)\}")
_METAVARS = {int: "N", float: "NUMBER", Path: "PATH"}  # of an option that sets none; others: TEXT
_RANGES = {  # how typer shows the limits of a number -> in words
    r"\b([\d.]+)<=x<=([\d.]+)": r"\1 to \2",
    r"\bx>=([\d.]+)": r"at least \1",
}


def choices(registry: str) -> str:
    """A placeholder for the names in a registry, or in one that a function returns.

    >>> choices("emoscope.core.votes:VOTES")
    '{emoscope.core.votes:VOTES}'
    """
    return f"{{{registry}}}"


class Command(TyperCommand):
    """A command with readable help: metavars instead of types, ranges in words, `choices`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for parameter in self.params:
            if parameter.metavar is None:
                parameter.metavar = _metavar(parameter)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [
            piece.replace("{", "").replace("}", "") for piece in super().collect_usage_pieces(ctx)
        ]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {"argument": [], "option": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:  # hidden
                continue
            name, text = record
            for shown, words in _RANGES.items():
                text = re.sub(shown, words, text)
            kind = parameter.param_type_name
            name = name.partition(" <")[0] if kind == "argument" else name  # without its type
            sections[kind].append((name, _PLACEHOLDER.sub(_names, text)))
        for kind, records in sections.items():
            if records:
                with formatter.section(f"{kind.capitalize()}s"):
                    formatter.write_dl(records)


def _metavar(parameter: Any) -> str | None:
    """The placeholder for a value; None for flags and for choices, which list their values."""
    if parameter.param_type_name == "argument":
        return str(parameter.name).upper()
    if parameter.is_flag or parameter.type_descriptor.is_choice:
        return None
    annotation = parameter.type_descriptor.annotation
    kind = (get_args(annotation) or (annotation,))[0]
    return _METAVARS.get(kind, "TEXT")


def _names(placeholder: re.Match[str]) -> str:
    module, name = placeholder.groups()
    try:
        registry = getattr(import_module(module), name)
    except ImportError:
        return "(listed once the train extra is installed)"
    return ", ".join(registry() if callable(registry) else registry)
