"""A recipe and its corpora become a run folder: every fold and seed, resumable at any moment."""

import platform
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch
from lightning.fabric.utilities import rank_zero

from emoscope.analysis.bundle import load_bundle
from emoscope.core.clipspec import ClipSpec
from emoscope.core.errors import CorpusError, RecipeError
from emoscope.core.votes import VOTES
from emoscope.corpora.manifest import Manifest, Sample, digest
from emoscope.corpora.prepare import Prepared, default_cache, prepare
from emoscope.media.files import check_writable, replacing
from emoscope.models.checkpoints import freeze
from emoscope.training import estimators
from emoscope.training.fold_training import Part, fit_part
from emoscope.training.folds import Plan, check_persons, plan_folds
from emoscope.training.networks.build import (
    beginning,
    check_growing,
    clip_spec_of,
    create_model,
    is_estimator,
)
from emoscope.training.networks.callbacks import Progress
from emoscope.training.networks.dataset import ClipDataset
from emoscope.training.networks.distillation import check_teacher
from emoscope.training.networks.fit import Hardware
from emoscope.training.networks.frozen_features import Features, why_not_kept
from emoscope.training.networks.onnx_graph import hidden_convolutions, network_graph
from emoscope.training.recipe import Recipe
from emoscope.training.run_folder import FINAL, Run, read_run, write_json
from emoscope.training.samples import choose_samples

__all__ = ["Observer", "is_leader", "resume", "train"]

_PATIENCE_S = 6 * 3600.0
_PACKAGES = ("emoscope", "torch", "lightning", "numpy", "scikit-learn", "opencv-python-headless")


class Observer:
    """Is told how far a run is; this one keeps silent."""

    def preparing(self, done: int, total: int) -> None:
        """Clips cut, of how many."""

    def began(self, text: str) -> None:
        """What became of a file of published weights, and whether frozen features are kept."""

    def warned(self, text: str) -> None:
        """A leak that the recipe allows, or a label that a fold cannot learn."""

    def asking(self, done: int, total: int) -> None:
        """Clips whose features a frozen part has told, of how many."""

    def part(self, index: int, parts: int, fold: str, seed: int) -> None:
        """The training of one fold and seed begins; `index` counts from 0."""

    def progress(self, progress: Progress) -> None:
        """About twice a second."""


def train(
    recipe: Recipe,
    corpora: Mapping[str, Path],
    folder: Path,
    *,
    hardware: Hardware = Hardware(),
    cache: Path | None = None,
    observer: Observer = Observer(),
) -> Run:
    """Carry out a recipe on {corpus name: its folder} and leave a run folder.

    Raises CorpusError, MediaError where nothing can be written, and RecipeError, also for a run
    folder that is there already.
    """
    if not is_leader():
        _await(folder / "run.json")
        return resume(folder, hardware=hardware, cache=cache)
    if (folder / "run.json").is_file():
        raise RecipeError(
            f"{folder}: a run is there already. Go on with --resume, or choose another folder."
        )
    check_writable(folder)
    missing = [name for name in recipe.corpus.name if name not in corpora]
    if missing:
        raise RecipeError(f"{recipe.name} needs {', '.join(missing)}: add --corpus NAME=DIR.")
    manifest = choose_samples(recipe, corpora)
    spec = _spec(recipe, len(manifest.labels))
    _begin(recipe, spec, manifest.labels, observer)
    prepared = _prepare(recipe, spec, manifest.samples, cache, hardware, observer)
    left_out = dict(Counter(failure.reason for failure in prepared.failures))
    if not prepared.samples:
        reason, count = Counter(left_out).most_common(1)[0]
        raise CorpusError(
            f"{recipe.name}: none of {len(manifest.samples)} samples can be used, {count} of them: "
            f"{reason}. Does {recipe.model.name} suit the corpus?"
        )
    plan = plan_folds(
        prepared.samples, manifest.labels, recipe.protocol, recipe.seeds[0], final=FINAL
    )
    if is_estimator(recipe):
        check_persons(plan, recipe.model.name)
    left_out = {**manifest.left_out, **left_out, **plan.left_out}
    _write_run(recipe, corpora, replace(manifest, left_out=left_out), plan, prepared, folder)
    return _carry_out(read_run(folder), spec, prepared, hardware, observer)


def resume(
    folder: Path,
    *,
    hardware: Hardware = Hardware(),
    cache: Path | None = None,
    observer: Observer = Observer(),
) -> Run:
    """Go on with a run that was stopped, with the samples and folds it began with.

    Raises RecipeError for a folder that holds no run, or whose recordings have changed.
    """
    run = read_run(folder)
    if is_leader():
        _sweep(run)
    if not run.missing:
        return run
    _same_weights(run)
    spec = _spec(run.recipe, len(run.labels))
    prepared = _prepare(run.recipe, spec, run.samples, cache, hardware, observer)
    if prepared.failures:
        first = prepared.failures[0]
        raise RecipeError(
            f"{folder}: {len(prepared.failures)} of its recordings cannot be read any more, first "
            f"{first.path} ({first.reason}). Put them back, or train anew."
        )
    return _carry_out(run, spec, prepared, hardware, observer)


def is_leader() -> bool:
    """Whether this process writes the run folder: the first, or only one, of a training."""
    return int(rank_zero.rank_zero_only.rank) == 0  # type: ignore[attr-defined]


def _await(path: Path) -> None:
    """Until the first process has read and prepared the corpora. Raises RecipeError."""
    begun_s = time.monotonic()
    while not path.is_file():
        if time.monotonic() - begun_s > _PATIENCE_S:
            raise RecipeError(f"{path} did not come. Prepare the corpus first, then train.")
        time.sleep(0.5)


def _spec(recipe: Recipe, num_classes: int) -> ClipSpec:
    if is_estimator(recipe):
        return clip_spec_of(recipe, estimators.ESTIMATORS[recipe.model.name].clip_spec)
    own = create_model(recipe, num_classes).clip_spec
    if own.heard and recipe.evaluation.every:
        raise RecipeError(
            f"{recipe.name}: evaluation.every cuts frames into blocks, and {recipe.model.name} "
            "hears a clip whole: leave it out."
        )
    return clip_spec_of(recipe, own)


def _begin(recipe: Recipe, spec: ClipSpec, labels: Sequence[str], observer: Observer) -> None:
    """Refuse a schedule, a teacher or a precision that the network cannot follow, and tell
    what published weights fill, before anything is cut or written."""
    if is_estimator(recipe):
        return
    check_growing(recipe, len(labels))
    check_teacher(recipe, spec, labels)
    if recipe.bundle.precision == "int8":
        hidden_convolutions(network_graph(create_model(recipe, len(labels))))
    if recipe.model.weights is None:
        return
    model, told = beginning(recipe, len(labels))
    if recipe.model.frozen:
        why_not = why_not_kept(recipe, spec, model)
        told += "; frozen, its features " + (
            f"computed at every epoch: {why_not}" if why_not else "computed once and kept"
        )
    observer.began(told)


def _same_weights(run: Run) -> None:
    for what, path in _learned_from(run.recipe).items():
        if digest(path) != run.info[what]:
            raise RecipeError(f"{path}: not the {what} {run.folder} began with. Put it back.")


def _learned_from(recipe: Recipe) -> dict[str, Path]:
    """What a training begins with besides the clips."""
    found = {"weights": recipe.model.weights} if recipe.model.weights else {}
    if recipe.teacher:
        found["teacher"] = load_bundle(recipe.teacher.bundle).path
    return found


def _prepare(
    recipe: Recipe,
    spec: ClipSpec,
    samples: Sequence[Sample],
    cache: Path | None,
    hardware: Hardware,
    observer: Observer,
) -> Prepared:
    return prepare(
        samples,
        spec,
        cache or default_cache(),
        detector=recipe.corpus.detector_choice,
        faces=recipe.corpus.faces,
        min_frames=recipe.corpus.min_frames,
        whole=recipe.evaluation.every > 0,
        progress=observer.preparing,
    )


def _write_run(
    recipe: Recipe,
    corpora: Mapping[str, Path],
    manifest: Manifest,
    plan: Plan,
    prepared: Prepared,
    folder: Path,
) -> None:
    """What is known before training. run.json comes last: with it, the folder is a run."""
    with replacing(folder / "recipe.json") as part:
        part.write_text(recipe.model_dump_json(indent=2) + "\n", encoding="utf-8")
    replace(manifest, samples=plan.samples).write(folder / "corpus.csv")
    folds = [*plan.folds, *([plan.final] if plan.final else [])]
    write_json(folder / "folds.json", [asdict(rows) for rows in folds])
    write_json(
        folder / "run.json",
        {
            "name": recipe.name,
            "paper": recipe.published.paper if recipe.published else "",
            "model": recipe.model.name,
            "estimator": is_estimator(recipe),
            "corpora": manifest.corpus.split(" + "),
            "corpus_folders": {name: str(path.absolute()) for name, path in corpora.items()},
            "labels": manifest.labels,
            "protocol": recipe.protocol.model_dump(),
            "seeds": recipe.seeds,
            "votes": list(VOTES) if recipe.evaluation.every else [recipe.evaluation.vote],
            "parameters": _parameters(recipe, len(manifest.labels)),
            **{what: digest(path) for what, path in _learned_from(recipe).items()},
            "left_out": manifest.left_out,
            "failures": [asdict(f) | {"path": str(f.path)} for f in prepared.failures],
            "faces": {label: asdict(counts) for label, counts in prepared.report.items()},
            "warnings": [*manifest.notes, *prepared.warnings, *plan.warnings],
            "commit": _commit(),
            "versions": {"python": platform.python_version()} | {n: version(n) for n in _PACKAGES},
            "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )


def _parameters(recipe: Recipe, num_classes: int) -> int | None:
    """Trainable ones, of a network."""
    if is_estimator(recipe):
        return None
    model = create_model(recipe, num_classes)
    if recipe.model.frozen:
        freeze(model)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _commit() -> str:
    """Of the checkout that this code lies in; "" for an installed package."""
    try:
        asked = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return asked.stdout.strip()


def _sweep(run: Run) -> None:
    """Remove what a killed process was writing, and checkpoints of what is done."""
    for part in run.folder.rglob(".emoscope-*"):
        part.unlink(missing_ok=True)
    for training in set(run.trainings) - set(run.missing):
        shutil.rmtree(run.part(*training) / "checkpoints", ignore_errors=True)


def _carry_out(
    run: Run, spec: ClipSpec, prepared: Prepared, hardware: Hardware, observer: Observer
) -> Run:
    for text in run.info["warnings"]:
        observer.warned(text)
    rows = {planned["name"]: planned for planned in run.planned}
    trainings = run.trainings
    features = _features(run, spec, prepared, hardware, observer)
    # Listed before the first of them: other processes of this training come to the same list.
    for fold, seed in run.missing:
        observer.part(trainings.index((fold, seed)), len(trainings), fold, seed)
        part = Part(run, spec, prepared, hardware, rows[fold], seed, features)
        fit_part(part, observer.progress)
    return run


def _features(
    run: Run, spec: ClipSpec, prepared: Prepared, hardware: Hardware, observer: Observer
) -> Features | None:
    """Those of a frozen part, of all clips; None where they cannot be kept."""
    if not run.recipe.model.frozen or not run.missing:
        return None
    model, _ = beginning(run.recipe, len(run.labels))
    if why_not_kept(run.recipe, spec, model):
        return None
    features = Features(run.recipe, spec, prepared, run.info["weights"])
    whole = prepared.how.keeps_all
    clips = ClipDataset(run.samples, run.labels, spec, prepared.load, whole=whole)
    features.fill(model.to(hardware.device), clips, observer.asking)
    return features
