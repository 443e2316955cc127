"""Pages that are written from the code agree with it."""

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_reference_names_what_the_registries_hold() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "make_reference.py"))
    written = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert written == script["page"](), "run `make docs`"


def test_every_module_stands_in_the_architecture_page() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    modules = (ROOT / "src" / "emoscope").rglob("*.py")
    names = {path.stem for path in modules} - {"__init__"}
    assert [name for name in sorted(names) if not re.search(rf"\b{name}\b", page)] == []
