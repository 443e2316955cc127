"""Fusion rules that were learned: one ONNX file each, whose metadata names the models it joins.

`emoscope fuse` writes them (`training.fusion`). The graph takes "probs" (B, M x C), the models'
probabilities side by side in the order of the card, and answers with logits (B, C).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from emoscope.analysis.bundle import open_session, softmax
from emoscope.analysis.fusion import average, stacked
from emoscope.core.clipspec import explain
from emoscope.core.errors import BundleError, SpecError

__all__ = [
    "RULE_INPUT",
    "RULE_KEY",
    "RULE_SUFFIX",
    "LearnedRule",
    "RuleCard",
    "by_learning",
    "load_rule",
]

FloatArray = npt.NDArray[np.floating]
Probs = Mapping[str, FloatArray]  # {model: (N, C)}
Answer = Callable[[FloatArray], FloatArray]  # (B, M x C) -> (B, C)

RULE_KEY = "emoscope-fusion"  # of the metadata
RULE_INPUT = "probs"
RULE_SUFFIX = ".rule.onnx"  # of the files: they are no bundles


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
