"""Bundles give the probabilities of the trained models, and can be analysed with."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fake_runs
import numpy as np
import onnx
import pytest
import torch
from torch import nn

import emoscope
from emoscope import models
from emoscope.analysis.bundle import BundleCard, load_bundle
from emoscope.core.clipspec import ClipSpec
from emoscope.core.errors import BundleError, EmoscopeError, RecipeError
from emoscope.training import estimators
from emoscope.training.estimators import onnx_graph
from emoscope.training.estimators.onnx_graph import write_estimator
from emoscope.training.estimators.pipelines import Fitted, fit, predict_proba
from emoscope.training.evaluation.evaluate import evaluate
from emoscope.training.export.bundle import export_bundle, export_run, stamp
from emoscope.training.networks import onnx_graph as network_onnx_graph
from emoscope.training.run_folder import FINAL, part_folder

LABELS = ("anger", "happiness", "neutral", "sadness", "surprise")
CLIP = "clips/pyfeat_single_face.mp4"

everywhere = pytest.mark.parametrize("name", estimators.names())
svc = pytest.mark.parametrize(
    "options",
    [
        {},
        {"scale": False, "C": 2.7e-6, "balanced": False},
        {"kernel": "rbf", "C": 10.0},
        {"scale": False, "kernel": "rbf"},
        {"kernel": "poly"},
    ],
    ids=lambda options: ", ".join(f"{k} {v}" for k, v in options.items()) or "as it comes",
)


def card_for(spec: ClipSpec, labels: tuple[str, ...] = LABELS, **changes: Any) -> BundleCard:
    fields: dict[str, Any] = {
        "name": "small",
        "version": "1",
        "modality": "voice" if spec.vectors else "face",
        "labels": labels,
        "clip_spec": spec,
        "temperature": 1.0,
        "prior": (1 / len(labels),) * len(labels),
        "licence": "none",
        "trained_on": "nothing",
        "figures": {},
    }
    return BundleCard(**{**fields, **changes})


def small(name: str, num_classes: int = len(LABELS)) -> nn.Module:
    """A network with updated batch statistics."""
    torch.manual_seed(0)
    model = models.create(name, num_classes=num_classes, **models.small(name)).train()
    with torch.no_grad():
        model(**model.example_inputs(4))  # type: ignore[operator]
    return model.eval()


def features(count: int, seed: int = 0, dimensions: int = 88) -> np.ndarray:
    """(N, 88) as eGeMAPS has them, loudness below 1 beside formants of thousands of hertz; any
    others from 0 to 1."""
    rng = np.random.default_rng(seed)
    if dimensions != 88:
        return rng.random((count, dimensions), np.float32)
    sizes = 10.0 ** np.linspace(-2, 3.5, 88)
    return (sizes * (2 + rng.normal(size=(count, 88)))).astype(np.float32)


def taught(
    name: str = "egemaps-svc", *, classes: tuple[int, ...] = (0, 1, 2, 3, 4), **options: Any
) -> Fitted:
    """An estimator trained on some of five classes, each from ten persons."""
    truth = np.resize(classes, 20 * len(classes))
    vector = estimators.ESTIMATORS[name].vector
    inputs = features(len(truth), dimensions=vector.dimensions)
    inputs[:, :40] *= 1 + 0.1 * truth[:, None].astype(np.float32)
    persons = np.repeat(np.arange(10).astype(str), 2 * len(classes))
    if name == "egemaps-rf":
        options = {"n_estimators": 25, **options}  # for speed
    return fit(name, options, {vector.kind: inputs}, truth, persons, len(LABELS), 0)


def softmax(logits: torch.Tensor) -> np.ndarray:
    return torch.softmax(logits.double(), dim=1).numpy()


@pytest.fixture(scope="module", params=models.names())
def network(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[nn.Module, Path]:
    """A small version of each network, and its bundle."""
    model = small(request.param)
    path = tmp_path_factory.mktemp(request.param) / "small.onnx"
    export_bundle(model, card_for(model.clip_spec), path)  # type: ignore[arg-type]
    return model, path


def test_torch_and_the_bundle_agree(network: tuple[nn.Module, Path]) -> None:
    model, path = network
    assert list(path.parent.iterdir()) == [path]  # no .onnx.data beside it
    for batch in (1, 3):
        inputs = {
            stream: torch.randn(value.shape, generator=torch.Generator().manual_seed(batch))
            for stream, value in model.example_inputs(batch).items()  # type: ignore[operator]
        }
        with torch.inference_mode():
            ours = softmax(model(**inputs))
        theirs = load_bundle(path).predict({k: v.numpy() for k, v in inputs.items()})
        np.testing.assert_allclose(theirs, ours, atol=1e-4)


def agree(fitted: Fitted, path: Path) -> np.ndarray:
    """Assert that scikit-learn and the bundle agree; return the probabilities."""
    spec = estimators.ESTIMATORS[fitted.name].clip_spec
    stamp(onnx_graph.estimator_graph(fitted), card_for(spec), path)
    assert list(path.parent.iterdir()) == [path]
    bundle = load_bundle(path)
    kind, size = fitted.vector.kind, fitted.vector.dimensions
    wild = np.random.default_rng(7).normal(size=(3, size)).astype(np.float32)
    tame = [features(count, seed=seed, dimensions=size) for seed, count in enumerate((1, 3, 40), 1)]
    for inputs in (wild[:1], wild, *tame):
        ours = predict_proba(fitted, {kind: inputs})
        np.testing.assert_allclose(bundle.predict({kind: inputs}), ours, atol=1e-4)
    return ours


@everywhere
def test_scikit_learn_and_the_bundle_agree(name: str, tmp_path: Path) -> None:
    probs = agree(taught(name), tmp_path / "small.onnx")
    assert probs.max(axis=1).std() > 0.01


@svc
def test_a_bundle_agrees_whatever_the_options(options: dict[str, Any], tmp_path: Path) -> None:
    agree(taught(**options), tmp_path / "small.onnx")


@pytest.mark.parametrize("classes", [(1, 3), (0, 2, 4)])
def test_a_bundle_agrees_where_classes_are_absent(classes: tuple[int, ...], tmp_path: Path) -> None:
    probs = agree(taught(classes=classes), tmp_path / "small.onnx")
    absent = sorted({0, 1, 2, 3, 4} - set(classes))
    np.testing.assert_allclose(probs[:, absent], estimators.FLOOR, rtol=1e-3)


@everywhere
def test_an_estimators_graph_is_plain_onnx(name: str) -> None:
    graph = onnx_graph.estimator_graph(taught(name))
    assert {node.domain for node in graph.graph.node} <= {"", "ai.onnx.ml"}
    assert [output.name for output in graph.graph.output] == ["logits"]
    used = {name for node in graph.graph.node for name in node.input}
    assert {one.name for one in graph.graph.initializer} <= used


def numbers_in(graph: onnx.ModelProto) -> int:
    """The number of weights in a graph's nodes and initializers."""
    of_nodes = sum(len(a.floats) for node in graph.graph.node for a in node.attribute)
    return of_nodes + sum(int(np.prod(one.dims)) for one in graph.graph.initializer)


@pytest.mark.parametrize("classes", [(1, 3), (0, 1, 2, 3, 4)])
def test_the_graph_of_a_linear_classifier_contains_no_training_clip(
    classes: tuple[int, ...],
) -> None:
    """A hyperplane a pair of classes (ONNX has two of two) and the scaler: no support vectors."""
    graph = onnx_graph.estimator_graph(taught(classes=classes))
    planes = max(2, len(classes) * (len(classes) - 1) // 2)
    assert "SVMClassifier" not in {node.op_type for node in graph.graph.node}
    assert planes * 89 + 2 * 88 <= numbers_in(graph) < planes * 89 + 2 * 88 + 88
    curved = onnx_graph.estimator_graph(taught(classes=classes, kernel="rbf", C=10.0))
    assert numbers_in(curved) > 20 * 88


def test_an_estimator_with_other_probabilities_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = taught()
    monkeypatch.setattr(onnx_graph, "predict_proba", lambda *_: predict_proba(*_)[:, ::-1])
    with pytest.raises(BundleError, match=r"scikit-learn and ONNX Runtime differ by \d"):
        write_estimator(fitted, tmp_path / "small.onnx")
    assert not list(tmp_path.iterdir())


def test_a_network_with_other_probabilities_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, plain = small("face-cnn"), network_onnx_graph.network_graph
    other = models.create("face-cnn", num_classes=len(LABELS), **models.small("face-cnn")).eval()
    monkeypatch.setattr(network_onnx_graph, "network_graph", lambda _: plain(other))
    path = tmp_path / "small.onnx"
    with pytest.raises(BundleError, match=r"small: torch and ONNX Runtime differ by \d"):
        export_bundle(model, card_for(model.clip_spec), path)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_a_card_that_does_not_fit_the_graph_is_refused(tmp_path: Path) -> None:
    spec = estimators.ESTIMATORS["egemaps-svc"].clip_spec
    path = tmp_path / "small.onnx"
    with pytest.raises(BundleError) as raised:
        stamp(onnx_graph.estimator_graph(taught()), card_for(spec, LABELS[:3]), path)
    assert str(raised.value).startswith(f"{path}: the graph returns [(5,)], but its card names 3")
    assert not list(tmp_path.iterdir())


@pytest.mark.data
def test_the_bundle_of_a_network_analyses_a_video(
    network: tuple[nn.Module, Path], shared: Path
) -> None:
    timeline = emoscope.analyze(shared / CLIP, network[1])
    spoken_of = timeline.probs[~np.isnan(timeline.probs).any(axis=1)]
    assert timeline.labels == LABELS
    assert len(spoken_of) > 1
    np.testing.assert_allclose(spoken_of.sum(axis=1), 1, atol=1e-6)


@pytest.mark.data
@everywhere
def test_the_bundle_of_an_estimator_analyses_a_video(
    name: str, shared: Path, tmp_path: Path
) -> None:
    pytest.importorskip("opensmile")
    path = tmp_path / "small.onnx"
    card = card_for(estimators.ESTIMATORS[name].clip_spec)
    stamp(onnx_graph.estimator_graph(taught(name)), card, path)
    timeline = emoscope.analyze(shared / CLIP, path)
    assert timeline.labels == LABELS
    assert len(timeline.probs) > 1
    np.testing.assert_allclose(timeline.probs.sum(axis=1), 1, atol=1e-6)


@pytest.fixture
def network_run(tmp_path: Path) -> Path:
    """Two folds and two seeds, and the final training's weights."""
    run = fake_runs.fake_run(
        tmp_path / "run",
        model={"name": "face-cnn", "options": models.small("face-cnn")},
        clip={"margin": 0.25},
    )
    evaluate(run)
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = models.create("face-cnn", num_classes=3, **models.small("face-cnn"))
        torch.save(model.state_dict(), part_folder(run, FINAL, seed) / "weights.pt")
    return run


@pytest.fixture
def estimator_run(tmp_path: Path) -> Path:
    """One fold and one seed of a voice estimator."""
    run = fake_runs.fake_run(
        tmp_path / "run",
        labels=LABELS,
        seeds=(0,),
        protocol={"name": "fixed"},
        model={"name": "egemaps-svc"},
        optimiser=None,
        schedule=None,
        clip={"window": {"length_s": 2.0}},
    )
    place = part_folder(run, "valid", 0)
    facts = json.loads((place / "fold.json").read_text())
    (place / "fold.json").write_text(json.dumps({**facts, "temperature": 1.0, "prior": [0.2] * 5}))
    write_estimator(taught(), place / "estimator.onnx")
    evaluate(run)
    return run


def test_a_runs_bundle_is_its_final_training(network_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "out" / "fake.onnx"
    card = export_run(network_run, path)
    assert {file.name for file in path.parent.iterdir()} == {"fake.onnx", "fake.md"}
    bundle = load_bundle(path)
    assert bundle.card == card
    assert (card.modality, card.labels, card.temperature) == ("face", fake_runs.LABELS, 2.0)
    assert card.clip_spec.margin == 0.25
    torch.manual_seed(0)  # the first seed's
    model = models.create("face-cnn", num_classes=3, **models.small("face-cnn")).eval()
    inputs = model.example_inputs(2)  # type: ignore[operator]
    with torch.inference_mode():
        expected = softmax(model(**inputs) / 2.0)
    given = bundle.predict({k: v.numpy() for k, v in inputs.items()})
    np.testing.assert_allclose(given, expected, atol=1e-4)


def test_the_page_of_a_run_of_several_folds_explains_its_figures(
    network_run: Path, tmp_path: Path
) -> None:
    card = export_run(network_run, tmp_path / "fake.onnx")
    figures = json.loads((network_run / "evaluation.json").read_text())["figures"]
    facts = dict(card.figures)
    cost = facts.pop("cost")
    assert facts == {**figures, "folds": 2}
    assert cost == json.loads((network_run / "bundle.json").read_text())
    assert cost["file_mb"] == pytest.approx((tmp_path / "fake.onnx").stat().st_size / 1e6, abs=0.1)
    assert cost["cpu_ms_a_clip"] > 0
    assert cost["machine"]
    page = (tmp_path / "fake.md").read_text()
    assert "The results are cross-validated: each of the recipe's 2 folds" in page
    assert "The weights in this file were trained on all data." in page
    assert f"{100 * figures['uar']:.1f} % (" in page


def test_the_only_folds_estimator_becomes_the_bundle(estimator_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "voice.onnx"
    card = export_run(estimator_run, path)
    assert card.modality == "voice"
    assert card.clip_spec.window.length_s == 2.0
    assert card.clip_spec.window.stride_s == 0.5
    inputs = {"egemaps": features(3, seed=4)}
    expected = predict_proba(taught(), inputs)
    np.testing.assert_allclose(load_bundle(path).predict(inputs), expected, atol=1e-4)
    page = path.with_suffix(".md").read_text()
    assert "cross-validated" not in page
    assert "the licence of openSMILE allows research only" in page
    kept = part_folder(estimator_run, "valid", 0) / "estimator.onnx"
    assert not onnx.load(kept).metadata_props  # as training left it


def refusal(kind: type[EmoscopeError], call: Callable[[], object]) -> str:
    with pytest.raises(kind) as raised:
        call()
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_run_without_weights_or_figures_is_refused(network_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "fake.onnx"
    evaluation = (network_run / "evaluation.json").read_text()
    (network_run / "evaluation.json").unlink()
    message = refusal(RecipeError, lambda: export_run(network_run, out))
    assert f"Run `emoscope evaluate {network_run}` first" in message
    (network_run / "evaluation.json").write_text(evaluation)
    (part_folder(network_run, FINAL, 0) / "weights.pt").unlink()
    message = refusal(RecipeError, lambda: export_run(network_run, out))
    assert "not a finished run: no " in message
    assert f"emoscope train --resume {network_run}" in message
    assert not out.exists()


def test_weights_that_do_not_fit_the_recipe_are_refused(network_run: Path, tmp_path: Path) -> None:
    weights = part_folder(network_run, FINAL, 0) / "weights.pt"
    for content in (b"no weights", None):
        if content is None:
            torch.save({"weight": torch.zeros(1)}, weights)
        else:
            weights.write_bytes(content)
        message = refusal(RecipeError, lambda: export_run(network_run, tmp_path / "fake.onnx"))
        assert str(weights) in message
