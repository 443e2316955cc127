"""The protocols of a recipe: how samples are split into training and test."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "AugmentedRandom",
    "Fixed",
    "Frozen",
    "GroupHoldout",
    "GroupKFold",
    "HeldOutSubjects",
    "LeaveOneGroupOut",
    "LeaveOneSubjectOut",
    "Protocol",
]


class Frozen(BaseModel):
    """Base of a recipe's tables: immutable, no unknown keys, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _Protocol(Frozen):
    holdout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Fraction of the training side that is held out to choose the epoch and to fit "
        "the temperature; whole people where they are known. 0 disables both.",
    )
    drop_twins: bool = Field(
        default=False,
        description="Remove training samples whose bytes also occur on the test side.",
    )
    allow_leak: bool = Field(
        default=False,
        description="Train even if a person, a recording or its bytes occur on both sides. Every "
        "output of the run then carries a warning.",
    )


class Fixed(_Protocol):
    """The corpus's own split (AFEW, FER+): its training part against one of the others."""

    name: Literal["fixed"]
    test: Literal["valid", "test"] = Field(
        default="valid", description="The part to test on. The model trains on the training part."
    )


class LeaveOneSubjectOut(_Protocol):
    """One fold per person (LOSO)."""

    name: Literal["leave-one-subject-out"]


class LeaveOneGroupOut(_Protocol):
    """One fold per group of people, grouped in the order of their names."""

    name: Literal["leave-one-group-out"]
    groups: int = Field(ge=2, description="Number of groups, and so of folds.")


class GroupKFold(_Protocol):
    """Folds of whole people, of about equal size."""

    name: Literal["group-k-fold"]
    k: int = Field(ge=2, description="Number of folds.")
    seed: int = Field(
        default=0, ge=0, description="Seed that shuffles people with equally many samples."
    )


class GroupHoldout(_Protocol):
    """One test part of whole people, with label shares as close to the corpus's as possible."""

    name: Literal["stratified-group-holdout"]
    part: float = Field(
        default=0.2, gt=0, lt=1, description="Fraction of the samples in the test part."
    )
    seed: int = Field(default=0, ge=0, description="Seed of the random draws to choose from.")


class HeldOutSubjects(_Protocol):
    """One fold: the named people against all others."""

    name: Literal["held-out-subjects"]
    subjects: tuple[str, ...] = Field(
        min_length=1,
        description="People to test on. Where corpora are joined, a name starts with its corpus: "
        '`"oulu-casia: P001"`.',
    )


class AugmentedRandom(_Protocol):
    """Augmented variants of every sample, split at random. Leaks by design."""

    name: Literal["augmented-random-80-20"]
    variants: int = Field(ge=2, description="Variants of each sample.")
    seed: int = Field(default=0, ge=0, description="Seed of the random split.")


Protocol = Annotated[
    Fixed
    | LeaveOneSubjectOut
    | LeaveOneGroupOut
    | GroupKFold
    | GroupHoldout
    | HeldOutSubjects
    | AugmentedRandom,
    Field(discriminator="name"),
]
