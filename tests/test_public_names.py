"""Names that others rely on stay importable from where they are documented."""

from importlib import import_module

import pytest

import emoscope
from emoscope import models
from emoscope.apps.cli import app

TOP = ["Analyzer", "AnalyzeOptions", "Timeline", "analyze", "load_bundle"]
ELSEWHERE = {
    "emoscope.media.clips": "Clip build_clip",
    "emoscope.media.sampling": "uniform_indices",
    "emoscope.media.motion": "dynamic_image optical_flow",
    "emoscope.media.video": "read_frames Frame",
    "emoscope.models": "names create small",
    "emoscope.models.convlstm": "ConvLSTM EnhancedConvLSTM GatedConvLSTM",
    "emoscope.models.deformable": "deform_conv2d",
    "emoscope.analysis.fusion": "average weighted_average highest_confidence",
    "emoscope.training.metrics": (
        "accuracy uar macro_f1 confusion_matrix bootstrap_ci mcnemar ece"
    ),
    "emoscope.training.splits": (
        "leave_one_subject_out leave_one_group_out group_k_fold fixed augmented_random"
    ),
}
NETWORKS = (
    "single-frame early-fusion late-fusion slow-fusion conv3d cnn-gru convlstm-body "
    "deformable-convlstm four-stream vgg16 vgg16-bilstm vgg19-lstm c3d face-cnn face-gru av-joint"
)
ESTIMATORS = "egemaps-svc egemaps-rf hog-klt-svm mbmic-svm"
COMMANDS = "analyze corpus train evaluate compare reproduce export models explain fuse"


@pytest.mark.parametrize("name", TOP)
def test_a_name_of_the_package(name: str) -> None:
    assert callable(getattr(emoscope, name))
    assert name in dir(emoscope)


@pytest.mark.parametrize(("module", "names"), ELSEWHERE.items())
def test_names_of_its_modules(module: str, names: str) -> None:
    missing = [name for name in names.split() if not hasattr(import_module(module), name)]
    assert missing == []


def test_networks_and_estimators() -> None:
    assert set(NETWORKS.split()) <= set(models.names())
    assert set(ESTIMATORS.split()) <= set(import_module("emoscope.training.estimators").names())


def test_commands() -> None:
    commands = {c.name or getattr(c.callback, "__name__", "") for c in app.registered_commands}
    groups = {group.name for group in app.registered_groups}
    assert set(COMMANDS.split()) <= commands | groups
