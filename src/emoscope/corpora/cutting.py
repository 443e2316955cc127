"""A labelled recording to the material of its clip: who is followed, which frames are kept."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np

from emoscope.core.clipspec import ClipSpec, LogMel, Uniform, Vector
from emoscope.core.errors import MediaError, SpecError
from emoscope.corpora.manifest import Sample
from emoscope.media.clips import Clip, Material, gather, grid, with_flow
from emoscope.media.detectors import create_detector
from emoscope.media.people.sightings import AUTO, MAX_SIDE_PX, Sighting, detector_for, sightings
from emoscope.media.people.tracking import FaceFinder, FaceTracker, LargestFace
from emoscope.media.reading.images import is_image
from emoscope.media.sampling import grid_indices, sample_indices
from emoscope.media.sound.audio import RATE_HZ, Sound, is_silent, read_sound
from emoscope.media.video import Frame, probe, read_frames

__all__ = ["Cut", "Cutting", "Faces", "cut"]

Faces = Literal["follow", "every-frame"]

_IMAGE_FPS = 25.0  # of a folder of pictures whose corpus does not tell its rate

_detector = functools.cache(create_detector)  # a cascade takes longer to read than to use


@dataclass(frozen=True)
class Cutting:
    """How clips are cut.

    detector     as `detector_for` takes it; "auto" is the default of the spec's region
    whole        keep all frames on the spec's time grid, and not those alone that its rule chooses
    faces        "follow": the detector looks now and then, and faces are followed in between; of
                 several the one is taken that is seen longest, then the largest, and frames in
                 which it is not seen are left out. "every-frame": it looks at each frame by itself,
                 the largest face is taken, and a sequence with one frame in which it finds none is
                 left out (Salinas, "Spatio-Temporal Emotion Recognition")
    min_frames   sequences of fewer are left out, and so are those that show the face in fewer; on
                 the spec's time grid, where it has one
    """

    spec: ClipSpec
    detector: str = AUTO
    whole: bool = False
    faces: Faces = "follow"
    min_frames: int = 0

    def __post_init__(self) -> None:
        if self.faces not in get_args(Faces):
            raise SpecError(f"faces is one of {', '.join(get_args(Faces))}, got {self.faces!r}.")

    @property
    def keeps_all(self) -> bool:
        """Jitter chooses anew at every epoch."""
        sampling = self.spec.sampling
        return self.whole or (isinstance(sampling, Uniform) and sampling.jitter)

    @property
    def finder(self) -> str:
        """The detector that is used, as `create_detector` takes it. Raises as `detector_for`."""
        return detector_for(self.spec, self.detector)

    @property
    def finds_faces(self) -> bool:
        """Whether the pictures may be without one, or without a body."""
        looks = bool(self.spec.seen) and self.spec.region != "frame"
        return looks and self.finder != "none"

    @property
    def whom(self) -> str:
        """What is looked for: face or body."""
        return "body" if self.spec.region == "body" else "face"

    def facts(self) -> dict[str, Any]:
        """All that decides what a clip's material is, for JSON."""
        spec = self.spec
        facts: dict[str, Any] = {"vectors": sorted(stream.kind for stream in spec.heard)}
        facts |= {s.kind: [s.length_s, s.mels] for s in spec.heard if isinstance(s, LogMel)}
        if spec.sampling is None:
            return facts
        facts |= {"rate_hz": spec.rate_hz, "sizes": sorted(spec.sizes)}
        if spec.region != "frame":
            facts |= {"margin": spec.margin, "align": spec.align, "detector": self.finder}
        if self.finds_faces and self.faces != "follow":
            facts["faces"] = self.faces
        if self.min_frames:
            facts["min_frames"] = self.min_frames
        if self.keeps_all:
            return facts
        flows = {s.size_hw for s in spec.pictures if s.kind.endswith("flow")}
        return facts | {"sampling": spec.sampling.model_dump(), "flows": sorted(flows)}

    def takes_as_it_is(self, sample: Sample) -> bool:
        """Whether reading the recording costs no more than reading the clip made of it would."""
        whole = sample.start_s == 0 and sample.end_s is None and not self.spec.heard
        is_enough = self.min_frames < 2
        return whole and is_enough and is_image(sample.path) and not self.finds_faces

    def is_short(self, times_s: Sequence[float]) -> bool:
        """Whether frames shown at these times are fewer than are asked for."""
        if self.spec.rate_hz is None or not times_s:
            return len(times_s) < self.min_frames
        return len(grid_indices(times_s, self.spec.rate_hz)) < self.min_frames


@dataclass(frozen=True, eq=False)
class Cut:
    """A clip's material, None where it cannot be used, and for what `reason`; how many frames were
    looked at, and how many of them do not show the face; when the material's frames are shown, and
    until when that person is seen."""

    material: Material | None
    frames: int = 0
    without_face: int = 0
    reason: str = ""
    times_s: tuple[float, ...] = ()
    until_s: float | None = None


@dataclass(eq=False)
class _Person:
    """One track: its sized pictures, a Material of one frame each, when they are shown, and how
    large the face was."""

    pictures: list[Material] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)
    until_s: float = 0.0
    area: float = 0.0

    def add(self, seen: Sighting, frame: Frame, spec: ClipSpec) -> None:
        # Sized at once: the frames of a long film would not fit into memory.
        self.pictures.append(gather(Clip([seen.picture]), spec, np.zeros(1, dtype=np.int64)))
        self.times_s.append(frame.time_s)
        self.until_s = frame.time_s + frame.duration_s
        self.area += seen.box.width * seen.box.height

    @property
    def prominence(self) -> tuple[int, float]:
        """Who is seen longest leads, then who is largest."""
        return len(self.times_s), self.area


def cut(sample: Sample, how: Cutting) -> Cut:
    """Read a recording's span and keep what the spec needs of it.

    Flow is of half precision, as the cache holds it. Raises MediaError or SpecError for a recording
    that cannot be read, or whose sound says nothing where there is nothing to see.
    """
    spec = how.spec
    found = _pictures(sample, how) if spec.seen else Cut(Material({}))
    if found.material is None or not spec.heard:
        return found
    heard = _heard(sample, spec, found.until_s)
    return replace(found, material=replace(found.material, vectors=heard))


def _pictures(sample: Sample, how: Cutting) -> Cut:
    times_s, people = _seen(sample, how)
    if how.is_short(times_s):
        return Cut(None, reason=f"fewer than {how.min_frames} frames")
    person = max(people, key=lambda person: person.prominence, default=_Person())
    missed = len(times_s) - len(person.times_s)
    reason = ""
    if not people:
        reason = f"no {how.whom} seen"
    elif missed and how.faces == "every-frame":
        reason = f"a frame without a {how.whom}"
    elif how.is_short(person.times_s):
        reason = f"a {how.whom} in fewer than {how.min_frames} frames"
    if reason:
        return Cut(None, len(times_s), missed, reason)
    material, kept_s = _kept(person, how)
    return Cut(material, len(times_s), missed, times_s=kept_s, until_s=person.until_s)


def _seen(sample: Sample, how: Cutting) -> tuple[list[float], list[_Person]]:
    """When the span's frames are shown, and everybody who is seen in them. Raises MediaError."""
    spec = _of_frames(how.spec)
    detector = _detector(how.finder)
    follow = how.faces == "follow"
    finder: FaceFinder = FaceTracker(detector) if follow else LargestFace(detector)
    times_s: list[float] = []
    people: dict[int, _Person] = {}
    for frame in read_frames(
        sample.path,
        start_s=sample.start_s,
        end_s=sample.end_s,
        max_side=MAX_SIDE_PX,
        image_fps=sample.fps or _IMAGE_FPS,
    ):
        times_s.append(frame.time_s)
        for seen in sightings(frame, spec, finder):
            people.setdefault(seen.track, _Person()).add(seen, frame, spec)
    if not times_s:
        raise MediaError(f"{sample.path}: no frame starts in the span. Check the corpus's times.")
    return times_s, list(people.values())


def _of_frames(spec: ClipSpec) -> ClipSpec:
    return spec.model_copy(update={"streams": spec.seen})


def _kept(person: _Person, how: Cutting) -> tuple[Material, tuple[float, ...]]:
    """The frames on the spec's grid, or with their flow those that its rule chooses; and when they
    are shown."""
    spec = _of_frames(how.spec)
    sizes = list(person.pictures[0].pictures)
    frames = {size: [one.pictures[size][0] for one in person.pictures] for size in sizes}
    indices = grid(Clip(frames[sizes[0]], person.times_s), spec)
    if not how.keeps_all and spec.sampling is not None:
        indices = indices[sample_indices(spec.sampling, len(indices))]
    times_s = tuple(person.times_s[i] for i in indices)
    material = Material({size: np.stack([frames[size][i] for i in indices]) for size in sizes})
    if how.keeps_all:
        return material, times_s
    material = with_flow(material, spec)
    halved = {size: flow.astype(np.float16) for size, flow in material.flow.items()}
    flow = {size: f.astype(np.float32) for size, f in halved.items()}
    return replace(material, flow=flow), times_s


def _heard(sample: Sample, spec: ClipSpec, until_s: float | None) -> dict[str, Any]:
    """{kind: (D,) or (T, mels)} of the span's sound, which says something or is refused; logmel
    beside pictures of as much as they last."""
    sound = _sound(sample, spec)
    if not spec.seen and is_silent(sound.samples):
        raise MediaError(f"{sample.path}: its sound is silence. Listen to it.")
    heard: dict[str, Any] = {}
    for stream in spec.heard:
        samples = sound.samples
        if isinstance(stream, LogMel) and until_s is not None:
            samples = sound.during(sample.start_s, until_s)
        alone = spec.model_copy(update={"streams": (stream,), "sampling": None})
        clip = Clip((), audio=samples, sample_rate_hz=sound.rate_hz)
        heard |= gather(clip, alone, np.zeros(0, dtype=np.int64)).vectors
    for kind, values in heard.items():
        if not np.isfinite(values).all():
            raise MediaError(f"{sample.path}: too short or too silent for {kind}. Listen to it.")
    return heard


def _sound(sample: Sample, spec: ClipSpec) -> Sound:
    """The span's. A film without a sound track is silent to a model of its pictures and logmel."""
    try:
        return read_sound(sample.path, start_s=sample.start_s, end_s=sample.end_s)
    except MediaError:
        needs_sound = not spec.seen or any(isinstance(s, Vector) for s in spec.heard)
        if needs_sound or probe(sample.path).has_sound:
            raise
        return Sound(np.zeros(0, dtype=np.float32), RATE_HZ, sample.start_s)
