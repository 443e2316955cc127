"""Exceptions. Each message is one line: the thing, the reason, the remedy.

EmoscopeError
├── MediaError      a video, image or audio file that cannot be read or written
│   └── ReadError   a file that the system cannot read at the moment
├── SpecError       arrays, frames or settings that do not fit a ClipSpec or network
├── BundleError     a model file that is not a bundle this version can run
├── CorpusError     a corpus folder with an unexpected layout or unexpected labels
├── RecipeError     a training recipe that cannot be run
├── UnknownName     a name that is not registered
├── PluginError     an installed package that extends Emoscope and cannot be loaded
└── MissingExtra    an optional package that is not installed
"""

__all__ = [
    "BundleError",
    "CorpusError",
    "EmoscopeError",
    "MediaError",
    "MissingExtra",
    "PluginError",
    "ReadError",
    "RecipeError",
    "SpecError",
    "UnknownName",
]


class EmoscopeError(Exception):
    """Base class of all exceptions that Emoscope raises."""


class MediaError(EmoscopeError):
    """A video, image or audio file that cannot be read or written."""


class ReadError(MediaError):
    """A file that the system cannot read at the moment, whatever its content: an I/O error, no
    permission, too many open files, not enough memory."""


class SpecError(EmoscopeError, ValueError):
    """Arrays, frames or settings that do not fit a ClipSpec or a network."""


class BundleError(EmoscopeError):
    """A model file that is not a bundle this version can run."""


class CorpusError(EmoscopeError):
    """A corpus with an unexpected layout or unexpected labels."""


class RecipeError(EmoscopeError):
    """A training recipe that cannot be run."""


class UnknownName(EmoscopeError, KeyError):
    """A name that is not registered."""

    __str__ = Exception.__str__  # KeyError would put the message in quotes


class PluginError(EmoscopeError):
    """An installed package that extends Emoscope and cannot be loaded."""


class MissingExtra(EmoscopeError, ImportError):
    """A feature whose optional package is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an optional package: pip install 'emoscope[{extra}]'")
