"""Number of variants that an augmentation makes of a sample, and what Tahghighi et al. report."""

import math
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from emoscope.training.augment import PLACES, Augmentation, crops
from emoscope.training.papers.published import AugmentedVideos

__all__ = ["Kind", "Plan", "nearest_even_split", "paper_lines", "printed_kinds", "variants"]

_UNPRINTED = (
    "the angles",
    "the blur strengths",
    "the brightness changes",
    "which kinds are combined",
    "whether the originals are counted",
)


@dataclass(frozen=True)
class Kind:
    """One way in which an augmentation changes a sample.

    changed    number of changed variants by this kind alone; None if it has no fixed number
    unchanged  whether the sample may also stay unchanged
    settings   the values, in words
    """

    name: str
    changed: int | None
    unchanged: bool
    settings: str


@dataclass(frozen=True)
class Plan:
    """Number of variants that an augmentation makes of a corpus.

    samples   of the corpus
    kinds     of change, as from `variants` or `printed_kinds`
    """

    samples: int
    kinds: tuple[Kind, ...]

    @property
    def alone(self) -> int:
        """Changed variants of a sample by one countable kind at a time."""
        return sum(kind.changed for kind in self.kinds if kind.changed is not None)

    @property
    def combined(self) -> int:
        """Variants of a sample if every countable kind is drawn independently, with the unchanged
        one if it may occur."""
        return math.prod(self._options())

    def lines(self) -> Iterator[str]:
        """Yield the kinds, then the counts, per sample and in total."""
        for kind in self.kinds:
            count = "no fixed number" if kind.changed is None else f"{kind.changed:,}"
            yield f"{kind.name}: {count}; {kind.settings}"
        if not self.kinds:
            yield "no augmentation: every sample stays unchanged"
        changed = [kind.changed for kind in self.kinds if kind.changed is not None]
        if changed:
            yield f"one kind at a time: {self._count(' + ', changed, self.alone)}"
        if len(changed) > 1:
            same = all(kind.unchanged for kind in self.kinds if kind.changed is not None)
            also = ", including the unchanged one" if same else ""
            yield f"all combined: {self._count(' x ', self._options(), self.combined)}{also}"
        if uncounted := [kind.name for kind in self.kinds if kind.changed is None]:
            yield f"not counted: {', '.join(uncounted)}"

    def _options(self) -> list[int]:
        """Number of options of each countable kind."""
        return [kind.changed + kind.unchanged for kind in self.kinds if kind.changed is not None]

    def _count(self, sign: str, terms: list[int], total: int) -> str:
        formula = f"{sign.join(map(str, terms))} = " if len(terms) > 1 else ""
        return f"{formula}{total:,} per sample, {total * self.samples:,} in total"


def variants(settings: Augmentation) -> tuple[Kind, ...]:
    """Return the kinds of change in a recipe's augmentation, in the order they are applied."""
    s = settings
    across, down = s.corner_shift
    corners = {(x * across, y * down) for x, y in PLACES}
    low, high = s.scale
    kinds = (
        Kind("flip", int(s.flip > 0), s.flip < 1, f"probability {s.flip:g}"),
        _range("rotation", s.rotate_deg, f"any angle in ±{s.rotate_deg:g}°"),
        Kind("scale", None, True, f"any factor from {low:g} to {high:g}")
        if low < high
        else Kind("scale", int(low != 1), False, f"factor {low:g}"),
        _range("shift", s.shift, f"anywhere in ±{s.shift:g} of the sides"),
        _choice(
            "corner shift", corners, (0, 0), f"by {across:g} of the width, {down:g} of the height"
        ),
        _choice(
            "crop", crops(s), (0, 0, 1, 1), f"sides {_listed(s.crop_sides)}, corners and centre"
        ),
        _range("brightness", s.brightness, f"anything in ±{s.brightness:g} of full scale"),
        _range("contrast", s.contrast, f"any factor in 1 ± {s.contrast:g}"),
        _range("lower resolution", s.blur, f"probability {s.blur:g}"),
        _choice(
            "Gaussian blur",
            set(s.gaussian_blur),
            0,
            f"standard deviations {_listed(s.gaussian_blur)} of the height",
        ),
        _range("erased rectangle", s.erase, f"probability {s.erase:g}"),
    )
    return tuple(kind for kind in kinds if kind.changed != 0)


def printed_kinds(paper: AugmentedVideos) -> tuple[Kind, ...]:
    """Return the kinds of change that the paper names, with the settings it gives."""
    return (
        Kind("corner shift", paper.corners, True, f"by {paper.shift_px} px"),
        Kind("rotation", None, True, f"in ±{paper.rotate_deg}°, angles not given"),
        Kind("Gaussian blur", None, True, "strengths not given"),
        Kind("brightness", None, True, "changes not given"),
    )


def paper_lines(paper: AugmentedVideos) -> Iterator[str]:
    """Yield the paper's counts, what follows from them, and what it does not give."""
    before, after = paper.videos, paper.augmented
    mean = f"{after / before:.1f}"
    yield f"the paper ({paper.where}): {before:,} videos became {after:,}, {mean} per video"
    if after % before:
        even = nearest_even_split(before, after)
        yield f"  not a whole number: the {before:,} videos do not all have equally many variants"
        yield f"  {after:,} is {even:,} x {after // even:,}; the paper does not say if that is why"
    yield f"  not given, so not reproducible: {', '.join(_UNPRINTED)}"


def nearest_even_split(videos: int, augmented: int) -> int:
    """Return the number nearest to `videos` that divides `augmented`."""
    divisors = [n for n in range(1, augmented + 1) if augmented % n == 0]
    return min(divisors, key=lambda n: abs(n - videos))


def _range(name: str, extent: float, settings: str) -> Kind:
    """Return a kind whose value is drawn from a range; it changes nothing without an extent."""
    return Kind(name, None if extent else 0, True, settings)


def _choice(name: str, options: AbstractSet[object], same: object, settings: str) -> Kind:
    """Return a kind that draws one of some options; the option `same` changes nothing."""
    return Kind(name, len(options - {same}), same in options, settings)


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
