"""Number of variants that an augmentation makes of a sample."""

from pathlib import Path

import numpy as np
import pytest

from emoscope.training.augment import Augmentation, draw
from emoscope.training.papers.published import AugmentedVideos, papers
from emoscope.training.papers.variants import (
    Plan,
    nearest_even_split,
    paper_lines,
    printed_kinds,
    variants,
)

GUIDE = Path(__file__).parents[3] / "docs" / "laboratory.md"
PAPER = papers()["deformable-convlstm"].augmentation
COUNTABLE = {
    "corners and blurs": Augmentation(corner_shift=(0.03, 0.04), gaussian_blur=(0, 0.01, 0.02)),
    "sideways only": Augmentation(flip=0.5, corner_shift=(0.03, 0)),
    "always mirrored": Augmentation(flip=1, gaussian_blur=(0.01, 0.01)),
    "crops": Augmentation(crop_sides=(1, 0.75), flip=0.5),
    "crops of one size": Augmentation(crop_sides=(0.875, 0.75, 0.65625)),
    "always smaller": Augmentation(scale=(0.5, 0.5), flip=0.5),
    "nothing": Augmentation(),
}


@pytest.mark.parametrize("settings", COUNTABLE.values(), ids=COUNTABLE.keys())
def test_the_count_is_the_number_of_variants_that_training_draws(settings: Augmentation) -> None:
    rng = np.random.default_rng(0)
    drawn = {
        (one.flip, one.factor, one.shift, one.crop, one.sigma)
        for one in (draw(settings, rng) for _ in range(2000))
    }
    assert Plan(1, variants(settings)).combined == len(drawn)


def test_a_continuous_range_is_not_counted() -> None:
    endless = {
        "rotation": Augmentation(rotate_deg=30),
        "scale": Augmentation(scale=(0.9, 1.1)),
        "shift": Augmentation(shift=0.1),
        "brightness": Augmentation(brightness=0.2),
        "contrast": Augmentation(contrast=0.2),
        "lower resolution": Augmentation(blur=0.5),
        "erased rectangle": Augmentation(erase=0.5),
    }
    for name, settings in endless.items():
        (kind,) = variants(settings)
        assert (kind.name, kind.changed) == (name, None)
        assert list(Plan(3, (kind,)).lines())[-1] == f"not counted: {name}"


def test_every_setting_is_a_kind() -> None:
    everything = Augmentation(
        flip=0.5,
        rotate_deg=1,
        scale=(0.8, 1.2),
        shift=0.1,
        corner_shift=(0.1, 0.1),
        crop_sides=(0.9,),
        brightness=0.1,
        contrast=0.1,
        blur=0.1,
        gaussian_blur=(0.1,),
        erase=0.1,
    )
    assert len(variants(everything)) == len(Augmentation.model_fields)


def test_counts_are_given_alone_and_combined() -> None:
    settings = Augmentation(
        corner_shift=(0.03, 0.04), rotate_deg=30, gaussian_blur=(0, 0.01, 0.02, 0.04)
    )
    assert list(Plan(145, variants(settings)).lines()) == [
        "rotation: no fixed number; any angle in ±30°",
        "corner shift: 4; by 0.03 of the width, 0.04 of the height",
        "Gaussian blur: 3; standard deviations 0, 0.01, 0.02, 0.04 of the height",
        "one kind at a time: 4 + 3 = 7 per sample, 1,015 in total",
        "all combined: 5 x 4 = 20 per sample, 2,900 in total, including the unchanged one",
        "not counted: rotation",
    ]
    (nothing,) = Plan(145, variants(Augmentation())).lines()
    assert nothing == "no augmentation: every sample stays unchanged"


def test_the_unchanged_variant_is_mentioned_only_where_it_occurs() -> None:
    always = Augmentation(flip=1, gaussian_blur=(0, 0.01))
    assert "all combined: 1 x 2 = 2 per sample, 4 in total" in Plan(2, variants(always)).lines()


def test_only_the_papers_corner_shift_can_be_counted() -> None:
    assert PAPER is not None
    kinds = printed_kinds(PAPER)
    assert [kind.name for kind in kinds if kind.changed is not None] == ["corner shift"]
    assert "one kind at a time: 4 per sample, 580 in total" in Plan(PAPER.videos, kinds).lines()


def test_the_papers_count_is_no_whole_number_per_video() -> None:
    assert PAPER is not None
    printed = list(paper_lines(PAPER))
    assert printed[0] == "the paper (Section 3.1): 145 videos became 9,052, 62.4 per video"
    assert (
        printed[1] == "  not a whole number: the 145 videos do not all have equally many variants"
    )
    assert printed[2].startswith("  9,052 is 146 x 62; ")
    even = AugmentedVideos(10, 200, corners=4, shift_px=1, rotate_deg=1, where="here")
    assert len(list(paper_lines(even))) == 2


def test_the_nearest_even_split_divides() -> None:
    assert nearest_even_split(145, 9052) == 146
    assert nearest_even_split(7, 100) == 5
    assert nearest_even_split(10, 100) == 10


def test_the_guide_has_the_same_numbers() -> None:
    assert PAPER is not None
    before, after = PAPER.videos, PAPER.augmented
    even = nearest_even_split(before, after)
    guide = GUIDE.read_text(encoding="utf-8")
    assert f"{before} videos became {after:,}, {after / before:.1f} per video" in guide
    assert f"{after:,} is {even} × {after // even}" in guide
