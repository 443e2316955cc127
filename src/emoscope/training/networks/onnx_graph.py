"""A trained network as an ONNX graph, in float32 or with its hidden kernels in eight bits."""

import io
import logging
import tempfile
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor, nn

from emoscope.core.errors import BundleError, RecipeError
from emoscope.models import Network
from emoscope.models.deformable import onnx_translations
from emoscope.training.networks.dataset import ClipDataset
from emoscope.training.networks.muon import is_hidden_kernel

__all__ = [
    "PARITY",
    "GraphNetwork",
    "checked_graph",
    "hidden_convolutions",
    "in_eight_bits",
    "network_graph",
    "quantised",
]

PARITY = 1e-4  # largest allowed difference in probability between torch and ONNX Runtime

_OPSET = 19  # the first that has DeformConv
_CALIBRATION_CLIPS = 512  # they set the ranges of the activations
_PORTION = 16  # clips at a time: all activations of a portion are in memory


def network_graph(model: Network) -> onnx.ModelProto:
    """The ONNX graph of a network in eval mode: stream (B, ...) float32 -> "logits"
    (B, num_classes)."""
    inputs = model.eval().example_inputs(2)
    batch = torch.export.Dim("batch")
    logging.getLogger("torch.onnx").setLevel(
        logging.ERROR
    )  # it reports that torchvision is missing
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        program = torch.onnx.export(
            model,
            kwargs=inputs,
            dynamo=True,
            dynamic_shapes={name: {0: batch} for name in inputs},
            input_names=list(inputs),
            output_names=["logits"],
            opset_version=_OPSET,
            custom_translation_table=onnx_translations(),
            verbose=False,
        )
    assert program is not None
    return program.model_proto


def checked_graph(model: Network, name: str, temperature: float) -> onnx.ModelProto:
    """`network_graph`, if ONNX Runtime gives torch's probabilities on random input.

    name   of the bundle, for the message
    Raises BundleError for a difference of 1e-4 or more."""
    graph = network_graph(model)
    runtime = GraphNetwork(graph)
    for batch in (1, 3):
        inputs = model.example_inputs(batch)
        with torch.inference_mode():
            ours, theirs = (
                torch.softmax(network(**inputs) / temperature, dim=1)
                for network in (model, runtime)
            )
        worst = float((ours - theirs).abs().max())
        if not worst < PARITY:
            raise BundleError(
                f"{name}: torch and ONNX Runtime differ by {worst:.1e} in probability."
            )
    return graph


def in_eight_bits(graph: onnx.ModelProto, clips: ClipDataset) -> onnx.ModelProto:
    """Quantise the kernels and inputs of hidden convolutions to 8 bits: a quarter of the size, and
    about a third of the time on processors with 8-bit instructions.

    Kernels have one range per output channel; the ranges of inputs are the 99.999th percentiles
    over up to 512 of the clips. Kernels use 7 of the 8 bits: sums of two full products silently
    overflow the 16-bit instructions of older processors. The first convolutions and all 1 x 1
    convolutions stay in float32: they cost accuracy and little time.

    Raises RecipeError for a network without hidden convolutions."""
    return quantised(
        graph,
        clips,
        nodes_to_quantize=hidden_convolutions(graph),
        op_types_to_quantize=["Conv"],
        reduce_range=True,
        calibrate_method=CalibrationMethod.Percentile,
    )


def quantised(graph: onnx.ModelProto, clips: ClipDataset, **settings: Any) -> onnx.ModelProto:
    """Fold batch normalisations into kernels, then quantise statically by output channel with ONNX
    Runtime."""
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        names = ("plain.onnx", "folded.onnx", "eight.onnx")
        plain, folded, written = (Path(folder) / name for name in names)
        onnx.save(graph, plain)
        quant_pre_process(plain, folded, skip_symbolic_shape=True)
        quantize_static(
            folded,
            written,
            _CalibrationClips(clips),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"CalibStridedMinMax": 1},  # for any method: portion by portion
            **settings,
        )
        return onnx.load(written)


def hidden_convolutions(graph: onnx.ModelProto) -> list[str]:
    """Names of the convolutions with several taps, except the first ones. Raises RecipeError if
    there are none."""
    kernels = {tensor.name: tensor.dims for tensor in graph.graph.initializer}
    convolutions = (node for node in graph.graph.node if node.op_type == "Conv")
    hidden = [
        node.name for node in convolutions if is_hidden_kernel(kernels.get(node.input[1], ()))
    ]
    if not hidden:
        raise RecipeError(
            "bundle.precision = 'int8' is for networks with hidden convolutions: leave it out."
        )
    return hidden


class _CalibrationClips(CalibrationDataReader):  # type: ignore[misc]
    """Clips spread evenly over the set, read in portions: the activations of a portion are freed
    before the next one."""

    def __init__(self, clips: ClipDataset) -> None:
        rows = range(0, len(clips), max(1, len(clips) // _CALIBRATION_CLIPS))[:_CALIBRATION_CLIPS]
        self._clips = clips
        self._portions = [rows[i : i + _PORTION] for i in range(0, len(rows), _PORTION)]
        self._left = iter(self._portions)

    def __len__(self) -> int:
        return len(self._portions)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Select the portions to read next."""
        self._left = iter(self._portions[start_index:end_index])

    def get_next(self) -> dict[str, Any] | None:
        """The next portion: {stream: (clips, ...)}."""
        rows = next(self._left, None)
        if rows is None:
            return None
        clips = [self._clips[row][0] for row in rows]
        return {name: torch.stack([clip[name] for clip in clips]).numpy() for name in clips[0]}


class GraphNetwork(nn.Module):
    """Run an ONNX graph as a network, on the CPU: {stream: (B, ...)} -> logits (B, num_classes)."""

    def __init__(self, graph: onnx.ModelProto) -> None:
        super().__init__()
        providers = ["CPUExecutionProvider"]
        self._session = ort.InferenceSession(graph.SerializeToString(), providers=providers)

    def forward(self, **inputs: Tensor) -> Tensor:
        """Logits, without gradients."""
        values = {name: value.numpy() for name, value in inputs.items()}
        return torch.from_numpy(np.asarray(self._session.run(None, values)[0]))
