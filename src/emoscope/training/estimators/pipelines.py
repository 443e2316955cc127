"""Estimators: scikit-learn pipelines on one feature vector per clip.

`names()` lists them; `fit(name, ...)` trains one and calibrates its probabilities on persons that
it was not trained on. To add an estimator, write a function that builds its pipeline and register
it with `ESTIMATORS.add`.
"""

import functools
import inspect
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from emoscope.core.arrays import FloatArray, IntArray, StrArray
from emoscope.core.clipspec import ClipSpec, Uniform, Vector, VectorKind, Window
from emoscope.core.errors import RecipeError, SpecError
from emoscope.core.registry import Registry

__all__ = [
    "ESTIMATORS",
    "FLOOR",
    "EstimatorEntry",
    "Features",
    "Fitted",
    "create",
    "fit",
    "fit_pipeline",
    "folds_by_person",
    "matrix",
    "names",
    "predict_proba",
    "seeded",
]

Folds = list[tuple[IntArray, IntArray]]

FLOOR = 1e-6  # smallest probability, before they are divided by their sum
_FOLDS = 5  # for calibration


@dataclass(frozen=True)
class EstimatorEntry:
    """How to build an estimator, and its ClipSpec with one vector."""

    build: Callable[..., Pipeline]
    clip_spec: ClipSpec

    @property
    def vector(self) -> Vector:
        (vector,) = self.clip_spec.vectors
        return vector


ESTIMATORS: Registry[EstimatorEntry] = Registry("estimator")


class Features(Protocol):
    """The name and size of an estimator's feature vector."""

    @property
    def kind(self) -> str: ...
    @property
    def dimensions(self) -> int: ...


@dataclass(frozen=True, eq=False)
class Fitted:
    """A fitted estimator with calibrated probabilities.

    columns    classes in training: column i of the classifier's output is the i-th of them
    low, high  (D,) minimum and maximum of each training feature
    """

    name: str
    vector: Features
    classifier: CalibratedClassifierCV
    columns: IntArray
    num_classes: int
    low: FloatArray
    high: FloatArray


def names() -> list[str]:
    """Return the names of all estimators."""
    return list(ESTIMATORS)


def create(name: str, **options: Any) -> Pipeline:
    """Build an estimator. Raises UnknownName, TypeError for options that it does not have."""
    return ESTIMATORS[name].build(**options)


def fit(
    name: str,
    options: Mapping[str, Any],
    features: Mapping[str, FloatArray],
    truth: IntArray,
    subjects: StrArray,
    num_classes: int,
    seed: int,
) -> Fitted:
    """Train on {stream: (N, D)}, (N,) classes in 0..num_classes-1 and (N,) subjects.

    Probabilities are calibrated with a sigmoid per class (Platt, 1999) on scores of up to five
    folds of whole persons; the scaler is fitted inside each fold. A sample with subject "" counts
    as a person of its own. Raises UnknownName, RecipeError, and SpecError for features that do not
    fit.

    >>> import numpy as np
    >>> from emoscope.training import estimators
    >>> rng = np.random.default_rng(0)
    >>> truth, subjects = np.arange(20) % 2, np.repeat(list("abcdefghij"), 2)
    >>> features = {"egemaps": rng.normal(size=(20, 88)) + truth[:, None]}
    >>> fitted = estimators.fit("egemaps-svc", {}, features, truth, subjects, 2, seed=0)
    >>> estimators.predict_proba(fitted, features).shape
    (20, 2)
    """
    vector = ESTIMATORS[name].vector
    build = functools.partial(create, name, **options)
    return fit_pipeline(name, build, vector, features, truth, subjects, num_classes, seed)


def fit_pipeline(
    name: str,
    build: Callable[[], Pipeline],
    vector: Features,
    features: Mapping[str, FloatArray],
    truth: IntArray,
    subjects: StrArray,
    num_classes: int,
    seed: int,
) -> Fitted:
    """`fit` for a pipeline that is not registered, on any vector."""
    inputs = matrix(name, vector, features)
    columns, classes = np.unique(truth, return_inverse=True)
    folds = folds_by_person(name, columns, classes, subjects, seed)
    try:
        estimator = seeded(build(), seed)
        classifier = CalibratedClassifierCV(estimator, cv=folds, ensemble=False).fit(
            inputs, classes
        )
    except (TypeError, ValueError) as error:
        raise RecipeError(f"{name}: invalid model.options: {str(error).rstrip('.')}.") from None
    low, high = inputs.min(axis=0), inputs.max(axis=0)
    return Fitted(name, vector, classifier, columns, num_classes, low, high)


def predict_proba(fitted: Fitted, features: Mapping[str, FloatArray]) -> FloatArray:
    """Calibrated probabilities: {stream: (N, D)} -> (N, num_classes).

    No probability is below FLOOR; classes absent from training get FLOOR. Raises SpecError for
    features that do not fit.
    """
    probs = np.zeros((len(next(iter(features.values()), ())), fitted.num_classes))
    inputs = matrix(fitted.name, fitted.vector, features)
    probs[:, fitted.columns] = fitted.classifier.predict_proba(inputs)
    probs = probs.clip(min=FLOOR)
    return np.asarray(probs / probs.sum(axis=1, keepdims=True))


def seeded(estimator: Pipeline, seed: int) -> Pipeline:
    """Set every `random_state` of a pipeline."""
    randomness = [key for key in estimator.get_params() if key.endswith("random_state")]
    return estimator.set_params(**dict.fromkeys(randomness, seed))


def matrix(name: str, vector: Features, features: Mapping[str, FloatArray]) -> FloatArray:
    """The features (N, D) of the estimator's stream, rounded to a bundle's float32."""
    if set(features) != {vector.kind}:
        raise SpecError(f"{name} takes {vector.kind}, got {', '.join(sorted(features))}.")
    values = np.asarray(features[vector.kind], dtype=np.float32)
    if values.ndim != 2 or values.shape[1] != vector.dimensions:
        raise SpecError(f"{name}: {vector.kind} is (N, {vector.dimensions}), got {values.shape}.")
    broken = int((~np.isfinite(values)).any(axis=1).sum())
    if broken:
        raise SpecError(
            f"{name}: {vector.kind} of {broken} of {len(values)} clips is not finite. Leave these "
            "clips out."
        )
    return values.astype(np.float64)


def folds_by_person(
    name: str, columns: IntArray, classes: IntArray, subjects: StrArray, seed: int
) -> Folds:
    """Folds of whole persons: the most, up to five, with all classes on every training side."""
    if len(columns) < 2:
        raise RecipeError(f"{name}: training needs at least two classes, got {len(columns)}.")
    own = np.arange(len(subjects)).astype(str)
    _, who = np.unique(np.where(subjects == "", own, subjects), return_inverse=True)
    rng = np.random.default_rng(seed)
    for count, _ in itertools.product(range(min(_FOLDS, who.max() + 1), 1, -1), range(10)):
        shuffled = rng.permutation(who.max() + 1)[who]  # so that the seed breaks ties
        folds = list(GroupKFold(count).split(classes, classes, shuffled))
        if all(len(np.unique(classes[train])) == len(columns) for train, _ in folds):
            return folds
    persons = [len(np.unique(who[classes == i])) for i in range(len(columns))]
    raise RecipeError(
        f"{name}: only {min(persons)} of {who.max() + 1} training persons show class "
        f"{columns[np.argmin(persons)]} (counted from 0), too few to calibrate across persons. "
        "Leave the class out with corpus.labels, or choose a protocol with fewer folds."
    )


def _svc(
    scale: bool = True,
    C: float = 0.03,  # noqa: N803  # scikit-learn's name
    kernel: Literal["linear", "rbf", "poly", "sigmoid"] = "linear",
    gamma: float | Literal["scale", "auto"] = "scale",
    tol: float = 1e-3,
    balanced: bool = True,
) -> Pipeline:
    """scale      standardise every feature
    balanced   weight the classes as if they were equally frequent
    The other options are scikit-learn's.
    """
    weight = "balanced" if balanced else None
    svc = SVC(C=C, kernel=kernel, gamma=gamma, tol=tol, class_weight=weight)
    return Pipeline([*([("scale", StandardScaler())] if scale else []), ("svc", svc)])


def _svc_on(features: str, chosen: str, **defaults: Any) -> Callable[..., Pipeline]:
    """`_svc` with defaults for some features; its docstring tells how they were chosen."""
    build = functools.partial(_svc, **defaults)
    about = f"A support vector classifier on {features}."
    build.__doc__ = f"{about}\n\n{inspect.getdoc(_svc)}\n\n{chosen}"
    return build


def _forest(
    scale: bool = False,
    n_estimators: int = 500,
    min_samples_split: int = 8,
    max_features: int | float | Literal["sqrt", "log2"] | None = "sqrt",
    balanced: bool = True,
) -> Pipeline:
    """A random forest on eGeMAPS (Eyben et al., IEEE TAFFC 2016).

    scale      standardise every feature; this changes little but rounding, because trees split at
               thresholds
    balanced   weight the classes as if they were equally frequent
    The other options are scikit-learn's.

    Of 2, 8 and 28 the default `min_samples_split` had the best UAR on RAVDESS's five folds, so its
    figures on RAVDESS are slightly optimistic. Fan & Ke's settings for AFEW are
    `min_samples_split=28, balanced=False`.
    """
    forest = RandomForestClassifier(
        n_estimators,
        min_samples_split=min_samples_split,
        max_features=max_features,
        class_weight="balanced" if balanced else None,
    )
    return Pipeline([*([("scale", StandardScaler())] if scale else []), ("forest", forest)])


_ON_RAVDESS = """\
The defaults had the best UAR on inner folds of the training sides of RAVDESS's five folds; each
actor is in four of these, so figures on RAVDESS are slightly optimistic. Fan & Ke's settings for
AFEW are `scale=False, C=2.7e-6, balanced=False`: such a small C makes sense for unscaled features
only."""
_ON_FIGURES = """\
The defaults, and the settings of the features, were chosen on ten synthetic walkers (`emoscope
corpus synth --kind figures`, seed 0), by folds of whole walkers: figures on these are optimistic. A
linear kernel was better than a Gaussian one: there are more features than clips. A larger C changes
little."""
_ONE_UNIT = """\
The features are not scaled: they have one unit, and scaling would give the noise of a block without
motion as much weight as a gesture."""

# Three seconds are about one spoken sentence, the unit that the functionals describe.
_SENTENCE = ClipSpec(streams=(Vector(kind="egemaps"),), window=Window(length_s=3.0, stride_s=0.5))


def _gesture(kind: VectorKind) -> ClipSpec:
    """The ClipSpec of body features: two seconds, about one gesture, in 32 frames."""
    return ClipSpec(
        region="frame",
        sampling=Uniform(length=32),
        window=Window(length_s=2.0, stride_s=1.0),
        streams=(Vector(kind=kind),),
    )


ESTIMATORS.add(
    "egemaps-svc",
    EstimatorEntry(_svc_on("eGeMAPS (Eyben et al., IEEE TAFFC 2016)", _ON_RAVDESS), _SENTENCE),
)
ESTIMATORS.add("egemaps-rf", EstimatorEntry(_forest, _SENTENCE))
ESTIMATORS.add(
    "hog-klt-svm",
    EstimatorEntry(
        _svc_on("HOG along KLT tracks (after Santhoshkumar & Geetha, 2020)", _ON_FIGURES, C=0.01),
        _gesture("hog_klt"),
    ),
)
ESTIMATORS.add(
    "mbmic-svm",
    EstimatorEntry(
        _svc_on(
            "block maxima of frame differences (MB-MIC, after Santhoshkumar & Geetha, 2020)",
            f"{_ON_FIGURES}\n{_ONE_UNIT}",
            scale=False,
            C=3.0,
        ),
        _gesture("mbmic"),
    ),
)
