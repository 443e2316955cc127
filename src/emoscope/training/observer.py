"""Progress callbacks of a training."""

from dataclasses import dataclass

__all__ = ["Observer", "Progress"]


@dataclass(frozen=True)
class Progress:
    """The state of one fold's training; values that are not known yet are NaN.

    epoch          complete epochs
    step, steps    optimiser steps done, and in total
    loss           last training loss
    uar            last unweighted average recall on the hold-out
    seconds_left   estimate for this fold, NaN during its first steps
    """

    epoch: int
    step: int
    steps: int
    loss: float
    uar: float
    seconds_left: float


class Observer:
    """Progress callbacks of a training; the base class does nothing."""

    def clips_cut(self, done: int, total: int) -> None:
        """Called while clips are cut."""

    def features_computed(self, done: int, total: int) -> None:
        """Called while the features of a frozen network are computed."""

    def note(self, text: str) -> None:
        """Called before training, with how the published weights are used."""

    def warning(self, text: str) -> None:
        """Called for a leak that the recipe allows, or a label that a fold cannot learn."""

    def fold_started(self, index: int, total: int, fold: str, seed: int) -> None:
        """Called when the training of a fold under a seed starts; `index` counts from 0."""

    def progress(self, progress: Progress) -> None:
        """Called about twice a second."""
