"""A corpus that a small network learns in seconds, and the recipe for it."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from emoscope.training.recipe import Recipe

LABELS = ("happiness", "sadness")
RECIPE: dict[str, Any] = {
    "name": "tiny",
    "corpus": {"name": "folder", "detector": "none"},
    "protocol": {"name": "leave-one-subject-out"},
    "model": {"name": "face-cnn", "options": {"stem": 4, "widths": [4, 8], "blocks": [1, 1]}},
    "augmentation": {"flip": 0.5, "shift": 0.05},
    "optimiser": {"lr": 0.01},
    "schedule": {"epochs": 2, "batch_size": 8},
    "bundle": {"licence": "none", "trained_on": "stripes"},
}


def picture(label: int, seed: int) -> np.ndarray:
    """Stripes across for happiness, upright for sadness, and noise of its own."""
    wave = 127 + 80 * np.sin(np.arange(48) / 2)
    stripes = np.tile(wave, (48, 1)) if label else np.tile(wave[:, None], (1, 48))
    noise = np.random.default_rng(seed).normal(0, 12, (48, 48))
    return np.clip(stripes + noise, 0, 255).astype(np.uint8)


def make_corpus(root: Path, subjects: int = 3, each: int = 4) -> Path:
    """SUBJECT/LABEL/i.png, `each` of every label and person."""
    for who in range(subjects):
        for label, name in enumerate(LABELS):
            folder = root / f"p{who}" / name
            folder.mkdir(parents=True)
            for i in range(each):
                seed = (who * len(LABELS) + label) * each + i
                cv2.imwrite(str(folder / f"{i}.png"), picture(label, seed))
    return root


def tiny_recipe(**changes: dict[str, Any] | Any) -> Recipe:
    """The recipe with some of its tables changed: tiny_recipe(schedule={"epochs": 5})."""
    settings = {**RECIPE}
    for table, values in changes.items():
        both = isinstance(values, dict) and table != "protocol" and table in settings
        settings[table] = {**settings[table], **values} if both else values
    return Recipe.model_validate(settings)


def write_toml(recipe: Recipe, path: Path) -> Path:
    """The recipe as a file, as far as TOML can say it."""
    lines = []
    for key, value in recipe.model_dump(mode="json", exclude_none=True).items():
        lines.append(f"{key} = {_toml(value)}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else repr(value)
