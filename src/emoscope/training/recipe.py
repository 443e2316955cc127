"""Recipes: TOML read into frozen settings that refuse unknown keys."""

import difflib
import tomllib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from emoscope.core.clipspec import explain
from emoscope.core.errors import RecipeError
from emoscope.training.augment import Augmentation

__all__ = ["Recipe"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CorpusChoice(_Frozen):
    """Which corpus, and the part of its training pictures held out to choose by."""

    name: Literal["ferplus"]
    holdout: float = Field(default=0.05, gt=0, lt=1)


class ModelChoice(_Frozen):
    """Which network, and the options its builder takes."""

    name: str
    options: dict[str, Any] = {}


class Optimiser(_Frozen):
    """SGD with Nesterov momentum, or AdamW (which ignores `momentum`)."""

    name: Literal["sgd", "adamw"] = "sgd"
    lr: float = Field(gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)


class Schedule(_Frozen):
    """How long, in what portions: linear warm-up, then cosine to zero."""

    epochs: int = Field(ge=1)
    batch_size: int = Field(default=128, ge=2)
    warmup_epochs: float = Field(default=0.0, ge=0)
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    ema_decay: float = Field(default=0.0, ge=0, lt=1)  # 0: the last weights as they are


class BundleFacts(_Frozen):
    """What the exported bundle says of itself."""

    version: str = "1"
    licence: str
    trained_on: str
    paper: str = ""


class Recipe(_Frozen):
    """Everything a training run needs besides the corpus's folder."""

    name: str
    seed: int = Field(default=0, ge=0)
    corpus: CorpusChoice
    model: ModelChoice
    augmentation: Augmentation = Augmentation()
    optimiser: Optimiser
    schedule: Schedule
    bundle: BundleFacts

    @classmethod
    def read(cls, path: Path, overrides: dict[str, str] | None = None) -> Self:
        """Read a recipe; `overrides` are dotted keys with TOML values ({"schedule.epochs": "2"}).

        Raises RecipeError in one line, with the nearest key for an unknown one.
        """
        try:
            settings = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise RecipeError(f"{path}: not a readable recipe: {error}.") from None
        for key, value in (overrides or {}).items():
            _put(settings, key, value)
        try:
            return cls.model_validate(settings)
        except ValidationError as error:
            raise RecipeError(f"{path}: {_complaint(cls, error)}") from None


def _put(settings: dict[str, Any], key: str, value: str) -> None:
    *tables, last = key.split(".")
    for table in tables:
        settings = settings.setdefault(table, {})
        if not isinstance(settings, dict):
            raise RecipeError(f"{key}: {table} is a value, not a table.")
    try:
        settings[last] = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        settings[last] = value  # a bare word is a string, as on any command line


def _complaint(model: type[BaseModel], error: ValidationError) -> str:
    errors = error.errors(include_url=False)
    # A required key that is misspelt is missing as well: the spelling is the news.
    unknown = [e for e in errors if e["type"] == "extra_forbidden"]
    if not unknown:
        return explain(error)
    *tables, key = (str(part) for part in unknown[0]["loc"])
    known: list[str] = list(model.model_fields)
    for table in tables:
        kind = model.model_fields[table].annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            model, known = kind, list(kind.model_fields)
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known)}."
    return f"unknown key {'.'.join((*tables, key))!r}. {hint}"
