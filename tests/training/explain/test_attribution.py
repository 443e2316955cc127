"""Grad-CAM and saliency of every network, sampling points of deformable steps, and drawings."""

from pathlib import Path

import cv2
import fake_runs
import numpy as np
import pytest
import torch
from making import make_video, number_in
from torch import Tensor, nn

from emoscope import models
from emoscope.core.clipspec import ClipSpec, Stream, Uniform
from emoscope.core.errors import MediaError, RecipeError, UnknownName
from emoscope.training.explain.attribution import (
    Explanation,
    HeatMaps,
    explain_clip,
    grad_cam,
    saliency,
)
from emoscope.training.explain.drawing import heat_film, heat_sheet, points_film, points_sheet
from emoscope.training.explain.sampling_points import (
    SamplingPoints,
    sampling_points,
    steps_of_frames,
)
from emoscope.training.run_folder import FINAL, part_folder

LABELS = ("anger", "happiness", "sadness")
PICTURES = [
    name for name in models.names() if models.create(name, **models.small(name)).clip_spec.pictures
]


def small(name: str, **options: object) -> nn.Module:
    torch.manual_seed(0)
    return models.create(name, num_classes=3, **{**models.small(name), **options}).eval()


@pytest.mark.parametrize("name", PICTURES)
def test_every_network_has_grad_cam(name: str) -> None:
    model = small(name)
    inputs = model.example_inputs(1)
    result = [one for column in range(3) for one in grad_cam(model, inputs, column)]
    assert_maps(result, model.clip_spec)
    for one in result:
        assert isinstance(model.get_submodule(one.convolution), nn.Conv2d | nn.Conv3d)
    assert any(np.ptp(one.maps) > 0.1 for one in result)


@pytest.mark.parametrize("name", PICTURES)
def test_every_network_has_a_saliency_of_every_stream(name: str) -> None:
    model = small(name)
    inputs = model.example_inputs(1)
    result = saliency(model, inputs, 1)
    assert_maps(result, model.clip_spec)
    kinds = [stream.kind for stream in model.clip_spec.pictures]
    assert [one.stream for one in result] == kinds
    assert [one.steps for one in result] == [inputs[kind].shape[1] for kind in kinds]
    assert all(one.maps.max() == 1 for one in result), "all streams count"
    assert not any(x.requires_grad for x in inputs.values())


def assert_maps(result: list[HeatMaps] | tuple[HeatMaps, ...], spec: ClipSpec) -> None:
    for one in result:
        assert one.maps.shape == (spec.length, *spec.pictures[0].size_hw)
        assert np.isfinite(one.maps).all()
        assert one.maps.min() >= 0
        assert one.maps.max() in (0, 1)


@pytest.mark.parametrize(
    ("name", "convolution", "layer", "steps"),
    [
        ("face-cnn", "stages.1.conv2", "stages.1", 1),  # behind its shortcut, not in it
        ("face-gru", "stages.1.conv2", "stages.1", 4),
        ("av-joint", "face.stages.1.conv2", "face.stages.1", 4),  # none of what it hears
        ("early-fusion", "trunk.block3.conv3", "trunk.block3.relu3", 1),
        ("slow-fusion", "block3.conv3", "block3.relu3", 1),
        ("late-fusion", "trunk.block3.conv3", "trunk.block3.relu3", 2),
        ("deformable-convlstm", "cnn2d.8", "cnn2d.10", 4),  # of eight frames
    ],
)
def test_the_layer_is_the_last_convolution_with_a_map(
    name: str, convolution: str, layer: str, steps: int
) -> None:
    model = small(name)
    (result,) = grad_cam(model, model.example_inputs(1), 0)
    assert (result.convolution, result.layer, result.steps) == (convolution, layer, steps)


def test_each_stream_has_its_own_layer() -> None:
    model = small("four-stream")
    result = grad_cam(model, model.example_inputs(1), 0)
    # Convolutions of the two others run inside a recurrence.
    assert [(one.stream, one.layer, one.steps) for one in result] == [
        ("dynamic_rgb", "residual.dynamic_rgb.layer4.1", 1),
        ("dynamic_flow", "residual.dynamic_flow.layer4.1", 1),
    ]


class Joined(nn.Module):
    """Two streams that meet in one convolution; rgb comes through another before."""

    def __init__(self) -> None:
        super().__init__()
        streams = (Stream(kind="rgb", size_hw=(8, 8)), Stream(kind="gray", size_hw=(8, 8)))
        self.clip_spec = ClipSpec(sampling=Uniform(length=1), streams=streams)
        self.own, self.both = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, rgb: Tensor, gray: Tensor) -> Tensor:
        return self.both(torch.cat([self.own(rgb[:, 0]), gray[:, 0]], 1)).mean((2, 3))


def test_merged_streams_share_a_map() -> None:
    inputs = {"rgb": torch.rand(1, 1, 3, 8, 8), "gray": torch.rand(1, 1, 1, 8, 8)}
    (result,) = grad_cam(Joined(), inputs, 0)
    assert (result.stream, result.layer) == ("rgb + gray", "both")


class Corners(nn.Module):
    """Frames of 32 x 32. `anger` reads one channel's map at the top left of frame 1, `sadness`
    another's at the bottom right of frame 2; the channels are of red and of green."""

    def __init__(self, frames: int = 4) -> None:
        super().__init__()
        stream = Stream(kind="rgb", size_hw=(32, 32))
        self.clip_spec = ClipSpec(
            region="frame", sampling=Uniform(length=frames), streams=(stream,)
        )
        self.conv = nn.Conv2d(3, 2, 3, padding=1, stride=2, bias=False)
        self.pointwise = nn.Conv2d(2, 2, 1)
        nn.init.zeros_(self.conv.weight)
        self.conv.weight.data[0, 0, 1, 1] = self.conv.weight.data[1, 1, 1, 1] = 1
        for parameter in self.parameters():
            parameter.requires_grad = False  # a frozen layer

    def forward(self, rgb: Tensor) -> Tensor:
        maps = self.conv(rgb.flatten(0, 1)).unflatten(0, rgb.shape[:2])
        anger = maps[:, 1, 0, :4, :4].mean((1, 2))
        sadness = maps[:, 2, 1, -4:, -4:].mean((1, 2))
        return torch.stack([anger, torch.zeros_like(anger), sadness], 1)


def two_corners() -> Tensor:
    """(1, 4, 3, 32, 32): red at the top left and green at the bottom right, in every frame."""
    clip = torch.zeros(1, 4, 3, 32, 32)
    clip[:, :, 0, :8, :8] = clip[:, :, 1, -8:, -8:] = 1
    return clip


def test_grad_cam_is_where_the_evidence_is() -> None:
    model = Corners()
    anger, happiness, sadness = (
        grad_cam(model, {"rgb": two_corners()}, column)[0].maps for column in range(3)
    )
    assert np.unravel_index(anger.argmax(), anger.shape) == (1, 0, 0)
    assert anger[1, :6, :6].min() > 0.9
    assert anger[1, 12:].max() == anger[[0, 2, 3]].max() == 0, "other places, other frames"
    assert sadness[2, -6:, -6:].min() > 0.9
    assert sadness[2, :20].max() == 0
    assert not happiness.any(), "nothing speaks for it"


def test_saliency_is_where_changes_affect_the_logit() -> None:
    # However the picture looks: the logit is linear.
    inputs = {"rgb": torch.rand(1, 4, 3, 32, 32)}
    anger, happiness, sadness = (saliency(Corners(), inputs, i)[0].maps for i in range(3))
    looked_at = np.zeros((4, 32, 32))
    looked_at[1, :8:2, :8:2] = 1  # the convolution's centre, a stride of 2
    assert np.array_equal(anger, looked_at)
    assert np.unravel_index(sadness.argmax(), sadness.shape) == (2, 24, 24)
    assert not happiness.any(), "the logit is constant"


def test_the_saliency_of_a_pixel_is_its_largest_channel_magnitude() -> None:
    weights = torch.ones(3, 32, 32)
    weights[0, :, :16], weights[1:, :, :16] = -2, 0

    class Weighing(nn.Module):
        clip_spec = Corners(1).clip_spec

        def forward(self, rgb: Tensor) -> Tensor:
            return (rgb[:, 0] * weights).sum((1, 2, 3))[:, None]

    (result,) = saliency(Weighing(), {"rgb": torch.rand(1, 1, 3, 32, 32)}, 0)
    assert (result.maps[0, :, :16] == 1).all()
    assert (result.maps[0, :, 16:] == 0.5).all()


def test_saliency_ignores_outliers_in_scaling() -> None:
    class Steep(nn.Module):
        clip_spec = Corners(1).clip_spec

        def forward(self, rgb: Tensor) -> Tensor:
            return (rgb.mean((1, 2, 3, 4)) + rgb[:, 0, 0, 0, 0])[:, None]

    (result,) = saliency(Steep(), {"rgb": torch.rand(1, 1, 3, 32, 32)}, 0)
    assert (result.maps == 1).all()


class Looped(nn.Module):
    """A convolution that runs once (optional), and another at every frame."""

    def __init__(self, first: bool) -> None:
        super().__init__()
        self.clip_spec = Corners(3).clip_spec
        self.first = nn.Conv2d(3, 3, 3, padding=1) if first else nn.Identity()
        self.again = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, rgb: Tensor) -> Tensor:
        state = torch.zeros_like(rgb[:, 0])
        for frame in self.first(rgb.flatten(0, 1)).unflatten(0, rgb.shape[:2]).unbind(1):
            state = self.again(state + frame).tanh()
        return state.mean((2, 3))


def test_layers_inside_a_recurrence_are_skipped() -> None:
    clip = {"rgb": torch.rand(1, 3, 3, 32, 32)}
    assert [one.convolution for one in grad_cam(Looped(first=True), clip, 0)] == ["first"]
    assert grad_cam(Looped(first=False), clip, 0) == ()
    assert saliency(Looped(first=False), clip, 0)[0].steps == 3


class InTime(nn.Module):
    """A 3-D convolution whose four frames are pooled to two steps; only the second counts."""

    def __init__(self) -> None:
        super().__init__()
        self.clip_spec = Corners().clip_spec
        self.pool = nn.AvgPool3d((2, 1, 1))
        self.conv = nn.Conv3d(3, 3, (1, 3, 3), padding=(0, 1, 1), bias=False)
        nn.init.dirac_(self.conv.weight)

    def forward(self, rgb: Tensor) -> Tensor:
        return self.conv(self.pool(rgb.transpose(1, 2))).mean((2, 3, 4))


def test_a_step_of_3d_maps_is_shown_on_the_frames_that_it_covers() -> None:
    clip = two_corners()
    clip[:, :2] = 0
    (result,) = grad_cam(InTime(), {"rgb": clip}, 0)
    assert (result.steps, result.layer) == (2, "conv")
    assert not result.maps[:2].any()
    assert np.array_equal(result.maps[2], result.maps[3])
    assert result.maps[2, 0, 0] == 1


@pytest.mark.parametrize(
    ("frames", "steps", "expected"),
    [(4, 4, [0, 1, 2, 3]), (6, 3, [0, 0, 1, 1, 2, 2]), (3, 1, [0, 0, 0]), (5, 2, [0, 0, 1, 1, 1])],
)
def test_steps_cover_frames_as_poolings_make_them(
    frames: int, steps: int, expected: list[int]
) -> None:
    assert steps_of_frames(frames, steps).tolist() == expected


def sampled(modulated: bool = False, bias: list[float] | None = None) -> tuple[SamplingPoints, ...]:
    """Sampling points of a small network whose offsets are its bias."""
    model = small("deformable-convlstm", modulated=modulated)
    for level in model.levels:
        if bias:
            level.offset_conv.bias.data[: len(bias)] = torch.tensor(bias)
    return sampling_points(model, model.example_inputs(1))


def test_without_offsets_the_points_are_the_regular_grid() -> None:
    first, second = sampled()
    assert (first.layer, second.layer) == ("levels.0", "levels.1")
    assert first.steps == (1, 2, 3)
    assert first.frames == ((2, 3), (4, 5), (6, 7))
    assert first.points.shape == (3, 8, 8, 9, 2)
    around = np.array([(y, x) for y in (-4, 0, 4) for x in (-4, 0, 4)])
    centres = 4 * np.arange(8) + 1.5  # of 4 x 4 px
    for y, x in ((0, 0), (2, 5), (7, 7)):
        expected = np.array([centres[y], centres[x]]) + around
        assert np.array_equal(first.points[1, y, x], expected)
    assert np.array_equal(first.points[0], first.regular)
    assert not first.offsets_px.any()
    assert first.weights is None


def test_an_offset_of_a_pixel_of_the_map_is_four_of_the_frame() -> None:
    for layer in sampled(bias=[0.5, -2.0] * 9):
        assert np.array_equal(
            layer.points - layer.regular, np.broadcast_to([2.0, -8.0], layer.points.shape)
        )
    (layer, _) = sampled(bias=[0, 0, 0, 0, 3, 0])  # of the third point alone
    moved = np.flatnonzero(layer.offsets_px.max((0, 1, 2)))
    assert moved.tolist() == [2]
    assert layer.points[0, 4, 4, 2].tolist() == [17.5 - 4 + 12, 17.5 + 4]


def test_samples_of_a_modulated_convolution_have_weights() -> None:
    layer, _ = sampled(modulated=True)
    assert layer.weights is not None
    assert layer.weights.shape == layer.points.shape[:-1]
    assert (layer.weights == 1).all()
    layer, _ = sampled(modulated=True, bias=[0.0] * 26 + [100.0])
    assert layer.weights is not None
    assert (layer.weights[..., 8] == 2).all()


def test_networks_without_deformable_steps_have_no_points() -> None:
    for name in ("convlstm-body", "face-cnn"):
        model = small(name)
        assert sampling_points(model, model.example_inputs(1)) == ()


def run_of(folder: Path, name: str, **options: object) -> Path:
    """A finished run of a small, untrained network."""
    settings = {**models.small(name), **options}
    run = fake_runs.fake_run(
        folder,
        model={"name": name, "options": settings},
        corpus={"name": "folder", "detector": "none"},
    )
    weights = part_folder(run, FINAL, 0) / "weights.pt"
    torch.save(small(name, **options).state_dict(), weights)
    return run


@pytest.mark.parametrize("name", ["face-gru", "convlstm-body"])  # the latter draws its frames
def test_a_clip_is_explained_as_training_would_cut_it(name: str, tmp_path: Path) -> None:
    video = make_video(tmp_path / "film.mp4", num_frames=16)
    result = explain_clip(video, run_of(tmp_path / "run", name, frames=4))
    assert [number_in(frame) for frame in result.frames] == [2, 6, 10, 14]
    assert result.times_s == pytest.approx([0.08, 0.24, 0.4, 0.56])
    model = small(name, frames=4)
    (stream,) = model.clip_spec.pictures
    pictures = [cv2.resize(frame, stream.size_hw) for frame in result.frames]
    assert np.array_equal(result.frames, pictures)
    if name == "convlstm-body":
        rgb = torch.tensor(result.frames / 255).permute(0, 3, 1, 2)[None].float()
        with torch.no_grad():
            probs = torch.softmax(model(rgb) / 2, 1)[0]  # the temperature of the fake run
        assert result.probability == pytest.approx(float(probs.max()), abs=1e-6)
        assert result.label == LABELS[int(probs.argmax())]
        for heat, expected in (
            (result.gradcam, grad_cam(model, {"rgb": rgb}, int(probs.argmax()))),
            (result.saliency, saliency(model, {"rgb": rgb}, int(probs.argmax()))),
        ):
            np.testing.assert_allclose(heat[0].maps, expected[0].maps, atol=1e-4)


def test_pictures_of_a_joint_network_are_explained(tmp_path: Path) -> None:
    video = make_video(tmp_path / "film.mp4", num_frames=8, sound_s=0.32)
    run = run_of(tmp_path / "run", "av-joint")
    result = explain_clip(video, run)
    assert [number_in(frame) for frame in result.frames] == [0, 2, 4, 6]
    assert [heat.stream for heat in (*result.gradcam, *result.saliency)] == ["gray", "gray"]
    assert result.heard == ("logmel",)
    silent = explain_clip(make_video(tmp_path / "silent.mp4", num_frames=8), run, result.label)
    assert abs(silent.probability - result.probability) > 1e-6, "the sound counts"
    with pytest.raises(RecipeError, match="av-joint takes no pictures"):
        explain_clip(video, run_of(tmp_path / "sound", "av-joint", streams=["logmel"]))


def test_invalid_labels_spans_and_recordings_are_refused(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", "face-gru")
    video = make_video(tmp_path / "film.mp4")
    result = explain_clip(video, run, "Sad", start_s=0.2)
    assert result.label == "sadness"
    assert min(result.times_s) >= 0.2
    with pytest.raises(UnknownName, match="Did you mean 'happiness'"):
        explain_clip(video, run, "hapiness")
    with pytest.raises(UnknownName, match="Known: anger, happiness, sadness"):
        explain_clip(video, run, "boredom")
    with pytest.raises(MediaError, match=r"film\.mp4: the start"):
        explain_clip(video, run, start_s=9)


def explained(frames: int, steps: int, times_s: tuple[float, ...]) -> Explanation:
    """An explanation of grey pictures of 32 x 32; the heat is at the top left of the last."""
    pictures = np.full((frames, 32, 32, 3), 100, dtype=np.uint8)
    maps = np.zeros((frames, 32, 32))
    maps[-1, :16, :16] = 1
    heats = (HeatMaps("Grad-CAM", "rgb", False, "conv", "relu", steps, maps),)
    points = sampled() if frames == 8 else ()
    return Explanation(pictures, times_s, "anger", 0.875, heats, heats, points)


def test_heat_maps_are_drawn_where_they_are_positive_only() -> None:
    explanation = explained(2, 2, (0.0, 0.04))
    first, second = (frame.rgb for frame in heat_film(explanation, explanation.gradcam))
    assert first.shape[0] > 224
    assert (first[:224, :448] == 100).all(), "no heat: the frame as it is"
    assert (second[:224, :224] == 100).all(), "the plain frame on the left"
    assert (second[224 // 2 + 16 : 224, 224:448] == 100).all()
    hottest = second[:64, 224:288].reshape(-1, 3).mean(0)
    assert hottest[0] > hottest[2] > 100, "yellow"
    sheet = heat_sheet(explanation, explanation.gradcam)
    assert (sheet[20:244, 224:448] == second[:224, 224:448]).all()


def test_each_stream_has_rows_and_each_dynamic_image_one_tile() -> None:
    explanation = explained(4, 1, (0.0, 0.1, 0.2, 0.3))
    (rgb,) = explanation.gradcam
    whole = np.ones((4, 32, 32))
    dynamic = [
        HeatMaps("Saliency", f"dynamic_{x}", True, "", "input", 1, whole) for x in ("rgb", "flow")
    ]
    sheet = heat_sheet(explanation, [rgb, *dynamic])
    alone = heat_sheet(explanation, [rgb])
    assert sheet.shape[1] == alone.shape[1] == 4 * 224
    assert sheet.shape[0] - alone.shape[0] == 244 + 2 * 24, "one row more, and two lines"
    first, second, rest = np.split(sheet[264:488], [224, 448], axis=1)
    assert np.array_equal(first, second)
    assert np.ptp(first.astype(int), axis=2).min() > 50, "hot all over"
    assert np.ptp(rest, axis=(0, 1)).max() == 0, "blank"
    (frame, *_) = heat_film(explanation, [rgb, *dynamic])
    assert frame.rgb.shape[1] == 4 * 224, "plain, and three streams"


def test_a_film_keeps_times_and_leaves_out_padding() -> None:
    explanation = explained(4, 1, (0.0, 0.04, 0.12, 0.12))
    frames = list(heat_film(explanation, explanation.gradcam))
    assert [frame.time_s for frame in frames] == [0.0, 0.04, 0.12]
    assert [frame.duration_s for frame in frames] == pytest.approx([0.04, 0.08, 0.04])
    alone = explained(2, 1, (0.5, 0.5))
    assert [frame.duration_s for frame in heat_film(alone, alone.saliency)] == [1.0]


def test_sampling_points_are_drawn_on_the_frames_of_their_steps() -> None:
    explanation = explained(8, 4, tuple(i / 25 for i in range(8)))
    colourful = [bool(np.ptp(frame.rgb[:224], 2).max() > 60) for frame in points_film(explanation)]
    assert colourful == [False, False, *[True] * 6]
    assert len({frame.rgb.shape for frame in points_film(explanation)}) == 1, "as films have to be"
    sheet = points_sheet(explanation)
    assert sheet.shape[1] == 3 * 224
    assert sheet.shape[0] > 2 * 224
    first = next(frame.rgb for frame in points_film(explanation) if frame.index == 2)
    # Position (2, 2) of 8: its own point lies at 9.5 px, 7 times that on the enlarged frame.
    assert np.ptp(first[69, 69].astype(int)) > 60
