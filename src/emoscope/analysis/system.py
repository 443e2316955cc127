"""Systems: several models and the rule that combines them, described in one TOML file.

    name = "face-voice"
    labels = "basic7"        # a label set, or a list of labels
    rule = "average"         # a rule of `analysis.fusion`, or a learned one: "face-voice.rule.onnx"
    speaker = "all"          # faces the voice belongs to: "all", or the one whose "mouth" moves

    [[members]]
    model = "face-ferplus"   # an installed bundle, or a path relative to this file

    [[members]]
    model = "voice-ravdess"
    maps = { calm = "neutral" }

A system has one member that analyses pictures and others that analyse sound. Its Timeline has the
rows of the first. Each row takes the voice's rows that overlap it, weighted by overlap. Where face
or sound is missing, the rule combines the members that are present; `modalities` names them.
"""

import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from emoscope.analysis.alignment import Fuse, MemberPredictions, combine, voice_during
from emoscope.analysis.bundle import Bundle, installed_models, load_bundle
from emoscope.analysis.bundle_analyzer import BundleAnalyzer, Progress, Watch
from emoscope.analysis.fusion import (
    RULE_SUFFIX,
    RULES,
    LearnedRule,
    load_rule,
)
from emoscope.analysis.moments import Moment
from emoscope.analysis.session import Session
from emoscope.analysis.speakers import Mouths
from emoscope.analysis.voice import sound_beside
from emoscope.core.clipspec import Window, explain
from emoscope.core.errors import BundleError, SpecError, UnknownName
from emoscope.core.labels import LABEL_SETS, canonical
from emoscope.core.options import AnalyzeOptions, Speaker
from emoscope.core.results import NO_TRACK, Timeline
from emoscope.media.video import Frame, ReadLog

__all__ = ["Member", "System", "SystemAnalyzer", "is_system"]

_LONG_S = 10.0  # of a row without a face


class Member(BaseModel):
    """One model of a system.

    model     name of an installed bundle, or path of a bundle
    weight    for the rule weighted-average only
    maps      label of the model -> label of the system, where their names differ. A label without a
              counterpart is left out, and the other probabilities are normalised to sum to 1
    window    windows of a voice model, instead of those in its bundle
    package   package that provides the bundle, named in the error when it is not installed
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: str
    weight: float | None = Field(default=None, ge=0)
    maps: dict[str, str] = {}
    window: Window | None = None
    package: str = ""


class System(BaseModel):
    """The contents of a system file.

    >>> system = System.read("face-voice")
    >>> system.rule, [member.model for member in system.members]
    ('average', ['face-ferplus', 'voice-ravdess'])
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    version: str = ""
    labels: str | tuple[str, ...]
    rule: str = "average"
    speaker: Speaker = "all"
    members: tuple[Member, ...] = Field(min_length=2)

    @classmethod
    def read(cls, name_or_path: str | Path) -> "System":
        """Read an installed system by name, or a system file; its paths become relative to it.

        Raises UnknownName, BundleError."""
        path = Path(name_or_path)
        if path.suffix != ".toml":
            path = installed_models()[str(name_or_path)]
        try:
            system = cls.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except ValidationError as error:
            raise BundleError(f"{path}: {explain(error)}.") from None
        except (OSError, ValueError) as error:
            raise BundleError(f"{path}: not a readable system file: {error}.") from None

        def beside(name: str) -> str:
            return str(path.parent / name) if name.endswith(".onnx") else name

        members = tuple(m.model_copy(update={"model": beside(m.model)}) for m in system.members)
        return system.model_copy(update={"members": members, "rule": beside(system.rule)})

    @property
    def label_names(self) -> tuple[str, ...]:
        """The labels, in order. Raises UnknownName, SpecError."""
        if isinstance(self.labels, str):
            return LABEL_SETS[self.labels].labels
        names = tuple(canonical(label) for label in self.labels)
        if len(set(names)) < max(len(names), 2):
            raise SpecError(f"{self.name}: needs two or more labels, all different, got {names}.")
        return names


def is_system(model: str | Path) -> bool:
    """Whether a name or path means a system rather than one model."""
    path = Path(model)
    if path.suffix == ".toml" or path.is_file():
        return path.suffix == ".toml"
    installed = installed_models()
    return str(model) in installed and installed[str(model)].suffix == ".toml"


class SystemAnalyzer:
    """Several models and a fusion rule, for any number of videos.

    The options apply to all members, except that members of a learned rule use the prior "train",
    as they did when the rule was fitted, and that members of single images have no window. Pictures
    and sound are decoded once. Raises BundleError if a member is not installed or does not fit.
    """

    def __init__(self, system: str | Path | System, options: AnalyzeOptions) -> None:
        self.system = system if isinstance(system, System) else System.read(system)
        self.labels = self.system.label_names
        bundles = [_bundle(self.system, m, options.backend) for m in self.system.members]
        self.members = dict(zip((b.name for b in bundles), self.system.members, strict=True))
        _check_members(self.system, bundles, self.labels)
        self._fuse = _fusion(self.system, self.members, self.labels)
        if isinstance(self._fuse, LearnedRule):
            options = options.replace(prior="train")
        self.speaker: Speaker = options.speaker or self.system.speaker
        self.analyzers = tuple(
            BundleAnalyzer(bundle, _member_options(bundle, options)) for bundle in bundles
        )
        (self.looking,) = (one for one in self.analyzers if one.looks)
        self.options = self.looking.options.replace(
            speaker=self.speaker, window_s=options.window_s, stride_s=options.stride_s
        )

    @property
    def name(self) -> str:
        return self.system.name

    @property
    def looks(self) -> bool:
        """Whether a member uses pictures: always."""
        return True

    @property
    def listens(self) -> bool:
        """Whether a member uses sound: always."""
        return True

    @property
    def uses_rate(self) -> bool:
        """Whether the member for pictures analyses single frames, `rate_hz` of them a second."""
        return self.looking.uses_rate

    def analyze(
        self,
        path: str | Path,
        *,
        start_s: float = 0.0,
        end_s: float | None = None,
        progress: Progress | None = None,
        watch: Watch | None = None,
    ) -> Timeline:
        """The Timeline of a video; see `Analyzer.analyze`."""
        mouths = Mouths() if self.speaker == "mouth" else None

        def watched(moment: Moment) -> None:
            if mouths is not None:
                mouths.see(moment)
            if watch is not None:
                watch(moment)

        rows = self.looking.analyze(
            path, start_s=start_s, end_s=end_s, progress=progress, watch=watched
        )
        log = ReadLog()
        sound, sound_notes = sound_beside(Path(path), start_s, end_s, log)
        has_voice = np.ones(len(rows), dtype=bool)
        if mouths is not None and sound is not None:
            has_voice = mouths.speaking(rows, sound)
        # A gap without frames is one row, to which a few words do not give a label.
        is_gap = (rows.track == NO_TRACK) & (np.diff(rows.spans_s)[:, 0] > _LONG_S)
        least_share = np.where(is_gap, 0.5, 0.0)
        predictions = []
        for analyzer in self.analyzers:
            if analyzer is self.looking:
                probs = rows.probs
            elif sound is None:
                probs = np.full((len(rows), len(analyzer.labels)), np.nan)
            else:
                probs = voice_during(rows.spans_s, analyzer.analyze_sound(sound), least_share)
                probs[~has_voice] = np.nan
            predictions.append(
                MemberPredictions(
                    name=analyzer.name,
                    modality=analyzer.bundle.card.modality,
                    labels=analyzer.labels,
                    probs=probs,
                    maps=self.members[analyzer.name].maps,
                )
            )
        fused = combine(rows, predictions, self.labels, self._fuse)
        provenance = replace(
            rows.provenance,
            model=self.name,
            model_version=self.system.version,
            rule=Path(self.system.rule).name,
            members=tuple(f"{one.name} {one.bundle.card.version}" for one in self.analyzers),
            speaker=self.speaker,
            window_s=self.options.window_s,
            stride_s=self.options.stride_s,
            notes=tuple(dict.fromkeys((*rows.provenance.notes, *log.notes, *sound_notes))),
        )
        return replace(fused, provenance=provenance)

    def stream(self, frames: Iterable[Frame]) -> Iterator[Timeline]:
        """Raises SpecError: live frames have no sound."""
        return self.session().run(iter(frames))

    def session(self) -> Session:
        """Raises SpecError: live frames have no sound."""
        raise SpecError(
            f"{self.name} needs sound, and live frames have none. Analyse a file instead."
        )


def _member_options(bundle: Bundle, options: AnalyzeOptions) -> AnalyzeOptions:
    """The options of a system that apply to one member."""
    options = options.replace(speaker=None)
    if bundle.clip_spec.is_image:
        options = options.replace(window_s=None, stride_s=None)
    # Loads no detector that is never used.
    return options if bundle.clip_spec.frame_streams else options.replace(detector="none")


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
    looking = [bundle.name for bundle in bundles if bundle.clip_spec.frame_streams]
    if len(looking) != 1:
        raise BundleError(
            f"{system.name}: a system needs exactly one image model; the others must be sound "
            f"models. Its image models: {', '.join(looking) or 'none'}."
        )
    for bundle, member in zip(bundles, system.members, strict=True):
        known = {canonical(label) for label in bundle.labels}
        maps = {canonical(a): canonical(b) for a, b in member.maps.items()}
        wrong = {a: "the model" for a in maps if a not in known}
        wrong |= {b: "the system" for b in maps.values() if b not in labels}
        for label, owner in wrong.items():
            raise BundleError(
                f"{system.name}: the label map of {bundle.name} names {label!r}, which is not a "
                f"label of {owner}."
            )
        missing = [label for label in labels if label not in {maps.get(a, a) for a in known}]
        if missing:
            raise BundleError(
                f"{system.name}: {bundle.name} has no label {', '.join(missing)}, and would always "
                "vote against it. Choose labels that every member has, or map one of its labels."
            )


def _fusion(system: System, members: Mapping[str, Member], labels: tuple[str, ...]) -> Fuse:
    """The rule, ready to be asked. Raises UnknownName, SpecError, BundleError."""
    weights = {name: m.weight for name, m in members.items() if m.weight is not None}
    if system.rule.endswith(RULE_SUFFIX):
        learned = load_rule(Path(system.rule))
        if set(learned.card.members) != set(members) or learned.card.labels != labels:
            raise BundleError(
                f"{system.rule}: this rule was learned for {', '.join(learned.card.members)} and "
                f"the labels {', '.join(learned.card.labels)}, which are not those of "
                f"{system.name}. Write it again with `emoscope fuse`."
            )
        return learned
    return RULES[system.rule].with_weights(members, weights)
