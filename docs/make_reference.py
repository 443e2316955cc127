"""Write docs/reference.md from the registries: what there is to choose from, in one place.

python docs/make_reference.py
"""

import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from emoscope import models
from emoscope.analysis.bundle import BACKENDS, bundle_names, installed_models, load_bundle
from emoscope.analysis.system import System
from emoscope.core.labels import LABEL_SETS
from emoscope.core.registry import Registry
from emoscope.core.votes import VOTES
from emoscope.corpora import CORPORA, reader_options
from emoscope.media.detectors import DETECTORS
from emoscope.reports.formats import FORMATS
from emoscope.training.estimators.pipelines import ESTIMATORS
from emoscope.training.evaluation.fit_fusion import RULES

PAGE = Path(__file__).with_name("reference.md")


def first_line(thing: Any) -> str:
    """The first sentence of a docstring, on one line."""
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())


def section(title: str, entries: Iterable[tuple[str, str]]) -> str:
    """A heading and a table."""
    rows = "\n".join(f"| `{name}` | {text} |" for name, text in entries)
    return f"## {title}\n\n| name | what it is |\n|---|---|\n{rows}\n"


def described(registry: Registry[Any]) -> list[tuple[str, str]]:
    """Every name with its docstring's beginning."""
    return [(name, first_line(registry[name])) for name in registry]


def corpora() -> list[tuple[str, str]]:
    """Every corpus with its layout and its options."""
    rows = []
    for name, layout in described(CORPORA):
        options = "".join(
            f" `--option {option.name}=...`: {option.help}"
            for option in reader_options(name).values()
        )
        rows.append((name, layout + options))
    return rows


def page() -> str:
    """The whole page."""
    networks = [(name, first_line(models.MODELS[name].build)) for name in models.names()]
    fitted = [(name, first_line(ESTIMATORS[name].build)) for name in ESTIMATORS]
    bundles = [(name, load_bundle(name).card.trained_on) for name in bundle_names()]
    systems = [
        (name, f"{system.rule} of {', '.join(member.model for member in system.members)}")
        for name in installed_models()
        if name not in bundle_names()
        for system in (System.read(name),)
    ]
    sets = [(name, ", ".join(LABEL_SETS[name].labels)) for name in LABEL_SETS]
    reports = [(name, first_line(FORMATS[name].write)) for name in sorted(FORMATS)]
    detectors = [(name, first_line(DETECTORS[name].build)) for name in DETECTORS]
    parts = [
        "# Reference\n\nWritten by `make docs` from the registries.\n",
        section("Installed models (`--model`)", bundles),
        section("Installed systems of several models (`--model`)", systems),
        section("Fusion rules (`emoscope fuse --rule`)", described(RULES)),
        section("Detectors (`--detector`)", detectors),
        section("Votes (`--vote`, `[evaluation] vote` in a recipe)", described(VOTES)),
        section("Report formats (`--format`)", reports),
        section("Backends (`--backend`)", described(BACKENDS)),
        section("Networks (`[model] name` in a recipe)", networks),
        section("Estimators (`[model] name` in a recipe)", fitted),
        section("Corpora (`emoscope corpus scan NAME DIR`)", corpora()),
        section("Label sets", sets),
    ]
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
