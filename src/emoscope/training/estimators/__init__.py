"""Training of scikit-learn estimators: pipelines, search, calibration and ONNX export."""

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
