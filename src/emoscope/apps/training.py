"""`emoscope train`, `fuse`, `reproduce`, `export`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from emoscope.core.errors import MissingExtra, RecipeError

try:
    from emoscope.apps.evaluation import RUNS, evaluate_run, write_table
    from emoscope.apps.training_progress import Console
    from emoscope.training.evaluation.fuse_runs import fuse
    from emoscope.training.experiment import is_leader, resume, train
    from emoscope.training.export.bundle import export_run
    from emoscope.training.networks.fit import Hardware
    from emoscope.training.papers.published import recipes_of
    from emoscope.training.papers.reproduce import reproduction_table
    from emoscope.training.recipe import Recipe
    from emoscope.training.run_folder import Run, read_run
except ImportError as error:
    raise MissingExtra(f"Training ({error.name})", "train") from None

__all__ = [
    "export_bundle_of",
    "fuse_runs",
    "reproduce_paper",
    "resume_run",
    "train_recipe",
]


def train_recipe(
    path: Path,
    corpora: Mapping[str, Path],
    out: Path | None,
    changes: dict[str, str],
    hardware: Hardware,
    cache: Path | None,
) -> None:
    """Train, measure, export."""
    recipe = Recipe.read(path, changes)
    folder = out or RUNS / recipe.name
    with Console() as observer:
        run = train(recipe, corpora, folder, hardware=hardware, cache=cache, observer=observer)
    _conclude(run)


def resume_run(folder: Path, hardware: Hardware, cache: Path | None) -> None:
    """Go on, measure, export."""
    with Console() as observer:
        run = resume(folder, hardware=hardware, cache=cache, observer=observer)
    _conclude(run)


def _conclude(run: Run) -> None:
    """What comes after training, in one process of them."""
    if is_leader():
        evaluate_run(run.folder)
        export_bundle_of(run.folder, run.folder / f"{run.recipe.name}.onnx")


def export_bundle_of(run: Path, out: Path) -> None:
    """Export and say what was written."""
    card = export_run(run, out)
    typer.echo(f"{out}: {card.name} {card.version}, {out.stat().st_size / 1e6:.1f} MB")


def fuse_runs(folders: list[Path], out: Path, rule: str, seed: int) -> None:
    """Print the table and name the system file."""
    typer.echo(fuse(folders, out, rule, seed))
    typer.echo(f"written: {out / out.resolve().name}.toml")


def reproduce_paper(
    paper: str,
    recipes: Path,
    corpora: Mapping[str, Path],
    out: Path,
    changes: dict[str, str],
    hardware: Hardware,
    cache: Path | None,
) -> None:
    """Run every recipe whose corpora and weights are there, or go on with it; print and write the
    table. A change of "STEM:key" is of the recipe in STEM.toml alone.

    Raises RecipeError for a change of a recipe that is not there."""
    runs = []
    for path, mine in _each_with_changes(recipes_of(paper, recipes), changes):
        recipe = Recipe.read(path, mine)
        folder = out / recipe.name
        if lacking := _lacking(recipe, corpora, folder):
            typer.echo(f"{recipe.name}: left out, {lacking}", err=True)
            continue
        with Console() as observer:
            options: Any = {"hardware": hardware, "cache": cache, "observer": observer}
            if (folder / "run.json").is_file():
                _same_recipe(folder, recipe)
                run = resume(folder, **options)
            else:
                run = train(recipe, corpora, folder, **options)
        _conclude(run)
        runs.append(run)
    if not is_leader():
        return
    table = reproduction_table(paper, runs, out)
    typer.echo(table)
    write_table(out / f"{paper}.md", table)


def _each_with_changes(
    paths: list[Path], changes: Mapping[str, str]
) -> list[tuple[Path, dict[str, str]]]:
    stems = {path.stem for path in paths}
    for key in changes:
        stem, colon, _ = key.partition(":")
        if colon and stem not in stems:
            raise RecipeError(f"--set {key}: no recipe {stem}. Known: {', '.join(sorted(stems))}.")
    for_all = {key: value for key, value in changes.items() if ":" not in key}
    found = []
    for path in paths:
        own = {key.partition(":")[::2]: value for key, value in changes.items()}
        mine = {key: value for (stem, key), value in own.items() if stem == path.stem and key}
        found.append((path, for_all | mine))
    return found


def _lacking(recipe: Recipe, corpora: Mapping[str, Path], folder: Path) -> str:
    """What a recipe cannot be run without; "" where all is there, or the run has begun already."""
    missing = [name for name in recipe.corpus.name if name not in corpora]
    if missing:
        return f"no --corpus {missing[0]}=DIR"
    weights = recipe.model.weights
    if weights is not None and not weights.exists() and not (folder / "run.json").is_file():
        return f"no file {weights} (model.weights)"
    return ""


def _same_recipe(folder: Path, recipe: Recipe) -> None:
    if read_run(folder).recipe != recipe:
        raise RecipeError(
            f"{folder}: a run of another {recipe.name} is there. Choose another --out."
        )
