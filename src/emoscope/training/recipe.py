"""Training recipes: TOML files read into frozen settings that refuse unknown keys.

Every key carries its description; docs/recipe-reference.md is generated from them.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from emoscope.core.errors import EmoscopeError, RecipeError, UnknownName
from emoscope.core.labels import canonical
from emoscope.core.registry import Registry
from emoscope.core.votes import DEFAULT_VOTE, VOTES
from emoscope.corpora import CORPORA
from emoscope.corpora.cutting import Faces
from emoscope.corpora.registry import options_by_corpus
from emoscope.training.augment import Augmentation
from emoscope.training.recipe_errors import complaints
from emoscope.training.recipe_protocols import (
    AugmentedRandom,
    Fixed,
    Frozen,
    GroupHoldout,
    GroupKFold,
    HeldOutSubjects,
    LeaveOneGroupOut,
    LeaveOneSubjectOut,
    Protocol,
)

__all__ = [
    "UNSTATED",
    "AugmentedRandom",
    "BundleFacts",
    "CorpusChoice",
    "Evaluation",
    "Fixed",
    "GroupHoldout",
    "GroupKFold",
    "HeldOutSubjects",
    "LeaveOneGroupOut",
    "LeaveOneSubjectOut",
    "ModelChoice",
    "Optimiser",
    "Protocol",
    "PublishedRow",
    "Recipe",
    "Schedule",
    "TeacherChoice",
]

UNSTATED = "unstated"  # the licence of a recipe that gives none

_Part = Annotated[float, Field(gt=0, lt=1)]


class CorpusChoice(Frozen):
    """Corpora, the samples to use, and how faces are found in them."""

    name: tuple[str, ...] = Field(
        min_length=1,
        description="A corpus, or a list of corpora to join. People of different corpora are "
        "different people.",
    )
    labels: tuple[str, ...] = Field(
        default=(),
        description="Keep only these labels, in this order. Empty: all labels of the corpus.",
    )
    where: dict[str, str] = Field(
        default={},
        description='Keep only samples of these groups: `{light = "Strong"}`. A joined corpus that '
        "lacks a group column is used whole.",
    )
    detector: str = Field(
        default="haar",
        description='Detector, as in `emoscope analyze`. `"haar"` stands for the default of the '
        'network\'s region, which is hog for bodies; `"none"` for images that are already cropped '
        "to the face.",
    )
    faces: Faces = Field(
        default="follow",
        description="Detect occasionally and track in between, or detect in every frame.",
    )
    min_frames: int = Field(default=0, ge=0, description="Leave out sequences with fewer frames.")
    options: dict[str, Any] = Field(
        default={},
        description='Options of the corpus readers: `{pattern = "..."}`. Of joined corpora each '
        "reader gets the options that it takes. `emoscope corpus list` shows them.",
    )

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
        """`detector` as `detector_for` takes it: "haar" is the default of any region."""
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


class ModelChoice(Frozen):
    """The network or estimator, and its options."""

    name: str = Field(
        description="A network or an estimator; `emoscope models list` shows them all."
    )
    options: dict[str, Any] = Field(
        default={},
        description="Options of the network or estimator; `emoscope models show NAME` lists them.",
    )
    search: tuple[dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]], ...] = Field(
        default=(),
        description="Estimators only: options with the values to try, `{C = [0.01, 0.1]}`. Each "
        "training side chooses by inner folds of whole people. With a list of tables, all "
        "combinations of each table are tried.",
    )
    weights: Path | None = Field(
        default=None, description="File of published weights to initialise a network with."
    )
    adapt_channels: bool = Field(
        default=False,
        description="If the first layer has other channels than the file, use the mean over the "
        "file's channels.",
    )
    frozen: bool = Field(
        default=False,
        description="Train only the last layer; all layers initialised from `weights` stay fixed.",
    )

    @field_validator("search", mode="before")
    @classmethod
    def _table_or_tables(cls, value: Any) -> Any:
        return (value,) if isinstance(value, dict) else value


class Optimiser(Frozen):
    """The optimiser of a network."""

    name: Literal["adam", "adamw", "sgd", "muon"] = Field(
        default="adam",
        description="Algorithm. Muon takes orthogonalised steps on convolution kernels and uses "
        "SGD for all other weights.",
    )
    lr: float = Field(gt=0, description="Learning rate, before the schedule.")
    other_lr: float = Field(
        default=0.1, gt=0, description="Muon only: learning rate of its SGD part."
    )
    momentum: float = Field(default=0.9, ge=0, lt=1, description="Momentum of SGD and Muon.")
    nesterov: bool = Field(
        default=True, description="SGD only: Nesterov's momentum instead of the plain one."
    )
    weight_decay: float = Field(
        default=0.0, ge=0, description="Weight decay; with Muon decoupled and for its kernels only."
    )


class Schedule(Frozen):
    """Length of the training, batches and learning rate. Set either `epochs` or `iterations`."""

    epochs: int | None = Field(default=None, ge=1, description="Passes over the training side.")
    iterations: int | None = Field(default=None, ge=1, description="Steps of the optimiser.")
    batch_size: int = Field(default=32, ge=2, description="Clips in a batch, on each device.")
    accumulate: int = Field(
        default=1, ge=1, description="Batches whose gradients are averaged for one step."
    )
    decay: Literal["none", "cosine", "step", "one-cycle"] = Field(
        default="none",
        description="Learning rate after the warm-up: constant, cosine to zero, multiplied by "
        "`step_factor` every `step_iterations`, or one cycle (Smith, 2018).",
    )
    step_iterations: int = Field(
        default=0, ge=0, description='Steps between two decays, for `decay = "step"`.'
    )
    step_factor: float = Field(
        default=0.1, gt=0, le=1, description='Factor of each decay, for `decay = "step"`.'
    )
    warmup: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Fraction of the training in which the learning rate rises: linearly, or along "
        "a cosine for one-cycle, which uses 0.3 if this is 0.",
    )
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = Field(
        default="32-true", description="Floating-point precision, as Lightning names it."
    )
    ema_decay: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Decay of an exponential moving average of the weights, which replaces them. 0 "
        "disables.",
    )
    grow: tuple[tuple[_Part, _Part], ...] = Field(
        default=(),
        description="Progressive resizing (Tan and Le, ICML 2021): `[[0.5, 0.67], [0.75, 0.83]]` "
        "scales images by 0.67 in the first half of the training and by 0.83 up to three quarters. "
        "For networks that accept any image size.",
    )
    keep: Literal["last", "best-accuracy", "best-uar"] = Field(
        default="last",
        description="Weights to keep: of the last epoch, or of the best one on the hold-out.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = []
        if (self.epochs is None) == (self.iterations is None):
            problems.append("set either epochs or iterations.")
        if (self.decay == "step") != bool(self.step_iterations):
            problems.append("step_iterations is for decay = 'step', and required there.")
        if list(self.grow) != sorted(set(self.grow)):
            problems.append("grow must be pairs [part of the training, scale] in rising order.")
        _refuse(problems)
        return self


class TeacherChoice(Frozen):
    """A bundle whose predictions the network learns besides the labels (distillation)."""

    bundle: str = Field(description="Name of an installed bundle, or path of a bundle file.")
    share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Weight of the teacher's predictions in the target; the labels have the rest.",
    )


class Evaluation(Frozen):
    """The frames a test clip is predicted from."""

    every: int = Field(
        default=0,
        ge=0,
        description="Networks only. 0: predict from the frames that the model's sampling rule "
        "chooses. n: predict from blocks of consecutive frames, one starting every n frames, and "
        "join the predictions by `vote`.",
    )
    vote: str = Field(
        default=DEFAULT_VOTE,
        description="Rule that joins the predictions of blocks, as in `emoscope analyze --vote`. "
        "The run stores the predictions by every vote.",
    )

    @field_validator("vote")
    @classmethod
    def _known(cls, name: str) -> str:
        return _registered(VOTES, name)


class PublishedRow(Frozen):
    """The row of a paper's tables that the recipe reproduces.

    Without `row` and `by_vote` the recipe is our own variant of one of the paper's systems.
    """

    paper: str = Field(description="Key of the paper, as in `emoscope reproduce PAPER`.")
    row: str | None = Field(default=None, description="Row of the paper's tables.")
    by_vote: dict[str, str] = Field(
        default={},
        description="One row for each vote, where blocks are voted on: "
        '`{sum-probability = "..."}`. Instead of `row`.',
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.row is not None and self.by_vote:
            raise ValueError("set either row or by_vote. by_vote includes the recipe's own vote.")
        for vote in self.by_vote:
            _registered(VOTES, vote)
        return self

    @property
    def rows(self) -> tuple[str, ...]:
        """All rows that the recipe reproduces."""
        return tuple(self.by_vote.values()) if self.row is None else (self.row,)


class BundleFacts(Frozen):
    """The exported bundle and its card. May be left out."""

    version: str = Field(default="1", description="Version of the weights.")
    precision: Literal["float32", "int8"] = Field(
        default="float32",
        description="int8 stores hidden convolution kernels in eight bits; the run is evaluated "
        "with them.",
    )
    licence: str = Field(default=UNSTATED, description="Licence of the weights.")
    trained_on: str = Field(
        default="", description="Training data, in words. Empty: the names of the corpora."
    )
    paper: str = Field(default="", description="Reference of the method.")


class Recipe(Frozen):
    """Everything a training run needs besides the folders of the corpora.

    >>> from pathlib import Path
    >>> from emoscope.training.recipe import Recipe
    >>> recipe = Recipe.read(Path("recipes/face-ferplus.toml"), {"schedule.epochs": "2"})
    >>> recipe.model.name, recipe.schedule.epochs
    ('face-cnn', 2)
    """

    name: str = Field(
        pattern=r"^[\w.-]+$", description="Name of the run, of its folder and of its bundle."
    )
    seeds: tuple[int, ...] = Field(
        default=(0,), min_length=1, description="Every fold is trained once for each seed."
    )
    corpus: CorpusChoice = Field(description="Corpora and samples.")
    protocol: Protocol = Field(description="How samples are split into training and test.")
    clip: dict[str, Any] = Field(
        default={},
        description="Settings of the model's ClipSpec to change: `region`, `margin`, `align`, "
        "`sampling`, `rate_hz`, `window`. They must leave the shapes of its inputs as they are.",
    )
    model: ModelChoice = Field(description="Network or estimator.")
    augmentation: Augmentation = Field(
        default=Augmentation(),
        description="Random changes of training clips. Estimators use it only with a protocol that "
        "makes augmented variants.",
    )
    optimiser: Optimiser | None = Field(default=None, description="Networks only, required there.")
    schedule: Schedule | None = Field(default=None, description="Networks only, required there.")
    teacher: TeacherChoice | None = Field(default=None, description="Networks only: distillation.")
    evaluation: Evaluation = Field(
        default=Evaluation(), description="How test clips are predicted."
    )
    published: PublishedRow | None = Field(
        default=None, description="Result of a paper that the recipe reproduces."
    )
    bundle: BundleFacts = Field(
        default=BundleFacts(), description="Facts for the exported bundle and its card."
    )

    @field_validator("seeds")
    @classmethod
    def _different(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds) or min(seeds) < 0:
            raise ValueError(f"must be different integers from 0 on, got {list(seeds)}.")
        return seeds

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        is_estimator, frozen = self.schedule is None, self.model.frozen
        problems = []
        if (self.optimiser is None) != is_estimator:
            problems.append("optimiser and schedule must be given together.")
        if is_estimator and self.evaluation.every:
            problems.append("evaluation.every is for networks: an estimator uses the whole clip.")
        if self.teacher and (is_estimator or frozen):
            problems.append("teacher is for networks, and not with model.frozen.")
        if self.bundle.precision == "int8" and (is_estimator or frozen):
            problems.append("bundle.precision is for networks, and not with model.frozen.")
        if self.schedule and self.schedule.keep != "last" and not self.protocol.holdout:
            problems.append("schedule.keep needs a protocol.holdout to choose the epoch on.")
        _refuse(problems)
        return self

    @property
    def trained_on(self) -> str:
        """The training data in words: `bundle.trained_on`, or the names of the corpora."""
        return self.bundle.trained_on or " + ".join(self.corpus.name)

    @classmethod
    def read(cls, path: Path, overrides: dict[str, str] | None = None) -> Self:
        """Read a recipe; `overrides` are dotted keys with TOML values ({"schedule.epochs": "2"}).

        Raises RecipeError with everything that is wrong: one line, or a line for each problem.
        """
        try:
            settings = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise RecipeError(f"{path}: not a readable recipe: {error}.") from None
        for key, value in (overrides or {}).items():
            _set_dotted(settings, key, value)
        try:
            return cls.model_validate(settings)
        except ValidationError as error:
            problems = complaints(cls, error)
            if len(problems) == 1:
                raise RecipeError(f"{path}: {problems[0]}") from None
            lines = "\n".join(f"  {problem}" for problem in problems)
            raise RecipeError(f"{path}: {len(problems)} problems:\n{lines}") from None


def _registered(registry: Registry[Any], name: str) -> str:
    """Return a registered name. Raises ValueError, as pydantic expects."""
    try:
        _ = registry[name]
    except UnknownName as error:
        raise ValueError(str(error)) from None
    return name


def _refuse(problems: list[str]) -> None:
    """Raise one ValueError with a line for each problem, if there are any."""
    if problems:
        raise ValueError("\n".join(problems))


def _set_dotted(settings: dict[str, Any], key: str, value: str) -> None:
    *tables, last = key.split(".")
    for table in tables:
        settings = settings.setdefault(table, {})
        if not isinstance(settings, dict):
            raise RecipeError(f"{key}: {table} is a value, not a table.")
    try:
        settings[last] = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        settings[last] = value  # a bare word is a string, as on any command line
