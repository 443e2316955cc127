"""`emoscope train`, `evaluate` and `export`."""

from pathlib import Path

import typer

from emoscope.core.errors import MissingExtra, RecipeError

try:
    from emoscope.training.evaluate import evaluate
    from emoscope.training.export import export_run
    from emoscope.training.loop import train
    from emoscope.training.recipe import Recipe
except ImportError as error:
    raise MissingExtra(f"Training ({error.name})", "train") from None

__all__ = ["evaluate_run", "export_bundle_of", "train_recipe"]


def train_recipe(
    path: Path, corpus: tuple[str, Path], out: Path | None, changes: dict[str, str]
) -> None:
    """Train, measure, export."""
    recipe = Recipe.read(path, changes)
    name, folder = corpus
    if name != recipe.corpus.name:
        raise RecipeError(f"{path}: the corpus is {recipe.corpus.name!r}, --corpus names {name!r}.")
    run = out or Path("runs") / recipe.name
    train(recipe, folder, run)
    evaluate_run(run, corpus)
    export_bundle_of(run, run / f"{recipe.name}.onnx")


def evaluate_run(run: Path, corpus: tuple[str, Path]) -> None:
    """Measure and print the main figures."""
    figures = evaluate(run, corpus[1])["figures"]
    low, high = figures["accuracy_ci95"]
    typer.echo(
        f"{figures['corpus']}: accuracy {figures['accuracy']:.1%} ({low:.1%} to {high:.1%}), "
        f"UAR {figures['uar']:.1%}, ECE {figures['ece']:.3f}, {figures['pictures']} pictures"
    )


def export_bundle_of(run: Path, out: Path) -> None:
    """Export and say what was written."""
    card = export_run(run, out)
    typer.echo(f"{out}: {card.name} {card.version}, {out.stat().st_size / 1e6:.1f} MB")
