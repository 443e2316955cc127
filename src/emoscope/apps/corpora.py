"""`emoscope corpus`: what lies in a corpus, its clips and their variants; a synthetic one."""

from collections.abc import Iterator
from pathlib import Path

import typer

from emoscope.apps.progress import counting
from emoscope.core.clipspec import ClipSpec
from emoscope.core.errors import MissingExtra, RecipeError, SpecError
from emoscope.corpora.cutting import Faces
from emoscope.corpora.manifest import Manifest, Sample, read_corpus
from emoscope.corpora.prepare import Prepared, default_cache
from emoscope.corpora.prepare import prepare as prepare_samples
from emoscope.corpora.synthetic.corpus import synthesise
from emoscope.training.papers.published import papers
from emoscope.training.papers.variants import Plan, paper_lines, printed_kinds, variants
from emoscope.training.recipe import AugmentedRandom, Recipe
from emoscope.training.samples import choose_samples

__all__ = [
    "plan_augmentation",
    "prepare",
    "scan",
    "spec_of_file",
    "spec_of_model",
    "synthesise_corpus",
]

_SHOWN = 3  # groups of duplicates that are named


def scan(manifest: Manifest, root: Path, out: Path | None) -> None:
    """Print what a corpus holds, write its manifest. Raises EmoscopeError."""
    for line in _counts(manifest):
        typer.echo(line)
    for line in _duplicates(manifest.duplicates(), root):
        typer.echo(line)
    if out is not None:
        manifest.write(out)
        typer.echo(f"written: {out}")


def prepare(
    manifest: Manifest,
    spec: ClipSpec,
    cache: Path | None,
    *,
    detector: str,
    faces: Faces,
    min_frames: int,
    whole: bool,
    workers: int | None,
) -> Prepared:
    """Cut a corpus's clips, print what came of it. Raises EmoscopeError."""
    with counting(manifest.corpus) as progress:
        prepared = prepare_samples(
            manifest.samples,
            spec,
            cache or default_cache(),
            detector=detector,
            faces=faces,
            min_frames=min_frames,
            whole=whole,
            workers=workers,
            progress=progress,
        )
    for line in prepared.report_lines():
        typer.echo(line)
    return prepared


def spec_of_file(path: Path) -> ClipSpec:
    """A ClipSpec from its JSON. Raises SpecError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SpecError(f"{path}: not a readable ClipSpec: {reason}.") from None
    try:
        return ClipSpec.from_json(text)
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from None


def spec_of_model(name: str) -> ClipSpec:
    """What a network or an estimator eats. Raises UnknownName or MissingExtra."""
    try:
        import torch

        from emoscope import models
        from emoscope.training.estimators.pipelines import ESTIMATORS
    except ImportError as error:
        raise MissingExtra(f"Reading a model's ClipSpec ({error.name})", "train") from None
    if name in ESTIMATORS:
        return ESTIMATORS[name].clip_spec
    with torch.device("meta"):  # the weights are not needed, and some are half a gigabyte
        return models.create(name).clip_spec


def synthesise_corpus(
    folder: Path,
    *,
    kind: str,
    subjects: int,
    clips: int,
    seconds: float,
    size_px: int,
    seed: int,
) -> None:
    """Draw a corpus, say what was drawn. Raises EmoscopeError."""
    with counting("drawing") as progress:
        manifest = synthesise(
            folder,
            kind=kind,
            subjects=subjects,
            clips=clips,
            seconds=seconds,
            size_px=size_px,
            seed=seed,
            progress=progress,
        )
    for line in _counts(manifest):
        typer.echo(line)


def plan_augmentation(name: str, root: Path, recipe: Path | None, pattern: str | None) -> None:
    """Print in how many forms a recipe's augmentation shows a corpus's samples, without a recipe
    the paper's as far as it is printed; then what the paper counts. Raises EmoscopeError."""
    paper = papers()["deformable-convlstm"].augmentation
    assert paper is not None
    if recipe is None:
        samples = len(read_corpus(name, root, pattern).samples)
        lines = [f"{name}: {samples:,} samples, changed as the paper prints it"]
        plan = Plan(samples, printed_kinds(paper))
    else:
        settings = Recipe.read(recipe)
        samples = len(_samples_of(settings, recipe, name, root))
        lines = [f"{name}: {samples:,} samples, changed as {settings.name} does"]
        plan = Plan(samples, variants(settings.augmentation))
        if isinstance(settings.protocol, AugmentedRandom):
            each = settings.protocol.variants
            drawn = f"{each:,} variants a sample, {each * samples:,} in all"
            lines.append(f"{settings.protocol.name} draws {drawn}")
    for line in (*lines, *plan.lines(), *paper_lines(paper)):
        typer.echo(line)


def _samples_of(recipe: Recipe, path: Path, name: str, root: Path) -> tuple[Sample, ...]:
    if recipe.corpus.name != (name,):
        theirs = " + ".join(recipe.corpus.name)
        raise RecipeError(f"{path}: is for {theirs}, not for {name}. Name the recipe's corpus.")
    return choose_samples(recipe, {name: root}).samples


def _counts(manifest: Manifest) -> Iterator[str]:
    labels = manifest.counts("label")
    yield f"{manifest.corpus}: {len(manifest.samples):,} samples, {len(manifest.labels)} labels"
    yield "label: " + _listed({label: labels.get(label, 0) for label in manifest.labels})
    yield f"subject: {_subjects(manifest.counts('subject'))}"
    splits = {name or "none": count for name, count in manifest.counts("split").items()}
    yield f"split: {'not fixed' if set(splits) <= {'none'} else _listed(splits)}"
    yield f"left out: {_listed(dict(manifest.left_out)) or 'nothing'}"


def _subjects(counts: dict[str, int]) -> str:
    nameless = counts.pop("", 0)
    if not counts:
        return "not told"
    fewest, most = min(counts.values()), max(counts.values())
    each = f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}"
    rest = f"; {nameless:,} samples without one" if nameless else ""
    return f"{len(counts):,}, {each} samples each{rest}"


def _duplicates(groups: tuple[tuple[Path, ...], ...], root: Path) -> Iterator[str]:
    if not groups:
        yield "byte-identical: none"
        return
    files = sum(len(group) for group in groups)
    yield f"byte-identical: {len(groups):,} group{'s' * (len(groups) > 1)}, {files:,} files"
    for group in groups[:_SHOWN]:
        names = [_short(path, root) for path in group[:_SHOWN]]
        more = f" = {len(group) - _SHOWN:,} more" if len(group) > _SHOWN else ""
        yield f"  {' = '.join(names)}{more}"
    if len(groups) > _SHOWN:
        yield f"  and {len(groups) - _SHOWN:,} groups more"


def _short(path: Path, root: Path) -> str:
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
