"""Fusion rules that learn from out-of-fold probabilities, and their export."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from making import make_video
from tiny_bundles import LABELS as TINY
from tiny_bundles import image_bundle, voice_bundle

from emoscope.analysis.alignment import voice_during
from emoscope.analysis.analyzer import Analyzer, analyze
from emoscope.analysis.fusion import RuleCard, average, load_rule
from emoscope.core.errors import BundleError, RecipeError, SpecError, UnknownName
from emoscope.training.evaluation.fit_fusion import RULES, FittedPipelineRule, PipelineRule

CLASSES = 3
LABELS = ("anger", "happiness", "sadness")
everywhere = pytest.mark.parametrize("rule", ["svm", "random-forest", "adaboost"])


def answered(seed: int = 0, num: int = 120) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Probabilities of two models for clips of ten persons. The face separates class 0 from the
    others. The voice separates class 2, but calls it 1: their mean is wrong for every clip of 2."""
    rng = np.random.default_rng(seed)
    truth = np.arange(num) % CLASSES
    face, voice = (rng.dirichlet(np.ones(CLASSES), num) for _ in range(2))
    face += 3 * np.eye(CLASSES)[np.where(truth == 0, 0, 1)]
    voice += 3 * np.eye(CLASSES)[np.where(truth == 2, 1, 2)]
    probs = {"face": face, "voice": voice}
    persons = np.repeat([f"person {i}" for i in range(10)], num // 10)
    return {name: p / p.sum(axis=1, keepdims=True) for name, p in probs.items()}, truth, persons


def rule_of(name: str) -> PipelineRule:
    rule = RULES[name]
    assert isinstance(rule, PipelineRule)
    return rule


def fitted(rule: str, seed: int = 0) -> FittedPipelineRule:
    return rule_of(rule).fit(*answered(), seed=seed)


def card(**changes: Any) -> RuleCard:
    fields = {"rule": "svm", "members": ("face", "voice"), "labels": LABELS}
    return RuleCard(**{**fields, "trained_on": "numbers", "licence": "none", **changes})


@everywhere
def test_a_learned_rule_solves_what_the_average_cannot(rule: str) -> None:
    probs, truth, _ = answered(seed=1)
    found = fitted(rule)(probs)
    assert found.sum(axis=1) == pytest.approx(1)
    assert np.mean(found.argmax(axis=1) == truth) > 0.95
    assert np.mean(average(probs).argmax(axis=1) == truth) < 0.7


@everywhere
def test_the_exported_rule_gives_the_same_probabilities(rule: str, tmp_path: Path) -> None:
    probs = answered(seed=2)[0]
    probs["voice"][3:7] = math.nan
    probs["face"][6:9] = math.nan
    ours = fitted(rule)
    assert ours.export(tmp_path / "a", card(rule=rule)) == ("a.rule.onnx", {})
    theirs = load_rule(tmp_path / "a.rule.onnx")
    np.testing.assert_allclose(theirs(probs), ours(probs), atol=1e-4)
    assert theirs.card == card(rule=rule)


@everywhere
def test_models_are_identified_by_name_not_by_position(rule: str) -> None:
    probs, _, _ = answered(seed=2)
    ours = fitted(rule)
    turned = {name: probs[name] for name in ("voice", "face")}
    np.testing.assert_array_equal(ours(turned), ours(probs))


def test_rows_with_a_missing_model_are_the_average_of_the_others() -> None:
    probs = answered(seed=2)[0]
    whole = fitted("svm")(probs)
    probs["voice"][:2] = math.nan
    probs["face"][1] = math.nan
    found = fitted("svm")(probs)
    np.testing.assert_allclose(found[0], probs["face"][0])
    assert np.isnan(found[1]).all()
    np.testing.assert_allclose(found[2:], whole[2:])


def test_clips_with_a_missing_model_are_not_learned_from() -> None:
    probs, truth, persons = answered()
    torn = {name: values.copy() for name, values in probs.items()}
    torn["voice"][::5] = math.nan
    kept = np.arange(len(truth)) % 5 > 0
    rest = {name: values[kept] for name, values in probs.items()}
    one = rule_of("svm").fit(torn, truth, persons, 0)
    other = rule_of("svm").fit(rest, truth[kept], persons[kept], 0)
    np.testing.assert_allclose(one(probs), other(probs))


@everywhere
def test_the_same_seed_gives_the_same_rule(rule: str) -> None:
    probs = answered(seed=1)[0]
    np.testing.assert_array_equal(fitted(rule, 3)(probs), fitted(rule, 3)(probs))


def test_the_svm_is_the_papers() -> None:
    assert rule_of("svm").build()[-1].get_params()["C"] == 18.5


def test_probabilities_that_cannot_be_learned_from_are_refused() -> None:
    probs, truth, persons = answered()
    svm = rule_of("svm")
    with pytest.raises(SpecError, match="svm: 120 clips, but 119 labels"):
        svm.fit(probs, truth[1:], persons[1:], 0)
    with pytest.raises(RecipeError, match="no clip has the probabilities of two models"):
        svm.fit({"face": probs["face"]}, truth, persons, 0)
    nothing = np.full_like(probs["voice"], math.nan)
    with pytest.raises(RecipeError, match="no clip has the probabilities of two models"):
        svm.fit({**probs, "voice": nothing}, truth, persons, 0)
    with pytest.raises(RecipeError, match="svm: training needs at least two classes, got 1"):
        svm.fit(probs, np.zeros_like(truth), persons, 0)


def test_a_system_names_the_file_of_a_learned_rule() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'svm'"):
        RULES["svn"]
    with pytest.raises(SpecError, match=r"svm must be learned. Name the .rule.onnx file"):
        rule_of("svm").with_weights(["face", "voice"], {})


def test_models_that_a_rule_was_not_learned_from_are_refused() -> None:
    probs = answered()[0]
    with pytest.raises(SpecError, match="learned from face, voice, but is used with face, body"):
        fitted("svm")({"face": probs["face"], "body": probs["voice"]})


def test_a_file_that_is_not_a_rule_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.rule.onnx"
    with pytest.raises(BundleError, match="does not fit 3 models of 3 labels"):
        fitted("svm").export(tmp_path / "a", card(members=("a", "b", "c")))
    assert not path.exists()
    path.write_text("no graph")
    with pytest.raises(BundleError, match="not an ONNX model"):
        load_rule(path)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tiny bundles joined by an SVM, and a film whose sound ends before it does."""
    folder = tmp_path_factory.mktemp("system")
    image_bundle(folder / "face.onnx", name="face")
    voice_bundle(folder / "voice.onnx", name="voice")
    fitted("svm").export(folder / "svm", card(labels=TINY))
    make_video(folder / "film.mp4", num_frames=50, sound_s=1.3)
    path = folder / "both.toml"
    path.write_text(
        'name = "both"\nlabels = ["dark", "middling", "bright"]\nrule = "svm.rule.onnx"\n'
        '[[members]]\nmodel = "voice.onnx"\n[[members]]\nmodel = "face.onnx"\n'
    )
    return path


def test_a_system_uses_a_learned_rule_under_the_training_prior(system: Path) -> None:
    pytest.importorskip("opensmile")
    film = system.parent / "film.mp4"
    found = analyze(film, system, detector="none")
    face, voice = (
        Analyzer(system.parent / f"{name}.onnx", detector="none", prior="train").analyze(film)
        for name in ("face", "voice")
    )
    said = {"face": face.probs, "voice": voice_during(face.spans_s, voice)}
    np.testing.assert_allclose(found.probs, fitted("svm")(said), atol=1e-4)
    np.testing.assert_allclose(found.probs[-1], face.probs[-1], atol=1e-6)
    assert set(found.modalities.tolist()) == {"voice+face", "face"}
    assert (found.provenance.rule, found.provenance.prior) == ("svm.rule.onnx", "train")


def test_a_system_with_other_labels_than_the_rule_is_refused(system: Path) -> None:
    path = system.with_name("other.toml")
    path.write_text(system.read_text().replace('"dark", "middling"', '"middling", "dark"'))
    with pytest.raises(
        BundleError, match="learned for face, voice and the labels dark, middling, bright"
    ):
        Analyzer(path)
