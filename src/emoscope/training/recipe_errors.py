"""Validation errors of a recipe in the recipe's own terms."""

import difflib
import reprlib
from collections.abc import Iterable, Sequence
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

__all__ = ["complaints"]

Location = tuple[int | str, ...]


def complaints(model: type[BaseModel], error: ValidationError) -> list[str]:
    """List everything that is wrong with a recipe's settings, one line each.

    An unknown key comes with its nearest known key. If that key is required, it is not listed as
    missing as well."""
    errors = error.errors(include_url=False)
    lines: list[str] = []
    misspelt: set[Location] = set()
    for one in errors:
        if one["type"] == "extra_forbidden":
            *tables, key = one["loc"]
            shown, known = _table(model, tables)
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known)}."
            lines.append(f"unknown key {'.'.join((*shown, str(key)))!r}. {hint}")
            misspelt.update((*tables, name) for name in near)
    for one in errors:
        is_misspelt = one["type"] == "missing" and one["loc"] in misspelt
        if one["type"] != "extra_forbidden" and not is_misspelt:
            lines += _described(model, one)
    return lines


def _described(model: type[BaseModel], error: ErrorDetails) -> list[str]:
    """Describe an error other than an unknown key; a check of a whole table may find several."""
    where = ".".join(_table(model, error["loc"])[0])
    context = error.get("ctx", {})
    match error["type"]:
        case "missing":
            reasons = ["required, but missing."]
        case "union_tag_not_found":
            where, reasons = f"{where}.name", ["required, but missing."]
        case "union_tag_invalid":
            where = f"{where}.name"
            reasons = [f"unknown name {context['tag']!r}. Known: {context['expected_tags']}."]
        case "value_error":
            reasons = str(context["error"]).split("\n")
        case _:
            reasons = [f"{error['msg']} (got {reprlib.repr(error['input'])})."]
    return [f"{where}: {reason}" if where else reason for reason in reasons]


def _table(model: type[BaseModel], location: Sequence[int | str]) -> tuple[list[str], list[str]]:
    """Return a location as the recipe writes it, and the keys that are known there.

    pydantic's location also names the member of a union: ("protocol", "group-k-fold", "k")."""
    shown: list[str] = []
    members: tuple[type[BaseModel], ...] = (model,)
    for part in location:
        fields = [m.model_fields[part].annotation for m in members if part in m.model_fields]
        tagged = [m for m in members if part in _names(m)]
        if fields or not tagged:
            shown.append(str(part))
            members = tuple(m for field in fields for m in _models(field))
        else:
            members = tuple(tagged)
    return shown, sorted({key for member in members for key in member.model_fields})


def _names(model: type[BaseModel]) -> Iterable[Any]:
    """Return the values by which a union tells this model from its others."""
    name = model.model_fields.get("name")
    return () if name is None else get_args(name.annotation)


def _models(annotation: Any) -> tuple[type[BaseModel], ...]:
    if get_origin(annotation) in (Union, type(int | str)):
        return tuple(model for part in get_args(annotation) for model in _models(part))
    is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return (annotation,) if is_model else ()
