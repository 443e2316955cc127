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

from emoscope.core.errors import RecipeError
from emoscope.models import Network
from emoscope.models.deformable import onnx_translations
from emoscope.training.networks.dataset import ClipDataset
from emoscope.training.networks.muon import is_hidden_kernel

__all__ = ["GraphNetwork", "hidden_convolutions", "in_eight_bits", "network_graph", "quantised"]

_OPSET = 19  # the first that has DeformConv
_SHOWN = 512  # clips that set the ranges of the eight bits
_PORTION = 16  # of them at a time, for all maps of these are in memory


def network_graph(model: Network) -> onnx.ModelProto:
    """stream (B, ...) float32 -> "logits" (B, num_classes), of a network as it answers."""
    inputs = model.eval().example_inputs(2)
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
            opset_version=_OPSET,
            custom_translation_table=onnx_translations(),
            verbose=False,
        )
    assert program is not None
    return program.model_proto


def in_eight_bits(graph: onnx.ModelProto, clips: ClipDataset) -> onnx.ModelProto:
    """The same with the hidden convolutions' kernels, and what goes into them, in eight bits: a
    quarter of the bytes, and about a third of the time where a processor has such instructions.

    Each output channel has a range of its own; those of what goes in are the 99.999th percentiles
    of up to 512 of the clips. Kernels have 7 of the 8 bits, for sums of two full products overflow
    the 16-bit instructions of older processors, without a word. What reads the pictures, and all
    1 x 1 convolutions, stay as they are: there a bit is dear and time is not.

    Raises RecipeError for a network without such convolutions."""
    return quantised(
        graph,
        clips,
        nodes_to_quantize=hidden_convolutions(graph),
        op_types_to_quantize=["Conv"],
        reduce_range=True,
        calibrate_method=CalibrationMethod.Percentile,
    )


def quantised(graph: onnx.ModelProto, clips: ClipDataset, **settings: Any) -> onnx.ModelProto:
    """What ONNX Runtime's static quantisation, by output channel, makes of the graph with batch
    normalisations folded into kernels."""
    with tempfile.TemporaryDirectory() as there, redirect_stdout(io.StringIO()):
        names = ("plain.onnx", "folded.onnx", "eight.onnx")
        plain, folded, written = (Path(there) / name for name in names)
        onnx.save(graph, plain)
        quant_pre_process(plain, folded, skip_symbolic_shape=True)
        quantize_static(
            folded,
            written,
            _Shown(clips),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"CalibStridedMinMax": 1},  # of any method: portion by portion
            **settings,
        )
        return onnx.load(written)


def hidden_convolutions(graph: onnx.ModelProto) -> list[str]:
    """Names of convolutions of several taps behind the first. Raises RecipeError for a network
    without any."""
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


class _Shown(CalibrationDataReader):  # type: ignore[misc]
    """Clips spread evenly over the set. Read portion by portion: the histograms of one are taken,
    and its maps forgotten, before the next."""

    def __init__(self, clips: ClipDataset) -> None:
        rows = range(0, len(clips), max(1, len(clips) // _SHOWN))[:_SHOWN]
        self._clips = clips
        self._portions = [rows[i : i + _PORTION] for i in range(0, len(rows), _PORTION)]
        self._left = iter(self._portions)

    def __len__(self) -> int:
        return len(self._portions)

    def set_range(self, start_index: int, end_index: int) -> None:
        """The next portions to be read."""
        self._left = iter(self._portions[start_index:end_index])

    def get_next(self) -> dict[str, Any] | None:
        """{stream: (clips, ...)} of the next portion."""
        rows = next(self._left, None)
        if rows is None:
            return None
        clips = [self._clips[row][0] for row in rows]
        return {name: torch.stack([clip[name] for clip in clips]).numpy() for name in clips[0]}


class GraphNetwork(nn.Module):
    """A graph in a network's place, on the CPU: {stream: (B, ...)} -> logits (B, num_classes)."""

    def __init__(self, graph: onnx.ModelProto) -> None:
        super().__init__()
        providers = ["CPUExecutionProvider"]
        self._session = ort.InferenceSession(graph.SerializeToString(), providers=providers)

    def forward(self, **inputs: Tensor) -> Tensor:
        """Logits, without gradients."""
        values = {name: value.numpy() for name, value in inputs.items()}
        return torch.from_numpy(np.asarray(self._session.run(None, values)[0]))
