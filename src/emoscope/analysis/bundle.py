"""Model bundles: one ONNX file whose metadata says all that is needed to run and to judge it."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import numpy as np
import onnxruntime as ort
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from emoscope.core.arrays import Float64Array, FloatArray
from emoscope.core.clipspec import ClipSpec, explain
from emoscope.core.errors import BundleError, MissingExtra, SpecError
from emoscope.core.offline import import_openvino
from emoscope.core.processors import usable_processors
from emoscope.core.registry import Registry

__all__ = [
    "BACKENDS",
    "FORMAT",
    "METADATA_KEY",
    "Bundle",
    "BundleCard",
    "bundle_names",
    "installed_models",
    "load_bundle",
    "open_session",
    "softmax",
]

FORMAT = 1  # of the metadata; a higher one is refused
METADATA_KEY = "emoscope"
WEIGHTS_GROUP = "emoscope.weights"
_MODEL_SUFFIXES = (".onnx", ".toml")

Prior = Literal["train", "uniform"]
Run = Callable[[Mapping[str, FloatArray]], FloatArray]  # {stream: (B, ...)} -> logits (B, C)


class BundleCard(BaseModel):
    """The metadata of a bundle, stored as JSON under the key "emoscope"."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: int = FORMAT
    name: str
    version: str
    modality: Literal["face", "body", "voice", "face+voice"]
    labels: tuple[str, ...] = Field(min_length=2)
    clip_spec: ClipSpec
    temperature: float = Field(gt=0)  # fitted on held-out data; logits are divided by it
    prior: tuple[Annotated[float, Field(gt=0)], ...]  # share of each class in the training data
    licence: str
    trained_on: str
    figures: dict[str, Any]  # what was measured, on what
    paper: str = ""

    @model_validator(mode="after")
    def _one_prior_a_label(self) -> Self:
        if len(set(self.labels)) < len(self.labels):
            raise ValueError(f"each label may occur once, got {self.labels}")
        if len(self.prior) != len(self.labels):
            raise ValueError(
                f"{len(self.labels)} labels need as many priors, got {len(self.prior)}"
            )
        return self


@dataclass(frozen=True, eq=False)
class Bundle:
    """A model ready to run."""

    card: BundleCard
    path: Path
    backend: str
    run: Run

    @property
    def name(self) -> str:
        return self.card.name

    @property
    def labels(self) -> tuple[str, ...]:
        return self.card.labels

    @property
    def clip_spec(self) -> ClipSpec:
        return self.card.clip_spec

    def predict(self, inputs: Mapping[str, FloatArray], prior: Prior = "train") -> FloatArray:
        """Calibrated probabilities of a batch of clips: {stream: (B, T, C, H, W)} -> (B, labels).

        softmax(logits / temperature); with `prior="uniform"` divided by the class prior of the
        training data and made to sum to 1 again, so that a class does not win for being common
        there (logit adjustment, Menon et al., ICLR 2021). A clip of which a vector is NaN, as of
        silence, has NaN for an answer. Raises SpecError for inputs that do not fit `clip_spec`.
        """
        if prior not in get_args(Prior):
            raise SpecError(f"prior is one of {', '.join(get_args(Prior))}, got {prior!r}.")
        logits = self._logits(self._checked(inputs)) / self.card.temperature
        if prior == "uniform":
            logits = logits - np.log(self.card.prior)
        return softmax(logits)

    def _logits(self, inputs: dict[str, FloatArray]) -> Float64Array:
        """(B, labels). No model is asked about NaN: a forest, for one, would answer."""
        vectors = [inputs[vector.kind] for vector in self.clip_spec.vectors]
        if not vectors:
            return self.run(inputs).astype(np.float64)
        known = ~np.isnan(np.concatenate(vectors, axis=1)).any(axis=1)
        logits = np.full((len(known), len(self.labels)), np.nan)
        if known.any():
            logits[known] = self.run({name: array[known] for name, array in inputs.items()})
        return logits

    def _checked(self, inputs: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        shapes = self.clip_spec.shapes()
        if set(inputs) != set(shapes):
            raise SpecError(f"{self.name} takes {sorted(shapes)}, got {sorted(inputs)}.")
        arrays = {name: np.asarray(inputs[name], dtype=np.float32) for name in shapes}
        for name, shape in shapes.items():
            found = arrays[name].shape
            if found[1:] != shape:
                raise SpecError(f"{self.name}: {name} must be (B, *{shape}), got {found}.")
        if len({len(array) for array in arrays.values()}) > 1:
            sizes = {name: len(array) for name, array in arrays.items()}
            raise SpecError(f"{self.name}: the streams must be of one batch, got {sizes}.")
        return arrays


def softmax(logits: FloatArray) -> FloatArray:
    """(N, C) -> (N, C), rows that sum to 1."""
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exp / exp.sum(axis=1, keepdims=True))


def bundle_names() -> list[str]:
    """Names of the bundles that are installed, ours first."""
    found = installed_models()
    return [name for name in found if found[name].suffix == ".onnx"]


def load_bundle(name_or_path: str | Path, backend: str = "onnxruntime") -> Bundle:
    """Load an installed bundle by name, or one from a file by its path.

    Raises UnknownName for a name nobody installed, BundleError for a file that is no bundle, is
    newer than this Emoscope, or whose graph does not fit its own spec.
    """
    start = BACKENDS[backend]
    path = _locate(name_or_path)
    session = open_session(path)
    card = _read_card(session.get_modelmeta().custom_metadata_map, path)
    _check_graph(session, card, path)
    return Bundle(card=card, path=path, backend=backend, run=start(path, session))


def _locate(name_or_path: str | Path) -> Path:
    path = Path(name_or_path)
    if path.suffix not in _MODEL_SUFFIXES and not path.is_file():
        path = installed_models()[str(name_or_path)]
    if path.suffix == ".toml":
        raise BundleError(
            f"{name_or_path}: a system of several models, and one is wanted. "
            "`emoscope.analyze` and the command line take both."
        )
    if not path.is_file():
        raise BundleError(f"{path}: no such file. Give a bundle's path or an installed name.")
    return path


def installed_models() -> Registry[Path]:
    """Name -> file, a bundle (.onnx) or a system of several (.toml), over every package that names
    itself under `emoscope.weights`; ours first."""
    found: Registry[Path] = Registry("installed model")
    for entry in sorted(entry_points(group=WEIGHTS_GROUP), key=lambda e: e.name != "emoscope"):
        for path in _weights_of(entry):
            if path.stem not in found:
                found.add(path.stem, path)
    return found


def _weights_of(entry: EntryPoint) -> list[Path]:
    try:
        package = files(entry.module)
    except ImportError as error:
        raise BundleError(
            f"{entry.module}: a package named under {WEIGHTS_GROUP!r} cannot be imported: {error}. "
            "Reinstall or remove it."
        ) from None
    items = [item for item in package.iterdir() if isinstance(item, Path)]
    return sorted(item for item in items if _is_model(item))


def _is_model(path: Path) -> bool:
    """A learned rule of fusion lies beside its system, and is no model by itself."""
    return path.suffix in _MODEL_SUFFIXES and not path.name.endswith(".rule.onnx")


def open_session(path: Path) -> ort.InferenceSession:
    """An ONNX file, ready to run on the CPU. Raises BundleError."""
    options = ort.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised, once
    if (processors := usable_processors()) < (os.cpu_count() or 1):
        # Told nothing, it binds a thread to every core of the machine, the forbidden ones too.
        options.intra_op_num_threads = processors
    # Spinning threads would take the video decoder's processor time.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has no common class of its own
        reason = str(error).split("\n")[0].split(" : ")[-1].split(" failed:")[-1].rstrip(". ")
        raise BundleError(
            f"{path}: not an ONNX model that ONNX Runtime can run: {reason}."
        ) from None


def _read_card(metadata: Mapping[str, str], path: Path) -> BundleCard:
    if METADATA_KEY not in metadata:
        raise BundleError(
            f"{path}: an ONNX model without Emoscope's metadata. Make a bundle with "
            "`emoscope export`."
        )
    try:
        fields = json.loads(metadata[METADATA_KEY])
        if isinstance(fields, dict) and int(fields.get("format", 0)) > FORMAT:
            raise BundleError(
                f"{path}: bundle format {fields['format']}, this Emoscope reads up to {FORMAT}. "
                "Upgrade with `pip install -U emoscope`."
            )
        return BundleCard.model_validate_json(metadata[METADATA_KEY])
    except ValidationError as error:
        raise BundleError(f"{path}: the bundle's metadata is wrong: {explain(error)}.") from None
    except (TypeError, ValueError) as error:
        raise BundleError(f"{path}: the bundle's metadata is not readable: {error}.") from None


def _check_graph(session: ort.InferenceSession, card: BundleCard, path: Path) -> None:
    """The graph's inputs must be the ClipSpec's streams, in float32 and batches of any size; its
    one output (B, number of labels)."""
    nodes = session.get_inputs()
    graph = {node.name: tuple(node.shape[1:]) for node in nodes}
    spec = card.clip_spec.shapes()
    if graph != spec:
        raise BundleError(f"{path}: the graph takes {graph}, its ClipSpec gives {spec}.")
    for node in nodes:
        if node.type != "tensor(float)":
            raise BundleError(f"{path}: the graph takes {node.name} as {node.type}, not float32.")
        if isinstance(node.shape[0], int):
            raise BundleError(
                f"{path}: the graph takes {node.name} in batches of {node.shape[0]} only. "
                "Export it with a free batch dimension."
            )
    outputs = [tuple(node.shape[1:]) for node in session.get_outputs()]
    if outputs != [(len(card.labels),)]:
        raise BundleError(
            f"{path}: the graph returns {outputs}, its card names {len(card.labels)} labels."
        )


BACKENDS: Registry[Callable[[Path, ort.InferenceSession], Run]] = Registry("backend")


@BACKENDS.register("onnxruntime")
def _onnxruntime(_: Path, session: ort.InferenceSession) -> Run:
    """ONNX Runtime on the CPU; the default."""
    return lambda inputs: np.asarray(session.run(None, dict(inputs))[0])


@BACKENDS.register("openvino")
def _openvino(path: Path, _: ort.InferenceSession) -> Run:
    """OpenVINO on the CPU in float32, so that its answers are ONNX Runtime's; of kernels in eight
    bits to about half a percent, for it rounds in its own way."""
    try:
        openvino = import_openvino()
    except ImportError:
        raise MissingExtra("The OpenVINO backend", "openvino") from None
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(path, "CPU", settings)
    return lambda inputs: np.asarray(compiled(dict(inputs))[0])
