"""Systems: several bundles and the rule that joins them, named in one TOML file.

    name = "face-voice"
    labels = "basic7"        # a label set, or a list
    rule = "average"         # of `analysis.fusion`, or a learned one: "face-voice.rule.onnx"
    speaker = "all"          # whose the sound is where several faces show, or "mouth"

    [[members]]
    model = "face-ferplus"   # an installed bundle, or a path beside this file

    [[members]]
    model = "voice-ravdess"
    maps = { calm = "neutral" }

A system has one member that looks, whose rows its Timeline has, and others that listen. A row takes
what is said in the voice's rows that overlap it, weighted by overlap. Where a face or the sound is
missing, the rule is applied to what is there, and the row's `modalities` tell.
"""

import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from emoscope.analysis.alignment import Fuse, Said, heard_during, joined
from emoscope.analysis.analyzer import Analyzer, Progress
from emoscope.analysis.bundle import Bundle, installed_models, load_bundle
from emoscope.analysis.fusion import (
    RULE_SUFFIX,
    RULES,
    LearnedRule,
    load_rule,
)
from emoscope.analysis.speakers import Mouths
from emoscope.analysis.voice import sound_beside
from emoscope.core.arrays import BoolArray
from emoscope.core.clipspec import Window, explain
from emoscope.core.errors import BundleError, SpecError, UnknownName
from emoscope.core.labels import LABEL_SETS, canonical
from emoscope.core.results import Timeline
from emoscope.media.sound.audio import Sound
from emoscope.media.video import Frame

__all__ = ["Member", "Speaker", "System", "SystemAnalyzer", "analyze", "open_analyzer"]

Speaker = Literal["all", "mouth"]


class Member(BaseModel):
    """One model of a system.

    model     an installed bundle's name, or a bundle's path
    weight    for the rule weighted-average, and no other
    maps      label of the model -> label of the system, beside those of one name. What has no
              place in the system is left out, and the rest made to sum to 1
    window    how a listening model cuts the sound, if not as its bundle says
    package   that brings the bundle: named where it is not installed
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: str
    weight: float | None = Field(default=None, ge=0)
    maps: dict[str, str] = {}
    window: Window | None = None
    package: str = ""


class System(BaseModel):
    """What a system file says. `speaker` is whose the sound is where several faces show: that of
    "all", or of the one whose "mouth" moves with it (`analysis.speakers`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    version: str = ""
    labels: str | tuple[str, ...]
    rule: str = "average"
    speaker: Speaker = "all"
    members: tuple[Member, ...] = Field(min_length=2)

    @classmethod
    def read(cls, name_or_path: str | Path) -> "System":
        """An installed system, or one from its file; paths in it are read from its folder.

        Raises UnknownName, BundleError."""
        path = Path(name_or_path)
        if path.suffix != ".toml":
            path = installed_models()[str(name_or_path)]
        try:
            system = cls.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except ValidationError as error:
            raise BundleError(f"{path}: {explain(error)}.") from None
        except (OSError, ValueError) as error:
            raise BundleError(f"{path}: no readable system file: {error}.") from None
        members = [m.model_copy(update={"model": _beside(path, m.model)}) for m in system.members]
        rule = _beside(path, system.rule)
        return system.model_copy(update={"members": tuple(members), "rule": rule})

    @property
    def label_names(self) -> tuple[str, ...]:
        """Raises UnknownName, SpecError."""
        if isinstance(self.labels, str):
            return LABEL_SETS[self.labels].labels
        names = tuple(canonical(label) for label in self.labels)
        if len(set(names)) < max(len(names), 2):
            raise SpecError(f"{self.name}: labels are two or more that differ, got {names}.")
        return names


class SystemAnalyzer:
    """Members and a rule, ready for any number of videos: an `Analyzer` of several models.

    system     an installed system's name, a system file's path, or a System
    speaker    "all" or "mouth", if not as the system says

    The other options are the Analyzer's, of all members alike; but members of a rule that was
    learned answer with prior "train", as they did when it learned. Pictures are decoded once, and
    so is the sound. Raises BundleError where a member is not installed or does not fit.
    """

    def __init__(
        self, system: str | Path | System, *, speaker: Speaker | None = None, **options: Any
    ) -> None:
        self.system = system if isinstance(system, System) else System.read(system)
        self.speaker = _known_speaker(speaker or self.system.speaker)
        self.labels = self.system.label_names
        backend = options.pop("backend", "onnxruntime")
        bundles = [_bundle(self.system, member, backend) for member in self.system.members]
        self.members = dict(zip((b.name for b in bundles), self.system.members, strict=True))
        _check_members(self.system, bundles, self.labels)
        self._fuse = _fusion(self.system, self.members, self.labels)
        if isinstance(self._fuse, LearnedRule):
            options["prior"] = "train"  # as it knows its members
        blind = {**options, "detector": "none"}  # nothing is loaded that is not looked with
        analyzers = [
            Analyzer(bundle, **(options if bundle.clip_spec.seen else blind)) for bundle in bundles
        ]
        (self.looking,) = (one for one in analyzers if not one.listens)
        self.listening = tuple(one for one in analyzers if one.listens)

    @property
    def name(self) -> str:
        """The system's."""
        return self.system.name

    @property
    def listens(self) -> bool:
        """It looks, too: it is given videos."""
        return False

    @property
    def takes_rate(self) -> bool:
        """Whether its member that looks does so frame by frame."""
        return self.looking.takes_rate

    def analyze(
        self,
        path: str | Path,
        *,
        start_s: float = 0.0,
        end_s: float | None = None,
        progress: Progress | None = None,
    ) -> Timeline:
        """The Timeline of a video, or of a span of it.

        Its rows are those of the member that looks. A row without a face keeps its track -1 and
        says what is heard. Without a sound track it is a Timeline of faces, and a note says why.
        Raises MediaError for a file without pictures that can be read."""
        mouths = Mouths() if self.speaker == "mouth" else None
        watch = None if mouths is None else mouths.see
        rows = self.looking.analyze(
            path, start_s=start_s, end_s=end_s, progress=progress, watch=watch
        )
        sound, told = sound_beside(Path(path), start_s, end_s)
        notes = tuple(dict.fromkeys((*rows.provenance.notes, *told)))
        speaks = np.ones(len(rows), dtype=bool)
        if mouths is not None and sound is not None:
            speaks = mouths.speaking(rows, sound)
        said = list(self._said(rows, sound, speaks))
        return self._told(joined(rows, said, self.labels, self._fuse), notes)

    def stream(self, frames: Iterable[Frame]) -> Iterator[Timeline]:
        """Raises SpecError: live frames are silent."""
        raise SpecError(f"{self.name} listens, too, and frames are silent. Analyse a file.")

    def _said(self, rows: Timeline, sound: Sound | None, speaks: BoolArray) -> Iterator[Said]:
        """What each member says of the rows, in the order of the system."""
        for analyzer in sorted(
            (self.looking, *self.listening), key=lambda one: list(self.members).index(one.name)
        ):
            if not analyzer.listens:
                probs = rows.probs
            elif sound is None:
                probs = np.full((len(rows), len(analyzer.bundle.labels)), np.nan)
            else:
                probs = heard_during(rows.spans_s, analyzer.hear(sound))
                probs[~speaks] = np.nan
            bundle = analyzer.bundle
            maps = self.members[bundle.name].maps
            yield Said(bundle.name, bundle.card.modality, bundle.labels, probs, maps)

    def _told(self, timeline: Timeline, notes: tuple[str, ...]) -> Timeline:
        bundles = {one.name: one.bundle for one in (self.looking, *self.listening)}
        provenance = replace(
            timeline.provenance,
            model=self.name,
            model_version=self.system.version,
            rule=Path(self.system.rule).name,
            members=tuple(f"{name} {bundles[name].card.version}" for name in self.members),
            speaker=self.speaker,
            notes=notes,
        )
        return replace(timeline, provenance=provenance)


def open_analyzer(
    model: str | Path | Bundle | System = "face-ferplus",
    *,
    speaker: Speaker | None = None,
    **options: Any,
) -> Analyzer | SystemAnalyzer:
    """What analyses by a model: an Analyzer, or by a system of several a SystemAnalyzer.

    model      an installed bundle's or system's name, the path of one (.onnx, .toml), or one
    speaker    of systems only: "all" or "mouth"

    The other options are the Analyzer's. Raises UnknownName, BundleError, SpecError."""
    if isinstance(model, System) or (not isinstance(model, Bundle) and _is_system(model)):
        return SystemAnalyzer(model, speaker=speaker, **options)
    if speaker is not None:
        raise SpecError(f"{model}: one model, and a speaker is chosen by systems of several only.")
    return Analyzer(model, **options)


def analyze(
    path: str | Path,
    model: str | Path | Bundle | System = "face-ferplus",
    *,
    start_s: float = 0.0,
    end_s: float | None = None,
    **options: Any,
) -> Timeline:
    """The Timeline of one video. `options` are the Analyzer's: detector, rate_hz, backend, prior,
    vote, smooth_s, min_confidence; for a system of models also its speaker.

    >>> timeline = emoscope.analyze("talk.mp4")  # doctest: +SKIP
    """
    return open_analyzer(model, **options).analyze(path, start_s=start_s, end_s=end_s)


def _is_system(model: str | Path) -> bool:
    path = Path(model)
    if path.suffix == ".toml" or path.is_file():
        return path.suffix == ".toml"
    installed = installed_models()
    return str(model) in installed and installed[str(model)].suffix == ".toml"


def _beside(system: Path, name: str) -> str:
    """A file's name as a path from the system's folder; any other name as it is."""
    return str(system.parent / name) if name.endswith(".onnx") else name


def _known_speaker(name: str) -> Speaker:
    if name not in ("all", "mouth"):
        raise SpecError(f"speaker is all or mouth, got {name!r}.")
    return name  # type: ignore[return-value]


def _bundle(system: System, member: Member, backend: str) -> Bundle:
    try:
        bundle = load_bundle(member.model, backend)
    except UnknownName as error:
        remedy = f"Install {member.package}." if member.package else str(error)
        raise BundleError(
            f"{system.name}: its member {member.model} is not installed. {remedy}"
        ) from None
    if member.window is None:
        return bundle
    spec = bundle.clip_spec.model_copy(update={"window": member.window})
    return replace(bundle, card=bundle.card.model_copy(update={"clip_spec": spec}))


def _check_members(system: System, bundles: Sequence[Bundle], labels: tuple[str, ...]) -> None:
    names = [bundle.name for bundle in bundles]
    if len(set(names)) < len(names):
        raise BundleError(f"{system.name}: members must differ, got {', '.join(names)}.")
    looking = [bundle.name for bundle in bundles if bundle.clip_spec.seen]
    if len(looking) != 1:
        told = ", ".join(looking) or "none"
        raise BundleError(
            f"{system.name}: a system has one member that looks and others that listen; these "
            f"look: {told}."
        )
    for bundle, member in zip(bundles, system.members, strict=True):
        known = {canonical(label) for label in bundle.labels}
        maps = {canonical(a): canonical(b) for a, b in member.maps.items()}
        wrong = {a: "of it" for a in maps if a not in known}
        wrong |= {b: "of the system" for b in maps.values() if b not in labels}
        for label, whose in wrong.items():
            raise BundleError(
                f"{system.name}: {bundle.name} maps {label!r}, which is no label {whose}."
            )
        missing = [label for label in labels if label not in {maps.get(a, a) for a in known}]
        if missing:
            raise BundleError(
                f"{system.name}: {bundle.name} does not know {', '.join(missing)}, and would speak "
                "against it. Choose labels that every member knows, or map one of its own."
            )


def _fusion(system: System, members: Mapping[str, Member], labels: tuple[str, ...]) -> Fuse:
    """The rule, ready to be asked. Raises UnknownName, SpecError, BundleError."""
    weights = {name: m.weight for name, m in members.items() if m.weight is not None}
    if system.rule.endswith(RULE_SUFFIX):
        learned = load_rule(Path(system.rule))
        if set(learned.card.members) != set(members) or learned.card.labels != labels:
            raise BundleError(
                f"{system.rule}: learned for {', '.join(learned.card.members)} over "
                f"{', '.join(learned.card.labels)}, and {system.name} is another system."
            )
        return learned
    return RULES[system.rule].with_weights(members, weights)
