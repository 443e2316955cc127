"""`emoscope corpus`: list, scan, prepare and synthesise corpora, count their variants."""

import inspect
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import typer

from emoscope.apps.cache import size_line
from emoscope.apps.progress import counting
from emoscope.core.clipspec import ClipSpec
from emoscope.core.errors import MissingExtra, RecipeError, SpecError
from emoscope.core.offline import default_cache
from emoscope.core.spelling import key
from emoscope.corpora.cutting import Faces
from emoscope.corpora.manifest import Manifest
from emoscope.corpora.prepare import Prepared
from emoscope.corpora.prepare import prepare as prepare_samples
from emoscope.corpora.registry import CORPORA, read_corpus, reader_options
from emoscope.corpora.synthetic.corpus import synthesise
from emoscope.training.papers.published import papers
from emoscope.training.papers.variants import Plan, paper_lines, printed_kinds, variants
from emoscope.training.recipe import AugmentedRandom, Recipe
from emoscope.training.samples import choose_samples

__all__ = [
    "list_corpora",
    "plan_augmentation",
    "prepare",
    "prepare_for_recipe",
    "scan",
    "spec_of_file",
    "spec_of_model",
    "synthesise_corpus",
]

_SHOWN = 3  # groups of duplicates that are listed


def list_corpora() -> None:
    """Print every corpus with its layout, and its options. Raises PluginError."""
    width = max(map(len, CORPORA))
    for name in sorted(CORPORA):
        layout = " ".join((inspect.getdoc(CORPORA[name]) or "").split("\n\n")[0].split())
        typer.echo(f"{name:{width}}  {layout}")
        for option in reader_options(name).values():
            typer.echo(f"{'':{width}}  --option {option.name}=...  {option.help}")
            typer.echo(f"{'':{width}}  default: {option.default}")


def scan(manifest: Manifest, root: Path, out: Path | None) -> None:
    """Print the counts of a corpus and write its manifest. Raises EmoscopeError."""
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
    """Cut the clips of a corpus and print the report. Raises EmoscopeError."""
    _print_notes(manifest)
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
    return _reported(prepared)


def prepare_for_recipe(
    name: str,
    root: Path,
    recipe_file: Path,
    settings: Mapping[str, str],
    allow_code: bool,
    cache: Path | None,
    workers: int | None,
) -> Prepared:
    """Cut the clips that a recipe's training needs of one of its corpora, and print the report.

    settings   changes to the recipe, as for its training
    Raises EmoscopeError."""
    try:
        from emoscope.training.experiment import cut_clips
        from emoscope.training.jobs import prepare as prepare_job
        from emoscope.training.networks.code import code_of_recipe
    except ImportError as error:
        raise MissingExtra(f"Reading a recipe's model ({error.name})", "train") from None
    recipe = Recipe.read(recipe_file, dict(settings))
    if name not in recipe.corpus.name:
        raise RecipeError(_other_corpus(recipe_file, recipe, name))
    code = code_of_recipe(recipe, recipe_file.parent, allow_code)
    manifest = choose_samples(recipe, {name: root}, [name])
    _print_notes(manifest)
    spec = prepare_job(recipe, manifest.labels, code).spec
    with counting(manifest.corpus) as progress:
        prepared = cut_clips(
            recipe, spec, manifest.samples, cache, workers=workers, progress=progress
        )
    return _reported(prepared)


def _other_corpus(recipe_file: Path, recipe: Recipe, name: str) -> str:
    """The message that a recipe is not for a corpus."""
    names = " + ".join(recipe.corpus.name)
    return f"{recipe_file}: the recipe is for {names}, not for {name}. Give the recipe's corpus."


def _print_notes(manifest: Manifest) -> None:
    for note in manifest.notes:
        typer.echo(f"note: {note}", err=True)


def _reported(prepared: Prepared) -> Prepared:
    for line in prepared.report_lines():
        typer.echo(line)
    typer.echo(size_line(prepared.size_bytes, prepared.clips.folder))
    return prepared


def spec_of_file(path: Path) -> ClipSpec:
    """Read a ClipSpec from a JSON file. Raises SpecError."""
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
    """The ClipSpec of a network or an estimator. Raises UnknownName or MissingExtra."""
    try:
        from emoscope.training.jobs import model_clip_spec
    except ImportError as error:
        raise MissingExtra(f"Reading a model's ClipSpec ({error.name})", "train") from None
    return model_clip_spec(name)


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
    """Draw a synthetic corpus and print its counts. Raises EmoscopeError."""
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


def plan_augmentation(
    name: str, root: Path, recipe: Path | None, options: Mapping[str, str]
) -> None:
    """Print how many variants of a corpus's samples an augmentation makes, and the paper's counts.

    The augmentation is the recipe's, or the one that the paper states. Raises EmoscopeError."""
    paper = papers()["deformable-convlstm"].augmentation
    assert paper is not None
    if recipe is None:
        samples = len(read_corpus(name, root, **options).samples)
        lines = [f"{name}: {samples:,} samples, augmented as the paper states"]
        plan = Plan(samples, printed_kinds(paper))
    else:
        settings = Recipe.read(recipe)
        if settings.corpus.name != (name,):
            raise RecipeError(_other_corpus(recipe, settings, name))
        samples = len(choose_samples(settings, {name: root}).samples)
        lines = [f"{name}: {samples:,} samples, augmented as in {settings.name}"]
        plan = Plan(samples, variants(settings.augmentation))
        if isinstance(settings.protocol, AugmentedRandom):
            each = settings.protocol.variants
            drawn = f"{each:,} variants per sample, {each * samples:,} in total"
            lines.append(f"{settings.protocol.name} draws {drawn}")
    for line in (*lines, *plan.lines(), *paper_lines(paper)):
        typer.echo(line)


def _counts(manifest: Manifest) -> Iterator[str]:
    labels = manifest.counts("label")
    yield f"{manifest.corpus}: {len(manifest.samples):,} samples, {len(manifest.labels)} labels"
    yield "label: " + _listed({label: labels.get(label, 0) for label in manifest.labels})
    yield f"subject: {_subjects(manifest)}"
    splits = {name or "none": count for name, count in manifest.counts("split").items()}
    yield f"split: {'not fixed' if set(splits) <= {'none'} else _listed(splits)}"
    yield f"left out: {_listed(dict(manifest.left_out)) or 'nothing'}"
    yield from (f"note: {note}" for note in manifest.notes)


def _subjects(manifest: Manifest) -> str:
    counts = Counter(key(sample.subject) for sample in manifest.samples)
    without = counts.pop("", 0)
    if not counts:
        return "not given"
    fewest, most = min(counts.values()), max(counts.values())
    each = f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}"
    rest = f"; {without:,} samples without one" if without else ""
    return f"{len(counts):,}, {each} samples each{rest}"


def _duplicates(groups: tuple[tuple[Path, ...], ...], root: Path) -> Iterator[str]:
    title = "files with identical content"
    if not groups:
        yield f"{title}: none"
        return
    files = sum(len(group) for group in groups)
    yield f"{title}: {len(groups):,} group{'s' * (len(groups) > 1)}, {files:,} files"
    for group in groups[:_SHOWN]:
        names = [
            str(path.relative_to(root) if path.is_relative_to(root) else path)
            for path in group[:_SHOWN]
        ]
        more = f" and {len(group) - _SHOWN:,} more" if len(group) > _SHOWN else ""
        yield f"  {' = '.join(names)}{more}"
    if len(groups) > _SHOWN:
        yield f"  and {len(groups) - _SHOWN:,} more groups"


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
