"""Networks of other installed packages are found through their entry points."""

import subprocess
import sys
from pathlib import Path

MODULE = """
from torch import nn

from emoscope.core.clipspec import ClipSpec, Last, Stream
from emoscope.models import MODELS, ModelEntry, Network


class Linear(Network):
    def __init__(self, num_classes=3, size_px=8):
        super().__init__()
        stream = Stream(kind="gray", size_hw=(size_px, size_px))
        self.clip_spec = ClipSpec(sampling=Last(length=1), streams=(stream,))
        self.classifier = nn.Linear(size_px**2, num_classes)

    def forward(self, gray):
        return self.classifier(gray.flatten(1))


MODELS.add("linear", ModelEntry(Linear, small={"size_px": 4}))
"""

CALLS = """
from emoscope import models

assert "linear" in models.names() and "face-cnn" in models.names()
assert models.small("linear") == {"size_px": 4}
model = models.create("linear", num_classes=5)
assert model(**model.example_inputs(2)).shape == (2, 5)
"""


def run(tmp_path: Path, code: str) -> subprocess.CompletedProcess[str]:
    path = [str(tmp_path), *sys.path]
    code = f"import sys\nsys.path[:] = {path!r}\n{code}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def install(tmp_path: Path, module: str) -> None:
    (tmp_path / "emoscope_linear.py").write_text(module)
    info = tmp_path / "emoscope_linear-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: emoscope-linear\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[emoscope.models]\nlinear = emoscope_linear\n")


def test_a_network_of_an_installed_package_is_built_by_name(tmp_path: Path) -> None:
    install(tmp_path, MODULE)
    result = run(tmp_path, CALLS)
    assert result.returncode == 0, result.stderr


def test_an_installed_package_that_cannot_be_imported_is_named(tmp_path: Path) -> None:
    install(tmp_path, "import no_such_module")
    result = run(tmp_path, "from emoscope import models\nmodels.names()")
    message = result.stderr.strip().splitlines()[-1]
    assert message.startswith("emoscope.core.errors.PluginError: emoscope-linear")
    assert "no_such_module" in message
    assert message.endswith("Update or uninstall the package.")
