"""Options that several commands have, and the options generated from AnalyzeOptions."""

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from emoscope.apps.cli.command import choices
from emoscope.core.errors import SpecError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

__all__ = ["Debug", "End", "Start", "check_span", "pair", "with_analyze_options"]


def _note_debug(ctx: typer.Context, debug: bool) -> bool:
    ctx.meta["debug"] = debug
    return debug


Debug = Annotated[
    bool,
    typer.Option("--debug", help="Show the full traceback of an error.", callback=_note_debug),
]

Start = Annotated[
    float, typer.Option(min=0, metavar="SECONDS", help="Start of the span to analyse.")
]
End = Annotated[
    float | None,
    typer.Option(
        min=0,
        metavar="SECONDS",
        help="End of the span to analyse. By default the end of the recording.",
        show_default=False,
    ),
]


def check_span(start_s: float, end_s: float | None) -> None:
    """Raise typer.BadParameter for an end that is not after the start."""
    if end_s is not None and end_s <= start_s:
        raise typer.BadParameter(
            f"{end_s:g} s is not after --start ({start_s:g} s).", param_hint="--end"
        )


def pair(text: str, form: str) -> tuple[str, str]:
    """Split KEY=VALUE in two. Raises typer.BadParameter."""
    key, equals, value = text.partition("=")
    if not (key and equals and value):
        raise typer.BadParameter(f"{text!r} is not of the form {form}.")
    return key, value


_UNITS = {"s": "SECONDS", "hz": "HZ"}  # suffix of a field's name -> metavar of its option
_REGISTRIES = {  # field -> the registry that its value is a name in
    "detector": "emoscope.media.detectors:DETECTORS",
    "backend": "emoscope.analysis.bundle:BACKENDS",
    "vote": "emoscope.core.votes:VOTES",
}
_NONE_WORDS = {"rate_hz": "native"}  # field -> how the command line writes None


def with_analyze_options(command: Callable[..., None]) -> Callable[..., None]:
    """Replace the parameter `options` of a command by one option for each field of AnalyzeOptions.

    The command gets one AnalyzeOptions, made from the options given on the command line."""
    from emoscope.core.options import AnalyzeOptions  # pydantic would slow --help

    generated = [_parameter(name, field) for name, field in AnalyzeOptions.model_fields.items()]

    @functools.wraps(command)
    def with_options(ctx: typer.Context, **values: Any) -> None:
        options: dict[str, Any] = {}
        for parameter in generated:
            name, value = parameter.name, values.pop(parameter.name)
            if ctx.get_parameter_source(name).name != "DEFAULT":  # type: ignore[union-attr]
                options[name] = _parsed(name, value)
        command(**values, options=AnalyzeOptions(**options))

    parameters = [
        inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    ]
    for parameter in inspect.signature(command).parameters.values():
        parameters += generated if parameter.name == "options" else [parameter]
    signature = inspect.Signature(
        [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    )
    with_options.__signature__ = signature  # type: ignore[attr-defined]
    with_options.__annotations__ = {one.name: one.annotation for one in parameters}
    return with_options


def _parameter(name: str, field: "FieldInfo") -> inspect.Parameter:
    """The command line's option for a field."""
    stem, _, unit = name.rpartition("_")
    flag = (stem if unit in _UNITS else name).replace("_", "-")
    kinds = [kind for kind in get_args(field.annotation) if kind is not type(None)]
    kind: Any = kinds[0] if type(None) in get_args(field.annotation) else field.annotation
    bounds = {
        key: getattr(bound, key)
        for bound in field.metadata
        for key in ("ge", "le")
        if hasattr(bound, key)
    }
    default, text = field.default, field.description or ""
    if name in _NONE_WORDS:
        kind, default = str, f"{default:g}"
        text = text.replace("None", _NONE_WORDS[name])
    if name in _REGISTRIES:
        text += f" One of: {choices(_REGISTRIES[name])}."
    option = typer.Option(
        f"--{flag}",
        help=text,
        metavar=_UNITS.get(unit, {str: "NAME", float: "NUMBER"}.get(kind)),
        min=bounds.get("ge"),
        max=bounds.get("le"),
        show_default=default is not None,
    )
    annotation: Any = Annotated[kind if default is not None else kind | None, option]
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def _parsed(name: str, value: Any) -> Any:
    """The value of a field, with the word for None replaced. Raises typer.BadParameter."""
    from emoscope.core.options import AnalyzeOptions

    word = _NONE_WORDS.get(name)
    if word is None:
        return value
    if value == word:
        return None
    try:
        return getattr(AnalyzeOptions(**{name: value}), name)
    except SpecError:
        raise typer.BadParameter(
            f"{value!r} is neither a number above 0 nor {word!r}.",
            param_hint=f"--{name.rpartition('_')[0]}",
        ) from None
