"""Measure a run: temperature on its hold-out, figures on the corpus's own test part."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from emoscope.core.errors import RecipeError
from emoscope.corpora.manifest import Sample
from emoscope.media.files import replacing
from emoscope.training.dataset import distributions
from emoscope.training.loop import create_model, predict_logits, read_without_twins
from emoscope.training.metrics import accuracy, bootstrap_ci, ece, fit_temperature, uar
from emoscope.training.recipe import Recipe

__all__ = ["evaluate", "load_run"]

FloatArray = npt.NDArray[np.floating]

_RUN_FILES = ("recipe.json", "summary.json", "weights.pt")


def load_run(run_dir: Path) -> tuple[Recipe, dict[str, Any], nn.Module]:
    """A run's recipe, summary and network with its weights. Raises RecipeError."""
    missing = [name for name in _RUN_FILES if not (run_dir / name).is_file()]
    if missing:
        raise RecipeError(f"{run_dir}: not a finished run: {', '.join(missing)} missing.")
    recipe = Recipe.model_validate_json((run_dir / "recipe.json").read_text(encoding="utf-8"))
    summary = json.loads((run_dir / "summary.json").read_text(encoding="utf-8"))
    model = create_model(recipe, len(summary["labels"]))
    weights = torch.load(run_dir / "weights.pt", map_location="cpu", weights_only=True)
    model.load_state_dict(weights)
    return recipe, summary, model.eval()


def evaluate(run_dir: Path, corpus_dir: Path) -> dict[str, Any]:
    """Fit the temperature on the run's hold-out, measure on the corpus's valid part, and write
    both to `evaluation.json`. No picture measured on was trained on, by content."""
    recipe, summary, model = load_run(run_dir)
    corpus, content = read_without_twins(recipe.corpus.name, corpus_dir)
    held = set(summary["holdout_digests"])
    holdout = [s for s in corpus.split("train") if content[s.path] in held and s.is_clear]
    truth = distributions(holdout, corpus.labels).argmax(axis=1)
    temperature = fit_temperature(predict_logits(model, holdout, corpus.labels), truth)

    valid = corpus.split("valid")
    clear = [still for still in valid if still.is_clear]
    probs = _softmax(predict_logits(model, clear, corpus.labels) / temperature)
    result = {
        "temperature": temperature,
        "figures": {
            "corpus": "FER+ valid, label = arg-max of the votes",
            "pictures": len(clear),
            "left_out": {
                **{k: n for k, n in corpus.left_out.items() if k.startswith("valid: ")},
                "valid: tied votes": len(valid) - len(clear),
            },
            **_figures(probs, clear, corpus.labels),
        },
    }
    with replacing(run_dir / "evaluation.json") as part:
        part.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


def _figures(probs: FloatArray, stills: list[Sample], labels: tuple[str, ...]) -> dict[str, Any]:
    shares = distributions(stills, labels)
    truth = shares.argmax(axis=1)
    said = probs.argmax(axis=1)
    majority = shares.max(axis=1) > 0.5
    recalls = {
        label: {
            "recall": float(np.mean(said[truth == c] == c)),
            "pictures": int((truth == c).sum()),
        }
        for c, label in enumerate(labels)
        if (truth == c).any()
    }
    return {
        "accuracy": accuracy(truth, said),
        "accuracy_ci95": bootstrap_ci(said == truth),
        "majority_accuracy": accuracy(truth[majority], said[majority]),
        "majority_pictures": int(majority.sum()),
        "uar": uar(truth, said),
        "ece": ece(probs, truth),
        "per_class": recalls,
    }


def _softmax(logits: FloatArray) -> FloatArray:
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exp / exp.sum(axis=1, keepdims=True))
