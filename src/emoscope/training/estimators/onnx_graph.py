"""ONNX graphs of fitted estimators, with the same probabilities as in scikit-learn."""

import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from skl2onnx.helpers.onnx_helper import select_model_inputs_outputs
from sklearn.svm import SVC

from emoscope.core.arrays import FloatArray
from emoscope.core.errors import BundleError
from emoscope.media.files import replacing
from emoscope.training.estimators.pipelines import FLOOR, Fitted, predict_proba

__all__ = ["PARITY", "estimator_graph", "write_estimator"]

PARITY = 1e-4  # largest allowed difference in probability between scikit-learn and ONNX Runtime

_OPSETS = {"": 17, "ai.onnx.ml": 3}


def write_estimator(fitted: Fitted, path: Path) -> None:
    """Write `estimator_graph(fitted)` atomically. Raises BundleError or MediaError."""
    graph = estimator_graph(fitted)
    with replacing(path) as part:
        onnx.save(graph, part)


def estimator_graph(fitted: Fitted) -> onnx.ModelProto:
    """The ONNX graph of an estimator: stream (B, D) float32 -> "logits" (B, num_classes), the
    logarithms of the probabilities.

    Raises BundleError if ONNX Runtime's probabilities differ from `predict_proba` by 1e-4 or more.
    """
    stream, classifier = fitted.vector, fitted.classifier
    options: dict[int, dict[str, bool]] = {id(classifier): {"zipmap": False}}
    last = classifier.calibrated_classifiers_[0].estimator[-1]
    if hasattr(last, "decision_function"):  # the scores that were calibrated
        options[id(last)] = {"raw_scores": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # skl2onnx's use of scikit-learn
        model = convert_sklearn(
            classifier,
            name=fitted.name,
            initial_types=[(stream.kind, FloatTensorType([None, stream.dimensions]))],
            options=options,
            target_opset=_OPSETS,
        )
    model = select_model_inputs_outputs(model, outputs=["probabilities"])
    if isinstance(last, SVC) and last.kernel == "linear":
        _replace_support_vectors(model.graph, last)
    _add_logits(model.graph, fitted)
    onnx.checker.check_model(model)
    _check_parity(fitted, model)
    return model


def _replace_support_vectors(graph: onnx.GraphProto, svc: SVC) -> None:
    """Replace a linear classifier by its hyperplanes. They are smaller, and do not publish its
    support vectors, which are features of training clips."""
    nodes = list(graph.node)
    (place,) = (i for i, node in enumerate(nodes) if node.op_type == "SVMClassifier")
    signs = np.array(
        [[1], [-1]] if len(svc.classes_) == 2 else [[1]]
    )  # ONNX has scores of both classes
    planes = np.concatenate([sign * np.column_stack([svc.coef_, svc.intercept_]) for sign in signs])
    for name, values in (("coefficients", planes[:, :-1].T), ("intercepts", planes[:, -1])):
        graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
    (inputs, (_, scores)) = nodes[place].input, nodes[place].output
    nodes[place] = helper.make_node("Gemm", [*inputs, "coefficients", "intercepts"], [scores])
    del graph.node[:]
    graph.node.extend(nodes)


def _add_logits(graph: onnx.GraphProto, fitted: Fitted) -> None:
    """Put every class into its column, with classes absent from training at the floor, and take
    the logarithm."""
    used = {name for node in graph.node for name in node.input}
    for unused in [one for one in graph.initializer if one.name not in used]:
        graph.initializer.remove(unused)  # for the classifier's label
    place = np.zeros((len(fitted.columns), fitted.num_classes), dtype=np.float32)
    place[np.arange(len(fitted.columns)), fitted.columns] = 1
    graph.initializer.append(numpy_helper.from_array(place, "place"))
    graph.initializer.append(numpy_helper.from_array(np.array(FLOOR, np.float32), "floor"))
    graph.node.append(helper.make_node("MatMul", ["probabilities", "place"], ["placed"]))
    graph.node.append(helper.make_node("Max", ["placed", "floor"], ["floored"]))
    graph.node.append(helper.make_node("Log", ["floored"], ["logits"]))
    del graph.output[:]
    shape = ("batch", fitted.num_classes)
    graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape))
    graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"


def _check_parity(fitted: Fitted, model: onnx.ModelProto) -> None:
    """Compare on values around 0 and on values in the range of the training features."""
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    stream = fitted.vector
    for batch in (1, 3):
        shape = (batch, stream.dimensions)
        for values in (rng.normal(size=shape), rng.uniform(fitted.low, fitted.high, shape)):
            inputs: dict[str, FloatArray] = {stream.kind: values.astype(np.float32)}
            logits: FloatArray = session.run(["logits"], inputs)[0]
            exp = np.exp(logits.astype(np.float64))
            theirs = exp / exp.sum(axis=1, keepdims=True)
            worst = float(np.abs(predict_proba(fitted, inputs) - theirs).max())
            if not worst < PARITY:
                raise BundleError(
                    f"{fitted.name}: scikit-learn and ONNX Runtime differ by {worst:.1e} in "
                    "probability."
                )
