"""A tiny model, tiny films, and `emoscope analyze` run on them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asking import ask
from making import grey_picture, make_text, make_video
from tiny_bundles import clip_bundle, image_bundle


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bundles, two films of half a second, and a text that claims to be one."""
    folder = tmp_path_factory.mktemp("media")
    image_bundle(folder / "image.onnx")
    clip_bundle(folder / "clip.onnx")
    make_video(folder / "dark.mp4", num_frames=12)
    bright = grey_picture(20)
    make_video(folder / "bright.mp4", num_frames=12, picture=lambda _: bright, sound_s=0.48)
    make_text(folder / "text.mp4")
    return folder


Analyze = Callable[..., Any]  # -> the runner's result


@pytest.fixture
def analyze(media: Path) -> Callable[..., Any]:
    """Runs `emoscope analyze` with the tiny image model on whole frames, unless told otherwise."""

    def run(*words: object, env: dict[str, str] | None = None) -> Any:
        model = [] if "--model" in words else ["--model", media / "image.onnx"]
        detector = [] if "--detector" in words else ["--detector", "none"]
        return ask("analyze", *words, *model, *detector, env=env)

    return run


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where the reports go; not there yet."""
    return tmp_path / "out"


@pytest.fixture
def report(analyze: Callable[..., Any], out: Path) -> Callable[..., Any]:
    """Runs `emoscope analyze` on every frame by itself: JSON to standard output, all reports to
    `out`."""

    def run(path: Path, *words: str, formats: str = "json,csv,parquet,html,mp4") -> Any:
        by_frame = ["--rate", "native", "--smooth", "0"]
        return analyze(path, *by_frame, "--json", "--out", out, "--format", formats, *words)

    return run
