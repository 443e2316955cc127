"""Estimators of scikit-learn: built, searched, calibrated, written as graphs."""

from emoscope.training.estimators.pipelines import (
    ESTIMATORS,
    FLOOR,
    Fitted,
    create,
    fit,
    names,
    predict_proba,
)

__all__ = ["ESTIMATORS", "FLOOR", "Fitted", "create", "fit", "names", "predict_proba"]
