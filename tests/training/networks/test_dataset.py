"""Clips as tensors, and their random draws."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from emoscope.core.clipspec import (
    ClipSpec,
    Last,
    Normalisation,
    Offsets,
    Sampling,
    Stream,
    Uniform,
    Vector,
)
from emoscope.corpora.manifest import Sample
from emoscope.media.clips import Clip, Material, build_clip, finish, gather, with_flow
from emoscope.media.sampling import sliding_windows, uniform_indices
from emoscope.training.augment import Augmentation
from emoscope.training.networks import dataset
from emoscope.training.networks.dataset import (
    BlockDataset,
    ClipDataset,
    EpochSampler,
    distributions,
    shrunk,
)

LABELS = ("anger", "fear", "sadness")
SIZE = (8, 6)
STREAMS = (Stream(kind="rgb", size_hw=SIZE),)
JITTERED = ClipSpec(sampling=Uniform(length=3, jitter=True), streams=STREAMS)
CENTRED = ClipSpec(sampling=Uniform(length=3), streams=STREAMS)
MOVING = ClipSpec(sampling=Last(length=2), streams=(Stream(kind="flow", size_hw=SIZE),))
EVERYTHING = Augmentation(flip=0.5, rotate_deg=30, shift=0.1, brightness=0.2, erase=0.5)
FRAMES = 12
STEP = 20  # grey levels from frame to frame


def frames(noisy: bool = False, seed: int = 0) -> list[np.ndarray]:
    """Plain pictures whose grey level is STEP times their number, or noise."""
    if noisy:
        rng = np.random.default_rng(seed)
        return list(rng.integers(0, 256, (FRAMES, *SIZE, 3), dtype=np.uint8))
    return [np.full((*SIZE, 3), STEP * i, np.uint8) for i in range(FRAMES)]


class Loader:
    """Loads all frames of a clip, with different noise if `noisy`; lists the loaded paths."""

    def __init__(self, noisy: bool = False, flow: bool = False) -> None:
        self.noisy, self.flow = noisy, flow
        self.loaded: list[Path] = []

    def __call__(self, sample: Sample) -> Material:
        self.loaded.append(sample.path)
        clip = Clip(frames(self.noisy, seed=int(sample.path.stem)))
        material = gather(clip, CENTRED, np.arange(FRAMES))
        return with_flow(material, MOVING) if self.flow else material


def samples(count: int = 4, **options: Any) -> list[Sample]:
    return [Sample(Path(f"{i}.mp4"), LABELS[i % 3], **options) for i in range(count)]


def clips(
    spec: ClipSpec = JITTERED,
    given: list[Sample] | None = None,
    *,
    augmentation: Augmentation | None = EVERYTHING,
    load: Loader | None = None,
    seed: int = 0,
) -> ClipDataset:
    shares = samples() if given is None else given
    return ClipDataset(shares, LABELS, spec, load or Loader(noisy=True), augmentation, seed)


def numbers(item: Any) -> list[int]:
    """The numbers of the frames, if only the sampling is random."""
    return (item[0]["rgb"][:, 0, 0, 0] * 255 / STEP).round().int().tolist()


def same(one: Any, other: Any) -> bool:
    return torch.equal(one[0]["rgb"], other[0]["rgb"])


def test_an_item_is_the_result_of_build_clip_and_its_distribution() -> None:
    streams = (
        Stream(kind="gray", size_hw=SIZE, normalisation=Normalisation(per_clip=True)),
        Stream(kind="dynamic_rgb", size_hw=SIZE),
    )
    spec = ClipSpec(sampling=Uniform(length=3, jitter=True), streams=streams)
    inputs, target = clips(spec)[1]
    expected = build_clip(Clip(frames(noisy=True, seed=1)), spec)
    assert {name: tuple(value.shape) for name, value in inputs.items()} == spec.shapes()
    for name, array in expected.items():
        np.testing.assert_array_equal(inputs[name].numpy(), array)
    assert target.tolist() == [0, 1, 0]
    assert target.dtype == torch.float32


def test_a_clip_of_vectors_only_is_its_vectors() -> None:
    spec = ClipSpec(streams=(Vector(kind="egemaps"),))
    values = np.arange(88, dtype=np.float32)
    data = ClipDataset(
        samples(2), LABELS, spec, lambda _: Material({}, vectors={"egemaps": values})
    )
    np.testing.assert_array_equal(data[0, 1][0]["egemaps"].numpy(), values)


def test_a_draw_depends_on_epoch_index_and_seed_only() -> None:
    keys = [(epoch, index) for epoch in range(3) for index in range(4)]
    forward = clips()
    drawn = {key: forward[key] for key in keys}
    backward = clips()
    again = {key: backward[key] for key in reversed(keys)}
    assert all(same(drawn[key], again[key]) for key in keys)
    assert not same(drawn[0, 1], drawn[1, 1])
    assert not same(drawn[0, 1], clips(seed=1)[0, 1])
    twice = clips(given=[samples(1)[0]] * 2)  # one clip under two indices
    assert not same(twice[0, 0], twice[0, 1])


@pytest.mark.filterwarnings("ignore:This DataLoader", "ignore:This process")
def test_workers_give_the_same_draws() -> None:
    data, sampler = clips(), EpochSampler(4, seed=0)
    sampler.set_epoch(2)
    alone, shared = (
        torch.cat([x["rgb"] for x, _ in DataLoader(data, 2, sampler=sampler, num_workers=n)])
        for n in (0, 2)
    )
    assert torch.equal(alone, shared)


def test_without_an_epoch_nothing_is_random() -> None:
    data = clips(load=Loader())
    assert numbers(data[2]) == uniform_indices(FRAMES, 3).tolist() == [2, 6, 10]
    assert same(data[2], clips(CENTRED, augmentation=None, load=Loader())[2])


def test_jitter_draws_one_frame_per_segment_in_training_only() -> None:
    data = clips(augmentation=None, load=Loader())
    drawn = [numbers(data[epoch, 0]) for epoch in range(40)]
    assert len({tuple(which) for which in drawn}) > 10
    assert all([number // 4 for number in which] == [0, 1, 2] for which in drawn)
    steady = clips(CENTRED, augmentation=None, load=Loader())
    assert {tuple(numbers(steady[epoch, 0])) for epoch in range(5)} == {(2, 6, 10)}


def test_a_variant_is_the_same_in_every_epoch_and_in_testing() -> None:
    one, other = (Sample(Path("0.mp4"), "fear", groups={"variant": str(i)}) for i in range(2))
    data = clips(CENTRED, [one, other])
    assert same(data[0, 0], data[7, 0])
    assert same(data[0, 0], data[0])
    assert not same(data[0], data[1])
    assert same(data[0], clips(CENTRED, [other, one])[1]), "its place in a fold does not matter"
    assert not same(data[0], clips(CENTRED, [one], augmentation=None)[0])
    assert not same(data[0], clips(CENTRED, [one], seed=1)[0])


def test_blocks_are_sliding_windows_of_the_clip() -> None:
    built = BlockDataset(clips(CENTRED), every=2)[1]["rgb"]
    material = Loader(noisy=True)(samples()[1])
    windows = sliding_windows(FRAMES, 3, 2)
    assert tuple(built.shape) == (len(windows), 3, 3, *SIZE) == (5, 3, 3, *SIZE)
    for block, window in zip(built, windows, strict=True):
        np.testing.assert_array_equal(block.numpy(), finish(material.take(window), CENTRED)["rgb"])


def levels(sampling: Sampling, every: int, loaded: int = FRAMES) -> list[list[int]]:
    """The numbers of the frames in each block."""

    def load(_: Sample) -> Material:
        return gather(Clip(frames()[:loaded]), CENTRED, np.arange(loaded))

    spec = ClipSpec(sampling=sampling, streams=STREAMS)
    built = BlockDataset(ClipDataset(samples(1), LABELS, spec, load), every)[0]["rgb"]
    return (built[:, :, 0, 0, 0] * 255 / STEP).round().int().tolist()


def test_blocks_of_frames_far_apart_are_pairs_as_far_apart() -> None:
    pairs = levels(Offsets(offsets=(-8, -1)), every=2)
    assert pairs == [[0, 7], [2, 9], [4, 11]]
    assert levels(Offsets(offsets=(0, 4)), every=3) == [[0, 4], [3, 7], [6, 10]]


@pytest.mark.parametrize(
    ("sampling", "padded"),
    [
        (Last(length=4), [0, 0, 1, 2]),
        (Uniform(length=4), [0, 1, 2, 2]),
        (Offsets(offsets=(-8, -1)), [0, 2]),
    ],
)
def test_a_clip_shorter_than_a_block_is_one_padded_by_the_rule(
    sampling: Sampling, padded: list[int]
) -> None:
    assert levels(sampling, every=1, loaded=3) == [padded]


def test_blocks_of_a_variant_have_its_augmentation() -> None:
    variant = Sample(Path("0.mp4"), "fear", groups={"variant": "3"})
    data = clips(ClipSpec(sampling=Last(length=3), streams=STREAMS), [variant])
    last = BlockDataset(data, every=1)[0]["rgb"][-1]
    assert torch.equal(last, data[0][0]["rgb"])


def room(monkeypatch: pytest.MonkeyPatch, load: Loader, clips_kept: float) -> ClipDataset:
    material = load(samples()[0])
    arrays = (*material.pictures.values(), *material.flow.values())
    size = sum(array.nbytes for array in arrays)
    monkeypatch.setattr(dataset, "_MEMORY_BYTES", round(clips_kept * size))
    load.loaded.clear()
    return clips(load=load)


@pytest.mark.parametrize("flow", [False, True])
def test_clips_stay_in_memory_as_long_as_there_is_room(
    monkeypatch: pytest.MonkeyPatch, flow: bool
) -> None:
    load = Loader(flow=flow)
    data = room(monkeypatch, load, clips_kept=2.5)
    for _ in range(3):
        for index in range(4):
            _ = data.material(index)
    assert sorted(path.stem for path in load.loaded) == ["0", "1", "2", "2", "2", "3", "3", "3"]


def test_augmentation_does_not_change_clips_in_memory() -> None:
    data = clips(JITTERED, load=Loader(noisy=True))
    before = data[0]
    _ = [data[epoch, 0] for epoch in range(5)]
    assert same(before, data[0])


def orders(epoch: int, length: int = 11, world: int = 1, seed: int = 0) -> Iterator[list[int]]:
    """The indices that each process takes."""
    for rank in range(world):
        sampler = EpochSampler(length, seed, rank, world)
        sampler.set_epoch(epoch)
        keys = list(sampler)
        assert len(keys) == len(sampler)
        assert {key[0] for key in keys} == {epoch}
        yield [key[1] for key in keys]


def test_every_epoch_has_every_clip_in_a_different_order() -> None:
    (first,), (second,), (otherwise,) = orders(0), orders(1), orders(0, seed=1)
    assert sorted(first) == sorted(second) == sorted(otherwise) == list(range(11))
    assert first != second
    assert first != otherwise
    assert next(orders(0)) == first


@pytest.mark.parametrize(("length", "world"), [(12, 3), (11, 3), (2, 2)])
def test_processes_take_disjoint_shares_of_equal_size(length: int, world: int) -> None:
    shares = list(orders(4, length, world))
    assert {len(share) for share in shares} == {length // world}
    taken = [index for share in shares for index in share]
    assert len(set(taken)) == len(taken) == length - length % world
    assert list(orders(5, length, world)) != shares or length == 2


def test_the_clips_left_out_differ_between_epochs() -> None:
    left_out = {
        (set(range(5)) - {i for share in orders(epoch, 5, 2) for i in share}).pop()
        for epoch in range(40)
    }
    assert left_out == set(range(5))


def test_a_distribution_is_the_share_of_votes_or_one_for_the_label() -> None:
    voted = Sample(Path("a.png"), "fear", votes=(0.25, 0.5, 0.25))
    named = Sample(Path("b.png"), "sadness")
    unsure = Sample(Path("c.png"), "anger", votes=(0.3, 0.1, 0.0))  # 0.6 went to no emotion
    shares = distributions([voted, named, unsure], LABELS)
    np.testing.assert_allclose(shares, [[0.25, 0.5, 0.25], [0, 0, 1], [0.75, 0.25, 0]])
    assert distributions([], LABELS).shape == (0, 3)


def test_a_shrunk_picture_is_the_mean_of_its_blocks_and_vectors_stay() -> None:
    pictures, vector = torch.randn(2, 3, 1, 8, 4), torch.randn(2, 5)
    small = shrunk({"gray": pictures, "egemaps": vector}, 0.5)
    blocks = pictures.reshape(2, 3, 1, 4, 2, 2, 2).mean((4, 6))
    torch.testing.assert_close(small["gray"], blocks)
    assert small["egemaps"] is vector
    assert shrunk({"gray": pictures}, 1.0)["gray"] is pictures
