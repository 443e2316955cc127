"""A network from a Python file beside the recipe."""

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from asking import ask, lines
from tiny_corpora import make_corpus, tiny_recipe, write_toml

from emoscope.core.errors import RecipeError
from emoscope.training import Run, resume, train
from emoscope.training.explain.attribution import open_network
from emoscope.training.jobs import prepare, prepare_run
from emoscope.training.networks.code import code_of_recipe
from emoscope.training.run_folder import read_run

SOURCE = '''\
from torch import nn

from emoscope.core.clipspec import ClipSpec, Last, Stream, Window
from emoscope.models import Network


class MyNet(Network):
    """One convolution and a linear layer."""

    def __init__(self, num_classes: int = 2, channels: int = 4) -> None:
        super().__init__()
        self.clip_spec = ClipSpec(
            region="face",
            sampling=Last(length=1),
            window=Window(length_s=1.0, stride_s=0.5),
            streams=(Stream(kind="gray", size_hw=(48, 48)),),
        )
        self.conv = nn.Conv2d(1, channels, 5, stride=4)
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, gray):
        maps = self.conv(gray[:, 0]).relu()
        return self.classifier(maps.mean((2, 3)))
'''


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A corpus, a recipe, and the file of its network."""
    make_corpus(tmp_path / "corpus", each=2)
    (tmp_path / "mynet.py").write_text(SOURCE)
    write_toml(recipe(), tmp_path / "tiny.toml")
    return tmp_path


def recipe(name: str = "mynet:MyNet", **options: Any) -> Any:
    table = {"name": name, "options": options}
    protocol = {"name": "stratified-group-holdout", "part": 0.34}
    return tiny_recipe(model=table, protocol=protocol, schedule={"epochs": 2, "batch_size": 4})


def go(home: Path, **options: Any) -> Run:
    corpora, folder = {"folder": home / "corpus"}, home / "run"
    return train(home / "tiny.toml", corpora, folder, cache=home / "cache", **options)


def refusal(home: Path, source: str, name: str = "mynet:MyNet", **options: Any) -> str:
    """The message for a network with this source, before anything is written."""
    (home / "mynet.py").write_text(source)
    write_toml(recipe(name, **options), home / "tiny.toml")
    with pytest.raises(RecipeError) as raised:
        go(home, allow_code=True)
    assert not (home / "run").exists()
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_code_is_refused_unless_it_is_allowed(home: Path) -> None:
    with pytest.raises(RecipeError, match=r"mynet:MyNet runs Python code.*--allow-code.*allow_cod"):
        go(home)
    assert not (home / "run").exists()
    words = ["train", home / "tiny.toml", "--corpus", f"folder={home / 'corpus'}"]
    ran = ask(*words, "--out", home / "run")
    assert ran.exit_code == 1
    (line,) = lines(ran.stderr)
    assert "--allow-code" in line


def test_a_network_of_ones_own_is_trained_kept_and_exported(home: Path) -> None:
    words = ["train", home / "tiny.toml", "--corpus", f"folder={home / 'corpus'}"]
    ran = ask(*words, "--out", home / "run", "--cache", home / "cache", "--allow-code")
    assert (ran.exit_code, ran.exception) == (0, None)
    run = Run.open(home / "run")
    assert (run.folder / "mynet.py").read_text() == SOURCE
    assert run.info["code"] == hashlib.sha256(SOURCE.encode()).hexdigest()
    assert run.info["model"] == "mynet:MyNet"
    assert run.info["parameters"] == 4 * 25 + 4 + 2 * 4 + 2
    assert run.bundle.clip_spec.shapes() == {"gray": (1, 1, 48, 48)}
    network = prepare_run(run, allow_code=True).trained_network(run)
    pictures = network.example_inputs(3)["gray"]
    with torch.inference_mode():
        expected = torch.softmax(network(pictures), dim=1).numpy()
    np.testing.assert_allclose(run.bundle.predict({"gray": pictures.numpy()}), expected, atol=1e-4)


def test_opening_a_run_with_code_needs_permission_too(home: Path) -> None:
    run = go(home, allow_code=True)
    with pytest.raises(RecipeError, match="--allow-code"):
        prepare_run(read_run(run.folder))
    with pytest.raises(RecipeError, match="--allow-code"):
        open_network(run.folder)
    run.evaluate()
    with pytest.raises(RecipeError, match="allow_code=True"):
        _ = Run.open(run.folder).bundle
    ran = ask("export", run.folder, "--out", home / "own.onnx", "--allow-code")
    assert (ran.exit_code, ran.exception) == (0, None)
    assert [node.name for node in onnx.load(home / "own.onnx").graph.input] == ["gray"]
    assert open_network(run.folder, allow_code=True).spec.pictures


def test_a_run_is_resumed_with_the_code_it_keeps(home: Path) -> None:
    run = go(home, allow_code=True)
    before = run.predictions().probs
    (run.part(*run.exported) / "fold.json").unlink()
    (home / "mynet.py").write_text("raise SystemExit  # not read any more")
    again = resume(run.folder, cache=home / "cache", allow_code=True)
    np.testing.assert_array_equal(again.predictions().probs, before)
    (run.part(*run.exported) / "fold.json").unlink()
    with pytest.raises(RecipeError, match="--allow-code"):
        resume(run.folder, cache=home / "cache")
    (run.folder / "mynet.py").write_text(SOURCE.replace("relu", "sigmoid"))
    with pytest.raises(RecipeError, match=r"mynet\.py: not the code the run started with"):
        resume(run.folder, cache=home / "cache", allow_code=True)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("self.clip_spec = ClipSpec", "self.spec = ClipSpec", "has no clip_spec"),
        ("class MyNet(Network)", "class MyNet(nn.Module)", "has no method example_inputs"),
        ("class MyNet(Network)", "class Other(Network)", "no class or function 'MyNet'"),
        ("def forward(self, gray)", "def forward(self, rgb)", "forward.* fails: TypeError"),
        ("nn.Linear(channels, num_classes)", "nn.Linear(channels, 5)", r"gives \(2, 5\) for a b"),
        ("from torch import nn", "import tocrh", r"mynet\.py: cannot be imported: ModuleNotFound"),
        ("super().__init__()", "super().__init__(1)", "cannot be built: TypeError"),
        ("from torch import nn", "def f(:", r"mynet\.py: cannot be imported: SyntaxError"),
    ],
)
def test_a_network_without_the_interface_is_refused(
    home: Path, old: str, new: str, reason: str
) -> None:
    assert old in SOURCE
    assert re.search(reason, refusal(home, SOURCE.replace(old, new)))


def test_something_else_than_a_network_is_refused(home: Path) -> None:
    source = "def build(num_classes):\n    return [num_classes]\n"
    assert refusal(home, source, "mynet:build") == (
        "mynet:build: builds a list, not a torch.nn.Module."
    )


def test_options_are_given_to_the_network(home: Path) -> None:
    (home / "mynet.py").write_text(SOURCE)
    code = code_of_recipe(recipe(channels=8), home, allow_code=True)
    job = prepare(recipe(channels=8), ("happiness", "sadness"), code)
    assert job.parameters == 8 * 25 + 8 + 2 * 8 + 2
    assert "cannot be built: TypeError" in refusal(home, SOURCE, depth=3)


def test_a_file_that_is_not_there_is_named(home: Path) -> None:
    (home / "mynet.py").unlink()
    with pytest.raises(RecipeError, match=r"mynet\.py: no such file\. tiny names the network"):
        go(home, allow_code=True)


@pytest.mark.parametrize("name", ["../mynet:MyNet", "a.b:MyNet", "mynet:", ":MyNet"])
def test_a_name_that_is_not_a_module_beside_the_recipe_is_refused(home: Path, name: str) -> None:
    assert "is not MODULE:CLASS" in refusal(home, SOURCE, name)


def test_a_recipe_object_does_not_know_its_folder(home: Path) -> None:
    with pytest.raises(RecipeError, match="Give the path of the recipe"):
        train(recipe(), {"folder": home / "corpus"}, home / "run", allow_code=True)
