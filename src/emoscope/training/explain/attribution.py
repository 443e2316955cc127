"""What a trained network looks at in a recording: Grad-CAM (Selvaraju et al., ICCV 2017), saliency
(Simonyan, Vedaldi and Zisserman, ICLR Workshop 2014), and where its deformable convolutions sample.
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

from emoscope import models
from emoscope.analysis.bundle import softmax
from emoscope.core.arrays import ByteArray, FloatArray
from emoscope.core.clipspec import ClipSpec
from emoscope.core.errors import MediaError, RecipeError
from emoscope.core.labels import canonical
from emoscope.core.registry import Registry
from emoscope.corpora.cutting import Cutting, cut
from emoscope.corpora.manifest import Sample
from emoscope.media.clips import finish
from emoscope.media.sampling import sample_indices
from emoscope.training.explain.sampling_points import (
    SamplingPoints,
    sampling_points,
    steps_of_frames,
)
from emoscope.training.networks.build import clip_spec_of, trained_network
from emoscope.training.run_folder import Run, read_json, read_run

__all__ = [
    "Explanation",
    "HeatMaps",
    "Network",
    "answered",
    "explain_clip",
    "grad_cam",
    "open_network",
    "saliency",
]

Inputs = Mapping[str, Tensor]

_SALIENT = 0.99


@dataclass(frozen=True, eq=False)
class HeatMaps:
    """Where, in a stream of pictures, the answer for a label comes from.

    stream         the stream's kind; "rgb + flow" where one layer sees both
    convolution    of Grad-CAM: the last one of the stream that still has a map; "" of saliency
    layer          of Grad-CAM: where that map is read, behind what is left of its block
                   (normalisation, activation, shortcut), as the paper's authors read theirs behind
                   the ReLU; "input" of saliency
    steps          maps that there are: one a frame, one for several, or one for the clip
    maps           (T, H, W) in [0, 1], of the frames as explained; 1 is the clip's strongest place,
                   of saliency its strongest hundredth: a few pixels stand far out. All zero where
                   nothing there speaks for the label
    """

    method: Literal["Grad-CAM", "Saliency"]
    stream: str
    convolution: str
    layer: str
    steps: int
    maps: FloatArray


@dataclass(frozen=True, eq=False)
class Explanation:
    """A clip as the network was shown it, what it says, and what it looked at.

    frames     (T, H, W, 3) RGB uint8, also where the network sees grey or flow
    times_s    T, of the recording; the same again where a short clip was padded
    label      what is explained, and its probability
    gradcam    of every stream of pictures with a convolution that has a map and answers once
    saliency   of every stream of pictures
    sampling   of every layer with deformable steps
    heard      streams that the answer comes from, too, and that are no pictures to draw on
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
class Network:
    """A run's network, in eval mode, what it is fed by, and what its logits are divided by."""

    run: Run
    model: models.Network
    spec: ClipSpec
    temperature: float


def explain_clip(
    video: Path,
    run_dir: Path,
    label: str | None = None,
    start_s: float = 0.0,
    end_s: float | None = None,
) -> Explanation:
    """What a run's network looks at in a recording, or a span of it, that is cut as its training
    would; for the label named, or the one it finds most probable.

    Raises RecipeError for what is no run of a network, UnknownName for a label that it does not
    know, MediaError for a recording that cannot be used."""
    network = open_network(run_dir)
    labels, model = network.run.labels, network.model
    if label is not None:
        label = _known(canonical(label), labels)
    sample = Sample(video, label or "", start_s=start_s, end_s=end_s)
    frames, times_s, inputs = _shown(sample, network)
    probs = answered(model, inputs, network.temperature)[0]
    column = int(probs.argmax()) if label is None else labels.index(label)
    return Explanation(
        frames=frames,
        times_s=times_s,
        label=labels[column],
        probability=float(probs[column]),
        gradcam=grad_cam(model, inputs, column),
        saliency=saliency(model, inputs, column),
        sampling=sampling_points(model, inputs),
        heard=tuple(stream.kind for stream in network.spec.heard),
    )


def open_network(path: Path) -> Network:
    """The network of a run, to be looked into. Raises RecipeError for what is no finished run of a
    network of pictures."""
    if path.suffix == ".onnx":
        raise RecipeError(f"{path}: a bundle holds no gradients. Give the folder of its run.")
    run = read_run(path)
    name = run.recipe.model.name
    if run.info["estimator"]:
        raise RecipeError(
            f"{path}: {name} is an estimator: it has no layers to look into. Give the run of a "
            "network."
        )
    model = trained_network(run)
    spec = clip_spec_of(run.recipe, model.clip_spec)
    if not spec.pictures:
        raise RecipeError(f"{path}: {name} is shown no pictures.")
    temperature = read_json(run.part(*run.exported) / "fold.json")["temperature"]
    return Network(run, model, spec, temperature)


def answered(model: nn.Module, inputs: Inputs, temperature: float = 1.0) -> FloatArray:
    """(N, C) probabilities, as the bundle gives them."""
    with torch.no_grad():
        return softmax(model(**inputs).numpy() / temperature)


def grad_cam(model: models.Network, inputs: Inputs, column: int) -> tuple[HeatMaps, ...]:
    """Grad-CAM of one clip, inputs (1, ...), for the label in a column of the logits: of every
    stream of pictures that has such a convolution; where streams have met before it, once.

    The network is in eval mode and has a `clip_spec`."""
    spec = model.clip_spec
    chosen: dict[tuple[_Call, _Call], list[str]] = {}
    for stream in spec.pictures:
        if found := _chosen(_traced(model, inputs, stream.kind), spec):
            chosen.setdefault(found, []).append(stream.kind)
    heats = []
    for (convolution, layer), kinds in chosen.items():
        attributed = LayerGradCam(_answer(model, inputs), layer.module).attribute(
            tuple(inputs.values()), target=column, relu_attributions=True
        )
        assert isinstance(attributed, Tensor)
        maps = _over_frames(attributed.detach().flatten(0, -3), spec)
        names = convolution.name, layer.name
        heats.append(HeatMaps("Grad-CAM", " + ".join(kinds), *names, layer.maps, maps))
    return tuple(heats)


def saliency(model: models.Network, inputs: Inputs, column: int) -> tuple[HeatMaps, ...]:
    """Saliency of one clip, inputs (1, ...), for the label in a column of the logits: the logit's
    gradient with respect to each stream of pictures as the network is fed it, normalised; of a
    pixel the largest size over its channels.

    The network is in eval mode and has a `clip_spec`."""
    spec = model.clip_spec
    given = tuple(x.detach().clone().requires_grad_() for x in inputs.values())
    found = Saliency(_answer(model, inputs)).attribute(given, target=column, abs=True)
    gradients = dict(zip(inputs, found, strict=True))
    return tuple(
        HeatMaps(
            "Saliency",
            stream.kind,
            convolution="",
            layer="input",
            steps=gradients[stream.kind].shape[1],
            maps=_over_frames(gradients[stream.kind][0].amax(1), spec, _SALIENT),
        )
        for stream in spec.pictures
    )


def _known(label: str, labels: Sequence[str]) -> str:
    """Raises UnknownName."""
    known = Registry[str]("label")
    for name in labels:
        known.add(name, name)
    return known[label]


def _shown(
    sample: Sample, network: Network
) -> tuple[ByteArray, tuple[float, ...], dict[str, Tensor]]:
    """Frames, their times, and the network's inputs (1, ...). Raises MediaError."""
    corpus, spec = network.run.recipe.corpus, network.spec
    how = Cutting(spec, corpus.detector_choice, faces=corpus.faces, min_frames=corpus.min_frames)
    clip = cut(sample, how)
    material, times_s = clip.material, clip.times_s
    if material is None:
        raise MediaError(
            f"{sample.path}: {clip.reason}. Choose another stretch of it (--start, --end)."
        )
    if how.keeps_all:
        assert spec.sampling is not None  # as of every spec with pictures
        chosen = sample_indices(spec.sampling, len(material))
        material, times_s = material.take(chosen), tuple(times_s[i] for i in chosen)
    inputs = {name: torch.from_numpy(x)[None] for name, x in finish(material, spec).items()}
    return material.pictures[spec.pictures[0].size_hw], times_s, inputs


def _answer(model: nn.Module, inputs: Inputs) -> Any:
    """The network as captum asks it: by the order of its streams."""

    def answer(*streams: Tensor) -> Tensor:
        return model(**dict(zip(inputs, streams, strict=True)))

    return answer


@dataclass(frozen=True)
class _Call:
    """A module that has answered, and the shape of its answer."""

    name: str
    module: nn.Module
    shape: tuple[int, ...]

    @property
    def maps(self) -> int:
        """Of pictures side by side (N, C, H, W), or of steps (N, C, T, H, W)."""
        return self.shape[0] * math.prod(self.shape[2:-2])

    @property
    def has_maps(self) -> bool:
        """Of more than one place."""
        return len(self.shape) in (4, 5) and math.prod(self.shape[-2:]) > 1


def _traced(model: nn.Module, inputs: Inputs, stream: str) -> list[_Call]:
    """Every module that answers with a tensor which a stream has a part in, in their order."""
    calls: list[_Call] = []
    with ExitStack() as hooks:
        for name, module in model.named_modules():

            def note(module: nn.Module, _: Any, output: Any, name: str = name) -> None:
                # Nothing but the stream asks for a gradient.
                if isinstance(output, Tensor) and output.requires_grad:
                    calls.append(_Call(name, module, tuple(output.shape)))

            hooks.enter_context(module.register_forward_hook(note))
        weights = {name: weight.detach() for name, weight in model.named_parameters()}
        given = {name: x.detach().requires_grad_(name == stream) for name, x in inputs.items()}
        functional_call(model, weights, (), given)
    return calls


def _chosen(calls: Sequence[_Call], spec: ClipSpec) -> tuple[_Call, _Call] | None:
    """The last convolution that has a map, and where its map is seen last; None without one.

    Both answer once: of a layer inside a recurrence each step would have a map of its own, and the
    paper defines none for them together. Pointwise convolutions are passed over: they gate
    channels, or are shortcuts."""
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


def _over_frames(maps: Tensor, spec: ClipSpec, share: float = 1.0) -> FloatArray:
    """(T', h, w) -> (T, H, W) in [0, 1]: a map for every frame that was shown. 1 is the value below
    which this share lies."""
    size_hw = spec.pictures[0].size_hw
    whole = F.interpolate(
        maps[:, None], size_hw, mode="bilinear", align_corners=False, antialias=True
    )
    found = whole[:, 0].numpy()[steps_of_frames(spec.length, len(maps))]
    scale = np.quantile(found, share) or found.max() or 1.0
    return np.asarray((found / scale).clip(0, 1))
