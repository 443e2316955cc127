"""Train a recipe on its corpora and leave a run folder; an interrupted run can be resumed.

train ─► prepare ─► cut clips ─► plan folds ─► job.fit(fold), fold by fold ─► Run
"""

import platform
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch
from lightning.fabric.utilities import rank_zero

from emoscope.analysis.bundle import load_bundle
from emoscope.core.clipspec import ClipSpec
from emoscope.core.errors import CorpusError, RecipeError
from emoscope.core.offline import default_cache
from emoscope.core.votes import VOTES
from emoscope.corpora.manifest import Manifest, Sample, digest
from emoscope.corpora.prepare import Prepared
from emoscope.corpora.prepare import prepare as prepare_clips
from emoscope.media.files import check_writable, replacing
from emoscope.training.fold_training import FoldTraining
from emoscope.training.folds import Plan, plan_folds
from emoscope.training.jobs import Job, prepare, prepare_run
from emoscope.training.networks.code import NetworkCode, code_of_recipe
from emoscope.training.networks.fit import Hardware
from emoscope.training.observer import Observer
from emoscope.training.recipe import Recipe
from emoscope.training.run import Run
from emoscope.training.run_folder import FINAL, RUNS, RunFolder, write_json
from emoscope.training.run_lock import check_owner, owned
from emoscope.training.samples import choose_samples
from emoscope.training.windows import BundleWindow, bundle_window

__all__ = ["cut_clips", "is_leader", "resume", "train"]

_WAIT_S = 6 * 3600.0
_PACKAGES = ("emoscope", "torch", "lightning", "numpy", "scikit-learn", "opencv-python-headless")


def train(
    recipe: Recipe | Path | str,
    corpora: Mapping[str, Path | str],
    folder: Path | str | None = None,
    *,
    settings: Mapping[str, str] | None = None,
    allow_code: bool = False,
    hardware: Hardware = Hardware(),
    cache: Path | None = None,
    observer: Observer = Observer(),
) -> Run:
    """Train every fold and seed of a recipe.

    recipe       a Recipe, or the path of its TOML file
    corpora      {corpus name: its folder}
    folder       the run folder to write; None writes runs/NAME
    settings     changes to a recipe file: {"schedule.epochs": "2"}
    allow_code   run the Python file beside the recipe that [model] name = "module:class" names
    cache        folder for the cut clips; None is the default cache
    observer     receives progress

    Raises RecipeError, also for a folder that holds a run already or in which another process
    trains; CorpusError; MediaError if the folder cannot be written.

    >>> from emoscope.training import train
    >>> recipe = "recipes/synthetic-face-cnn.toml"
    >>> run = train(recipe, {"synthetic": "corpus"}, "runs/first")  # doctest: +SKIP
    >>> run.evaluate()["accuracy"]  # doctest: +SKIP
    0.62
    >>> run.bundle.clip_spec.shapes()  # doctest: +SKIP
    {'gray': (1, 1, 48, 48)}
    """
    recipe_folder = None if isinstance(recipe, Recipe) else Path(recipe).parent
    if not isinstance(recipe, Recipe):
        recipe = Recipe.read(Path(recipe), dict(settings or {}))
    elif settings:
        raise RecipeError(
            f"{recipe.name}: only a recipe file's settings can be changed. Give its path."
        )
    folder = Path(folder) if folder is not None else RUNS / recipe.name
    folders = {name: Path(path) for name, path in corpora.items()}
    if not is_leader():
        _wait_for(folder / "run.json")
        return resume(folder, allow_code=allow_code, hardware=hardware, cache=cache)
    check_writable(folder)
    with owned(folder):
        return _train(recipe, recipe_folder, folders, folder, allow_code, hardware, cache, observer)


def _train(
    recipe: Recipe,
    recipe_folder: Path | None,
    folders: Mapping[str, Path],
    folder: Path,
    allow_code: bool,
    hardware: Hardware,
    cache: Path | None,
    observer: Observer,
) -> Run:
    """Train in a folder that this process owns."""
    if (folder / "run.json").is_file():
        raise RecipeError(f"{folder}: holds a run. Resume it with --resume, or use another folder.")
    missing = [name for name in recipe.corpus.name if name not in folders]
    if missing:
        raise RecipeError(f"{recipe.name} needs {', '.join(missing)}: add --corpus NAME=FOLDER.")
    code = code_of_recipe(recipe, recipe_folder, allow_code)

    manifest = choose_samples(recipe, folders)
    job = prepare(recipe, manifest.labels, code)
    if note := job.check():
        observer.note(note)
    prepared = cut_clips(recipe, job.spec, manifest.samples, cache, progress=observer.clips_cut)
    left_out = dict(Counter(failure.reason for failure in prepared.failures))
    if not prepared.samples:
        reason, count = Counter(left_out).most_common(1)[0]
        raise CorpusError(
            f"{recipe.name}: none of {len(manifest.samples)} samples can be used, {count} of them: "
            f"{reason}. Check that {recipe.model.name} suits the corpus."
        )
    plan = plan_folds(
        prepared.samples, manifest.labels, recipe.protocol, recipe.seeds[0], final=FINAL
    )
    job.check_plan(plan)
    manifest = replace(manifest, left_out={**manifest.left_out, **left_out, **plan.left_out})
    trained = [plan.samples[row] for row in (plan.final or plan.folds[0]).train]
    window = None if job.spec.is_image else bundle_window(recipe, job.spec, trained)
    if window and window.warning:
        plan = replace(plan, warnings=(*plan.warnings, window.warning))
    _write_run(recipe, job, code, folders, manifest, plan, prepared, window, folder)
    run = Run.open(folder, allow_code=allow_code)
    _fit_folds(run, job, prepared, hardware, observer)
    return run


def resume(
    folder: Path | str,
    *,
    allow_code: bool = False,
    hardware: Hardware = Hardware(),
    cache: Path | None = None,
    observer: Observer = Observer(),
) -> Run:
    """Resume an interrupted run with its samples and folds; the result is identical.

    The arguments are those of `train`. Raises RecipeError for a folder without a run or in which
    another process trains, or if recordings, weights or code have changed.

    >>> from emoscope.training import resume
    >>> run = resume("runs/first")  # doctest: +SKIP
    """
    run = Run.open(folder, allow_code=allow_code)
    if not is_leader():
        return _resume(run, hardware, cache, observer)
    with owned(run.folder):
        run = Run.open(folder, allow_code=allow_code)
        _clean_up(run)
        return _resume(run, hardware, cache, observer)


def _resume(run: Run, hardware: Hardware, cache: Path | None, observer: Observer) -> Run:
    if not run.missing:
        return run
    for what, path in _inputs(run.recipe).items():
        if digest(path) != run.info[what]:
            raise RecipeError(
                f"{path}: not the {what} that {run.folder} started with. Restore the file."
            )
    job = prepare_run(run, run.allow_code)
    prepared = cut_clips(run.recipe, job.spec, run.samples, cache, progress=observer.clips_cut)
    if prepared.failures:
        first = prepared.failures[0]
        raise RecipeError(
            f"{run.folder}: {len(prepared.failures)} of its recordings can no longer be read, "
            f"first {first.path} ({first.reason}). Restore them, or train again."
        )
    _fit_folds(run, job, prepared, hardware, observer)
    return run


def is_leader() -> bool:
    """Whether this process writes the run folder: the first, or only, process of a training."""
    return int(rank_zero.rank_zero_only.rank) == 0  # type: ignore[attr-defined]


def _wait_for(path: Path) -> None:
    """Wait until the first process has written a file. Raises RecipeError after six hours."""
    start_s = time.monotonic()
    while not path.is_file():
        if time.monotonic() - start_s > _WAIT_S:
            raise RecipeError(f"{path} was not written. Prepare the corpus first, then train.")
        time.sleep(0.5)


def _inputs(recipe: Recipe) -> dict[str, Path]:
    """The files besides the clips that decide the result: published weights, the teacher."""
    paths = {"weights": recipe.model.weights} if recipe.model.weights else {}
    if recipe.teacher:
        paths["teacher"] = load_bundle(recipe.teacher.bundle).path
    return paths


def cut_clips(
    recipe: Recipe,
    spec: ClipSpec,
    samples: Sequence[Sample],
    cache: Path | None,
    *,
    workers: int | None = None,
    progress: Callable[[int, int], None],
) -> Prepared:
    """Cut the clips that a recipe's training needs.

    spec   the model's ClipSpec with the recipe's changes
    Raises the errors of `emoscope.corpora.prepare.prepare`."""
    return prepare_clips(
        samples,
        spec,
        cache or default_cache(),
        detector=recipe.corpus.detector_choice,
        faces=recipe.corpus.faces,
        min_frames=recipe.corpus.min_frames,
        whole=recipe.evaluation.every > 0,
        workers=workers,
        progress=progress,
    )


def _write_run(
    recipe: Recipe,
    job: Job,
    code: NetworkCode | None,
    corpora: Mapping[str, Path],
    manifest: Manifest,
    plan: Plan,
    prepared: Prepared,
    window: BundleWindow | None,
    folder: Path,
) -> None:
    """Write a run folder without trainings. run.json comes last and makes the folder a run."""
    with replacing(folder / "recipe.json") as part:
        part.write_text(recipe.model_dump_json(indent=2) + "\n", encoding="utf-8")
    if code is not None:
        with replacing(folder / code.path.name) as part:
            part.write_bytes(code.source)
    replace(manifest, samples=plan.samples).write(folder / "corpus.csv")
    folds = [*plan.folds, *([plan.final] if plan.final else [])]
    write_json(folder / "folds.json", [asdict(rows) for rows in folds])
    write_json(
        folder / "run.json",
        {
            "name": recipe.name,
            "paper": recipe.published.paper if recipe.published else "",
            "model": recipe.model.name,
            "estimator": job.kind == "estimator",
            "corpora": manifest.corpus.split(" + "),
            "corpus_folders": {name: str(path.absolute()) for name, path in corpora.items()},
            "labels": manifest.labels,
            "protocol": recipe.protocol.model_dump(),
            "seeds": recipe.seeds,
            "votes": list(VOTES) if recipe.evaluation.every else [recipe.evaluation.vote],
            "parameters": job.parameters,
            **({"window": window.facts()} if window else {}),
            **{what: digest(path) for what, path in _inputs(recipe).items()},
            **({"code": code.sha256} if code else {}),
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


def _commit() -> str:
    """The git commit of this checkout; "" for an installed package."""
    try:
        git = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return git.stdout.strip()


def _clean_up(run: RunFolder) -> None:
    """Remove the temporary files of a killed process, and checkpoints of finished trainings."""
    for part in run.folder.rglob(".emoscope-*"):
        part.unlink(missing_ok=True)
    for training in set(run.trainings) - set(run.missing):
        shutil.rmtree(run.part(*training) / "checkpoints", ignore_errors=True)


def _fit_folds(
    run: RunFolder, job: Job, prepared: Prepared, hardware: Hardware, observer: Observer
) -> None:
    for text in run.info["warnings"]:
        observer.warning(text)
    rows = {planned["name"]: planned for planned in run.planned}
    trainings = run.trainings
    # Listed before the first of them is trained, so that all processes have the same list.
    for fold, seed in run.missing:
        check_owner(run.folder)
        observer.fold_started(trainings.index((fold, seed)), len(trainings), fold, seed)
        job.fit(FoldTraining(run, job.spec, prepared, hardware, rows[fold], seed, observer))
