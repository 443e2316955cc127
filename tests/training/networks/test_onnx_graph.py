"""Networks in eight bits: quantised kernels, and evaluation of the graph that ships."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from tiny_corpora import make_corpus, tiny_recipe
from torch import Tensor, nn

from emoscope.analysis.bundle import load_bundle, softmax
from emoscope.core.clipspec import ClipSpec
from emoscope.core.errors import RecipeError
from emoscope.media.clips import Material, finish
from emoscope.media.reading.images import read_image
from emoscope.training.evaluation.evaluate import evaluate
from emoscope.training.experiment import train
from emoscope.training.export.bundle import export_run
from emoscope.training.jobs import prepare_run
from emoscope.training.networks.onnx_graph import GraphNetwork, in_eight_bits, network_graph
from emoscope.training.recipe import Recipe
from emoscope.training.run_folder import EIGHT_BITS, RunFolder, read_json

INT8 = {"precision": "int8"}


def eight_bits() -> Recipe:
    holdout = {"name": "stratified-group-holdout", "part": 0.34}
    return tiny_recipe(protocol=holdout, schedule={"epochs": 8, "batch_size": 4}, bundle=INT8)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    home = tmp_path_factory.mktemp("home")
    make_corpus(home / "corpus")
    run = train(eight_bits(), {"folder": home / "corpus"}, home / "run", cache=home / "cache")
    evaluate(run.folder)
    return run


@pytest.fixture(scope="module")
def bundled(run: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "tiny.onnx"
    export_run(run.folder, path)
    return path


def shown(run: RunFolder, spec: ClipSpec) -> np.ndarray:
    """(N, 1, 1, 48, 48): the pictures that the run was tested on."""
    read = [read_image(sample.path)[None] for sample in run.predictions().samples]
    return np.stack([finish(Material({(48, 48): p}, {}, {}), spec)["gray"] for p in read])


def test_only_hidden_kernels_are_quantised_to_seven_bits(run: RunFolder) -> None:
    graph = onnx.load(run.exported_file("weights.pt").with_name(EIGHT_BITS)).graph
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    makers = {node.output[0]: node for node in graph.node}
    eight, left = [], []
    for node in graph.node:
        if node.op_type == "Conv" and node.input[1] in held:
            left.append(held[node.input[1]].shape)
        elif node.op_type == "Conv":
            eight.append(held[makers[node.input[1]].input[0]])
    network = prepare_run(run).trained_network(run)
    kernels = [tuple(p.shape) for p in network.parameters() if p.ndim == 4]
    hidden = [shape for shape in kernels if shape[1] > 1 and shape[2:] == (3, 3)]
    assert sorted(kernel.shape for kernel in eight) == sorted(hidden)
    assert sorted(left) == sorted(shape for shape in kernels if shape not in hidden)
    assert {kernel.dtype for kernel in eight} == {np.dtype(np.int8)}
    assert max(np.abs(kernel.astype(int)).max() for kernel in eight) == 64


def test_a_run_is_evaluated_with_the_graph_that_ships(run: RunFolder, bundled: Path) -> None:
    bundle = load_bundle(bundled)
    pictures = shown(run, bundle.clip_spec)
    probs = bundle.predict({"gray": pictures})
    np.testing.assert_allclose(probs, run.predictions().probs, atol=1e-6)
    with torch.inference_mode():
        logits = prepare_run(run).trained_network(run)(torch.from_numpy(pictures))
    exact = softmax(logits.numpy() / bundle.card.temperature)
    assert 1e-5 < np.abs(probs - exact).max() < 0.1
    np.testing.assert_array_equal(probs.argmax(axis=1), exact.argmax(axis=1))


def test_the_card_mentions_eight_bits(run: RunFolder, bundled: Path) -> None:
    assert "kernels in eight bits" in bundled.with_suffix(".md").read_text()
    assert read_json(run.folder / "bundle.json")["precision"] == "int8"


def test_a_graph_can_be_used_as_a_network() -> None:
    torch.manual_seed(0)
    network = OneConvolution(3)
    inputs = network.example_inputs(4)
    with torch.inference_mode():
        expected = network(**inputs)
        torch.testing.assert_close(GraphNetwork(network_graph(network))(**inputs), expected)


def test_a_graph_without_hidden_convolutions_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"^bundle\.precision = 'int8' is for networks with hid"):
        in_eight_bits(network_graph(OneConvolution(3)), [])  # type: ignore[arg-type]


def test_a_network_without_hidden_convolutions_is_refused_before_training(tmp_path: Path) -> None:
    options = {"stem": 2, "widths": [3], "blocks": [1]}
    recipe = tiny_recipe(model={"name": "face-cnn", "options": options}, bundle=INT8)
    make_corpus(tmp_path / "corpus", subjects=2, each=1)
    with pytest.raises(RecipeError, match="hidden convolutions"):
        train(recipe, {"folder": tmp_path / "corpus"}, tmp_path / "run", cache=tmp_path / "cache")
    assert not (tmp_path / "run" / "run.json").exists()


def test_eight_bits_are_refused_for_frozen_networks() -> None:
    with pytest.raises(
        ValueError, match=r"bundle\.precision is for networks, and not with model\.frozen"
    ):
        tiny_recipe(model={"frozen": True, "weights": "w.pt"}, bundle=INT8)


class OneConvolution(nn.Module):
    """One convolution of the picture itself."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 4, 3), nn.Linear(4, num_classes)

    def forward(self, gray: Tensor) -> Tensor:
        return self.last(self.first(gray.squeeze(1)).relu().mean((2, 3)))

    def example_inputs(self, batch: int) -> dict[str, Tensor]:
        return {"gray": torch.rand(batch, 1, 1, 12, 12)}
