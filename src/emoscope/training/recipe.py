"""Recipes: TOML read into frozen settings that refuse unknown keys."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from emoscope.core.errors import EmoscopeError, RecipeError, UnknownName
from emoscope.core.labels import canonical
from emoscope.core.registry import Registry
from emoscope.core.votes import DEFAULT_VOTE, VOTES
from emoscope.corpora import CORPORA
from emoscope.corpora.cutting import Faces
from emoscope.corpora.registry import options_by_corpus
from emoscope.training.augment import Augmentation
from emoscope.training.recipe_errors import complaint

__all__ = ["Optimiser", "Protocol", "Recipe", "Schedule"]


_Part = Annotated[float, Field(gt=0, lt=1)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class CorpusChoice(_Frozen):
    """Which corpora, which of their samples, and how faces are found in them.

    name       one of the corpora's names, or several that are joined (persons do not meet)
    labels     keep these only, in this order; none: all that the corpus has
    where      keep the samples of these groups only: {light = "Strong"}; of joined corpora one
               that does not tell a group is taken whole
    detector   as in `emoscope analyze`; "none": the pictures are faces already. "haar" means the
               default of what the network looks at: hog for bodies
    faces      "follow", or "every-frame" as Salinas does (`corpora.cutting.Cutting`)
    min_frames sequences of fewer are left out
    options    options of the corpus readers: {pattern = "..."}; of joined corpora each reader gets
               those that it takes. `emoscope corpus list` shows them
    """

    name: tuple[str, ...] = Field(min_length=1)
    labels: tuple[str, ...] = ()
    where: dict[str, str] = {}
    detector: str = "haar"
    faces: Faces = "follow"
    min_frames: int = Field(default=0, ge=0)
    options: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _move_pattern(cls, settings: Any) -> Any:
        """Accept `pattern` as a key of its own, as recipes of stored runs may have it."""
        if not isinstance(settings, dict) or "pattern" not in settings:
            return settings
        settings = dict(settings)
        pattern = settings.pop("pattern")
        return settings if pattern is None else {"options": {"pattern": pattern}, **settings}

    @property
    def detector_choice(self) -> str:
        """`detector` as `detector_for` takes it: "haar" is the default of whatever region."""
        return "auto" if self.detector == "haar" else self.detector

    @field_validator("name", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("name")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_registered(CORPORA, name) for name in names)

    @field_validator("options")
    @classmethod
    def _known_options(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        try:
            if "name" in info.data:  # else the name is what is wrong
                options_by_corpus(info.data["name"], options)
        except EmoscopeError as error:
            raise ValueError(str(error)) from None
        return options

    @field_validator("labels")
    @classmethod
    def _in_our_spelling(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(canonical, labels))


class _Protocol(_Frozen):
    """What all protocols have.

    holdout      part of the training side that is held out of it (whole persons where they are
                 known) to choose the epoch by and to fit the temperature on; 0: neither is done
    drop_twins   leave training samples out whose bytes also occur on the test side
    allow_leak   go on where a person, a recording or its bytes stand on both sides; every output
                 of the run then carries the warning
    """

    holdout: float = Field(default=0.0, ge=0, lt=1)
    drop_twins: bool = False
    allow_leak: bool = False


class Fixed(_Protocol):
    """The corpus's own split (AFEW, FER+): its training part against the part named."""

    name: Literal["fixed"]
    test: Literal["valid", "test"] = "valid"


class LeaveOneSubjectOut(_Protocol):
    """A fold a person (LOSO)."""

    name: Literal["leave-one-subject-out"]


class LeaveOneGroupOut(_Protocol):
    """A fold a run of persons, in the order of their names."""

    name: Literal["leave-one-group-out"]
    groups: int = Field(ge=2)


class GroupKFold(_Protocol):
    """Folds of whole persons, about equally large."""

    name: Literal["group-k-fold"]
    k: int = Field(ge=2)
    seed: int = Field(default=0, ge=0)


class GroupHoldout(_Protocol):
    """One test part of whole persons, the labels' shares as near to the whole's as may be."""

    name: Literal["stratified-group-holdout"]
    part: float = Field(default=0.2, gt=0, lt=1)
    seed: int = Field(default=0, ge=0)


class HeldOutSubjects(_Protocol):
    """One fold: the persons named against all others. Where corpora are joined, a person's name
    begins with its corpus: "oulu-casia: P001"."""

    name: Literal["held-out-subjects"]
    subjects: tuple[str, ...] = Field(min_length=1)


class AugmentedRandom(_Protocol):
    """Variants of every sample, split at random: it leaks by construction, to measure how much."""

    name: Literal["augmented-random-80-20"]
    variants: int = Field(ge=2)
    seed: int = Field(default=0, ge=0)


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


class ModelChoice(_Frozen):
    """Which network or estimator, and the options its builder takes.

    search           of an estimator: options and the values to try, {C = [0.01, 0.1]}; each
                     training side chooses by inner folds of whole persons
                     (training/estimators/search.py). Of several tables the combinations of each
                     are tried
    weights          a file of published weights that a network begins with (models/checkpoints.py)
    adapt_channels   of a first layer with other channels than the file's, the mean over the file's
    frozen           what has published weights stays as `weights` made it, up to its last layer of
                     classes (models/checkpoints.py); needs `weights`
    """

    name: str
    options: dict[str, Any] = {}
    search: tuple[dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]], ...] = ()
    weights: Path | None = None
    adapt_channels: bool = False
    frozen: bool = False

    @field_validator("search", mode="before")
    @classmethod
    def _table_or_tables(cls, value: Any) -> Any:
        return (value,) if isinstance(value, dict) else value


class Optimiser(_Frozen):
    """Adam, AdamW, SGD or Muon. `nesterov` is SGD's only: Nesterov's momentum, or the plain one
    (Polyak's). With Muon `lr` and `weight_decay`, decoupled, are of orthogonal steps on convolution
    kernels, `other_lr` of SGD's on the rest (training/networks/muon.py)."""

    name: Literal["adam", "adamw", "sgd", "muon"] = "adam"
    lr: float = Field(gt=0)
    other_lr: float = Field(default=0.1, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = True
    weight_decay: float = Field(default=0.0, ge=0)


class Schedule(_Frozen):
    """How long, in what portions, at what rate.

    epochs | iterations   one of the two; an iteration is one step of the optimiser
    batch_size            clips a step and device, in `accumulate` portions of this size each
    decay                 of the learning rate after the warm-up: none, cosine (to zero), step
                          (x `step_factor` every `step_iterations`), one-cycle (Smith, 2018)
    warmup                part of the training in which the rate rises: linearly, for one-cycle
                          along a cosine (its usual 0.3 if none is given)
    ema_decay             of an average of the weights that replaces them; 0: none
    grow                  [[0.5, 0.67], [0.75, 0.83]]: pictures have 0.67 of their side in the first
                          half of the training and 0.83 of it up to three quarters, which costs the
                          square of that (progressive learning, Tan and Le, ICML 2021); for networks
                          that take pictures of any size
    keep                  the last weights, or those of the epoch that did best on the hold-out
    """

    epochs: int | None = Field(default=None, ge=1)
    iterations: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=32, ge=2)
    accumulate: int = Field(default=1, ge=1)
    decay: Literal["none", "cosine", "step", "one-cycle"] = "none"
    step_iterations: int = Field(default=0, ge=0)
    step_factor: float = Field(default=0.1, gt=0, le=1)
    warmup: float = Field(default=0.0, ge=0, lt=1)
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    ema_decay: float = Field(default=0.0, ge=0, lt=1)
    grow: tuple[tuple[_Part, _Part], ...] = ()
    keep: Literal["last", "best-accuracy", "best-uar"] = "last"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.epochs is None) == (self.iterations is None):
            raise ValueError("give one of epochs and iterations")
        if (self.decay == "step") != bool(self.step_iterations):
            raise ValueError("step_iterations is for decay = 'step', which needs it")
        if list(self.grow) != sorted(set(self.grow)):
            raise ValueError("grow is pairs of when and what, in the order of time")
        return self


class TeacherChoice(_Frozen):
    """A bundle whose answers a network learns beside the labels (networks/distillation.py).

    bundle   an installed bundle's name, or the path of one, as of another recipe's run
    share    of its answers in what is learned; the rest is the labels, or the votes
    """

    bundle: str
    share: float = Field(default=0.5, gt=0, le=1)


class Evaluation(_Frozen):
    """On what a clip is judged.

    every   0: the one stretch that the ClipSpec's rule chooses; n: every block of as many frames,
            n apart, which make one answer by the vote
    vote    "sum-probability" or "max-probability" (core/votes.py); the answers by the others are
            kept as well, but for every = 0, where there is nothing to vote on
    """

    every: int = Field(default=0, ge=0)
    vote: str = DEFAULT_VOTE

    @field_validator("vote")
    @classmethod
    def _known(cls, name: str) -> str:
        return _registered(VOTES, name)


class PublishedRow(_Frozen):
    """What a recipe reproduces of a paper's tables (training/papers/published.toml).

    row       the row that its figures answer to
    by_vote   the row of each vote, where blocks are voted on: {sum-probability = "..."}

    With neither it is a variant of ours of one of the paper's systems.
    """

    paper: str
    row: str | None = None
    by_vote: dict[str, str] = {}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.row is not None and self.by_vote:
            raise ValueError("give row or by_vote: the row of the recipe's own vote is one of them")
        for vote in self.by_vote:
            _registered(VOTES, vote)
        return self

    @property
    def rows(self) -> tuple[str, ...]:
        """All that it answers to."""
        return tuple(self.by_vote.values()) if self.row is None else (self.row,)


class BundleFacts(_Frozen):
    """What the exported bundle says of itself, and `precision`: int8 for hidden kernels in eight
    bits, which are what the run is judged by (training/networks/onnx_graph.py)."""

    version: str = "1"
    precision: Literal["float32", "int8"] = "float32"
    licence: str
    trained_on: str
    paper: str = ""


class Recipe(_Frozen):
    """Everything a training run needs besides the corpora's folders.

    `clip` changes settings of the model's ClipSpec that leave its shapes alone: region, margin,
    align, sampling, rate_hz, window. A network needs `optimiser` and `schedule`, an estimator has
    neither, and learns from augmented clips where the protocol makes variants of them.
    """

    name: str = Field(pattern=r"^[\w.-]+$")
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    corpus: CorpusChoice
    protocol: Protocol
    clip: dict[str, Any] = {}
    model: ModelChoice
    augmentation: Augmentation = Augmentation()
    optimiser: Optimiser | None = None
    schedule: Schedule | None = None
    teacher: TeacherChoice | None = None
    evaluation: Evaluation = Evaluation()
    published: PublishedRow | None = None
    bundle: BundleFacts

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ValueError(f"seeds are different numbers from 0 on, got {self.seeds}")
        if (self.optimiser is None) != (self.schedule is None):
            raise ValueError("optimiser and schedule go together")
        if self.evaluation.every and self.schedule is None:
            raise ValueError("evaluation.every is for networks: an estimator sees a clip whole")
        if self.teacher and (self.schedule is None or self.model.frozen):
            raise ValueError("teacher is for networks that see every clip, none of them frozen")
        if self.bundle.precision == "int8" and (self.schedule is None or self.model.frozen):
            raise ValueError("bundle.precision is for networks, none of them frozen")
        keeps_best = self.schedule is not None and self.schedule.keep != "last"
        if keeps_best and not self.protocol.holdout:
            raise ValueError("schedule.keep needs a protocol.holdout to choose the epoch by")
        return self

    @classmethod
    def read(cls, path: Path, overrides: dict[str, str] | None = None) -> Self:
        """Read a recipe; `overrides` are dotted keys with TOML values ({"schedule.epochs": "2"}).

        Raises RecipeError in one line, with the nearest key for an unknown one.
        """
        try:
            settings = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise RecipeError(f"{path}: not a readable recipe: {error}.") from None
        for key, value in (overrides or {}).items():
            _put(settings, key, value)
        try:
            return cls.model_validate(settings)
        except ValidationError as error:
            raise RecipeError(f"{path}: {complaint(cls, error)}") from None


def _registered(registry: Registry[Any], name: str) -> str:
    """The name, if it is one. Raises ValueError, which is what pydantic takes."""
    try:
        _ = registry[name]
    except UnknownName as error:
        raise ValueError(str(error)) from None
    return name


def _put(settings: dict[str, Any], key: str, value: str) -> None:
    *tables, last = key.split(".")
    for table in tables:
        settings = settings.setdefault(table, {})
        if not isinstance(settings, dict):
            raise RecipeError(f"{key}: {table} is a value, not a table.")
    try:
        settings[last] = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        settings[last] = value  # a bare word is a string, as on any command line
