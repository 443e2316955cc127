"""The commands `evaluate` and `compare`. They read run folders only and need no torch."""

from pathlib import Path

import typer

from emoscope.core.errors import MissingExtra, RecipeError
from emoscope.media.files import replacing

try:
    from emoscope.training.evaluation.compare import compare
    from emoscope.training.evaluation.evaluate import evaluate
    from emoscope.training.evaluation.tables import percent, with_interval
    from emoscope.training.recipe import Recipe
    from emoscope.training.run_folder import RUNS
except ImportError as error:
    raise MissingExtra(f"Training and evaluation ({error.name})", "train") from None

__all__ = ["compare_runs", "evaluate_run", "write_table"]


def evaluate_run(run_or_recipe: Path) -> None:
    """Evaluate a run folder, or the run of a recipe, and print the main figures."""
    folder = run_or_recipe
    if folder.suffix == ".toml":
        folder = RUNS / Recipe.read(folder).name
    figures = evaluate(folder)["figures"]
    for warning in figures["warnings"]:
        typer.echo(f"Warning: {warning}", err=True)
    typer.echo(
        f"{figures['what']}: accuracy {with_interval(figures, 'accuracy')}, "
        f"UAR {with_interval(figures, 'uar')}, macro-F1 {percent(figures['macro_f1'])}, "
        f"ECE {figures['ece']:.3f}; {figures['samples']:,} clips, intervals over "
        f"{figures['interval_over']}"
    )
    typer.echo(f"written: {folder / 'evaluation.html'}")


def compare_runs(folders: list[Path], out: Path | None) -> None:
    """Print the comparison of some runs, or write it as Markdown or CSV. Raises RecipeError."""
    if out is not None and out.suffix not in (".md", ".csv"):
        raise RecipeError(f"{out}: a comparison is written as .md or .csv. Choose one.")
    comparison = compare(folders)
    if out is None:
        typer.echo(comparison.markdown())
    else:
        write_table(out, comparison.csv() if out.suffix == ".csv" else comparison.markdown())


def write_table(path: Path, text: str) -> None:
    """Write a table and print where it is."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")
    typer.echo(f"written: {path}")
