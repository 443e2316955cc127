"""Where the cache is, and which switches of dependencies are set before their import."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from emoscope.core.offline import (
    default_cache,
    disable_telemetry,
    import_openvino,
    keep_matplotlib_in_cache,
)


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EMOSCOPE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert default_cache() == Path.home() / ".cache" / "emoscope"
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert default_cache() == Path("/xdg/emoscope")
    monkeypatch.setenv("EMOSCOPE_CACHE", "/own")
    assert default_cache() == Path("/own")


def test_switches_that_are_set_already_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    monkeypatch.setenv("MPLCONFIGDIR", "/own")
    disable_telemetry()
    keep_matplotlib_in_cache()
    assert (os.environ["ORT_DISABLE_TELEMETRY"], os.environ["MPLCONFIGDIR"]) == ("0", "/own")


@pytest.mark.parametrize("module", ["emoscope", "emoscope.core.errors", "emoscope.apps.cli"])
def test_any_import_of_the_package_disables_telemetry(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    code = f"import {module}, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "1\n"


def test_openvino_is_imported_without_its_telemetry() -> None:
    pytest.importorskip("openvino_telemetry", reason="OpenVINO came without its telemetry")
    code = (
        "import sys\n"
        "from emoscope.core.offline import import_openvino\n"
        "print(import_openvino().__name__, 'openvino_telemetry' in sys.modules)\n"
        "import openvino_telemetry  # by whoever wants it\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "openvino False\n"


def test_a_missing_openvino_is_an_import_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ImportError):
        import_openvino()
    assert sys.modules.get("openvino_telemetry", sys) is not None
