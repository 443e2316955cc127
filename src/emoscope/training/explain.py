"""What a trained network looks at in a recording: Grad-CAM (Selvaraju et al., ICCV 2017), and where
its deformable convolutions sample."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from captum.attr import LayerGradCam
from torch import Tensor, nn

from emoscope.analysis.bundle import softmax
from emoscope.core.clipspec import ClipSpec
from emoscope.core.errors import MediaError, RecipeError
from emoscope.core.labels import canonical
from emoscope.core.registry import Registry
from emoscope.corpora.cutting import Cutting, cut
from emoscope.corpora.manifest import Sample
from emoscope.media.clips import finish
from emoscope.media.sampling import sample_indices
from emoscope.training.networks import clip_spec_of, trained_network
from emoscope.training.runs import Run, read_json, read_run
from emoscope.training.sampling_points import (
    SamplingPoints,
    sampling_points,
    steps_of_frames,
)

__all__ = [
    "Explanation",
    "GradCam",
    "explain_clip",
    "grad_cam",
]

FloatArray = npt.NDArray[np.floating]
Inputs = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class GradCam:
    """Where the evidence for a label is, at the last convolution that still has a map.

    convolution    its name in the network
    layer          where its map is read: behind what is left of its block (normalisation,
                   activation, shortcut), as the paper's authors read theirs behind the ReLU
    steps          maps that the layer has: one a frame, one for several, or one for the clip
    maps           (T, H, W) in [0, 1], of the input's frames; 1 is the clip's strongest place. All
                   zero where nothing at this layer speaks for the label
    """

    convolution: str
    layer: str
    label: str
    probability: float
    steps: int
    maps: FloatArray


@dataclass(frozen=True, eq=False)
class Explanation:
    """A clip as the network was shown it, and what the network looked at.

    frames     (T, H, W, 3) RGB uint8, also where the network sees grey or flow
    times_s    T, of the recording; the same again where a short clip was padded
    sampling   of every layer with deformable steps
    """

    frames: npt.NDArray[np.uint8]
    times_s: tuple[float, ...]
    gradcam: GradCam
    sampling: tuple[SamplingPoints, ...]


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
    run = _network_run(run_dir)
    if label is not None:
        label = _known(canonical(label), run.labels)
    model = trained_network(run)
    spec = clip_spec_of(run.recipe, model.clip_spec)  # type: ignore[arg-type]
    sample = Sample(video, label or "", start_s=start_s, end_s=end_s)
    frames, times_s, inputs = _shown(sample, run, spec)
    temperature = read_json(run.part(*run.exported) / "fold.json")["temperature"]
    found = grad_cam(model, inputs, run.labels, label, temperature)
    return Explanation(frames, times_s, found, sampling_points(model, inputs))


def grad_cam(
    model: nn.Module,
    inputs: Inputs,
    labels: Sequence[str],
    label: str | None = None,
    temperature: float = 1.0,
) -> GradCam:
    """Grad-CAM of one clip, inputs (1, ...), for a label or the most probable one.

    The network is in eval mode and has a `clip_spec`. Raises RecipeError for one without a
    convolution that has a map."""
    spec: ClipSpec = model.clip_spec  # type: ignore[assignment]
    logits, calls = _traced(model, inputs)
    probs = softmax(logits.numpy() / temperature)[0]
    column = int(probs.argmax()) if label is None else list(labels).index(label)
    convolution, layer = _chosen(calls, spec, type(model).__name__)

    def answer(*streams: Tensor) -> Tensor:
        return model(**dict(zip(inputs, streams, strict=True)))

    attributed = LayerGradCam(answer, layer.module).attribute(
        tuple(inputs.values()), target=column, relu_attributions=True
    )
    assert isinstance(attributed, Tensor)
    maps = _upsampled(attributed.detach(), spec)
    return GradCam(
        convolution=convolution.name,
        layer=layer.name,
        label=labels[column],
        probability=float(probs[column]),
        steps=layer.maps,
        maps=maps / (maps.max() or 1.0),
    )


def _network_run(path: Path) -> Run:
    if path.suffix == ".onnx":
        raise RecipeError(f"{path}: a bundle holds no gradients. Give the folder of its run.")
    run = read_run(path)
    if run.info["estimator"]:
        raise RecipeError(
            f"{path}: {run.recipe.model.name} is an estimator: it has no layers to look into. Give "
            "the run of a network."
        )
    return run


def _known(label: str, labels: Sequence[str]) -> str:
    """Raises UnknownName."""
    known = Registry[str]("label")
    for name in labels:
        known.add(name, name)
    return known[label]


def _shown(
    sample: Sample, run: Run, spec: ClipSpec
) -> tuple[npt.NDArray[np.uint8], tuple[float, ...], dict[str, Tensor]]:
    """Frames, their times, and the network's inputs (1, ...). Raises MediaError."""
    corpus = run.recipe.corpus
    how = Cutting(spec, corpus.detector, faces=corpus.faces, min_frames=corpus.min_frames)
    if not spec.pictures or spec.sampling is None:
        raise RecipeError(f"{run.folder}: {run.recipe.model.name} is shown no pictures.")
    clip = cut(sample, how)
    material, times_s = clip.material, clip.times_s
    if material is None:
        raise MediaError(
            f"{sample.path}: {clip.reason}. Choose another stretch of it (--start, --end)."
        )
    if how.keeps_all:
        chosen = sample_indices(spec.sampling, len(material))
        material, times_s = material.take(chosen), tuple(times_s[i] for i in chosen)
    inputs = {name: torch.from_numpy(x)[None] for name, x in finish(material, spec).items()}
    return material.pictures[spec.pictures[0].size_hw], times_s, inputs


@dataclass(frozen=True, eq=False)
class _Call:
    """A module that has answered, and the shape of its answer."""

    name: str
    module: nn.Module
    shape: tuple[int, ...]  # () where it is not one tensor

    @property
    def maps(self) -> int:
        """Of pictures side by side (N, C, H, W), or of steps (N, C, T, H, W)."""
        return self.shape[0] * math.prod(self.shape[2:-2])

    @property
    def has_maps(self) -> bool:
        """Of more than one place."""
        return len(self.shape) in (4, 5) and math.prod(self.shape[-2:]) > 1


def _traced(model: nn.Module, inputs: Inputs) -> tuple[Tensor, list[_Call]]:
    """Logits, and every module in the order in which they answered."""
    calls: list[_Call] = []
    with ExitStack() as hooks, torch.no_grad():
        for name, module in model.named_modules():

            def note(module: nn.Module, _: Any, output: Any, name: str = name) -> None:
                shape = tuple(output.shape) if isinstance(output, Tensor) else ()
                calls.append(_Call(name, module, shape))

            hooks.enter_context(module.register_forward_hook(note))
        logits = model(**inputs)
    return logits, calls


def _chosen(calls: Sequence[_Call], spec: ClipSpec, model: str) -> tuple[_Call, _Call]:
    """The last convolution that has a map, and where its map is seen last.

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
        raise RecipeError(
            f"{model} has no convolution over frames that runs once a clip: it has no Grad-CAM."
        )
    last = convolutions[-1]
    same = [
        call
        for call in once[last:]
        if call.shape == once[last].shape and not isinstance(call.module, nn.Sequential)
    ]
    return once[last], same[-1]


def _upsampled(attributed: Tensor, spec: ClipSpec) -> FloatArray:
    """(N, 1, h, w) or (N, 1, T', h, w) -> (T, H, W): a map for every frame that was shown."""
    maps = attributed.flatten(0, -3)[:, None]
    size_hw = spec.pictures[0].size_hw
    whole = F.interpolate(maps, size_hw, mode="bilinear", align_corners=False)
    return whole[:, 0].numpy()[steps_of_frames(spec.length, len(maps))]
