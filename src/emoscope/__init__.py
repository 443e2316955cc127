"""Emoscope analyses emotion in video over time: face, body and voice.

>>> import emoscope
>>> timeline = emoscope.analyze("talk.mp4")  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from emoscope.core.offline import disable_telemetry
from emoscope.core.version import VERSION

if TYPE_CHECKING:
    from emoscope.analysis.analyzer import Analyzer, analyze
    from emoscope.analysis.bundle import Bundle, load_bundle
    from emoscope.core.errors import EmoscopeError
    from emoscope.core.options import AnalyzeOptions
    from emoscope.core.results import Timeline

disable_telemetry()  # before any import of onnxruntime

__version__ = VERSION

__all__ = [
    "AnalyzeOptions",
    "Analyzer",
    "Bundle",
    "EmoscopeError",
    "Timeline",
    "__version__",
    "analyze",
    "load_bundle",
]

_HOMES = {
    "AnalyzeOptions": "emoscope.core.options",
    "Analyzer": "emoscope.analysis.analyzer",
    "analyze": "emoscope.analysis.analyzer",
    "Bundle": "emoscope.analysis.bundle",
    "load_bundle": "emoscope.analysis.bundle",
    "EmoscopeError": "emoscope.core.errors",
    "Timeline": "emoscope.core.results",
}
_ROOMS = ("analysis", "core", "corpora", "media", "models", "reports", "training")


def __getattr__(name: str) -> Any:
    """Import public names and sub-packages on first use, so that `import emoscope` is instant."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in _ROOMS:
        return import_module(f"emoscope.{name}")
    raise AttributeError(f"module 'emoscope' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
