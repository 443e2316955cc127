"""Keep dependencies offline: no telemetry, and no files outside the cache folder."""

import os
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

__all__ = ["default_cache", "disable_telemetry", "import_openvino", "keep_matplotlib_in_cache"]

_OPENVINO_TELEMETRY = "openvino_telemetry"


def default_cache() -> Path:
    """The cache folder: $EMOSCOPE_CACHE, or emoscope in $XDG_CACHE_HOME or in ~/.cache."""
    if own := os.environ.get("EMOSCOPE_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "emoscope"


def disable_telemetry() -> None:
    """Disable ONNX Runtime's telemetry, unless the environment already decides it.

    ONNX Runtime reads the variable once, at its import; from 1.29 on it otherwise writes a device
    id to the user's cache and contacts a Microsoft host after ten seconds."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def import_openvino() -> ModuleType:
    """Import OpenVINO without `openvino_telemetry`, which reports every import to Google Analytics.

    OpenVINO falls back to a stub where that package is missing. Raises ImportError if OpenVINO is
    not installed."""
    hide = _OPENVINO_TELEMETRY not in sys.modules
    if hide:
        sys.modules[_OPENVINO_TELEMETRY] = None  # type: ignore[assignment]  # not importable
    try:
        return import_module("openvino")
    finally:
        if hide:
            del sys.modules[_OPENVINO_TELEMETRY]


def keep_matplotlib_in_cache() -> None:
    """Have matplotlib keep its configuration and font list in the cache folder, unless the
    environment names another. Lightning imports it."""
    os.environ.setdefault("MPLCONFIGDIR", str(default_cache() / "matplotlib"))
