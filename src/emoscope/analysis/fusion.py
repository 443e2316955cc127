"""Rules that fuse the probabilities of several models for the same rows.

Input is {model: (N, C)} over one label set, output is (N, C). A row that holds a NaN is missing, as
a voice is during silence: the rule is applied to the models that are present, and a row without any
is NaN.

Every rule in `RULES` is used in the same way: `rule.fit(probs, truth, subjects, seed)` returns a
callable from {model: (N, C)} to (N, C). To add a rule with nothing to learn, write a function
under `@fixed_rule(name)` here; one that scikit-learn learns goes to
`training.evaluation.fit_fusion`, which registers its own in the same table.

A learned rule is stored as one ONNX file whose metadata is a `RuleCard`. Its graph takes "probs"
(B, M x C), the models' probabilities side by side in the order of the card, and returns logits
(B, C).
"""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, Self

import numpy as np
import onnxruntime as ort
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from emoscope.analysis.bundle import open_session, softmax
from emoscope.core.arrays import BoolArray, Float64Array, FloatArray, IntArray, StrArray
from emoscope.core.clipspec import explain
from emoscope.core.errors import BundleError, SpecError
from emoscope.core.registry import Registry

__all__ = [
    "RULES",
    "RULE_INPUT",
    "RULE_KEY",
    "RULE_SUFFIX",
    "FittedRule",
    "FixedRule",
    "LearnedRule",
    "Rule",
    "RuleCard",
    "SystemRule",
    "WeightedAverage",
    "average",
    "fixed_rule",
    "fuse_complete_rows",
    "highest_confidence",
    "load_rule",
    "product",
    "stacked",
    "weighted_average",
]

Probs = Mapping[str, FloatArray]  # {model: (N, C)}
Fuse = Callable[[Probs], FloatArray]  # {model: (N, C)} -> (N, C)

RULE_KEY = "emoscope-fusion"  # of the metadata
RULE_INPUT = "probs"
RULE_SUFFIX = ".rule.onnx"  # of the files, which are not bundles

_MIN_FACTOR = 1e-6  # smallest probability that enters a product


class RuleCard(BaseModel):
    """The metadata of a learned rule, stored as JSON under the key "emoscope-fusion"."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = Field(default=1, le=1)
    rule: str
    members: tuple[str, ...] = Field(min_length=2)  # in the order of the input's columns
    labels: tuple[str, ...] = Field(min_length=2)
    trained_on: str
    licence: str


class SystemRule(NamedTuple):
    """A rule as a system file states it: its name or file, and a weight for each member."""

    rule: str
    weights: Mapping[str, float]


class FittedRule(Protocol):
    """A rule that is ready to fuse."""

    def __call__(self, probs: Probs) -> FloatArray:
        """{model: (N, C)} -> (N, C)."""
        ...

    def export(self, stem: Path, card: RuleCard) -> SystemRule:
        """Write what was learned beside a system file, if it does not fit in there."""
        ...


class Rule(Protocol):
    """A way to fuse models.

    learns    whether `fit` learns from the clips it is given. Such a rule must be judged on others
    """

    learns: bool

    def fit(self, probs: Probs, truth: IntArray, subjects: StrArray, seed: int) -> FittedRule:
        """Fit to out-of-fold probabilities {model: (N, C)}, (N,) classes and (N,) subjects."""
        ...

    def with_weights(self, models: Collection[str], weights: Mapping[str, float]) -> Fuse:
        """The rule that a system file names. Raises SpecError for weights it cannot use."""
        ...


RULES: Registry[Rule] = Registry("fusion rule")


class FixedRule:
    """A rule with nothing to learn: `fit` returns the rule itself."""

    learns = False

    def __init__(self, name: str, function: Fuse) -> None:
        self.name, self._function = name, function
        self.__doc__ = function.__doc__

    def __call__(self, probs: Probs) -> FloatArray:
        """{model: (N, C)} -> (N, C)."""
        return self._function(probs)

    def fit(self, probs: Probs, truth: IntArray, subjects: StrArray, seed: int) -> Self:
        """Return itself."""
        return self

    def with_weights(self, models: Collection[str], weights: Mapping[str, float]) -> Self:
        """Return itself. Raises SpecError where weights are given."""
        if weights:
            raise SpecError(
                f"The rule {self.name} takes no weights. Remove them or choose weighted-average."
            )
        return self

    def export(self, stem: Path, card: RuleCard) -> SystemRule:
        """Its name; there is nothing to write."""
        return SystemRule(self.name, {})


def fixed_rule(name: str) -> Callable[[Fuse], Fuse]:
    """Register a function {model: (N, C)} -> (N, C) as a rule with nothing to learn."""

    def register(function: Fuse) -> Fuse:
        RULES.add(name, FixedRule(name, function))
        return function

    return register


@fixed_rule("average")
def average(probs: Probs) -> FloatArray:
    """The mean of the models' probabilities.

    >>> import numpy as np
    >>> face = np.array([[0.8, 0.2], [0.5, 0.5]])
    >>> voice = np.array([[0.4, 0.6], [np.nan, np.nan]])
    >>> average({"face": face, "voice": voice}).round(2)
    array([[0.6, 0.4],
           [0.5, 0.5]])
    """
    return weighted_average(probs, dict.fromkeys(probs, 1.0))


def weighted_average(probs: Probs, weights: Mapping[str, float]) -> FloatArray:
    """The mean of the models' probabilities, weighted by model.

    Weights are relative; in each row those of the models present are scaled to sum to 1. A weight
    of 0 leaves a model out: a row with no other model is NaN. Raises SpecError.

    >>> import numpy as np
    >>> probs = {"face": np.array([[0.8, 0.2]]), "voice": np.array([[0.4, 0.6]])}
    >>> weighted_average(probs, {"face": 3, "voice": 1}).round(2)
    array([[0.7, 0.3]])
    """
    _check_weights(probs, weights)
    values = stacked(probs)
    present = _present(values)
    shares = np.array([weights[name] for name in probs])[:, None] * present  # (M, N)
    total = shares.sum(axis=0)
    known = np.where(present[..., None], values, 0.0)
    summed = (shares[..., None] * known).sum(axis=0)
    fused = np.full_like(summed, np.nan)
    np.divide(summed, total[:, None], out=fused, where=total[:, None] > 0)
    return fused


class WeightedAverage:
    """The mean of the models' probabilities, each weighted by its UAR on known clips."""

    learns = True

    def fit(
        self, probs: Probs, truth: IntArray, subjects: StrArray, seed: int
    ) -> "FittedWeightedAverage":
        """Weigh each model by its unweighted average recall."""
        weights = {}
        for name, values in probs.items():
            hits = values.argmax(axis=1) == truth
            weights[name] = float(np.mean([np.mean(hits[truth == c]) for c in np.unique(truth)]))
        return FittedWeightedAverage(weights)

    def with_weights(
        self, models: Collection[str], weights: Mapping[str, float]
    ) -> "FittedWeightedAverage":
        """Take the weights as they are given. Raises SpecError unless they fit the models."""
        _check_weights(models, weights)
        return FittedWeightedAverage(weights)


RULES.add("weighted-average", WeightedAverage())


@dataclass(frozen=True)
class FittedWeightedAverage:
    """`weighted_average` with its weights."""

    weights: Mapping[str, float]

    def __call__(self, probs: Probs) -> FloatArray:
        """{model: (N, C)} -> (N, C)."""
        return weighted_average(probs, self.weights)

    def export(self, stem: Path, card: RuleCard) -> SystemRule:
        """Its name and weights; there is nothing to write."""
        return SystemRule("weighted-average", self.weights)


@fixed_rule("product")
def product(probs: Probs) -> FloatArray:
    """The product of the models' probabilities, scaled to sum to 1 (Kittler et al., TPAMI 1998).

    Optimal where models err independently and all classes are equally likely. Probabilities below
    1e-6 count as 1e-6, so that no single model can rule a class out."""
    values = stacked(probs)
    present = _present(values)
    logs = np.log(np.where(present[..., None], values, 1.0).clip(min=_MIN_FACTOR)).sum(axis=0)
    shares = np.exp(logs - logs.max(axis=1, keepdims=True))
    fused = shares / shares.sum(axis=1, keepdims=True)
    fused[~present.any(axis=0)] = np.nan
    return np.asarray(fused)


@fixed_rule("highest-confidence")
def highest_confidence(probs: Probs) -> FloatArray:
    """The probabilities of the model whose largest one is highest; of equal models the first.

    >>> import numpy as np
    >>> probs = {"face": np.array([[0.8, 0.2]]), "voice": np.array([[0.1, 0.9]])}
    >>> highest_confidence(probs)
    array([[0.1, 0.9]])
    """
    values = stacked(probs)
    present = _present(values)
    confidence = np.where(present, np.where(present[..., None], values, 0.0).max(axis=2), -1.0)
    chosen = confidence.argmax(axis=0)
    fused = values[chosen, np.arange(values.shape[1])]
    fused[~present.any(axis=0)] = np.nan
    return np.asarray(fused)


def stacked(probs: Probs) -> Float64Array:
    """{model: (N, C)} -> (M, N, C). Raises SpecError for no model, and for shapes that differ."""
    if not probs:
        raise SpecError("A fusion needs the probabilities of at least one model, got none.")
    shapes = {name: np.shape(values) for name, values in probs.items()}
    if len(set(shapes.values())) > 1 or len(next(iter(shapes.values()))) != 2:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise SpecError(f"Models to fuse need probabilities (N, C) of one shape, got {listed}.")
    return np.stack([np.asarray(values, dtype=np.float64) for values in probs.values()])


def _present(values: FloatArray) -> BoolArray:
    """(M, N, C) -> (M, N): where a row holds no NaN."""
    return np.asarray(~np.isnan(values).any(axis=2))


def _check_weights(models: Collection[str], weights: Mapping[str, float]) -> None:
    """Raise SpecError unless each model has a weight of at least 0, and one has more than 0."""
    for name in models:
        if name not in weights:
            raise SpecError(f"A weighted average needs a weight for each model: {name} has none.")
    for name, weight in weights.items():
        if name not in models:
            raise SpecError(f"The weights name {name}, which is not one of {', '.join(models)}.")
        if not 0 <= weight < math.inf:
            raise SpecError(f"The weight of {name} must be 0 or more, got {weight}.")
    if models and not any(weights.values()):
        raise SpecError(f"The weights of {', '.join(models)} are all 0. Raise one of them.")


@dataclass(frozen=True, eq=False)
class LearnedRule:
    """A learned rule, read from its file by `load_rule`."""

    card: RuleCard
    answer: Callable[[FloatArray], FloatArray]  # (B, M x C) -> (B, C)

    def __call__(self, probs: Probs) -> FloatArray:
        """{model: (N, C)} -> (N, C), in any order of the models.

        Raises SpecError for other models than the rule was learned from."""
        return fuse_complete_rows(probs, self.card.members, self.answer)


def fuse_complete_rows(
    probs: Probs, members: tuple[str, ...], answer: Callable[[FloatArray], FloatArray]
) -> FloatArray:
    """Fuse the rows in which every member is present by `answer`, (B, M x C) -> (B, C).

    A learned rule knows nothing about the other rows: they are the average of the models present,
    and NaN where there are none. Raises SpecError for other models than `members`."""
    if set(probs) != set(members):
        raise SpecError(
            f"The rule was learned from {', '.join(members)}, but is used with "
            f"{', '.join(probs) or 'no models'}. Use it with the models it was learned from."
        )
    ordered = {name: probs[name] for name in members}
    values = stacked(ordered)
    fused = average(ordered)
    complete = ~np.isnan(values).any(axis=(0, 2))
    if complete.any():
        fused[complete] = answer(np.concatenate(values[:, complete], axis=1))
    return fused


def load_rule(path: Path) -> LearnedRule:
    """Read a learned rule. Raises BundleError for any other file, or one of a later format."""
    if not path.is_file():
        raise BundleError(f"{path}: no such file. `emoscope fuse` writes learned rules.")
    session = open_session(path)
    metadata = session.get_modelmeta().custom_metadata_map
    if RULE_KEY not in metadata:
        raise BundleError(f"{path}: not a learned rule. `emoscope fuse` writes them.")
    try:
        card = RuleCard.model_validate_json(metadata[RULE_KEY])
    except ValidationError as error:
        raise BundleError(f"{path}: the rule's metadata is invalid: {explain(error)}.") from None
    _check_graph(session, card, path)

    def answer(inputs: FloatArray) -> FloatArray:
        logits = session.run(None, {RULE_INPUT: inputs.astype(np.float32)})[0]
        if not np.isfinite(logits).all():
            raise BundleError(
                f"{path}: the rule returned NaN or infinite logits. Fit it again with "
                "`emoscope fuse`."
            )
        return softmax(logits.astype(np.float64))

    return LearnedRule(card, answer)


def _check_graph(session: ort.InferenceSession, card: RuleCard, path: Path) -> None:
    graph = [(node.name, node.type, tuple(node.shape[1:])) for node in session.get_inputs()]
    width = len(card.members) * len(card.labels)
    outputs = [tuple(node.shape[1:]) for node in session.get_outputs()]
    if graph != [(RULE_INPUT, "tensor(float)", (width,))] or outputs != [(len(card.labels),)]:
        raise BundleError(
            f"{path}: its graph does not fit {len(card.members)} models of {len(card.labels)} "
            "labels. Write it again with `emoscope fuse`."
        )
