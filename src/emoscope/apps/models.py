"""`emoscope models`: the installed models and, with the train extra, networks and estimators."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import typer

from emoscope.analysis.bundle import BundleCard, installed_models, load_bundle
from emoscope.analysis.system import Member, System
from emoscope.core.clipspec import ClipSpec
from emoscope.core.errors import UnknownName
from emoscope.core.registry import Registry

__all__ = ["list_all", "show_one"]

_NEEDS_EXTRA = "Networks and estimators need an optional package: pip install 'emoscope[train]'"


def list_all() -> None:
    """Print one line for each model."""
    typer.echo("Models for `emoscope analyze --model`:")
    installed = installed_models()
    rows = [
        _system_row(System.read(name)) if installed[name].suffix == ".toml" else _bundle_row(name)
        for name in installed
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        typer.echo(f"  {'  '.join(cells).rstrip()}")
    builders = _builders()
    if not builders:
        typer.echo(f"\n{_NEEDS_EXTRA}")
    for kind, builds in builders.items():
        typer.echo(f"\n{kind} for `[model] name` in a recipe:")
        for name, build in builds.items():
            about = " ".join((inspect.getdoc(build) or "").split("\n\n")[0].split())
            typer.echo(f"  {name:<20} {about}")


def show_one(name: str) -> None:
    """Print all about one model. Raises UnknownName with the nearest name of any kind."""
    installed = installed_models()
    known: Registry[Callable[[], None]] = Registry("model")
    for model in installed:
        is_system = installed[model].suffix == ".toml"
        known.add(model, partial(_show_system if is_system else _show_bundle, model))
    builders = _builders()
    for kind, builds in builders.items():
        for model in builds:
            if model not in known:
                show = _show_network if kind == "Networks" else _show_estimator
                known.add(model, partial(show, model))
    if name not in known and not builders:
        try:
            _ = known[name]
        except UnknownName as error:
            raise UnknownName(f"{error} {_NEEDS_EXTRA}") from None
    known[name]()


def _builders() -> dict[str, dict[str, Callable[..., Any]]]:
    """Functions that build networks and estimators, by name; none without the train extra."""
    try:
        from emoscope import models
        from emoscope.training import estimators
    except ImportError:
        return {}
    return {
        "Networks": {name: models.MODELS[name].build for name in models.names()},
        "Estimators": {name: estimators.ESTIMATORS[name].build for name in estimators.names()},
    }


def _bundle_row(name: str) -> tuple[str, str, str, str]:
    card = load_bundle(name).card
    return name, card.modality, f"{len(card.labels)} labels", card.licence


def _system_row(system: System) -> tuple[str, str, str, str]:
    cards = _member_cards(system)
    labels = f"{len(system.label_names)} labels"
    if missing := [member for member, card in cards if card is None]:
        packages = ", ".join(member.package or member.model for member in missing)
        return system.name, "system", labels, f"not ready: install {packages}"
    present = [card for _, card in cards if card is not None]
    modality = "+".join(dict.fromkeys(card.modality for card in present))
    return system.name, modality, labels, ", ".join(dict.fromkeys(c.licence for c in present))


def _member_cards(system: System) -> list[tuple[Member, BundleCard | None]]:
    """Each member and its card; None for a member that is not installed."""
    pairs: list[tuple[Member, BundleCard | None]] = []
    for member in system.members:
        try:
            pairs.append((member, load_bundle(member.model).card))
        except UnknownName:
            pairs.append((member, None))
    return pairs


def _show_bundle(name: str) -> None:
    card = load_bundle(name).card
    window = card.clip_spec.window
    facts = {
        "modality": card.modality,
        "labels": ", ".join(card.labels),
        "licence": card.licence,
        "trained on": card.trained_on,
        "measured": _figures(card.figures),
        "paper": card.paper,
        "inputs": _inputs(card.clip_spec),
        "region": card.clip_spec.region if card.clip_spec.frame_streams else "",
        "window": ""
        if card.clip_spec.is_image
        else f"{window.length_s:g} s every {window.stride_s:g} s",
    }
    typer.echo(f"{name}: a model, version {card.version}\n")
    _print_facts(facts)


def _show_system(name: str) -> None:
    system = System.read(name)
    typer.echo(f"{name}: a system of {len(system.members)} models, version {system.version}\n")
    facts = {
        "labels": ", ".join(system.label_names),
        "rule": system.rule,
        "speaker": f"{system.speaker} (the faces that the voice belongs to)",
    }
    for number, (member, card) in enumerate(_member_cards(system), 1):
        about = f"{card.modality}, {card.licence}" if card else "not installed"
        package = f"; from the package {member.package}" if member.package else ""
        facts[f"member {number}"] = f"{member.model} ({about}{package})"
    _print_facts(facts)


def _show_network(name: str) -> None:
    import torch

    from emoscope import models

    with torch.device("meta"):  # weights are not needed, and some are half a gigabyte
        model: Any = models.create(name)
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    small = models.small(name)
    size = f"a network, {count:,} trainable parameters"
    _show_built(name, size, models.MODELS[name].build, model.clip_spec, small)


def _show_estimator(name: str) -> None:
    from emoscope.training import estimators

    entry = estimators.ESTIMATORS[name]
    _show_built(name, "an estimator", entry.build, entry.clip_spec, {})


def _show_built(
    name: str, what: str, build: Callable[..., Any], spec: ClipSpec, small: Mapping[str, Any]
) -> None:
    typer.echo(f"{name}: {what}\n\n{inspect.getdoc(build) or ''}\n\ninputs: {_inputs(spec)}")
    typer.echo("options:")
    for option in inspect.signature(build).parameters.values():
        typer.echo(f"  {option.name} = {option.default!r}")
    if small:
        shown = ", ".join(f"{option} = {value!r}" for option, value in small.items())
        typer.echo(f"small version, for tests and tutorials: {shown}")


def _inputs(spec: ClipSpec) -> str:
    return ", ".join(f"{kind} {shape}" for kind, shape in spec.shapes().items())


def _figures(figures: Mapping[str, Any]) -> str:
    """The main figures of a card in one line; cards may lack any of them."""
    names = {"accuracy": "accuracy", "uar": "UAR", "macro_f1": "macro-F1"}
    parts: Iterable[str] = (
        f"{label} {figures[key]:.1%}" for key, label in names.items() if key in figures
    )
    text = ", ".join(parts)
    return f"{text}, on {figures['what']}" if text and "what" in figures else text


def _print_facts(facts: Mapping[str, str]) -> None:
    for label, text in facts.items():
        if text:
            typer.echo(f"{label:<12}{text}")
