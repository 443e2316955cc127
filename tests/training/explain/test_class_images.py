"""Class images of networks with a known result, and of every network."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from emoscope import models
from emoscope.core.clipspec import ClipSpec, Normalisation, Stream, Uniform
from emoscope.training.explain.class_images import (
    ClassImage,
    class_images,
    classes_sheet,
    pictures_of,
)

LABELS = ("anger", "happiness")
PICTURES = [
    name for name in models.names() if models.create(name, **models.small(name)).clip_spec.pictures
]


def spec_of(*streams: Stream, frames: int = 1) -> ClipSpec:
    return ClipSpec(region="frame", sampling=Uniform(length=frames), streams=streams)


class Template(nn.Module):
    """The logits are how much a picture is like a template, and how little."""

    def __init__(self, template: Tensor, stream: Stream) -> None:
        super().__init__()
        self.clip_spec = spec_of(stream, frames=2 if stream.kind.startswith("dynamic_") else 1)
        self.template = template

    def forward(self, **inputs: Tensor) -> Tensor:
        (x,) = inputs.values()
        like = (x[:, 0] * self.template).sum((1, 2, 3))
        return torch.stack([like, -like], 1)


def quarters(channels: int = 3) -> Tensor:
    """(C, 32, 32) of 1 and -1: two quarters each, turned over from channel to channel."""
    sign = torch.ones(32, 32)
    sign[:16, 16:] = sign[16:, :16] = -1
    return torch.stack([sign * (-1) ** channel for channel in range(channels)])


def inside(values: np.ndarray) -> np.ndarray:
    """(..., 32, 32) without the edges of the quarters, which shift and blur mix."""
    keep = np.r_[4:12, 20:28]
    return values[..., keep, :][..., keep]


@pytest.mark.parametrize("per_clip", [False, True])
def test_the_image_of_a_template_is_the_template(per_clip: bool) -> None:
    stream = Stream(
        kind="rgb", size_hw=(32, 32), normalisation=Normalisation(mean=(0.4,), per_clip=per_clip)
    )
    model = Template(1e-3 * quarters(), stream)  # however small the gradient
    like, unlike = class_images(model, model.clip_spec, LABELS, steps=120)
    template = inside(quarters().numpy())
    assert np.array_equal(np.sign(inside(pictures(like, stream)) - 127.5), template)
    assert np.array_equal(np.sign(inside(pictures(unlike, stream)) - 127.5), -template)
    assert (like.label, unlike.label) == LABELS
    assert like.probability == pytest.approx(unlike.probability, abs=0.02)
    assert like.probability > 0.6
    spread = np.abs(inside(like.inputs["rgb"]) + 0.4 - (0 if per_clip else 0.5))
    # Steps of 0.1 and L2 of 0.05 meet at 2; [0, 1] ends before.
    assert spread.mean() == pytest.approx(2 if per_clip else 0.5, rel=0.1)


def pictures(image: ClassImage, stream: Stream) -> np.ndarray:
    """(3, 32, 32) as drawn."""
    (picture,) = pictures_of(stream, image.inputs[stream.kind])
    return picture.transpose(2, 0, 1).astype(float)


def test_values_stay_in_the_range_of_pictures() -> None:
    how = Normalisation(mean=(0.5, 0.4, 0.3), std=(0.2, 0.1, 0.3))
    for stream, low, high in (
        (Stream(kind="rgb", size_hw=(32, 32), normalisation=how), 0, 1),
        (
            Stream(kind="dynamic_flow", size_hw=(32, 32), normalisation=Normalisation(limit=0.5)),
            -0.5,
            0.5,
        ),
    ):
        model = Template(quarters(stream.channels), stream)
        image = next(class_images(model, model.clip_spec, LABELS, steps=40))
        mean, std = (
            np.array(part)[:, None, None]
            for part in (stream.normalisation.mean, stream.normalisation.std)
        )
        values = image.inputs[stream.kind] * std + mean
        assert (values.min(), values.max()) == pytest.approx((low, high), abs=1e-6)


def test_fine_patterns_are_suppressed() -> None:
    chequered = torch.ones(1, 64, 64)
    chequered[:, ::2, ::2] = chequered[:, 1::2, 1::2] = -1
    wide = torch.ones(1, 64, 64)
    wide[:, :, 32:] = -1
    stream = Stream(kind="gray", size_hw=(64, 64))
    model = Template(chequered + wide, stream)
    image = next(class_images(model, model.clip_spec, LABELS, steps=60)).inputs["gray"][0, 0]
    shares = [float(np.mean((image - 0.5) * part[0].numpy())) for part in (chequered, wide)]
    assert abs(shares[0]) < 0.05 < 0.3 < shares[1]


def test_frames_are_shifted_together_by_a_sixteenth_at_most() -> None:
    seen: list[Tensor] = []

    class Watching(nn.Module):
        clip_spec = spec_of(Stream(kind="gray", size_hw=(32, 64)), frames=2)

        def forward(self, gray: Tensor) -> Tensor:
            seen.append(gray.detach()[0, :, 0])
            return 0 * gray.mean((1, 2, 3, 4))[:, None]

    image = next(class_images(Watching(), Watching.clip_spec, ["anger"], steps=30))
    *shifted, last = seen
    assert np.array_equal(last, image.inputs["gray"][:, 0]), "answers as it is drawn"
    # Of a network that looks away only noise is left, whose strongest place tells the shift.
    places = [[np.unravel_index(int(f.argmax()), f.shape) for f in clip] for clip in shifted]
    home = [np.unravel_index(int(f.argmax()), f.shape) for f in last]
    moved = (np.array(places) - np.array(home) + (16, 32)) % (32, 64) - (16, 32)  # (30, 2, 2)
    assert np.array_equal(moved[:, 0], moved[:, 1])
    assert np.abs(moved).max(axis=(0, 1)).tolist() == [2, 4]
    assert len(np.unique(moved[:, 0], axis=0)) > 10


def test_without_a_gradient_the_start_is_kept() -> None:
    stream = Stream(kind="gray", size_hw=(32, 32))
    model = Template(torch.zeros(1, 32, 32), stream)
    image = next(class_images(model, model.clip_spec, LABELS, steps=120))
    assert image.probability == 0.5
    assert np.abs(image.inputs["gray"] - 0.5).max() < 0.02, "grey; L2 takes the noise off"


@pytest.mark.parametrize("name", PICTURES)
def test_class_images_raise_the_probability_of_their_label(name: str) -> None:
    torch.manual_seed(1)
    model = models.create(name, num_classes=2, **models.small(name)).eval()
    spec = model.clip_spec
    start, image = (next(class_images(model, spec, LABELS, steps)) for steps in (0, 8))
    shapes = {stream.kind: spec.shapes()[stream.kind] for stream in spec.pictures}
    assert {kind: x.shape for kind, x in image.inputs.items()} == shapes
    assert all(np.isfinite(x).all() for x in image.inputs.values())
    before, after = (float(logits(model, one)[0]) for one in (start, image))
    assert after > before
    assert image.probability == pytest.approx(float(logits(model, image).softmax(0)[0]), abs=1e-6)
    assert all(parameter.grad is None for parameter in model.parameters())


def logits(model: nn.Module, image: ClassImage) -> Tensor:
    inputs = {kind: torch.zeros(1, *shape) for kind, shape in model.clip_spec.shapes().items()}
    inputs |= {kind: torch.from_numpy(x)[None] for kind, x in image.inputs.items()}
    with torch.no_grad():
        return model(**inputs)[0]


def test_images_are_the_same_at_every_call_and_differ_by_label() -> None:
    torch.manual_seed(0)
    model = models.create("face-cnn", num_classes=2, **models.small("face-cnn")).eval()
    first, other = class_images(model, model.clip_spec, LABELS, steps=3)
    again = next(class_images(model, model.clip_spec, LABELS, steps=3, temperature=3.0))
    assert np.array_equal(first.inputs["gray"], again.inputs["gray"])
    assert not np.array_equal(first.inputs["gray"], other.inputs["gray"])
    log_odds = [np.log(one.probability / (1 - one.probability)) for one in (first, again)]
    assert log_odds[0] == pytest.approx(3 * log_odds[1], rel=1e-3)


def test_flow_is_drawn_as_a_colour_wheel() -> None:
    stream = Stream(kind="flow", size_hw=(2, 2), normalisation=Normalisation(std=(2.0,)))
    flow = np.zeros((1, 2, 2, 2))
    flow[0, 0] = [[1, -1], [0.5, 0]]  # x: right and left; half right, still
    ((right, left), (half, still)) = pictures_of(stream, flow)[0].tolist()
    assert right == [255, 0, 0]
    assert left == [0, 255, 255]
    assert half == pytest.approx([255, 127, 127], abs=2)
    assert still == [255, 255, 255]


def test_pictures_are_un_normalised() -> None:
    how = Normalisation(mean=(0.5, 0.4, 0.3), std=(0.2, 0.1, 0.3))
    stream = Stream(kind="rgb", size_hw=(1, 1), normalisation=how)
    values = np.array([1.0, -2.0, 0.5])[None, :, None, None]
    assert pictures_of(stream, values).tolist() == [[[[178, 51, 115]]]]
    grey = Stream(kind="gray", size_hw=(1, 3), normalisation=Normalisation(per_clip=True))
    stretched = pictures_of(grey, np.array([[[[-3.0, 0.0, 3.0]]]]))
    assert stretched[0, 0].tolist() == [[0] * 3, [128] * 3, [255] * 3]


def test_a_clip_of_several_streams_has_one_row_per_label() -> None:
    streams = (
        Stream(kind="rgb", size_hw=(32, 32)),
        Stream(kind="dynamic_flow", size_hw=(64, 64)),
    )
    spec = spec_of(*streams, frames=6)
    inputs = {
        "rgb": np.zeros((6, 3, 32, 32)),
        "dynamic_flow": np.zeros((1, 2, 64, 64)),
    }
    images = [ClassImage(label, 0.5, inputs) for label in LABELS]
    sheet = classes_sheet(images, spec, steps=9)
    assert sheet.shape[1] == 5 * 256, "four frames and a picture, as wide as the widest"
    assert sheet.shape[0] > 2 * (20 + 256)
    assert (sheet[40:240, 4 * 256 : 5 * 256] == 255).all(), "nothing moves"
    assert (sheet[40:240, :224] == 0).all(), "black"
