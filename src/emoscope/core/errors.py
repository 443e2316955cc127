"""Everything Emoscope raises on purpose. One line each: the thing, the reason, the remedy.

EmoscopeError
├── MediaError      a video, image or sound that cannot be read or written
├── SpecError       arrays or frames that do not fit a ClipSpec
├── BundleError     a model file that is not a bundle this version can run
├── CorpusError     a corpus folder whose layout or labels are not what was expected
├── RecipeError     a training recipe that cannot be run
├── UnknownName     a name that no registry holds
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
    "RecipeError",
    "SpecError",
    "UnknownName",
]


class EmoscopeError(Exception):
    """The root: catch this to catch everything Emoscope raises on purpose."""


class MediaError(EmoscopeError):
    """A video, image or sound that cannot be read or written."""


class SpecError(EmoscopeError, ValueError):
    """Frames or arrays that do not fit the ClipSpec they were given for."""


class BundleError(EmoscopeError):
    """A model file that is not a bundle this version can run."""


class CorpusError(EmoscopeError):
    """A corpus whose layout or labels are not what was expected."""


class RecipeError(EmoscopeError):
    """A training recipe that cannot be run."""


class UnknownName(EmoscopeError, KeyError):
    """A name that no registry holds."""

    __str__ = Exception.__str__  # KeyError would print the message in quotes


class PluginError(EmoscopeError):
    """An installed package that extends Emoscope and cannot be loaded."""


class MissingExtra(EmoscopeError, ImportError):
    """A feature whose optional package is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an optional package: pip install 'emoscope[{extra}]'")
