"""Fusion rules against numbers worked out by hand; missing models have no influence."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from emoscope.analysis.fusion import (
    RULE_INPUT,
    RULE_KEY,
    RULES,
    RuleCard,
    average,
    fixed_rule,
    highest_confidence,
    load_rule,
    product,
    weighted_average,
)
from emoscope.core.errors import BundleError, SpecError, UnknownName

NAN = math.nan
FACE = np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [NAN, NAN, NAN], [NAN, NAN, NAN]])
VOICE = np.array([[0.1, 0.3, 0.6], [NAN, NAN, NAN], [0.2, 0.2, 0.6], [NAN, NAN, NAN]])
BOTH = {"face": FACE, "voice": VOICE}
ALONE = [[0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [NAN] * 3]  # rows in which one or both are missing


def near(rows: Any) -> Any:
    return pytest.approx(np.array(rows), abs=1e-12, nan_ok=True)


def weighted(probs: dict[str, np.ndarray]) -> np.ndarray:
    return weighted_average(probs, {name: 1 + len(name) for name in probs})


EVERY = [average, weighted, product, highest_confidence]
everywhere = pytest.mark.parametrize("rule", EVERY)


def test_the_average_is_the_mean_of_the_models_present() -> None:
    assert average(BOTH) == near([[0.3, 0.3, 0.4], *ALONE])


def test_weights_are_relative_to_the_models_present() -> None:
    fused = weighted_average(BOTH, {"face": 3.0, "voice": 1.0})
    assert fused == near([[0.4, 0.3, 0.3], *ALONE])
    again = weighted_average(BOTH, {"voice": 0.5, "face": 1.5})
    np.testing.assert_array_equal(fused, again)


def test_a_weight_of_0_leaves_a_model_out() -> None:
    fused = weighted_average(BOTH, {"face": 1.0, "voice": 0.0})
    np.testing.assert_array_equal(fused, FACE)


def test_probabilities_are_multiplied_and_sum_to_one() -> None:
    assert product(BOTH) == near([[5 / 26, 9 / 26, 12 / 26], *ALONE])


def test_in_a_product_no_single_model_rules_a_class_out() -> None:
    sure, doubtful = np.array([[1.0, 0.0]]), np.array([[1e-5, 1 - 1e-5]])
    shares = np.array([[1e-5, 1e-6 * (1 - 1e-5)]])
    assert product({"a": sure, "b": doubtful}) == near(shares / shares.sum())
    assert product({"a": sure, "b": doubtful, "c": doubtful}).argmax() == 1
    assert product({"a": sure, "b": sure[:, ::-1]}) == near([[0.5, 0.5]])


def test_the_most_confident_model_decides_whole_rows() -> None:
    assert highest_confidence(BOTH) == near([[0.1, 0.3, 0.6], *ALONE])


def test_of_equally_confident_models_the_first_decides() -> None:
    a, b = np.array([[0.6, 0.4]]), np.array([[0.4, 0.6]])
    np.testing.assert_array_equal(highest_confidence({"a": a, "b": b}), a)
    np.testing.assert_array_equal(highest_confidence({"b": b, "a": a}), b)


@pytest.mark.parametrize("rule", EVERY)
def test_the_order_of_the_models_does_not_matter(rule: Any) -> None:
    rng = np.random.default_rng(0)
    probs = {name: rng.dirichlet(np.ones(5), 40) for name in ("a", "bb", "ccc")}
    probs["bb"][3:9] = NAN
    turned = {name: probs[name] for name in ("ccc", "a", "bb")}
    assert rule(turned) == near(rule(probs))


@everywhere
def test_rows_are_distributions_and_the_input_is_left_alone(rule: Any) -> None:
    before = {name: values.copy() for name, values in BOTH.items()}
    fused = rule(BOTH)
    assert fused[:3].sum(axis=1) == pytest.approx(1)
    for name, values in before.items():
        np.testing.assert_array_equal(BOTH[name], values)


@everywhere
def test_a_row_with_one_nan_is_missing(rule: Any) -> None:
    torn = FACE.copy()
    torn[:2, 1] = NAN
    assert rule({"face": torn, "voice": VOICE})[:2] == near([VOICE[0], [NAN] * 3])


@everywhere
def test_one_model_is_its_own_fusion_and_no_rows_give_no_rows(rule: Any) -> None:
    assert rule({"face": FACE}) == near(FACE)
    assert rule({"face": FACE[:0], "voice": VOICE[:0]}).shape == (0, 3)


@pytest.mark.parametrize(
    ("probs", "reason"),
    [
        ({}, "at least one model, got none"),
        ({"face": FACE, "voice": VOICE[:2]}, r"of one shape, got face \(4, 3\), voice \(2, 3\)"),
        ({"face": FACE, "voice": VOICE[:, :2]}, r"voice \(4, 2\)"),
        ({"face": FACE[0]}, r"\(N, C\) of one shape, got face \(3,\)"),
    ],
)
@everywhere
def test_shapes_that_do_not_fit_are_refused(rule: Any, probs: Any, reason: str) -> None:
    with pytest.raises(SpecError, match=reason):
        rule(probs)


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        ({"face": 1.0}, "voice has none"),
        ({"face": 1.0, "voice": -0.5}, "The weight of voice must be 0 or more, got -0.5"),
        ({"face": 1.0, "voice": NAN}, "voice must be 0 or more, got nan"),
        ({"face": 0.0, "voice": 0.0}, "weights of face, voice are all 0"),
        ({"face": 1.0, "voice": 1.0, "body": 1.0}, "The weights name body, which is not one of"),
    ],
)
def test_weights_that_make_no_sense_are_refused(weights: Any, reason: str) -> None:
    with pytest.raises(SpecError, match=reason) as raised:
        weighted_average(BOTH, weights)
    assert "\n" not in str(raised.value)


def test_the_rules_are_found_by_name() -> None:
    fixed = ["average", "weighted-average", "product", "highest-confidence"]
    assert list(RULES)[:4] == fixed  # `training` adds others
    with pytest.raises(UnknownName, match="Did you mean 'average'"):
        RULES["averge"]


def test_a_fixed_rule_is_fitted_as_it_is_and_takes_no_weights() -> None:
    rule = RULES["average"]
    truth, subjects = np.array([0, 1, 2, 2]), np.array(["a", "b", "c", "d"])
    assert rule.fit(BOTH, truth, subjects, 0) is rule
    assert rule.with_weights(BOTH, {})(BOTH) == near(average(BOTH))
    with pytest.raises(SpecError, match="The rule average takes no weights"):
        rule.with_weights(BOTH, {"face": 1.0})


def test_a_weighted_average_weighs_by_recall() -> None:
    """The face is right about one of two classes, the voice about both."""
    truth, subjects = np.array([0, 0, 1]), np.array(["a", "b", "c"])
    sure = np.eye(2)
    known = {"face": sure[[0, 0, 0]], "voice": sure[truth]}
    rule = RULES["weighted-average"].fit(known, truth, subjects, 0)
    asked = {"face": np.array([[1.0, 0.0]]), "voice": np.array([[0.0, 1.0]])}
    assert rule(asked) == near([[1 / 3, 2 / 3]])
    weighed = RULES["weighted-average"].with_weights(asked, {"face": 3.0, "voice": 1.0})
    assert weighed(asked) == near([[0.75, 0.25]])
    with pytest.raises(SpecError, match="voice has none"):
        RULES["weighted-average"].with_weights(asked, {"face": 3.0})


def test_one_function_is_a_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RULES, "_entries", dict(RULES._entries))

    @fixed_rule("first")
    def first(probs: Any) -> Any:
        """The first model's probabilities."""
        return next(iter(probs.values()))

    assert RULES["first"].with_weights(BOTH, {})(BOTH) == near(FACE)
    assert RULES["first"].__doc__ == first.__doc__


def test_a_learned_rule_that_returns_nan_is_an_error(tmp_path: Path) -> None:
    """Kind 16 of issue 18: NaN means that no model is present."""
    weights = numpy_helper.from_array(np.full((6, 3), np.nan, np.float32), "weights")
    graph = helper.make_graph(
        [helper.make_node("MatMul", [RULE_INPUT, "weights"], ["logits"])],
        "rule",
        [helper.make_tensor_value_info(RULE_INPUT, TensorProto.FLOAT, ("batch", 6))],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ("batch", 3))],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    card = RuleCard(
        rule="svm",
        members=("face", "voice"),
        labels=("a", "b", "c"),
        trained_on="nothing",
        licence="CC0-1.0",
    )
    helper.set_model_props(model, {RULE_KEY: card.model_dump_json()})
    onnx.save(model, tmp_path / "bad.rule.onnx")
    with pytest.raises(BundleError, match=r"bad\.rule\.onnx: the rule returned NaN or infinite"):
        load_rule(tmp_path / "bad.rule.onnx")(BOTH)
