"""Why settings are refused, in the recipe's own words."""

import difflib
from collections.abc import Iterable
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from emoscope.core.clipspec import explain

__all__ = ["complaint"]


def complaint(model: type[BaseModel], error: ValidationError) -> str:
    """What is wrong with a recipe's settings, in one line; of an unknown key the nearest known."""
    errors = error.errors(include_url=False)
    # A required key that is misspelt is missing as well: the spelling is the news.
    unknown = [e for e in errors if e["type"] == "extra_forbidden"]
    if not unknown:
        return explain(error)
    *tables, key = (str(part) for part in unknown[0]["loc"])
    shown, known = _keys_at(model, tables)
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known)}."
    return f"unknown key {'.'.join((*shown, key))!r}. {hint}"


def _keys_at(model: type[BaseModel], tables: Iterable[str]) -> tuple[list[str], list[str]]:
    """The path of a table as the recipe writes it, and the keys that are known there.

    pydantic's path also names the member of a union: ("protocol", "group-k-fold")."""
    shown: list[str] = []
    members: tuple[type[BaseModel], ...] = (model,)
    for part in tables:
        fields = [m.model_fields[part].annotation for m in members if part in m.model_fields]
        if fields:
            shown.append(part)
            members = tuple(m for field in fields for m in _models(field))
        else:
            members = tuple(
                m for m in members if part in get_args(m.model_fields["name"].annotation)
            )
    return shown, sorted({key for member in members for key in member.model_fields})


def _models(annotation: Any) -> tuple[type[BaseModel], ...]:
    if get_origin(annotation) in (Union, type(int | str)):
        return tuple(model for part in get_args(annotation) for model in _models(part))
    is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return (annotation,) if is_model else ()
