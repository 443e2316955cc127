"""What the papers print (published.toml); reproduction.py shows it beside ours."""

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

    value           in percent, with as many digits as are printed
    where           the table or section that prints it
    clips           that were judged; None where the paper does not say
    parameters      trainable ones; None where the paper prints none
    train_seconds   of one training; None where the paper prints none
    pictures        where it draws training curves and confusion matrix; None where it does not
    members         the rows whose systems are fused, where it is a fusion, and by which `rule`
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
    """In how many of all its frames a paper's detector found no face."""

    frames: int
    missed: int
    where: str


@dataclass(frozen=True)
class AugmentedVideos:
    """How many videos a paper's augmentation made of how many, and what it prints of the ways.

    corners      to which frames are moved, by shift_px
    rotate_deg   the largest angle, either way
    """

    videos: int
    augmented: int
    corners: int
    shift_px: int
    rotate_deg: int
    where: str


@dataclass(frozen=True)
class Paper:
    """A paper and what it prints, by row id.

    unit      how it writes its accuracies
    machine   what its trainings ran on; None where it does not say, or prints no seconds
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
    """Every paper whose systems are built here, by its key."""
    text = files("emoscope.training.papers").joinpath("published.toml").read_text(encoding="utf-8")
    found: Registry[Paper] = Registry("paper")
    for key, table in tomllib.loads(text, parse_float=Decimal).items():
        rows: Registry[PublishedFigure] = Registry(f"row of {key}")
        for row in table["rows"]:
            rows.add(row["id"], _figure(row, table["unit"]))
        faces = FacesMissed(**table["faces"]) if "faces" in table else None
        augmented = AugmentedVideos(**table["augmentation"]) if "augmentation" in table else None
        about = {
            name: table[name] for name in ("title", "authors", "unit", "machine") if name in table
        }
        found.add(key, Paper(key=key, rows=rows, faces=faces, augmentation=augmented, **about))
    return found


def recipes_of(paper: str, folder: Path) -> list[Path]:
    """The recipes in a folder that reproduce a paper, sorted; only their [published] is read.

    Raises UnknownName for a paper that is not in the table, RecipeError where none is found or a
    file is no TOML."""
    _ = papers()[paper]
    found = [path for path in sorted(folder.rglob("*.toml")) if _paper_of(path) == paper]
    if not found:
        raise RecipeError(
            f'{folder}: no recipe says [published] paper = "{paper}". '
            "Give the folder of the recipes."
        )
    return found


def _figure(row: Mapping[str, Any], unit: str) -> PublishedFigure:
    fields = {"value": _percent(row, unit), "members": tuple(row.get("members", ()))}
    return PublishedFigure(**{**row, **fields})


def _percent(row: Mapping[str, Any], unit: str) -> Decimal:
    value = Decimal(row["value"])
    return value.scaleb(2) if unit == "fraction" else value


def _paper_of(path: Path) -> str | None:
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not a readable recipe: {error}.") from None
    published = settings.get("published")
    paper = published.get("paper") if isinstance(published, dict) else None
    return paper if isinstance(paper, str) else None
