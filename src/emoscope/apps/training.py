"""`emoscope train`, `fuse`, `reproduce` and `export`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from emoscope.core.errors import MissingExtra, RecipeError

try:
    from emoscope.apps.evaluation import evaluate_run, write_table
    from emoscope.apps.training_progress import Console
    from emoscope.training.evaluation.fuse_runs import fuse
    from emoscope.training.experiment import is_leader, resume, train
    from emoscope.training.export.bundle import export_run
    from emoscope.training.networks.fit import Hardware
    from emoscope.training.papers.published import recipes_of
    from emoscope.training.papers.reproduce import reproduction_table
    from emoscope.training.recipe import Recipe
    from emoscope.training.run import Run
    from emoscope.training.run_folder import read_run
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
    allow_code: bool,
) -> None:
    """Train a recipe, evaluate the run and export its bundle."""
    with Console() as observer:
        run = train(
            path,
            corpora,
            out,
            settings=changes,
            allow_code=allow_code,
            hardware=hardware,
            cache=cache,
            observer=observer,
        )
    _evaluate_and_export(run)


def resume_run(folder: Path, hardware: Hardware, cache: Path | None, allow_code: bool) -> None:
    """Resume a run, evaluate it and export its bundle."""
    with Console() as observer:
        run = resume(
            folder, allow_code=allow_code, hardware=hardware, cache=cache, observer=observer
        )
    _evaluate_and_export(run)


def _evaluate_and_export(run: Run) -> None:
    if is_leader():  # one of the processes of a training
        evaluate_run(run.folder)
        export_bundle_of(run.folder, run.bundle_path, run.allow_code)


def export_bundle_of(run: Path, out: Path, allow_code: bool) -> None:
    """Export a run's bundle and print its name and size."""
    card = export_run(run, out, allow_code=allow_code)
    typer.echo(f"{out}: {card.name} {card.version}, {out.stat().st_size / 1e6:.1f} MB")


def fuse_runs(folders: list[Path], out: Path, rule: str, seed: int) -> None:
    """Fuse runs, print the table and the path of the system file."""
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
    """Train or resume every recipe of a paper, then print and write its table.

    Recipes whose corpora or weights are missing are left out. A change "STEM:key" applies to the
    recipe in STEM.toml only. Raises RecipeError for a change of an unknown recipe."""
    runs = []
    for path, own_changes in _each_with_changes(recipes_of(paper, recipes), changes):
        recipe = Recipe.read(path, own_changes)
        folder = out / recipe.name
        if missing := _missing_input(recipe, corpora, folder):
            typer.echo(f"{recipe.name}: left out, {missing}", err=True)
            continue
        with Console() as observer:
            options: Any = {"hardware": hardware, "cache": cache, "observer": observer}
            if (folder / "run.json").is_file():
                if read_run(folder).recipe != recipe:
                    raise RecipeError(
                        f"{folder}: holds a run of a different recipe {recipe.name}. Choose "
                        "another --out."
                    )
                run = resume(folder, **options)
            else:
                run = train(recipe, corpora, folder, **options)
        _evaluate_and_export(run)
        runs.append(run)
    if not is_leader():
        return
    table = reproduction_table(paper, runs, out)
    typer.echo(table)
    write_table(out / f"{paper}.md", table)


def _each_with_changes(
    paths: list[Path], changes: Mapping[str, str]
) -> list[tuple[Path, dict[str, str]]]:
    """Recipes with the changes that apply to them. Raises RecipeError for an unknown recipe."""
    stems = {path.stem for path in paths}
    for key in changes:
        stem, colon, _ = key.partition(":")
        if colon and stem not in stems:
            raise RecipeError(f"--set {key}: no recipe {stem}. Known: {', '.join(sorted(stems))}.")
    for_all = {key: value for key, value in changes.items() if ":" not in key}
    split = {key.partition(":")[::2]: value for key, value in changes.items()}
    pairs = []
    for path in paths:
        own = {key: value for (stem, key), value in split.items() if stem == path.stem and key}
        pairs.append((path, for_all | own))
    return pairs


def _missing_input(recipe: Recipe, corpora: Mapping[str, Path], folder: Path) -> str:
    """The corpus or file of weights that is missing; "" if none is, or the run exists already."""
    missing = [name for name in recipe.corpus.name if name not in corpora]
    if missing:
        return f"no --corpus {missing[0]}=DIR"
    weights = recipe.model.weights
    if weights is not None and not weights.exists() and not (folder / "run.json").is_file():
        return f"no file {weights} (model.weights)"
    return ""
