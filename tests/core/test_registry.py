import importlib
import sys
import threading
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from emoscope.core import registry as module
from emoscope.core.errors import EmoscopeError, PluginError, UnknownName
from emoscope.core.registry import Registry


@pytest.fixture
def tools() -> Registry[int]:
    registry: Registry[int] = Registry("tool")
    registry.add("hammer", 1)
    registry.add("axe", 2)
    return registry


def test_names_keep_the_order_of_their_registration(tools: Registry[int]) -> None:
    assert list(tools) == ["hammer", "axe"]
    assert (tools["hammer"], tools["axe"], len(tools)) == (1, 2, 2)
    assert "axe" in tools
    assert "saw" not in tools


def test_a_near_miss_is_suggested(tools: Registry[int]) -> None:
    with pytest.raises(UnknownName) as raised:
        tools["hamer"]
    assert str(raised.value) == "No tool named 'hamer'. Did you mean 'hammer'?"


def test_without_a_near_miss_all_names_are_listed(tools: Registry[int]) -> None:
    with pytest.raises(UnknownName) as raised:
        tools["zzz"]
    assert str(raised.value) == "No tool named 'zzz'. Known: hammer, axe."


def test_an_unknown_name_is_an_emoscope_error_and_a_key_error(tools: Registry[int]) -> None:
    for kind in (EmoscopeError, KeyError):
        with pytest.raises(kind):
            tools["saw"]


def test_a_name_is_registered_once(tools: Registry[int]) -> None:
    with pytest.raises(ValueError, match="'axe' is registered already"):
        tools.add("axe", 3)
    assert tools["axe"] == 2


def test_the_decorator_registers_and_returns_its_function() -> None:
    rules: Registry[Callable[[], str]] = Registry("rule")

    @rules.register("mean")
    def mean() -> str:
        return "a mean"

    assert rules["mean"] is mean
    assert mean() == "a mean"


def write(folder: Path, files: dict[str, str], patch: pytest.MonkeyPatch) -> None:
    """Make modules importable, as if for the first time."""
    forgotten = {Path(name).parts[0].removesuffix(".py") for name in files}
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text)
    patch.syspath_prepend(folder)
    importlib.invalidate_caches()
    for name in [name for name in sys.modules if name.partition(".")[0] in forgotten]:
        patch.delitem(sys.modules, name)


BASE = "from emoscope.core.registry import Registry\n"
BASE += "TOOLS = Registry('tool', package='shed', group='shed.tools')\n"


def shed(folder: Path, patch: pytest.MonkeyPatch, **modules: str) -> Any:
    """A package with its registry in `shed/base.py`, and these other modules."""
    files = {f"shed/{name}.py": text for name, text in modules.items()}
    write(folder, {"shed/__init__.py": "", "shed/base.py": BASE, **files}, patch)
    return importlib.import_module("shed.base").TOOLS


SAW = "from shed.base import TOOLS\nTOOLS.add('saw', 1)\n"


def test_a_new_file_of_the_package_is_found_at_the_first_look_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = shed(tmp_path, monkeypatch, saw=SAW, axe=SAW.replace("saw", "axe"))
    assert "shed.saw" not in sys.modules
    assert list(tools) == ["axe", "saw"]


def test_names_of_a_package_do_not_depend_on_the_order_of_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = shed(tmp_path, monkeypatch, saw=SAW, axe=SAW.replace("saw", "axe"))
    importlib.import_module("shed.saw")
    assert list(tools) == ["axe", "saw"]


def test_threads_wait_until_the_table_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = shed(tmp_path, monkeypatch, saw="import time\ntime.sleep(0.2)\n" + SAW)
    found: list[list[str]] = []
    threads = [threading.Thread(target=lambda: found.append(list(tools))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [["saw"]] * 4


def plug_in(patch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("drill", "addon", "shed.tools")
    patch.setattr(module, "entry_points", lambda group: [entry] if group == entry.group else [])


def test_another_package_adds_to_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = shed(tmp_path, monkeypatch, saw=SAW)
    write(tmp_path, {"addon.py": SAW.replace("saw", "drill")}, monkeypatch)
    plug_in(monkeypatch)
    assert list(tools) == ["saw", "drill"]


def test_a_package_that_cannot_be_imported_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = shed(tmp_path, monkeypatch, saw=SAW)
    broken = SAW.replace("saw", "drill") + "import no_such_module\n"
    write(tmp_path, {"addon.py": broken}, monkeypatch)
    plug_in(monkeypatch)
    for _ in range(2):  # the second look-up gives the same reason as the first
        with pytest.raises(PluginError, match=r"addon: its tool 'drill' .*no_such_module"):
            tools["saw"]
