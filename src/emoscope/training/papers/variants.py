"""In how many forms an augmentation shows a sample; what Tahghighi et al. print of theirs."""

import math
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from emoscope.training.augment import PLACES, Augmentation, crops
from emoscope.training.papers.published import AugmentedVideos

__all__ = ["Kind", "Plan", "nearest_even_split", "paper_lines", "printed_kinds", "variants"]

_UNPRINTED = (
    "the angles",
    "the strengths of the blur",
    "the changes of brightness",
    "which kinds are combined",
    "whether the originals are counted",
)


@dataclass(frozen=True)
class Kind:
    """One way in which a sample is changed.

    changed    how many changed forms it has by this kind alone; None: they cannot be counted
    unchanged  whether it may also stay as it is
    settings   the values, in words
    """

    name: str
    changed: int | None
    unchanged: bool
    settings: str


@dataclass(frozen=True)
class Plan:
    """What an augmentation makes of a corpus.

    samples   of the corpus
    kinds     as `variants` or `printed_kinds` tells them
    """

    samples: int
    kinds: tuple[Kind, ...]

    @property
    def alone(self) -> int:
        """Changed forms of a sample by one countable kind at a time."""
        return sum(self._changed())

    @property
    def combined(self) -> int:
        """Forms of a sample where every countable kind is drawn independently, the unchanged one
        included where it may occur."""
        return math.prod(self._forms())

    def lines(self) -> Iterator[str]:
        """The kinds, then the counts, a sample and in all."""
        for kind in self.kinds:
            count = "not countable" if kind.changed is None else f"{kind.changed:,}"
            yield f"{kind.name}: {count}; {kind.settings}"
        if not self.kinds:
            yield "no augmentation: every sample stays as it is"
        if self._changed():
            yield f"one kind at a time: {self._count(' + ', self._changed(), self.alone)}"
        if len(self._changed()) > 1:
            yield f"all combined: {self._count(' x ', self._forms(), self.combined)}{self._same()}"
        endless = [kind.name for kind in self.kinds if kind.changed is None]
        if endless:
            yield f"not in these counts: {', '.join(endless)}"

    def _changed(self) -> list[int]:
        return [kind.changed for kind in self.kinds if kind.changed is not None]

    def _forms(self) -> list[int]:
        return [k.changed + k.unchanged for k in self.kinds if k.changed is not None]

    def _count(self, sign: str, parts: list[int], total: int) -> str:
        sum_of = f"{sign.join(map(str, parts))} = " if len(parts) > 1 else ""
        return f"{sum_of}{total:,} a sample, {total * self.samples:,} in all"

    def _same(self) -> str:
        same = all(kind.unchanged for kind in self.kinds if kind.changed is not None)
        return ", the unchanged one among them" if same else ""


def variants(settings: Augmentation) -> tuple[Kind, ...]:
    """The kinds of change that a recipe's augmentation draws, in the order in which they happen."""
    s = settings
    across, down = s.corner_shift
    corners = {(x * across, y * down) for x, y in PLACES}
    kinds = (
        Kind("flip", int(s.flip > 0), s.flip < 1, f"probability {s.flip:g}"),
        _any("rotation", s.rotate_deg, f"any angle in ±{s.rotate_deg:g}°"),
        _scale(s.scale),
        _any("shift", s.shift, f"anywhere in ±{s.shift:g} of the sides"),
        _among(
            "corner shift", corners, (0, 0), f"by {across:g} of the width, {down:g} of the height"
        ),
        _among(
            "crop", crops(s), (0, 0, 1, 1), f"sides {_listed(s.crop_sides)}, corners and centre"
        ),
        _any("brightness", s.brightness, f"anything in ±{s.brightness:g} of full scale"),
        _any("contrast", s.contrast, f"any factor in 1 ± {s.contrast:g}"),
        _any("smaller detour", s.blur, f"probability {s.blur:g}"),
        _among(
            "Gaussian blur",
            set(s.gaussian_blur),
            0,
            f"standard deviations {_listed(s.gaussian_blur)} of the height",
        ),
        _any("cover", s.erase, f"probability {s.erase:g}"),
    )
    return tuple(kind for kind in kinds if kind.changed != 0)


def printed_kinds(paper: AugmentedVideos) -> tuple[Kind, ...]:
    """The kinds that the paper names, with as much as it prints of each."""
    return (
        Kind("corner shift", paper.corners, True, f"by {paper.shift_px} px"),
        Kind("rotation", None, True, f"in ±{paper.rotate_deg}°, angles not printed"),
        Kind("Gaussian blur", None, True, "strengths not printed"),
        Kind("brightness", None, True, "changes not printed"),
    )


def paper_lines(paper: AugmentedVideos) -> Iterator[str]:
    """What the paper counts, what follows from it, and what cannot be known."""
    before, after = paper.videos, paper.augmented
    mean = f"{after / before:.1f}"
    yield f"the paper ({paper.where}): {before:,} videos became {after:,}, {mean} a video"
    if after % before:
        even = nearest_even_split(before, after)
        yield f"  no whole number: not every one of {before:,} videos has as many variants"
        yield f"  {after:,} is {even:,} x {after // even:,}; whether it came so is not printed"
    yield f"  not printed, so not reproducible: {', '.join(_UNPRINTED)}"


def nearest_even_split(videos: int, augmented: int) -> int:
    """The number nearest to `videos` among which `augmented` could be shared out evenly."""
    divisors = [n for n in range(1, augmented + 1) if augmented % n == 0]
    return min(divisors, key=lambda n: abs(n - videos))


def _any(name: str, extent: float, settings: str) -> Kind:
    """A kind whose values are drawn from a range: endless, or none where it has no extent."""
    return Kind(name, None if extent else 0, True, settings)


def _scale(bounds: tuple[float, float]) -> Kind:
    low, high = bounds
    if low < high:
        return Kind("scale", None, True, f"any factor from {low:g} to {high:g}")
    return Kind("scale", int(low != 1), False, f"factor {low:g}")


def _among(name: str, options: AbstractSet[object], same: object, settings: str) -> Kind:
    """A kind that picks one of some options, of which one may be to change nothing."""
    return Kind(name, len(options - {same}), same in options, settings)


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
