"""Examples in docstrings give what they show."""

import doctest
import importlib
import re
from pathlib import Path

import pytest

import emoscope

EXAMPLE = re.compile(r"^\s*>>> ", re.MULTILINE)
ROOT = Path(emoscope.__file__).parent
PROJECT = Path(__file__).parents[1]


def modules_with_examples() -> list[str]:
    """Names of the modules whose source contains a doctest."""
    sources = [
        path for path in ROOT.rglob("*.py") if EXAMPLE.search(path.read_text(encoding="utf-8"))
    ]
    parts = (path.relative_to(ROOT.parent).with_suffix("").parts for path in sources)
    return sorted(".".join(part for part in name if part != "__init__") for name in parts)


def test_examples_are_discovered() -> None:
    modules = modules_with_examples()
    assert {"emoscope.core.registry", "emoscope.models.registry"} <= set(modules)


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_of_a_module(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # an example that writes a file leaves nothing in the project
    for folder in ("recipes", "examples"):  # examples may read these
        (tmp_path / folder).symlink_to(PROJECT / folder)
    results = doctest.testmod(
        importlib.import_module(name),
        optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE,
    )
    assert results.failed == 0
