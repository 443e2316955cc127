"""Estimators learn from vectors, and their probabilities are calibrated on other persons."""

from typing import Any

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import StratifiedKFold

from emoscope.core.errors import RecipeError, SpecError, UnknownName
from emoscope.media.clips import Clip, build_clip
from emoscope.training import estimators
from emoscope.training.estimators.pipelines import ESTIMATORS, FLOOR, Fitted, fit, predict_proba

D = 88
CLASSES = 4
FEW_TREES = {"egemaps-rf": {"n_estimators": 25}}  # enough for what is taught here
everywhere = pytest.mark.parametrize("name", estimators.names())


def spoken(
    num_persons: int = 10, clips: int = 8, seed: int = 0, name: str = "egemaps-svc"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (N, D), classes and persons: everybody says every class in turn, and a class
    raises ten features of its own."""
    rng = np.random.default_rng(seed)
    truth = np.arange(num_persons * clips) % CLASSES
    features = rng.normal(size=(len(truth), ESTIMATORS[name].vector.dimensions))
    features[:, : 10 * CLASSES] += 3 * np.repeat(np.eye(CLASSES)[truth], 10, axis=1)
    persons = np.repeat([f"person {i}" for i in range(num_persons)], clips)
    return features.astype(np.float32), truth, persons


def fitted(
    features: np.ndarray,
    truth: np.ndarray,
    persons: np.ndarray,
    num_classes: int = CLASSES,
    seed: int = 0,
    name: str = "egemaps-svc",
    **options: Any,
) -> Fitted:
    vectors: dict[str, np.ndarray] = {ESTIMATORS[name].vector.kind: features}
    options = {**FEW_TREES.get(name, {}), **options}
    return fit(name, options, vectors, truth, persons, num_classes, seed)


def probabilities(ours: Fitted, features: np.ndarray) -> np.ndarray:
    return predict_proba(ours, {ours.vector.kind: features})


def refused(kind: type[Exception], *args: Any, **options: Any) -> str:
    with pytest.raises(kind) as raised:
        fitted(*args, **options)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@everywhere
def test_an_estimator_learns_separable_classes(name: str) -> None:
    others = spoken(seed=1, name=name)
    probs = probabilities(fitted(*spoken(name=name), name=name), others[0])
    assert probs.shape == (80, CLASSES)
    np.testing.assert_allclose(probs.sum(axis=1), 1)
    assert np.mean(probs.argmax(axis=1) == others[1]) > 0.9


def nod(rng: np.random.Generator, late: bool) -> Clip:
    """Something moves across half the height of a dark room, early or late in 32 frames."""
    frames = np.full((32, 64, 64, 3), rng.integers(10, 40), np.uint8)
    thing = rng.integers(60, 256, (6, 6), dtype=np.uint8).repeat(3, 0).repeat(3, 1)[..., None]
    x, down = 23, np.clip(np.arange(32) - (16 if late else 4), 0, 12) * 2 + 10
    for frame, y in zip(frames, down, strict=True):
        frame[y : y + 18, x : x + 18] = thing
    return Clip(list(frames))


@pytest.mark.parametrize("name", ["hog-klt-svm", "mbmic-svm"])
def test_classical_descriptors_separate_early_from_late_motion(name: str) -> None:
    """In films of other persons. Where to and how far it moves is the same in all."""
    spec, truth = ESTIMATORS[name].clip_spec, np.tile([0, 1], 10)
    clips = [nod(np.random.default_rng(i // 2), late=bool(late)) for i, late in enumerate(truth)]
    features = np.stack([build_clip(clip, spec)[spec.streams[0].kind] for clip in clips])
    known, persons = np.arange(20) < 14, np.repeat(np.arange(10).astype(str), 2)
    ours = fitted(features[known], truth[known], persons[known], 2, name=name)
    assert (probabilities(ours, features[~known]).argmax(axis=1) == truth[~known]).all()


@everywhere
def test_the_same_seed_gives_the_same_probabilities(name: str) -> None:
    features, truth, persons = spoken(name=name)
    first, again, other = (
        probabilities(fitted(features, truth, persons, seed=seed, name=name), features)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-6


def test_known_speakers_do_not_inflate_the_calibration() -> None:
    """Each person has a voice of their own and says one class only; the voice tells nothing of a
    stranger's class. Calibrated on clips of the same persons it would be all but certain."""
    rng = np.random.default_rng(0)
    persons = np.repeat(np.arange(60).astype(str), 5)
    truth = persons.astype(int) % 2
    features = rng.normal(size=(60, D))[persons.astype(int)] + rng.normal(0, 0.05, (300, D))
    ours = fitted(features, truth, persons, num_classes=2)
    by_clip = CalibratedClassifierCV(
        estimators.create("egemaps-svc"),
        cv=StratifiedKFold(5, shuffle=True, random_state=0),
        ensemble=False,
    ).fit(features, truth)
    every = np.arange(len(truth))
    assert np.median(by_clip.predict_proba(features)[every, truth]) > 0.9
    assert np.median(predict_proba(ours, {"egemaps": features})[every, truth]) < 0.6


def test_a_scaled_estimator_ignores_units() -> None:
    features, truth, persons = spoken()
    large = features * np.float32(1024)
    for scale, alike in ((True, True), (False, False)):
        plain, other = (
            predict_proba(
                fitted(x, truth, persons, scale=scale, kernel="rbf", gamma=0.01), {"egemaps": x}
            )
            for x in (features, large)
        )
        assert np.allclose(plain, other, atol=1e-6) == alike


def test_a_rare_class_weighs_as_much_as_a_frequent_one() -> None:
    truth = spoken(clips=16)[1]
    features = np.random.default_rng(5).normal(size=(len(truth), D))
    features[:, 0] += 0.5 * (truth == 0)
    two = np.where(truth == 0, 0, 1)  # one in four
    weighed, plain = (
        estimators.create("egemaps-svc", balanced=balanced, C=0.001).fit(features, two)
        for balanced in (True, False)
    )
    assert np.mean(plain.predict(features) == 0) < 0.05
    assert np.mean(weighed.predict(features) == 0) > 0.2


def test_a_forest_weighs_a_rare_class_too_and_takes_its_options() -> None:
    rng, truth = np.random.default_rng(5), np.arange(320) % 8 == 0
    features = rng.normal(size=(320, D))
    features[:, 0] += truth
    shares = [
        estimators.create("egemaps-rf", n_estimators=30, balanced=balanced, min_samples_split=60)
        .set_params(forest__random_state=0)
        .fit(features, truth)
        .predict(features)
        .mean()
        for balanced in (True, False)
    ]
    assert shares[1] < 0.03 < 0.15 < shares[0]
    with_scale = estimators.create("egemaps-rf", scale=True)
    assert list(with_scale.named_steps) == ["scale", "forest"]
    assert list(estimators.create("egemaps-rf").named_steps) == ["forest"]


def test_an_absent_class_gets_the_floor() -> None:
    features, truth, persons = spoken()
    names = np.array([1, 2, 4, 6])  # of seven
    probs = predict_proba(fitted(features, names[truth], persons, 7), {"egemaps": features})
    assert probs.shape == (80, 7)
    np.testing.assert_allclose(probs.sum(axis=1), 1)
    np.testing.assert_allclose(probs[:, [0, 3, 5]], FLOOR, rtol=1e-4)
    assert np.mean(probs.argmax(axis=1) == names[truth]) > 0.9


def test_two_persons_are_enough_to_calibrate_on_each_other() -> None:
    features, truth, persons = spoken(num_persons=2, clips=12)
    probs = predict_proba(fitted(features, truth, persons), {"egemaps": features})
    assert np.isfinite(probs).all()


def test_a_class_of_two_persons_stays_in_every_training_part() -> None:
    features, truth, persons = spoken(num_persons=10)
    kept = (truth > 0) | np.isin(persons, ["person 0", "person 1"])
    for seed in range(10):
        probs = predict_proba(
            fitted(features[kept], truth[kept], persons[kept], seed=seed), {"egemaps": features}
        )
        assert np.isfinite(probs).all()


def test_clips_without_a_subject_count_as_separate_persons() -> None:
    features, truth, persons = spoken()
    nameless = predict_proba(
        fitted(features, truth, np.full_like(persons, "")), {"egemaps": features}
    )
    alone = predict_proba(
        fitted(features, truth, np.arange(len(truth)).astype(str)), {"egemaps": features}
    )
    np.testing.assert_array_equal(nameless, alone)


def test_too_few_persons_or_classes_are_refused() -> None:
    features, truth, persons = spoken()
    kept = (truth != 2) | (persons == "person 0")
    message = refused(RecipeError, features[kept], truth[kept], persons[kept])
    assert message.startswith(
        "egemaps-svc: only 1 of 10 training persons show class 2 (counted from 0)"
    )
    message = refused(RecipeError, features, np.zeros_like(truth), persons)
    assert message.startswith("egemaps-svc: training needs at least two classes, got 1")


def test_features_that_do_not_fit_are_refused() -> None:
    features, truth, persons = spoken()
    assert "egemaps is (N, 88), got (80, 87)" in refused(SpecError, features[:, 1:], truth, persons)
    features[[3, 7], 5] = np.nan
    assert "egemaps of 2 of 80 clips is not finite" in refused(SpecError, features, truth, persons)
    with pytest.raises(SpecError, match="takes egemaps, got gray"):
        predict_proba(fitted(*spoken()), {"gray": features})


@everywhere
def test_options_that_do_not_fit_are_refused(name: str) -> None:
    assert "invalid model.options: " in refused(RecipeError, *spoken(name=name), name=name, depth=3)


def test_invalid_values_are_refused() -> None:
    message = refused(RecipeError, *spoken(), C=-1.0)
    assert "'C' parameter" in message
    assert not message.endswith("..")


def test_an_unknown_estimator_is_suggested() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'egemaps-svc'"):
        estimators.create("egemaps-svm")
