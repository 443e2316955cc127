"""Pages that are written from the code agree with it."""

import re
import runpy
from pathlib import Path

from emoscope.training.recipe import Recipe

ROOT = Path(__file__).parents[1]


def test_the_reference_names_what_the_registries_hold() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "make_reference.py"))
    written = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert written == script["page"](), "run `make docs`"


def test_the_table_of_detectors_in_the_readme_is_that_of_the_registry() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "make_reference.py"))
    assert (ROOT / "README.md").read_text(encoding="utf-8") == script["readme"](), "run `make docs`"


def test_the_recipe_reference_describes_every_key() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "make_reference.py"))
    written = (ROOT / "docs" / "recipe-reference.md").read_text(encoding="utf-8")
    assert written == script["recipe_page"](), "run `make docs`"
    tables = [Recipe]
    for table in tables:
        for key, field in table.model_fields.items():
            tables += script["models_of"](field.annotation)
            is_heading = key == "name" and "holdout" in table.model_fields  # of a protocol
            if not is_heading:
                assert f"| `{key}` |" in written
                assert field.description, f"{table.__name__}.{key} has no description"


# A module added to one of these registers itself, and stands in the generated reference.
REGISTRY_PACKAGES = ("models", "media/detectors", "reports", "corpora/readers")


def test_every_module_stands_in_the_architecture_page() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    package = ROOT / "src" / "emoscope"
    registered = [package / name for name in REGISTRY_PACKAGES]
    modules = [path for path in package.rglob("*.py") if path.parent not in registered]
    names = {path.stem for path in modules} - {"__init__"}
    assert [name for name in sorted(names) if not re.search(rf"\b{name}\b", page)] == []
