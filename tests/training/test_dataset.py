from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from emoscope.core.clipspec import ClipSpec, Last, Normalisation, Stream
from emoscope.core.errors import MediaError
from emoscope.corpora.stills import LabelledStill
from emoscope.media.clips import Clip, build_clip
from emoscope.training.augment import Augmentation
from emoscope.training.dataset import StillDataset, split_by_content

SPEC = ClipSpec(
    sampling=Last(length=1),
    streams=(
        Stream(kind="gray", size_hw=(24, 24), normalisation=Normalisation(per_clip=True)),
        Stream(kind="rgb", size_hw=(16, 12)),
    ),
)


def still(path: Path, digest: str, label: int = 0) -> LabelledStill:
    return LabelledStill(path, "train", np.eye(3)[label] * 0.5 + 0.5 / 3, True, digest)


@pytest.fixture
def stills(tmp_path: Path) -> list[LabelledStill]:
    """Four coloured pictures."""
    found = []
    for i in range(4):
        path = tmp_path / f"{i}.png"
        noise = np.random.default_rng(i).integers(0, 256, (24, 24, 3), dtype=np.uint8)
        cv2.imwrite(str(path), cv2.GaussianBlur(noise, (0, 0), 2))
        found.append(still(path, str(i), i % 3))
    return found


def test_an_item_is_what_build_clip_gives_and_its_distribution(stills: list[LabelledStill]) -> None:
    data = StillDataset(stills, SPEC)
    assert len(data) == 4
    inputs, target = data[1]
    bgr = cv2.imread(str(stills[1].path))
    assert bgr is not None
    expected = build_clip(Clip([np.ascontiguousarray(bgr[..., ::-1])]), SPEC)
    assert {k: tuple(v.shape) for k, v in inputs.items()} == SPEC.shapes()
    for name, array in expected.items():
        np.testing.assert_array_equal(inputs[name].numpy(), array)
    assert target.dtype == torch.float32
    np.testing.assert_allclose(target.numpy(), stills[1].distribution, rtol=1e-6)


def test_without_augmentation_a_picture_stays_the_same(stills: list[LabelledStill]) -> None:
    data = StillDataset(stills, SPEC)
    torch.testing.assert_close(data[0][0], data[0][0], rtol=0, atol=0)


def test_with_augmentation_every_epoch_draws_anew(stills: list[LabelledStill]) -> None:
    data = StillDataset(stills, SPEC, Augmentation(rotate_deg=30))
    drawn = []
    for data.epoch in range(3):
        drawn.append(data[0][0]["rgb"])
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[1], drawn[2])


def test_draws_do_not_depend_on_the_order_of_access(stills: list[LabelledStill]) -> None:
    settings = Augmentation(rotate_deg=30, brightness=0.2)
    one, other = (StillDataset(stills, SPEC, settings, seed=5) for _ in range(2))
    for epoch in range(2):
        one.epoch = other.epoch = epoch
        forward = [one[i][0]["rgb"] for i in range(4)]
        backward = [other[i][0]["rgb"] for i in reversed(range(4))][::-1]
        torch.testing.assert_close(forward, backward, rtol=0, atol=0)


def test_another_seed_and_another_picture_draw_otherwise(stills: list[LabelledStill]) -> None:
    settings = Augmentation(brightness=0.5)
    flat = [stills[0]] * 2  # one picture under two indices
    one, other = (StillDataset(flat, SPEC, settings, seed=seed) for seed in (0, 1))
    assert not torch.equal(one[0][0]["rgb"], one[1][0]["rgb"])
    assert not torch.equal(StillDataset(flat, SPEC, settings)[0][0]["rgb"], other[0][0]["rgb"])


def test_a_file_that_is_no_picture_is_named(tmp_path: Path) -> None:
    path = tmp_path / "text.png"
    path.write_text("not a picture")
    with pytest.raises(MediaError, match=r"text\.png: not an image"):
        StillDataset([still(path, "a")], SPEC)


def many(count: int = 400, contents: int = 250) -> list[LabelledStill]:
    rng = np.random.default_rng(0)
    return [still(Path(f"{i}.png"), f"digest {rng.integers(contents)}") for i in range(count)]


def test_a_split_keeps_twins_together_and_loses_nothing() -> None:
    stills = many()
    fit, holdout = split_by_content(stills, 0.25, seed=3)
    assert {s.digest for s in fit}.isdisjoint(s.digest for s in holdout)
    assert sorted(map(id, fit + holdout)) == sorted(map(id, stills))
    assert 0.18 < len(holdout) / len(stills) < 0.32


def test_a_split_depends_on_content_and_seed_only() -> None:
    stills = many()
    chosen = {s.digest for s in split_by_content(stills, 0.25, seed=3)[1]}
    assert {s.digest for s in split_by_content(stills[::-1], 0.25, seed=3)[1]} == chosen
    assert {s.digest for s in split_by_content(stills, 0.25, seed=4)[1]} != chosen
