"""Export a trained network or estimator as a bundle: an ONNX file that contains its card."""

import platform
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from pydantic import ValidationError

from emoscope.analysis.bundle import METADATA_KEY, BundleCard, load_bundle
from emoscope.core.clipspec import ClipSpec, Window, explain
from emoscope.core.errors import BundleError, RecipeError
from emoscope.media.files import replacing
from emoscope.models import Network
from emoscope.training.export.card import card_page
from emoscope.training.jobs import prepare_run
from emoscope.training.networks.onnx_graph import checked_graph
from emoscope.training.run_folder import RunFolder, read_json, read_run, write_json

__all__ = ["export_bundle", "export_run", "stamp"]


def export_run(run_dir: Path, path: Path, *, allow_code: bool = False) -> BundleCard:
    """Write an evaluated run as a bundle to `path`, and its card beside it (`.md`).

    The size and speed of the bundle go into the card and into bundle.json in the run's folder.

    allow_code   run the Python source kept in the folder, if its network is not registered
    Raises RecipeError for a run that is not finished and evaluated, BundleError, MediaError."""
    run = read_run(run_dir)
    job = prepare_run(run, allow_code)
    training = read_json(run.exported_file("fold.json"))
    if not (run.folder / "evaluation.json").is_file():
        raise RecipeError(
            f"{run.folder}: not evaluated yet. Run `emoscope evaluate {run.folder}` first."
        )
    card = _card(run, job.spec, training["prior"])
    stamp(job.graph(run), card, path)
    cost = _cost(path, card.clip_spec) | {
        "parameters": run.info["parameters"],
        "precision": run.recipe.bundle.precision,
    }
    card = card.model_copy(update={"figures": {**card.figures, "cost": cost}})
    stamp(onnx.load(path), card, path)
    with replacing(path.with_suffix(".md")) as part:
        part.write_text(card_page(card), encoding="utf-8")
    write_json(run.folder / "bundle.json", cost)
    return card


def _cost(path: Path, spec: ClipSpec) -> dict[str, Any]:
    """Size of the file, and the time per clip with ONNX Runtime on one thread (median of 15)."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    clip = {name: np.ones((1, *shape), dtype=np.float32) for name, shape in spec.shapes().items()}
    times_s = []
    for _ in range(18):
        start_s = time.thread_time()
        session.run(None, clip)
        times_s.append(time.thread_time() - start_s)
    return {
        "cpu_ms_a_clip": round(1000 * statistics.median(times_s[3:]), 3),
        "file_mb": round(path.stat().st_size / 1e6, 1),
        "machine": _processor(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def export_bundle(model: Network, card: BundleCard, path: Path) -> None:
    """Write a network and its card as one ONNX file.

    Raises BundleError, and writes nothing, if the probabilities differ from torch's by 1e-4 or more
    on random input.

    >>> from emoscope import models
    >>> from emoscope.training.export.bundle import export_bundle
    >>> model = models.create("face-cnn", num_classes=7)
    >>> export_bundle(model, card, "face.onnx")  # doctest: +SKIP
    """
    stamp(checked_graph(model, card.name, card.temperature), card, path)


def stamp(graph: onnx.ModelProto, card: BundleCard, path: Path) -> None:
    """Write a graph with a card, which replaces any that it has.

    Raises BundleError if the two do not fit."""
    onnx.helper.set_model_props(graph, {METADATA_KEY: card.model_dump_json()})
    with replacing(path) as part:
        onnx.save(graph, part)
        try:
            load_bundle(part)
        except BundleError as error:  # its message names the temporary file
            raise BundleError(str(error).replace(str(part), str(path))) from None


def _card(run: RunFolder, spec: ClipSpec, prior: list[float]) -> BundleCard:
    recipe = run.recipe
    if chosen := run.info.get("window"):  # absent for image models
        window = Window(length_s=chosen["length_s"], stride_s=chosen["stride_s"])
        spec = spec.model_copy(update={"window": window})
    evaluation = read_json(run.folder / "evaluation.json")
    seen = "face" if spec.region == "face" else "body"
    modalities = [
        *([seen] if spec.frame_streams else []),
        *(["voice"] if spec.audio_streams else []),
    ]
    try:
        return BundleCard(
            name=recipe.name,
            version=recipe.bundle.version,
            modality="+".join(modalities),
            labels=run.labels,
            clip_spec=spec,
            temperature=evaluation["temperature"],
            prior=tuple(prior),
            licence=recipe.bundle.licence,
            trained_on=recipe.trained_on,
            figures={**evaluation["figures"], "folds": len(run.folds)},
            paper=recipe.bundle.paper,
        )
    except ValidationError as error:
        raise BundleError(f"{run.folder}: the card is not valid: {explain(error)}.") from None
