"""A trained network or estimator as a bundle: ONNX with its card inside."""

import platform
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from pydantic import ValidationError

from emoscope.analysis.bundle import METADATA_KEY, Bundle, BundleCard, load_bundle
from emoscope.core.clipspec import ClipSpec, explain
from emoscope.core.errors import BundleError, RecipeError
from emoscope.media.files import replacing
from emoscope.models import Network
from emoscope.training.estimators.onnx_graph import PARITY, estimator_graph
from emoscope.training.estimators.pipelines import ESTIMATORS, Fitted
from emoscope.training.export.card import card_page
from emoscope.training.networks.build import clip_spec_of, create_model, loaded, trained_network
from emoscope.training.networks.onnx_graph import network_graph
from emoscope.training.run_folder import EIGHT_BITS, Run, read_json, read_run, write_json

__all__ = ["export_bundle", "export_estimator", "export_run", "stamp"]


def export_run(run_dir: Path, path: Path) -> BundleCard:
    """Write a measured run as a bundle to `path` and its card beside it (`.md`). The card's figures
    tell what it costs, and so does bundle.json in the run's folder.

    Raises RecipeError for a run that is not finished and measured, BundleError, MediaError."""
    run = read_run(run_dir)
    weights = run.weights
    if not (run.folder / "evaluation.json").is_file():
        raise RecipeError(
            f"{run.folder}: not evaluated yet. Run `emoscope evaluate {run.folder}` first."
        )
    if run.info["estimator"]:
        card = _card(run, ESTIMATORS[run.recipe.model.name].clip_spec)
        stamp(loaded(onnx.load, weights), card, path)
    elif run.recipe.bundle.precision == "int8":
        model = create_model(run.recipe, len(run.labels))
        card = _card(run, model.clip_spec)
        stamp(loaded(onnx.load, weights.with_name(EIGHT_BITS)), card, path)
    else:
        model = trained_network(run)
        card = _card(run, model.clip_spec)
        export_bundle(model, card, path)
    held = {"parameters": run.info["parameters"], "precision": run.recipe.bundle.precision}
    cost = _cost(path, card.clip_spec) | held
    card = card.model_copy(update={"figures": {**card.figures, "cost": cost}})
    stamp(onnx.load(path), card, path)
    with replacing(path.with_suffix(".md")) as part:
        part.write_text(card_page(card), encoding="utf-8")
    write_json(run.folder / "bundle.json", cost)
    return card


def _cost(path: Path, spec: ClipSpec) -> dict[str, Any]:
    """Size of the file, and how long one clip takes through ONNX Runtime on one thread of this
    machine: the median of 15."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    clip = {name: np.ones((1, *shape), dtype=np.float32) for name, shape in spec.shapes().items()}
    took_s = []
    for _ in range(18):
        begun_s = time.thread_time()
        session.run(None, clip)
        took_s.append(time.thread_time() - begun_s)
    return {
        "cpu_ms_a_clip": round(1000 * statistics.median(took_s[3:]), 3),
        "file_mb": round(path.stat().st_size / 1e6, 1),
        "machine": _processor(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def export_bundle(model: Network, card: BundleCard, path: Path) -> None:
    """Write a network and its card as one ONNX file; kept only if it answers as torch does.

    Raises BundleError when the probabilities differ by 1e-4 or more on random input.
    """
    graph = network_graph(model)
    with replacing(path) as part:
        _check_parity(model, _write(graph, card, part, path))


def export_estimator(fitted: Fitted, card: BundleCard, path: Path) -> None:
    """Write an estimator and its card as one ONNX file; kept only if it answers as scikit-learn
    does. Raises BundleError."""
    stamp(estimator_graph(fitted), card, path)


def stamp(graph: onnx.ModelProto, card: BundleCard, path: Path) -> None:
    """Write a graph that was checked already with a card, in place of any that it has.

    Raises BundleError where the two do not fit."""
    with replacing(path) as part:
        _write(graph, card, part, path)


def _card(run: Run, own: ClipSpec) -> BundleCard:
    recipe = run.recipe
    spec = clip_spec_of(recipe, own)
    evaluation = read_json(run.folder / "evaluation.json")
    training = read_json(run.part(*run.exported) / "fold.json")
    try:
        return BundleCard(
            name=recipe.name,
            version=recipe.bundle.version,
            modality=_modality(spec),
            labels=run.labels,
            clip_spec=spec,
            temperature=evaluation["temperature"],
            prior=tuple(training["prior"]),
            licence=recipe.bundle.licence,
            trained_on=recipe.trained_on,
            figures={**evaluation["figures"], "folds": len(run.folds)},
            paper=recipe.bundle.paper,
        )
    except ValidationError as error:
        raise BundleError(f"{run.folder}: no card fits this run: {explain(error)}.") from None


def _modality(spec: ClipSpec) -> str:
    seen = "face" if spec.region == "face" else "body"
    return "+".join([*([seen] if spec.seen else []), *(["voice"] if spec.heard else [])])


def _write(graph: onnx.ModelProto, card: BundleCard, part: Path, path: Path) -> Bundle:
    """Write graph and card to `part`, which will be `path`, and open it."""
    onnx.helper.set_model_props(graph, {METADATA_KEY: card.model_dump_json()})
    onnx.save(graph, part)
    try:
        return load_bundle(part)
    except BundleError as error:  # speaks of the temporary, which nobody knows
        raise BundleError(str(error).replace(str(part), str(path))) from None


def _check_parity(model: Network, bundle: Bundle) -> None:
    for batch in (1, 3):
        inputs = model.example_inputs(batch)
        with torch.inference_mode():
            ours = torch.softmax(model(**inputs) / bundle.card.temperature, dim=1).numpy()
        theirs = bundle.predict({name: value.numpy() for name, value in inputs.items()})
        worst = float(np.abs(ours - theirs).max())
        if not worst < PARITY:
            raise BundleError(
                f"{bundle.name}: torch and ONNX Runtime differ by {worst:.1e} in probability."
            )
