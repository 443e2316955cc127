from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from emoscope.core.clipspec import ClipSpec, Last, Normalisation, Stream
from emoscope.core.errors import MediaError
from emoscope.corpora.manifest import Sample
from emoscope.media.clips import Clip, build_clip
from emoscope.training.augment import Augmentation
from emoscope.training.dataset import StillDataset, distributions, split_by_content

SPEC = ClipSpec(
    sampling=Last(length=1),
    streams=(
        Stream(kind="gray", size_hw=(24, 24), normalisation=Normalisation(per_clip=True)),
        Stream(kind="rgb", size_hw=(16, 12)),
    ),
)


LABELS = ("anger", "fear", "sadness")


def still(path: Path, label: int = 0) -> Sample:
    votes = np.eye(3)[label] * 0.5 + 0.5 / 3
    return Sample(path, LABELS[label], split="train", votes=tuple(votes))


@pytest.fixture
def stills(tmp_path: Path) -> list[Sample]:
    """Four coloured pictures."""
    found = []
    for i in range(4):
        path = tmp_path / f"{i}.png"
        noise = np.random.default_rng(i).integers(0, 256, (24, 24, 3), dtype=np.uint8)
        cv2.imwrite(str(path), cv2.GaussianBlur(noise, (0, 0), 2))
        found.append(still(path, i % 3))
    return found


def test_an_item_is_what_build_clip_gives_and_its_distribution(stills: list[Sample]) -> None:
    data = StillDataset(stills, LABELS, SPEC)
    assert len(data) == 4
    inputs, target = data[1]
    bgr = cv2.imread(str(stills[1].path))
    assert bgr is not None
    expected = build_clip(Clip([np.ascontiguousarray(bgr[..., ::-1])]), SPEC)
    assert {k: tuple(v.shape) for k, v in inputs.items()} == SPEC.shapes()
    for name, array in expected.items():
        np.testing.assert_array_equal(inputs[name].numpy(), array)
    assert target.dtype == torch.float32
    np.testing.assert_allclose(target.numpy(), stills[1].votes, rtol=1e-6)


def test_without_augmentation_a_picture_stays_the_same(stills: list[Sample]) -> None:
    data = StillDataset(stills, LABELS, SPEC)
    torch.testing.assert_close(data[0][0], data[0][0], rtol=0, atol=0)


def test_with_augmentation_every_epoch_draws_anew(stills: list[Sample]) -> None:
    data = StillDataset(stills, LABELS, SPEC, Augmentation(rotate_deg=30))
    drawn = []
    for data.epoch in range(3):
        drawn.append(data[0][0]["rgb"])
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[1], drawn[2])


def test_draws_do_not_depend_on_the_order_of_access(stills: list[Sample]) -> None:
    settings = Augmentation(rotate_deg=30, brightness=0.2)
    one, other = (StillDataset(stills, LABELS, SPEC, settings, seed=5) for _ in range(2))
    for epoch in range(2):
        one.epoch = other.epoch = epoch
        forward = [one[i][0]["rgb"] for i in range(4)]
        backward = [other[i][0]["rgb"] for i in reversed(range(4))][::-1]
        torch.testing.assert_close(forward, backward, rtol=0, atol=0)


def test_another_seed_and_another_picture_draw_otherwise(stills: list[Sample]) -> None:
    settings = Augmentation(brightness=0.5)
    flat = [stills[0]] * 2  # one picture under two indices
    one, other = (StillDataset(flat, LABELS, SPEC, settings, seed=seed) for seed in (0, 1))
    assert not torch.equal(one[0][0]["rgb"], one[1][0]["rgb"])
    assert not torch.equal(
        StillDataset(flat, LABELS, SPEC, settings)[0][0]["rgb"], other[0][0]["rgb"]
    )


def test_a_file_that_is_no_picture_is_named(tmp_path: Path) -> None:
    path = tmp_path / "text.png"
    path.write_text("not a picture")
    with pytest.raises(MediaError, match=r"text\.png: not an image"):
        StillDataset([still(path)], LABELS, SPEC)


def test_a_distribution_is_the_votes_or_one_for_the_label() -> None:
    voted = Sample(Path("a.png"), "fear", votes=(0.25, 0.5, 0.25))
    named = Sample(Path("b.png"), "sadness")
    found = distributions([voted, named], LABELS)
    np.testing.assert_array_equal(found, [[0.25, 0.5, 0.25], [0, 0, 1]])


def many(count: int = 400, contents: int = 250) -> tuple[list[Sample], dict[Path, str]]:
    rng = np.random.default_rng(0)
    stills = [still(Path(f"{i}.png")) for i in range(count)]
    return stills, {s.path: f"digest {rng.integers(contents)}" for s in stills}


def test_a_split_keeps_twins_together_and_loses_nothing() -> None:
    stills, digests = many()
    fit, holdout = split_by_content(stills, 0.25, 3, digests)
    assert {digests[s.path] for s in fit}.isdisjoint(digests[s.path] for s in holdout)
    assert sorted(map(id, fit + holdout)) == sorted(map(id, stills))
    assert 0.18 < len(holdout) / len(stills) < 0.32


def test_a_split_depends_on_content_and_seed_only() -> None:
    stills, digests = many()

    def chosen(given: list[Sample], seed: int) -> set[str]:
        return {digests[s.path] for s in split_by_content(given, 0.25, seed, digests)[1]}

    assert chosen(stills[::-1], seed=3) == chosen(stills, seed=3)
    assert chosen(stills, seed=4) != chosen(stills, seed=3)


def test_a_seed_holds_out_what_it_always_has() -> None:
    stills = [still(Path(f"{i}.png")) for i in range(10)]
    digests = {s.path: s.path.stem for s in stills}
    holdout = split_by_content(stills, 0.3, 0, digests)[1]
    assert [s.path.stem for s in holdout] == ["2", "4", "6"]
