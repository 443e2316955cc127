"""The registry of corpus readers, and how a corpus is read with options."""

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from emoscope.core.errors import CorpusError, UnknownName
from emoscope.core.registry import Registry
from emoscope.corpora.manifest import Manifest, spelling_notes, synthetic_kind

__all__ = [
    "CORPORA",
    "Reader",
    "ReaderOption",
    "options_by_corpus",
    "read_corpus",
    "reader_options",
]

Reader = Callable[..., Manifest]
"""A function from a corpus's folder to its Manifest.

The first paragraph of its docstring describes the layout. Its keyword-only parameters, which have
defaults, are the options of the corpus: `pattern: Annotated[str, "File name."] = "..."`. It raises
CorpusError with the layout that it expected and what it found instead.
"""

CORPORA: Registry[Reader] = Registry(
    "corpus", package="emoscope.corpora.readers", group="emoscope.corpora"
)


@dataclass(frozen=True)
class ReaderOption:
    """An option of a corpus reader. `type` is its annotation, with which values are validated."""

    name: str
    type: Any
    default: Any
    help: str


def reader_options(name: str) -> dict[str, ReaderOption]:
    """The options that a corpus's reader takes, by name. Raises UnknownName for another corpus.

    >>> list(reader_options("gemep"))
    ['pattern']
    """
    reader = CORPORA[name]
    types = get_type_hints(reader, include_extras=True)
    options = {}
    for parameter in inspect.signature(reader).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY:
            type_ = types[parameter.name]
            notes = get_args(type_)[1:] if get_origin(type_) is Annotated else ()
            help_ = next((note for note in notes if isinstance(note, str)), "")
            options[parameter.name] = ReaderOption(parameter.name, type_, parameter.default, help_)
    return options


def options_by_corpus(
    names: Iterable[str], options: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Assign options to each of the named corpora whose reader takes them, and validate them.

    Text is converted to the option's type: {"gemep": {"pattern": "..."}, "ravdess": {}}.
    Raises UnknownName for an option that none of the readers takes, CorpusError for its value.
    """
    known = {name: reader_options(name) for name in names}
    every = sorted({option for taken in known.values() for option in taken})
    for option in options:
        if option not in every:
            near = difflib.get_close_matches(option, every, n=1)
            hint = f"Known: {', '.join(every)}." if every else "It takes no options."
            hint = f"Did you mean {near[0]!r}?" if near else hint
            raise UnknownName(f"{' + '.join(known)}: no option named {option!r}. {hint}")
    return {
        name: {key: _validated(name, taken[key], options[key]) for key in options if key in taken}
        for name, taken in known.items()
    }


def _validated(corpus: str, option: ReaderOption, value: Any) -> Any:
    try:
        return TypeAdapter(option.type).validate_python(value)
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"]
        raise CorpusError(f"{corpus}: option {option.name} = {value!r}: {reason}.") from None


def read_corpus(name: str, root: Path, /, **options: Any) -> Manifest:
    """Read the corpus of a registered name from its folder, with its reader's options.

    Raises UnknownName for the name or an option, CorpusError for a folder of another layout.
    A synthetic corpus is called "synthetic-KIND" whichever reader reads it.
    """
    reader, checked = CORPORA[name], options_by_corpus([name], options)[name]
    if not root.exists():
        raise CorpusError(f"{root}: no such file or folder. Give the folder that holds {name}.")
    manifest = reader(root, **checked)
    kind = synthetic_kind(root if root.is_dir() else root.parent)
    return replace(
        manifest,
        corpus=f"synthetic-{kind}" if kind else manifest.corpus,
        notes=(*manifest.notes, *spelling_notes(manifest)),
    )
