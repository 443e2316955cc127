"""Published results, read from published.toml; `reproduce` shows ours beside them."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from emoscope.core.errors import RecipeError
from emoscope.core.registry import Registry

__all__ = ["AugmentedVideos", "FacesMissed", "Paper", "PublishedFigure", "papers", "recipes_of"]


@dataclass(frozen=True)
class PublishedFigure:
    """One row of a paper's tables.

    value           in percent, with the printed number of digits
    where           table or section of the paper
    clips           number of test clips; None if not given
    parameters      trainable parameters; None if not given
    train_seconds   time of one training; None if not given
    pictures        where training curves and confusion matrix are shown; None if they are not
    members         of a fusion: the rows of the fused systems, and the `rule`
    """

    id: str
    system: str
    corpus: str
    protocol: str
    metric: str
    value: Decimal
    where: str
    clips: int | None = None
    parameters: int | None = None
    train_seconds: Decimal | None = None
    pictures: str | None = None
    members: tuple[str, ...] = ()
    rule: str = ""


@dataclass(frozen=True)
class FacesMissed:
    """Number of frames in which a paper's detector found no face."""

    frames: int
    missed: int
    where: str


@dataclass(frozen=True)
class AugmentedVideos:
    """Number of videos before and after a paper's augmentation, and the settings it gives.

    corners      number of corners that frames are moved towards, by shift_px
    rotate_deg   largest angle, either way
    """

    videos: int
    augmented: int
    corners: int
    shift_px: int
    rotate_deg: int
    where: str


@dataclass(frozen=True)
class Paper:
    """A paper and its published results by row id.

    unit      how the paper writes accuracies
    machine   hardware of its trainings; None if not given, or if it gives no training times
    """

    key: str
    title: str
    authors: str
    unit: Literal["percent", "fraction"]
    rows: Registry[PublishedFigure]
    machine: str | None = None
    faces: FacesMissed | None = None
    augmentation: AugmentedVideos | None = None


@cache
def papers() -> Registry[Paper]:
    """Return every paper whose systems are implemented here, by key."""
    text = files("emoscope.training.papers").joinpath("published.toml").read_text(encoding="utf-8")
    registry: Registry[Paper] = Registry("paper")
    for key, table in tomllib.loads(text, parse_float=Decimal).items():
        rows: Registry[PublishedFigure] = Registry(f"row of {key}")
        for row in table["rows"]:
            rows.add(row["id"], _figure(row, table["unit"]))
        faces = FacesMissed(**table["faces"]) if "faces" in table else None
        augmented = AugmentedVideos(**table["augmentation"]) if "augmentation" in table else None
        about = {
            name: table[name] for name in ("title", "authors", "unit", "machine") if name in table
        }
        registry.add(key, Paper(key=key, rows=rows, faces=faces, augmentation=augmented, **about))
    return registry


def recipes_of(paper: str, folder: Path) -> list[Path]:
    """Return the recipes in a folder that reproduce a paper, sorted; only [published] is read.

    Raises UnknownName for an unknown paper, RecipeError if no recipe is found or a file is not
    TOML."""
    _ = papers()[paper]
    recipes = [path for path in sorted(folder.rglob("*.toml")) if _paper_of(path) == paper]
    if not recipes:
        raise RecipeError(
            f'{folder}: no recipe with [published] paper = "{paper}". Name the folder with the '
            "recipes."
        )
    return recipes


def _figure(row: Mapping[str, Any], unit: str) -> PublishedFigure:
    value = Decimal(row["value"])
    in_percent = value.scaleb(2) if unit == "fraction" else value
    members = tuple(row.get("members", ()))
    return PublishedFigure(**{**row, "value": in_percent, "members": members})


def _paper_of(path: Path) -> str | None:
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not a readable recipe: {error}.") from None
    published = settings.get("published")
    paper = published.get("paper") if isinstance(published, dict) else None
    return paper if isinstance(paper, str) else None
