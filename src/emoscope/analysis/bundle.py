"""Model bundles: one ONNX file whose metadata holds all that is needed to run and judge it."""

import json
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import numpy as np
import onnxruntime as ort
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from emoscope.core.arrays import FloatArray
from emoscope.core.clipspec import ClipSpec, explain
from emoscope.core.errors import BundleError, MissingExtra, SpecError
from emoscope.core.offline import import_openvino
from emoscope.core.options import Prior
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

FORMAT = 1  # version of the metadata; a higher one is refused
METADATA_KEY = "emoscope"
WEIGHTS_GROUP = "emoscope.weights"
RUN_FILE = "run.json"  # what makes a folder a run folder
_MODEL_SUFFIXES = (".onnx", ".toml")

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
    figures: dict[str, Any]  # measured figures and the data they were measured on
    paper: str = ""

    @model_validator(mode="after")
    def _one_prior_per_label(self) -> Self:
        if len(set(self.labels)) < len(self.labels):
            raise ValueError(f"labels must differ, got {self.labels}")
        if len(self.prior) != len(self.labels):
            raise ValueError(
                f"prior must have {len(self.labels)} entries, one per label, got {len(self.prior)}"
            )
        return self


@dataclass(frozen=True, eq=False)
class Bundle:
    """A model ready to run, in any number of threads. A pickled Bundle opens its file again.

    >>> bundle = load_bundle("face-ferplus")
    >>> bundle.clip_spec.shapes()
    {'gray': (1, 1, 48, 48)}
    >>> faces = {"gray": np.zeros((2, 1, 1, 48, 48), np.float32)}
    >>> bundle.predict(faces).shape == (2, len(bundle.labels))
    True
    """

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

        They are softmax(logits / temperature). With `prior="uniform"` they are divided by the class
        prior of the training data and normalised again, so that a class is not favoured for being
        common there (logit adjustment, Menon et al., ICLR 2021). A clip whose vector contains NaN,
        as silence does, gets NaN. Raises SpecError for inputs that do not fit `clip_spec` or are
        not finite, BundleError if the model fails or returns logits that are not finite.

        >>> bundle = load_bundle("face-ferplus")
        >>> bundle.predict({"gray": np.zeros((2, 1, 1, 48, 48), np.float32)}, prior="uniform").shape
        (2, 8)
        """
        if prior not in get_args(Prior):
            raise SpecError(f"prior must be one of {', '.join(get_args(Prior))}, got {prior!r}.")
        arrays = self._checked(inputs)
        # Clips with NaN are not passed to the model: a forest would give a result.
        vectors = [arrays[vector.kind] for vector in self.clip_spec.vectors]
        known = ~np.any([np.isnan(vector).any(axis=1) for vector in vectors], axis=0)
        if not vectors or known.all():
            return self._probabilities(arrays, prior)
        probs = np.full((len(known), len(self.labels)), np.nan)
        if known.any():
            some = {name: array[known] for name, array in arrays.items()}
            probs[known] = self._probabilities(some, prior)
        return probs

    def _probabilities(self, inputs: dict[str, FloatArray], prior: Prior) -> FloatArray:
        """(B, labels) for finite inputs. Raises BundleError."""
        try:
            logits = self.run(inputs).astype(np.float64)
        except Exception as error:  # the backends' exceptions have no common base class
            reason = str(error).strip().split("\n")[0].rstrip(". ")
            raise BundleError(
                f"{self.name}: the model failed: {reason}. Try another backend or export it again."
            ) from None
        if not np.isfinite(logits).all():
            raise BundleError(
                f"{self.name}: the model returned NaN or infinite logits for a finite input. Its "
                "weights are damaged or overflow: train or export it again."
            )
        with np.errstate(over="ignore"):
            logits = logits / self.card.temperature
        if not np.isfinite(logits).all():
            raise BundleError(
                f"{self.name}: its temperature {self.card.temperature:g} is too small: the logits "
                "overflow. Calibrate and export it again."
            )
        return softmax(logits - np.log(self.card.prior) if prior == "uniform" else logits)

    def _checked(self, inputs: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        shapes = self.clip_spec.shapes()
        if set(inputs) != set(shapes):
            raise SpecError(f"{self.name} takes {sorted(shapes)}, got {sorted(inputs)}.")
        arrays = {name: np.asarray(inputs[name], dtype=np.float32) for name in shapes}
        for name, shape in shapes.items():
            if arrays[name].shape[1:] != shape:
                raise SpecError(
                    f"{self.name}: {name} must be (B, *{shape}), got {arrays[name].shape}."
                )
        for name in set(shapes) - {vector.kind for vector in self.clip_spec.vectors}:
            if np.isnan(arrays[name]).any():
                raise SpecError(f"{self.name}: {name} contains NaN. Give finite values.")
        for name, array in arrays.items():
            if np.isinf(array).any():
                raise SpecError(f"{self.name}: {name} contains infinity. Give finite values.")
        sizes = {name: len(array) for name, array in arrays.items()}
        if len(set(sizes.values())) > 1:
            raise SpecError(f"{self.name}: all streams need the same batch size, got {sizes}.")
        return arrays

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self.path, self.backend, self.card)


def _reopened(path: Path, backend: str, card: BundleCard) -> Bundle:
    """The bundle of a file with a card that may differ from the file's."""
    return replace(load_bundle(path, backend), card=card)


def softmax(logits: FloatArray) -> FloatArray:
    """(N, C) -> (N, C), rows that sum to 1."""
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exp / exp.sum(axis=1, keepdims=True))


def bundle_names() -> list[str]:
    """Names of the installed bundles, those of this package first."""
    registry = installed_models()
    return [name for name in registry if registry[name].suffix == ".onnx"]


def load_bundle(name_or_path: str | Path, backend: str = "onnxruntime") -> Bundle:
    """Load a bundle: an installed one by name, a file, or the one exported in a run folder.

    Raises UnknownName for a name that is not installed, BundleError for a file that is no bundle,
    needs a newer Emoscope, has a graph that does not fit its own ClipSpec, or that the backend
    cannot run.

    >>> load_bundle("face-ferplus").labels[:3]
    ('neutral', 'happiness', 'surprise')
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
        name, installed = str(name_or_path), installed_models()
        if len(path.parts) > 1 and not path.exists():
            raise BundleError(f"{path}: no such file or folder. Give a bundle, or a run folder.")
        is_run = path.is_dir() and name not in installed
        path = _exported_bundle(path) if is_run else installed[name]
    if path.suffix == ".toml":
        raise BundleError(
            f"{name_or_path}: this is a system of several models, but one model is needed here. "
            "Use it with `emoscope.analyze` or `emoscope analyze`."
        )
    if not path.is_file():
        raise BundleError(f"{path}: no such file. Give a bundle's path or an installed name.")
    return path


def _exported_bundle(run: Path) -> Path:
    """The bundle in a run folder. Raises BundleError if there is none."""
    if not (run / RUN_FILE).is_file():
        raise BundleError(f"{run}: not a run folder: {RUN_FILE} is missing.")
    try:
        name = json.loads((run / RUN_FILE).read_text(encoding="utf-8"))["name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{run / RUN_FILE}: not readable: {error!r}.") from None
    bundle = run / f"{name}.onnx"
    if not bundle.is_file():
        raise BundleError(
            f"{run}: the run has no bundle yet. Write it with `emoscope export {run} -o {bundle}`."
        )
    return bundle


def installed_models() -> Registry[Path]:
    """Files of the installed models by name: bundles (.onnx) and systems of several (.toml).

    Packages add theirs with an entry point in the group `emoscope.weights`; those of this package
    come first. Raises BundleError for a package that cannot be imported."""
    registry: Registry[Path] = Registry("installed model")
    for entry in sorted(entry_points(group=WEIGHTS_GROUP), key=lambda e: e.name != "emoscope"):
        try:
            folder = files(entry.module)
        except ImportError as error:
            raise BundleError(
                f"{entry.module}: a package with the entry point {WEIGHTS_GROUP!r} cannot be "
                f"imported: {error}. Reinstall or remove it."
            ) from None
        for path in sorted(item for item in folder.iterdir() if isinstance(item, Path)):
            # A learned fusion rule lies beside its system and is not a model by itself.
            is_model = path.suffix in _MODEL_SUFFIXES and not path.name.endswith(".rule.onnx")
            if is_model and path.stem not in registry:
                registry.add(path.stem, path)
    return registry


def open_session(path: Path) -> ort.InferenceSession:
    """Open an ONNX file to run on the CPU. Raises BundleError."""
    options = ort.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised, once
    if (processors := usable_processors()) < (os.cpu_count() or 1):
        # By default it binds a thread to every core, including those this process may not use.
        options.intra_op_num_threads = processors
    # Spinning threads would take the video decoder's processor time.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions have no common base class
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
        raise BundleError(f"{path}: the bundle's metadata is invalid: {explain(error)}.") from None
    except (TypeError, ValueError) as error:
        raise BundleError(f"{path}: the bundle's metadata is not readable: {error}.") from None


def _check_graph(session: ort.InferenceSession, card: BundleCard, path: Path) -> None:
    """Check that the graph takes the ClipSpec's streams, float32 in batches of any size, and
    returns one output (B, number of labels). Raises BundleError."""
    nodes = session.get_inputs()
    graph = {node.name: tuple(node.shape[1:]) for node in nodes}
    spec = card.clip_spec.shapes()
    if graph != spec:
        raise BundleError(
            f"{path}: the graph takes {graph}, but its ClipSpec gives {spec}. Export it again."
        )
    for node in nodes:
        if node.type != "tensor(float)":
            raise BundleError(
                f"{path}: the graph takes {node.name} as {node.type}, not float32. Export it with "
                "float32 inputs."
            )
        if isinstance(node.shape[0], int):
            raise BundleError(
                f"{path}: the graph takes {node.name} only in batches of {node.shape[0]}. "
                "Export it with a dynamic batch dimension."
            )
    outputs = [tuple(node.shape[1:]) for node in session.get_outputs()]
    if outputs != [(len(card.labels),)]:
        raise BundleError(
            f"{path}: the graph returns {outputs}, but its card names {len(card.labels)} labels. "
            "Export it again."
        )


BACKENDS: Registry[Callable[[Path, ort.InferenceSession], Run]] = Registry("backend")


@BACKENDS.register("onnxruntime")
def _onnxruntime(_: Path, session: ort.InferenceSession) -> Run:
    """ONNX Runtime on the CPU, the default."""
    return lambda inputs: np.asarray(session.run(None, dict(inputs))[0])


@BACKENDS.register("openvino")
def _openvino(path: Path, _: ort.InferenceSession) -> Run:
    """OpenVINO on the CPU in float32: the same probabilities as ONNX Runtime, or within half a
    percent for int8 models, which it rounds differently."""
    try:
        openvino = import_openvino()
    except ImportError:
        raise MissingExtra("The OpenVINO backend", "openvino") from None
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    try:
        compiled = openvino.Core().compile_model(path, "CPU", settings)
    except RuntimeError as error:
        # OpenVINO has no operators of scikit-learn models, such as ai.onnx.ml.Scaler.
        reason = str(error).strip().split("\n")[-1].lstrip("- ").rstrip(". ")
        raise BundleError(
            f"{path}: OpenVINO cannot run this model: {reason}. Use the backend onnxruntime."
        ) from None
    requests = threading.local()  # a request serves one thread

    def run(inputs: Mapping[str, FloatArray]) -> FloatArray:
        if not hasattr(requests, "request"):
            requests.request = compiled.create_infer_request()
        return np.asarray(requests.request.infer(dict(inputs))[0])

    return run
