"""Explanations of a prediction: Grad-CAM (Selvaraju et al., ICCV 2017), saliency (Simonyan, Vedaldi
and Zisserman, ICLR Workshop 2014), and the sampling points of deformable convolutions.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from captum.attr import LayerGradCam, Saliency
from torch import Tensor, nn
from torch.func import functional_call

from emoscope.analysis.bundle import softmax
from emoscope.core.arrays import ByteArray, FloatArray
from emoscope.core.clipspec import ClipSpec, Stream
from emoscope.core.errors import MediaError, RecipeError
from emoscope.core.labels import canonical
from emoscope.core.registry import Registry
from emoscope.corpora.cutting import Cutting, cut
from emoscope.corpora.manifest import Sample
from emoscope.media.clips import finish
from emoscope.media.sampling import sample_indices
from emoscope.models import Network
from emoscope.training.explain.sampling_points import (
    SamplingPoints,
    sampling_points,
    steps_of_frames,
)
from emoscope.training.jobs import prepare_run
from emoscope.training.run_folder import RunFolder, read_json, read_run

__all__ = [
    "Explanation",
    "HeatMaps",
    "TrainedNetwork",
    "explain_clip",
    "grad_cam",
    "open_network",
    "predicted_probs",
    "saliency",
]

Inputs = Mapping[str, Tensor]

_SALIENCY_QUANTILE = 0.99  # the value that is scaled to 1


@dataclass(frozen=True, eq=False)
class HeatMaps:
    """Heat maps of one stream of pictures for one label.

    stream         the stream's kind; "rgb + flow" if one layer takes both
    is_dynamic     whether the stream has one picture for the whole clip
    convolution    Grad-CAM: the last convolution of the stream with a spatial map; "" for saliency
    layer          Grad-CAM: the layer whose output is used, the last one of the convolution's block
                   (after normalisation, activation, shortcut), as in the paper; "input" for
                   saliency
    steps          number of different maps: one per frame, one for several frames, or one
    maps           (T, H, W) in [0, 1], one per explained frame. 1 is the maximum of the clip; for
                   saliency the 0.99 quantile, because a few pixels are much larger. All zero if
                   no place has a positive influence
    """

    method: Literal["Grad-CAM", "Saliency"]
    stream: str
    is_dynamic: bool
    convolution: str
    layer: str
    steps: int
    maps: FloatArray


@dataclass(frozen=True, eq=False)
class Explanation:
    """The frames of a clip, the network's prediction, and its explanations.

    frames     (T, H, W, 3) RGB uint8, also for networks that take grey pictures or flow
    times_s    T times in the recording; repeated where a short clip was padded
    label      the label that is explained, with its probability
    gradcam    one per stream of pictures with a convolution that has a map and runs once
    saliency   one per stream of pictures
    sampling   one per layer with deformable steps
    heard      inputs from sound, which have no pictures to draw on
    """

    frames: ByteArray
    times_s: tuple[float, ...]
    label: str
    probability: float
    gradcam: tuple[HeatMaps, ...]
    saliency: tuple[HeatMaps, ...]
    sampling: tuple[SamplingPoints, ...]
    heard: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A run's network in eval mode, its ClipSpec and its temperature."""

    run: RunFolder
    model: Network
    spec: ClipSpec
    temperature: float


def explain_clip(
    video: Path,
    run_dir: Path,
    label: str | None = None,
    start_s: float = 0.0,
    end_s: float | None = None,
    *,
    allow_code: bool = False,
) -> Explanation:
    """Explain the prediction of a run's network for a recording, or a span of it.

    run_dir      the run folder of a network
    label        the label to explain; None is the most probable one
    allow_code   run the Python source kept in the folder, if its network is not registered
    The clip is cut as in training. Raises RecipeError for a folder that is not a finished run of a
    network, UnknownName for an unknown label, MediaError for a recording that cannot be used."""
    network = open_network(run_dir, allow_code=allow_code)
    labels, model = network.run.labels, network.model
    if label is not None:
        known = Registry[str]("label")
        for name in labels:
            known.add(name, name)
        label = known[canonical(label)]
    # The clip does not depend on the label, which a sample must have.
    sample = Sample(video, label or labels[0], start_s=start_s, end_s=end_s)
    frames, times_s, inputs = _frames_and_inputs(sample, network)
    probs = predicted_probs(model, inputs, network.temperature)[0]
    column = int(probs.argmax()) if label is None else labels.index(label)
    return Explanation(
        frames=frames,
        times_s=times_s,
        label=labels[column],
        probability=float(probs[column]),
        gradcam=grad_cam(model, inputs, column),
        saliency=saliency(model, inputs, column),
        sampling=sampling_points(model, inputs),
        heard=tuple(stream.kind for stream in network.spec.audio_streams),
    )


def open_network(path: Path, *, allow_code: bool = False) -> TrainedNetwork:
    """Load the network of a run folder.

    Raises RecipeError for a folder that is not a finished run of a network with pictures."""
    if path.suffix == ".onnx":
        raise RecipeError(f"{path}: a bundle has no gradients. Give the run folder.")
    run = read_run(path)
    job = prepare_run(run, allow_code)
    model = job.trained_network(run)
    if not job.spec.pictures:
        raise RecipeError(
            f"{path}: {run.recipe.model.name} takes no pictures. Give a run of a network that does."
        )
    temperature = read_json(run.exported_file("fold.json"))["temperature"]
    return TrainedNetwork(run, model, job.spec, temperature)


def predicted_probs(model: nn.Module, inputs: Inputs, temperature: float = 1.0) -> FloatArray:
    """(N, C) probabilities, the same as the bundle's."""
    with torch.no_grad():
        return softmax(model(**inputs).numpy() / temperature)


def grad_cam(model: Network, inputs: Inputs, column: int) -> tuple[HeatMaps, ...]:
    """Grad-CAM of one clip, inputs (1, ...), for the label in a column of the logits.

    One result per stream of pictures with a suitable convolution; streams that are merged before it
    share one. The network is in eval mode."""
    spec = model.clip_spec
    streams_of: dict[tuple[_Call, _Call], list[Stream]] = {}
    for stream in spec.pictures:
        if layers := _grad_cam_layers(_traced(model, inputs, stream.kind), spec):
            streams_of.setdefault(layers, []).append(stream)
    results = []
    for (convolution, layer), streams in streams_of.items():
        maps = LayerGradCam(_positional(model, inputs), layer.module).attribute(
            tuple(inputs.values()), target=column, relu_attributions=True
        )
        assert isinstance(maps, Tensor)  # one layer gives one tensor
        scaled = _over_frames(maps.detach().flatten(0, -3), spec)
        results.append(
            HeatMaps(
                "Grad-CAM",
                " + ".join(stream.kind for stream in streams),
                is_dynamic=all(stream.is_dynamic for stream in streams),
                convolution=convolution.name,
                layer=layer.name,
                steps=layer.maps,
                maps=scaled,
            )
        )
    return tuple(results)


def saliency(model: Network, inputs: Inputs, column: int) -> tuple[HeatMaps, ...]:
    """Saliency of one clip, inputs (1, ...), for the label in a column of the logits.

    The gradient of the logit with respect to each stream of normalised pictures; of each pixel the
    largest magnitude over its channels. The network is in eval mode."""
    spec = model.clip_spec
    leaves = tuple(x.detach().clone().requires_grad_() for x in inputs.values())
    magnitudes = Saliency(_positional(model, inputs)).attribute(leaves, target=column, abs=True)
    gradients = dict(zip(inputs, magnitudes, strict=True))
    return tuple(
        HeatMaps(
            "Saliency",
            stream.kind,
            is_dynamic=stream.is_dynamic,
            convolution="",
            layer="input",
            steps=gradients[stream.kind].shape[1],
            maps=_over_frames(gradients[stream.kind][0].amax(1), spec, _SALIENCY_QUANTILE),
        )
        for stream in spec.pictures
    )


def _frames_and_inputs(
    sample: Sample, network: TrainedNetwork
) -> tuple[ByteArray, tuple[float, ...], dict[str, Tensor]]:
    """Frames, their times, and the network's inputs (1, ...). Raises MediaError."""
    corpus, spec = network.run.recipe.corpus, network.spec
    how = Cutting(spec, corpus.detector_choice, faces=corpus.faces, min_frames=corpus.min_frames)
    clip = cut(sample, how)
    material, times_s = clip.material, clip.times_s
    if material is None:
        raise MediaError(
            f"{sample.path}: {clip.reason}. Choose another part of it (--start, --end)."
        )
    if how.keeps_all:
        assert spec.sampling is not None  # every spec with pictures has one
        chosen = sample_indices(spec.sampling, len(material))
        material, times_s = material.take(chosen), tuple(times_s[i] for i in chosen)
    inputs = {name: torch.from_numpy(x)[None] for name, x in finish(material, spec).items()}
    return material.pictures[spec.pictures[0].size_hw], times_s, inputs


def _positional(model: nn.Module, inputs: Inputs) -> Any:
    """The network as a function of its streams in order, which captum needs."""

    def forward(*streams: Tensor) -> Tensor:
        return model(**dict(zip(inputs, streams, strict=True)))

    return forward


@dataclass(frozen=True)
class _Call:
    """A call of a module, and the shape of its output."""

    name: str
    module: nn.Module
    shape: tuple[int, ...]

    @property
    def maps(self) -> int:
        """Number of maps: N of (N, C, H, W), N * T of (N, C, T, H, W)."""
        return self.shape[0] * math.prod(self.shape[2:-2])

    @property
    def has_maps(self) -> bool:
        """Whether the output has maps of more than one place."""
        return len(self.shape) in (4, 5) and math.prod(self.shape[-2:]) > 1


def _traced(model: nn.Module, inputs: Inputs, stream: str) -> list[_Call]:
    """The calls whose output depends on a stream, in order."""
    calls: list[_Call] = []
    with ExitStack() as hooks:
        for name, module in model.named_modules():

            def note(module: nn.Module, _: Any, output: Any, name: str = name) -> None:
                # Only the stream requires a gradient.
                if isinstance(output, Tensor) and output.requires_grad:
                    calls.append(_Call(name, module, tuple(output.shape)))

            hooks.enter_context(module.register_forward_hook(note))
        weights = {name: weight.detach() for name, weight in model.named_parameters()}
        leaves = {name: x.detach().requires_grad_(name == stream) for name, x in inputs.items()}
        functional_call(model, weights, (), leaves)
    return calls


def _grad_cam_layers(calls: Sequence[_Call], spec: ClipSpec) -> tuple[_Call, _Call] | None:
    """The last convolution with a map, and the last layer with a map of the same shape; or None.

    Layers that run more than once are skipped: the paper defines no map for the steps of a
    recurrence together. Pointwise convolutions are skipped: they are gates or shortcuts."""
    times = Counter(call.name for call in calls)
    once = [call for call in calls if times[call.name] == 1]
    convolutions = [
        i
        for i, call in enumerate(once)
        if isinstance(call.module, nn.Conv2d | nn.Conv3d)
        and max(call.module.kernel_size[-2:]) > 1
        and call.has_maps
        and call.maps <= spec.length
    ]
    if not convolutions:
        return None
    last = convolutions[-1]
    same = [
        call
        for call in once[last:]
        if call.shape == once[last].shape and not isinstance(call.module, nn.Sequential)
    ]
    return once[last], same[-1]


def _over_frames(maps: Tensor, spec: ClipSpec, quantile: float = 1.0) -> FloatArray:
    """(T', h, w) -> (T, H, W) in [0, 1], one map per frame; the quantile is scaled to 1."""
    size_hw = spec.pictures[0].size_hw
    whole = F.interpolate(
        maps[:, None], size_hw, mode="bilinear", align_corners=False, antialias=True
    )
    per_frame = whole[:, 0].numpy()[steps_of_frames(spec.length, len(maps))]
    scale = np.quantile(per_frame, quantile) or per_frame.max() or 1.0
    return np.asarray((per_frame / scale).clip(0, 1))
