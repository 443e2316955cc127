"""A trained network as a bundle: ONNX with its card inside, and the card as a page."""

import json
import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from emoscope.analysis.bundle import METADATA_KEY, BundleCard, load_bundle
from emoscope.core.errors import BundleError, RecipeError
from emoscope.media.files import replacing
from emoscope.training.evaluate import load_run

__all__ = ["card_page", "export_bundle", "export_run"]

PARITY = 1e-4  # largest difference allowed between the probabilities of torch and ONNX Runtime


def export_run(run_dir: Path, path: Path) -> BundleCard:
    """Write a measured run as a bundle to `path` and its card beside it (`.md`)."""
    recipe, summary, model = load_run(run_dir)
    measured = run_dir / "evaluation.json"
    if not measured.is_file():
        raise RecipeError(f"{run_dir}: not evaluated yet. Run `emoscope evaluate {run_dir}` first.")
    evaluation = json.loads(measured.read_text(encoding="utf-8"))
    card = BundleCard(
        name=recipe.name,
        version=recipe.bundle.version,
        modality="face",
        labels=tuple(summary["labels"]),
        clip_spec=model.clip_spec,
        temperature=evaluation["temperature"],
        prior=tuple(summary["prior"]),
        licence=recipe.bundle.licence,
        trained_on=recipe.bundle.trained_on,
        figures=evaluation["figures"],
        paper=recipe.bundle.paper,
    )
    export_bundle(model, card, path)
    with replacing(path.with_suffix(".md")) as part:
        part.write_text(card_page(card), encoding="utf-8")
    return card


def export_bundle(model: nn.Module, card: BundleCard, path: Path) -> None:
    """Write a network and its card as one ONNX file; kept only if it answers as torch does.

    Raises BundleError when the probabilities differ by more than 1e-4 on random input.
    """
    with replacing(path) as part:
        _write_onnx(model.eval(), card, part)
        _check_parity(model, part)


def _write_onnx(model: nn.Module, card: BundleCard, path: Path) -> None:
    inputs = model.example_inputs(2)  # type: ignore[operator]
    batch = torch.export.Dim("batch")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it misses torchvision aloud
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        program = torch.onnx.export(
            model,
            kwargs=inputs,
            dynamo=True,
            dynamic_shapes={name: {0: batch} for name in inputs},
            input_names=list(inputs),
            output_names=["logits"],
            verbose=False,
        )
    assert program is not None
    graph = program.model_proto
    onnx.helper.set_model_props(graph, {METADATA_KEY: card.model_dump_json()})
    onnx.save(graph, path)


def _check_parity(model: nn.Module, path: Path) -> None:
    bundle = load_bundle(path)
    for batch in (1, 3):
        inputs = model.example_inputs(batch)  # type: ignore[operator]
        with torch.inference_mode():
            ours = torch.softmax(model(**inputs) / bundle.card.temperature, dim=1).numpy()
        theirs = bundle.predict({name: value.numpy() for name, value in inputs.items()})
        worst = float(np.abs(ours - theirs).max())
        if not worst < PARITY:
            raise BundleError(
                f"{bundle.name}: torch and ONNX Runtime differ by {worst:.1e} in probability."
            )


def card_page(card: BundleCard) -> str:
    """The card as Markdown, every figure from the metadata."""
    f = card.figures
    rows = "\n".join(
        f"| {label} | {part['recall']:.1%} | {part['pictures']} |"
        for label, part in f["per_class"].items()
    )
    low, high = f["accuracy_ci95"]
    majority = f"{f['majority_accuracy']:.1%} of {f['majority_pictures']} pictures"
    left_out = "; ".join(f"{reason}: {count}" for reason, count in f["left_out"].items())
    return f"""# {card.name}, version {card.version}

Made by `emoscope export`; the same figures stand in the bundle's metadata.

- **Input**: {card.modality}; {", ".join(f"`{k}` {v}" for k, v in card.clip_spec.shapes().items())}
- **Labels**: {", ".join(card.labels)}
- **Trained on**: {card.trained_on}
- **Licence of the weights**: {card.licence}
- **Paper**: {card.paper}
- **Temperature**: {card.temperature:.3f}, fitted on a hold-out of the training part

## Measured

{f["corpus"]}; {f["pictures"]} pictures ({left_out}).

| figure | value |
|---|---|
| accuracy | {f["accuracy"]:.1%} (95 % interval {low:.1%} to {high:.1%}) |
| unweighted average recall | {f["uar"]:.1%} |
| accuracy where a class has over half of the votes | {majority} |
| expected calibration error, 15 bins | {f["ece"]:.3f} |

| label | recall | pictures |
|---|---|---|
{rows}

FER+ names no persons, so the interval is a bootstrap over pictures, not over people, and one person
may stand on both sides of the split; pictures whose bytes occur on both are removed from training.

## Use

It scores how a face *looks*, not what a person feels. Not measured: pose beyond what frontal
detectors find, occlusion, age, gender, skin tone. Rare classes (disgust, fear, contempt) are its
weakest. Emotion inference at work and in education is prohibited in the EU (AI Act, Art. 5(1)(f)).
"""
