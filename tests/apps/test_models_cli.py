"""`emoscope models`: installed models in every install, networks and estimators with torch."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from asking import ask, lines
from tiny_bundles import image_bundle

from emoscope import models
from emoscope.analysis.bundle import bundle_names, installed_models, load_bundle
from emoscope.training import estimators

REFERENCE = Path(__file__).parents[2] / "docs" / "make_reference.py"
ASK_WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
from emoscope.apps.cli import main
main()
"""


def listed(text: str) -> dict[str, list[str]]:
    """The names below each heading."""
    headings = re.findall(r"^(\w.*):$", text, re.MULTILINE)
    parts = re.split(r"^\w.*$", text, flags=re.MULTILINE)[1:]
    names = [[line.split()[0] for line in lines(part) if line.strip()] for part in parts]
    return dict(zip(headings, names, strict=False))


def test_the_list_holds_installed_models_networks_and_estimators() -> None:
    ran = ask("models", "list")
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert list(listed(ran.stdout).values()) == [
        list(installed_models()),
        models.names(),
        estimators.names(),
    ]


def test_the_reference_page_names_all_that_is_listed() -> None:
    page = runpy.run_path(str(REFERENCE))["page"]()  # as test_docs holds docs/reference.md to be
    every = [name for names in listed(ask("models", "list").stdout).values() for name in names]
    assert len(every) > 20
    assert [name for name in every if f"| `{name}` |" not in page] == []


def test_an_installed_model_is_listed_with_modality_labels_and_licence() -> None:
    (line,) = (one for one in lines(ask("models", "list").stdout) if "face-ferplus" in one)
    assert line.split() == ["face-ferplus", "face", "8", "labels", "Apache-2.0"]


@pytest.mark.parametrize("name", bundle_names())
def test_an_installed_model_is_shown_with_its_card(name: str) -> None:
    ran = ask("models", "show", name)
    assert (ran.exit_code, ran.stderr) == (0, "")
    card = load_bundle(name).card
    for fact in (card.version, card.modality, card.licence, card.trained_on, *card.labels):
        assert fact in ran.stdout
    assert f"accuracy {card.figures['accuracy']:.1%}" in ran.stdout
    assert all(stream in ran.stdout for stream in card.clip_spec.shapes())


def test_a_system_is_shown_with_its_members_and_rule() -> None:
    shown = ask("models", "show", "face-voice").stdout
    assert re.search(r"^rule +average$", shown, re.MULTILINE)
    assert re.search(r"^member 1 +face-ferplus \(face, Apache-2\.0\)$", shown, re.MULTILINE)
    assert re.search(r"^member 2 +voice-ravdess .*emoscope-voice", shown, re.MULTILINE)


@pytest.mark.parametrize("name", [*models.names(), *estimators.names()])
def test_a_network_or_an_estimator_is_shown_with_inputs_and_options(name: str) -> None:
    ran = ask("models", "show", name)
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert lines(ran.stdout)[0].startswith(f"{name}: ")
    assert "inputs: " in ran.stdout
    if name in estimators.ESTIMATORS:
        spec = estimators.ESTIMATORS[name].clip_spec
    else:
        with torch.device("meta"):
            model = models.create(name)
        assert f"{sum(p.numel() for p in model.parameters()):,}" in ran.stdout
        spec = model.clip_spec
        for option in models.small(name):
            assert f"  {option} = " in ran.stdout
    assert all(stream in ran.stdout for stream in spec.shapes())


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("face-cn", "face-cnn"),
        ("face-ferpls", "face-ferplus"),
        ("face-voise", "face-voice"),
        ("egemaps-svm", "egemaps-svc"),
    ],
)
def test_an_unknown_name_suggests_the_nearest_of_any_kind(name: str, nearest: str) -> None:
    ran = ask("models", "show", name)
    assert ran.exit_code == 2
    assert lines(ran.stderr) == [f"emoscope: No model named {name!r}. Did you mean {nearest!r}?"]


def without_torch(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", ASK_WITHOUT_TORCH, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_without_torch_the_installed_models_are_listed_and_shown() -> None:
    ran = without_torch("models", "list")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert listed(ran.stdout) == {"Models for `emoscope analyze --model`": list(installed_models())}
    assert lines(ran.stdout)[-1] == (
        "Networks and estimators need an optional package: pip install 'emoscope[train]'"
    )
    shown = without_torch("models", "show", "face-ferplus")
    assert shown.returncode == 0
    assert "Apache-2.0" in shown.stdout


def test_without_torch_the_name_of_a_network_says_what_it_needs() -> None:
    ran = without_torch("models", "show", "slow-fusion")
    assert ran.returncode == 2
    (line,) = lines(ran.stderr)
    assert line.startswith("emoscope: No model named 'slow-fusion'.")
    assert line.endswith("pip install 'emoscope[train]'")


# Models for `analyze --model`


def run_folder(path: Path) -> Path:
    path.mkdir()
    (path / "run.json").write_text(json.dumps({"name": "mine"}))
    return path


def test_analyze_takes_a_run_folder_with_its_bundle(media: Path, tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run")
    image_bundle(run / "mine.onnx", name="mine")
    ran = ask("analyze", media / "dark.mp4", "--model", run, "--detector", "none", "--json")
    assert ran.exit_code == 0, ran.stderr
    assert json.loads(ran.stdout)["provenance"]["model"] == "mine"


def test_analyze_says_how_to_export_a_run_without_a_bundle(media: Path, tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run")
    ran = ask("analyze", media / "dark.mp4", "--model", run)
    assert ran.exit_code == 1
    assert lines(ran.stderr) == [
        f"emoscope: {run}: the run has no bundle yet. Write it with "
        f"`emoscope export {run} -o {run}/mine.onnx`."
    ]
