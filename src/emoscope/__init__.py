"""Emoscope reads emotion in video: face, body and voice, over time.

>>> import emoscope
>>> timeline = emoscope.analyze("talk.mp4")  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from emoscope.core.offline import disable_telemetry
from emoscope.core.version import VERSION

if TYPE_CHECKING:
    from emoscope.analysis.analyzer import Analyzer
    from emoscope.analysis.bundle import Bundle, load_bundle
    from emoscope.analysis.system import analyze
    from emoscope.core.errors import EmoscopeError
    from emoscope.core.results import Timeline

disable_telemetry()  # before any import of onnxruntime

__version__ = VERSION

__all__ = [
    "Analyzer",
    "Bundle",
    "EmoscopeError",
    "Timeline",
    "__version__",
    "analyze",
    "load_bundle",
]

_HOMES = {
    "Analyzer": "emoscope.analysis.analyzer",
    "analyze": "emoscope.analysis.system",
    "Bundle": "emoscope.analysis.bundle",
    "load_bundle": "emoscope.analysis.bundle",
    "EmoscopeError": "emoscope.core.errors",
    "Timeline": "emoscope.core.results",
}
_ROOMS = ("analysis", "core", "corpora", "media", "models", "reports", "training")


def __getattr__(name: str) -> Any:
    """Import what is asked for, when it is asked for: `import emoscope` stays instant."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in _ROOMS:
        return import_module(f"emoscope.{name}")
    raise AttributeError(f"module 'emoscope' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
