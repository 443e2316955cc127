"""Tiny model bundles made with onnx alone: `from tiny_bundles import image_bundle, clip_bundle`.

Their logits are linear in the brightness of the pictures, or in the pitch of the voice, so a test
can work out what they answer: `answer(brightness)` does it, apart from the bundle's own code.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from emoscope.analysis.bundle import METADATA_KEY, BundleCard
from emoscope.core.clipspec import ClipSpec, Sampling, Stream, Uniform, Vector, Window

LABELS = ("dark", "middling", "bright")
PRIOR = (0.5, 0.3, 0.2)
TEMPERATURE = 2.0
HIGHEST_SEMITONES = 12 * math.log2(1000 / 27.5)
_SLOPES = np.array([-24.0, 0.0, 24.0])
_BIASES = np.array([8.0, 0.0, -16.0])

Shape = tuple[int | str, ...]  # with the batch


def answer(brightness: float, prior: str = "uniform") -> NDArray[np.float64]:
    """The probabilities (3,) that the tiny bundles give for a brightness in [0, 1]."""
    weights = [
        math.exp((slope * brightness + bias) / TEMPERATURE) / (share if prior == "uniform" else 1)
        for slope, bias, share in zip(_SLOPES, _BIASES, PRIOR, strict=True)
    ]
    return np.array(weights) / sum(weights)


def image_card(**changes: Any) -> BundleCard:
    """Grey pictures of 8x8, one at a time, of whatever the detector finds."""
    return _card(Uniform(length=1), Stream(kind="gray", size_hw=(8, 8)), **changes)


def clip_card(length: int = 4, sampling: Sampling | None = None, **changes: Any) -> BundleCard:
    """`length` pictures of 8x8 in colour, drawn evenly from 1 s every 0.5 s of the whole frame."""
    settings = {"region": "frame", "window": Window(length_s=1.0, stride_s=0.5)}
    stream = Stream(kind="rgb", size_hw=(8, 8))
    return _card(sampling or Uniform(length=length), stream, **{**settings, **changes})


def voice_card(**changes: Any) -> BundleCard:
    """The 88 functionals of a second of sound, every 0.5 s."""
    settings = {"modality": "voice", "window": Window(length_s=1.0, stride_s=0.5)}
    return _card(None, Vector(kind="egemaps"), **{**settings, **changes})


def _card(sampling: Sampling | None, stream: Stream | Vector, **changes: Any) -> BundleCard:
    """`changes` are the card's fields or the ClipSpec's."""
    spec = {key: changes.pop(key) for key in list(changes) if key in ClipSpec.model_fields}
    fields = {
        "name": "tiny",
        "version": "1.2",
        "modality": "face",
        "labels": LABELS,
        "clip_spec": ClipSpec(sampling=sampling, streams=(stream,), **spec),
        "temperature": TEMPERATURE,
        "prior": PRIOR,
        "licence": "CC0-1.0",
        "trained_on": "nothing",
        "figures": {"accuracy": 0.5},
    }
    return BundleCard(**{**fields, **changes})


def image_bundle(path: Path, **changes: Any) -> Path:
    """A bundle that looks at one picture: `answer(mean brightness)`."""
    return write_bundle(path, image_card(**changes))


def clip_bundle(
    path: Path, *, frame_weights: Sequence[float] | None = None, **changes: Any
) -> Path:
    """A bundle that looks at a clip: `answer(mean over its pictures)`, weighted where asked."""
    return write_bundle(path, clip_card(**changes), frame_weights=frame_weights)


def voice_bundle(path: Path, **changes: Any) -> Path:
    """A bundle that listens: `answer(pitch)`, the mean pitch a share of 1000 Hz on the scale of
    semitones from 27.5 Hz."""
    pitch_alone = np.zeros(88)
    pitch_alone[0] = 1 / HIGHEST_SEMITONES
    return write_bundle(path, voice_card(**changes), frame_weights=pitch_alone.tolist())


def write_bundle(
    path: Path,
    card: BundleCard,
    *,
    metadata: Mapping[str, str] | None = None,
    inputs: Mapping[str, Shape] | None = None,
    outputs: int | None = None,
    kind: int = TensorProto.FLOAT,
    frame_weights: Sequence[float] | None = None,
) -> Path:
    """Write a card and a graph that fits it, or does not.

    metadata   the file's, instead of the card under its key
    inputs     names and shapes of the graph's inputs, instead of the ClipSpec's streams
    outputs    how many logits the graph returns, instead of one a label
    kind       element type of the graph's inputs
    """
    if inputs is None:
        inputs = {name: ("batch", *shape) for name, shape in card.clip_spec.shapes().items()}
    graph = _graph(inputs, outputs or len(card.labels), kind, frame_weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    helper.set_model_props(
        model, {METADATA_KEY: card.model_dump_json()} if metadata is None else dict(metadata)
    )
    onnx.save(model, path)
    return path


def _graph(
    inputs: Mapping[str, Shape], outputs: int, kind: int, frame_weights: Sequence[float] | None
) -> onnx.GraphProto:
    """The sum over the inputs of each one's mean times the slopes, plus the biases."""
    nodes, constants, terms = [], [], []
    for name, (_, *shape) in inputs.items():
        frames, *pixels = (int(size) for size in shape)
        share = np.full(frames, 1 / frames) if frame_weights is None else np.array(frame_weights)
        slopes = np.repeat(share / math.prod(pixels), math.prod(pixels))[:, None] * np.resize(
            _SLOPES / len(inputs), outputs
        )
        constants.append(numpy_helper.from_array(slopes.astype(np.float32), f"{name}_slopes"))
        nodes += [
            helper.make_node("Cast", [name], [f"{name}_float"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", [f"{name}_float"], [f"{name}_flat"], axis=1),
            helper.make_node("MatMul", [f"{name}_flat", f"{name}_slopes"], [f"{name}_term"]),
        ]
        terms.append(f"{name}_term")
    biases = np.resize(_BIASES, outputs).astype(np.float32)
    constants.append(numpy_helper.from_array(biases, "biases"))
    nodes.append(helper.make_node("Sum", [*terms, "biases"], ["logits"]))
    return helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ("batch", outputs))],
        constants,
    )
