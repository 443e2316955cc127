"""Rules that join what several models say of the same rows.

Probabilities come as {model: (N, C)}, over one label set, and leave as (N, C). A model whose row
holds a NaN is missing there, as a voice is in silence: the rule is applied to those that are there,
and a row that nobody speaks of is NaN.

To add a rule, write it here and register it. Rules that were learned are one ONNX file each, whose
metadata names the models it joins: `emoscope fuse` writes them (`training.evaluation.fit_fusion`).
The graph takes "probs" (B, M x C), the models' probabilities side by side in the order of the card,
and answers with logits (B, C).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from emoscope.analysis.bundle import open_session, softmax
from emoscope.core.arrays import BoolArray, Float64Array, FloatArray
from emoscope.core.clipspec import explain
from emoscope.core.errors import BundleError, SpecError
from emoscope.core.registry import Registry

__all__ = [
    "RULES",
    "RULE_INPUT",
    "RULE_KEY",
    "RULE_SUFFIX",
    "LearnedRule",
    "Rule",
    "RuleCard",
    "average",
    "by_learning",
    "check_weights",
    "highest_confidence",
    "load_rule",
    "product",
    "stacked",
    "weighted_average",
]

Probs = Mapping[str, FloatArray]  # {model: (N, C)}
Rule = Callable[..., FloatArray]  # (Probs) -> (N, C); `weighted_average` takes weights, too

Answer = Callable[[FloatArray], FloatArray]  # (B, M x C) -> (B, C)

RULES: Registry[Rule] = Registry("fusion rule")

RULE_KEY = "emoscope-fusion"  # of the metadata
RULE_INPUT = "probs"
RULE_SUFFIX = ".rule.onnx"  # of the files: they are no bundles

_LEAST = 1e-6  # of a probability that is multiplied


@RULES.register("average")
def average(probs: Probs) -> FloatArray:
    """The mean of the models' probabilities."""
    return weighted_average(probs, dict.fromkeys(probs, 1.0))


@RULES.register("weighted-average")
def weighted_average(probs: Probs, weights: Mapping[str, float]) -> FloatArray:
    """The mean of the models' probabilities, each with a weight of its own.

    Weights are relative, and those of the models that are there are made to sum to 1 row by row. A
    weight of 0 leaves a model out: a row that has no other is NaN. Raises SpecError."""
    check_weights(probs, weights)
    said = stacked(probs)
    heard = _heard(said)
    shares = np.array([weights[name] for name in probs])[:, None] * heard  # (M, N)
    total = shares.sum(axis=0)
    known = np.where(heard[..., None], said, 0.0)
    summed = (shares[..., None] * known).sum(axis=0)
    fused = np.full_like(summed, np.nan)
    np.divide(summed, total[:, None], out=fused, where=total[:, None] > 0)
    return fused


@RULES.register("product")
def product(probs: Probs) -> FloatArray:
    """The models' probabilities multiplied, and made to sum to 1 (Kittler et al., IEEE TPAMI 1998).

    It is what follows where models err independently and no class is likelier beforehand. None of
    the probabilities counts as less than 1e-6: one model alone cannot rule a class out."""
    said = stacked(probs)
    heard = _heard(said)
    logs = np.log(np.where(heard[..., None], said, 1.0).clip(min=_LEAST)).sum(axis=0)
    shares = np.exp(logs - logs.max(axis=1, keepdims=True))
    fused = shares / shares.sum(axis=1, keepdims=True)
    fused[~heard.any(axis=0)] = np.nan
    return np.asarray(fused)


@RULES.register("highest-confidence")
def highest_confidence(probs: Probs) -> FloatArray:
    """The answer of the model whose largest probability is the largest; of equal ones the first."""
    said = stacked(probs)
    heard = _heard(said)
    confidence = np.where(heard, np.where(heard[..., None], said, 0.0).max(axis=2), -1.0)
    decides = confidence.argmax(axis=0)
    fused = said[decides, np.arange(said.shape[1])]
    fused[~heard.any(axis=0)] = np.nan
    return np.asarray(fused)


def stacked(probs: Probs) -> Float64Array:
    """(M, N, C). Raises SpecError for no model, and for shapes that differ."""
    if not probs:
        raise SpecError("A fusion needs the probabilities of one model at least, got none.")
    shapes = {name: np.shape(values) for name, values in probs.items()}
    if len(set(shapes.values())) > 1 or len(next(iter(shapes.values()))) != 2:
        told = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise SpecError(f"Models to fuse answer with (N, C), all alike, got {told}.")
    return np.stack([np.asarray(values, dtype=np.float64) for values in probs.values()])


def _heard(said: FloatArray) -> BoolArray:
    """(M, N, C) -> (M, N): whose row is whole."""
    return np.asarray(~np.isnan(said).any(axis=2))


def check_weights(models: Mapping[str, object], weights: Mapping[str, float]) -> None:
    """Raises SpecError unless every model, and nobody else, has a weight of 0 or more, and one has
    more."""
    for name in models:
        if name not in weights:
            raise SpecError(f"A weighted average needs a weight for each model: {name} has none.")
    for name, weight in weights.items():
        if name not in models:
            raise SpecError(f"A weight for {name}, which is none of {', '.join(models)}.")
        if not 0 <= weight < math.inf:
            raise SpecError(f"The weight of {name} is 0 or more, got {weight}.")
    if models and not any(weights.values()):
        raise SpecError(f"The weights of {', '.join(models)} are all 0. Give one of them more.")


class RuleCard(BaseModel):
    """The metadata of a learned rule, stored as JSON under the key "emoscope-fusion"."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = Field(default=1, le=1)
    rule: str
    members: tuple[str, ...] = Field(min_length=2)  # in the order of the input's columns
    labels: tuple[str, ...] = Field(min_length=2)
    trained_on: str
    licence: str


@dataclass(frozen=True, eq=False)
class LearnedRule:
    """A rule ready to run."""

    card: RuleCard
    answer: Answer

    def __call__(self, probs: Probs) -> FloatArray:
        """{model: (N, C)} -> (N, C), whatever the order of the models. Raises SpecError for others
        than it was learned from."""
        return by_learning(probs, self.card.members, self.answer)


def by_learning(probs: Probs, members: tuple[str, ...], answer: Answer) -> FloatArray:
    """What was learned answers for the rows of which every member speaks. Of the others it knows
    nothing: they are the average of who is there, and NaN where nobody is."""
    if set(probs) != set(members):
        raise SpecError(
            f"The rule was learned from {', '.join(members)}, and is asked about "
            f"{', '.join(probs) or 'nobody'}."
        )
    ordered = {name: probs[name] for name in members}
    said = stacked(ordered)
    fused = average(ordered)
    whole = ~np.isnan(said).any(axis=(0, 2))
    if whole.any():
        fused[whole] = answer(np.concatenate(said[:, whole], axis=1))
    return fused


def load_rule(path: Path) -> LearnedRule:
    """Raises BundleError for a file that is no learned rule, or of a newer format."""
    if not path.is_file():
        raise BundleError(f"{path}: no such file. `emoscope fuse` writes learned rules.")
    session = open_session(path)
    metadata = session.get_modelmeta().custom_metadata_map
    if RULE_KEY not in metadata:
        raise BundleError(f"{path}: no learned rule. `emoscope fuse` writes them.")
    try:
        card = RuleCard.model_validate_json(metadata[RULE_KEY])
    except ValidationError as error:
        raise BundleError(f"{path}: the rule's metadata is wrong: {explain(error)}.") from None
    _check_graph(session, card, path)

    def answer(inputs: FloatArray) -> FloatArray:
        logits = session.run(None, {RULE_INPUT: inputs.astype(np.float32)})[0]
        return softmax(logits.astype(np.float64))

    return LearnedRule(card, answer)


def _check_graph(session: ort.InferenceSession, card: RuleCard, path: Path) -> None:
    graph = [(node.name, node.type, tuple(node.shape[1:])) for node in session.get_inputs()]
    width = len(card.members) * len(card.labels)
    outputs = [tuple(node.shape[1:]) for node in session.get_outputs()]
    if graph != [(RULE_INPUT, "tensor(float)", (width,))] or outputs != [(len(card.labels),)]:
        raise BundleError(
            f"{path}: its graph does not fit {len(card.members)} models of {len(card.labels)} "
            "labels. Make it anew with `emoscope fuse`."
        )
