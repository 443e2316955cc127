"""Cut a labelled recording into the material of its clip: one person, the frames to keep."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np

from emoscope.core.clipspec import ClipSpec, LogMel, Stream, Uniform, Vector
from emoscope.core.errors import MediaError, ReadError, SpecError
from emoscope.corpora.manifest import Sample
from emoscope.media.clips import Clip, Material, gather, grid, with_flow
from emoscope.media.detectors import create_detector
from emoscope.media.people.sightings import AUTO, MAX_SIDE_PX, Sighting, detector_for, sightings
from emoscope.media.people.tracking import FaceFinder, FaceTracker, LargestFace
from emoscope.media.reading.images import is_image
from emoscope.media.sampling import grid_indices, sample_indices
from emoscope.media.sound.audio import RATE_HZ, Sound, is_silent, read_sound
from emoscope.media.video import Frame, ReadLog, probe, read_frames

__all__ = ["Cut", "Cutting", "Faces", "cut"]

Faces = Literal["follow", "every-frame"]

_IMAGE_FPS = 25.0  # of a folder of pictures whose corpus gives no rate

_detector = functools.cache(create_detector)  # loading a cascade takes longer than using it


@dataclass(frozen=True)
class Cutting:
    """Settings with which clips are cut.

    detector     as `detector_for` takes it; "auto" is the default of the spec's region
    whole        keep all frames on the spec's time grid, not only those that its rule selects
    faces        "follow": detect faces in some frames and track them in between. The clip shows the
                 face that is visible longest, then the largest; frames without it are left out.
                 "every-frame": detect in every frame and take the largest face. A sequence with a
                 frame without a face is left out (Salinas, "Spatio-Temporal Emotion Recognition")
    min_frames   leave out sequences with fewer frames, or fewer that show the face; counted on the
                 spec's time grid, if it has one

    Raises SpecError for another value of `faces`.
    """

    spec: ClipSpec
    detector: str = AUTO
    whole: bool = False
    faces: Faces = "follow"
    min_frames: int = 0

    def __post_init__(self) -> None:
        if self.faces not in get_args(Faces):
            raise SpecError(f"faces must be {' or '.join(get_args(Faces))}, not {self.faces!r}.")

    @property
    def keeps_all(self) -> bool:
        """Whether all frames are kept: `whole`, or jitter, which selects anew every epoch."""
        sampling = self.spec.sampling
        return self.whole or (isinstance(sampling, Uniform) and sampling.jitter)

    @property
    def finder(self) -> str:
        """The detector in use, for `create_detector`. Raises the errors of `detector_for`."""
        return detector_for(self.spec, self.detector)

    @property
    def finds_faces(self) -> bool:
        """Whether faces or bodies are detected."""
        shows_people = bool(self.spec.frame_streams) and self.spec.region != "frame"
        return shows_people and self.finder != "none"

    @property
    def target(self) -> str:
        """The word for what is detected: face or body."""
        return "body" if self.spec.region == "body" else "face"

    @property
    def title(self) -> str:
        """The material of a clip in a few words: "rgb 112x112 + egemaps, face"."""
        spec = self.spec
        words = [f"{s.kind} {s.size_hw[1]}x{s.size_hw[0]}" for s in spec.pictures]
        words += [s.kind for s in spec.streams if not isinstance(s, Stream)]
        region = f", {spec.region}" if spec.frame_streams else ""
        return (
            " + ".join(words)
            + region
            + (", all frames" if spec.frame_streams and self.keeps_all else "")
        )

    def facts(self) -> dict[str, Any]:
        """Everything that determines the material of a clip, for JSON."""
        spec = self.spec
        facts: dict[str, Any] = {"vectors": sorted(stream.kind for stream in spec.audio_streams)}
        facts |= {s.kind: [s.length_s, s.mels] for s in spec.audio_streams if isinstance(s, LogMel)}
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
        flows = {s.size_hw for s in spec.pictures if s.is_flow}
        return facts | {"sampling": spec.sampling.model_dump(), "flows": sorted(flows)}

    def takes_as_it_is(self, sample: Sample) -> bool:
        """Whether a recording is as cheap to read as its clip, so that none is stored."""
        is_whole = sample.start_s == 0 and sample.end_s is None
        is_still = is_image(sample.path) and self.min_frames < 2
        return is_whole and is_still and not self.spec.audio_streams and not self.finds_faces

    def is_short(self, times_s: Sequence[float]) -> bool:
        """Whether frames shown at these times are fewer than `min_frames`."""
        if self.spec.rate_hz is None or not times_s:
            return len(times_s) < self.min_frames
        return len(grid_indices(times_s, self.spec.rate_hz)) < self.min_frames


@dataclass(frozen=True, eq=False)
class Cut:
    """The result of cutting one sample.

    material       the clip; None if it cannot be used, for `reason`
    frames         number of frames read; `without_face` of them do not show the face
    times_s        when the material's frames are shown
    until_s        when the person is last seen; None without pictures
    note           remarks on a recording that ends before the length in its header, else ""
    """

    material: Material | None
    frames: int = 0
    without_face: int = 0
    reason: str = ""
    times_s: tuple[float, ...] = ()
    until_s: float | None = None
    note: str = ""


@dataclass(eq=False)
class _Person:
    """One track: resized pictures (a Material of one frame each), their times, summed face area."""

    pictures: list[Material] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)
    until_s: float = 0.0
    area: float = 0.0

    def add(self, sighting: Sighting, frame: Frame, spec: ClipSpec) -> None:
        # Resized at once: the frames of a long film would not fit into memory.
        self.pictures.append(gather(Clip([sighting.picture]), spec, np.zeros(1, dtype=np.int64)))
        self.times_s.append(frame.time_s)
        self.until_s = frame.time_s + frame.duration_s
        self.area += sighting.box.width * sighting.box.height

    @property
    def prominence(self) -> tuple[int, float]:
        """Sort key: who is seen longest, then who is largest."""
        return len(self.times_s), self.area


def cut(sample: Sample, how: Cutting) -> Cut:
    """Read the span of a recording and keep what the spec needs.

    Flow has half precision, as in the cache. Raises MediaError or SpecError for a recording that
    cannot be read, and for a silent one where the spec has no pictures.
    """
    log = ReadLog()
    try:
        result = _cut_pictures(sample, how, log) if how.spec.frame_streams else Cut(Material({}))
        if result.material is not None and how.spec.audio_streams:
            vectors = _sound_vectors(sample, how.spec, result.until_s, log)
            result = replace(result, material=replace(result.material, vectors=vectors))
    except MediaError as error:
        if log.ends_early:  # the reason may be what is missing, which may come back
            raise ReadError(str(error)) from error
        raise
    return replace(result, note="; ".join(log.notes) if log.ends_early else "")


def _cut_pictures(sample: Sample, how: Cutting, log: ReadLog) -> Cut:
    times_s, people = _track_people(sample, how, log)
    if how.is_short(times_s):
        return Cut(None, reason=f"fewer than {how.min_frames} frames")
    person = max(people, key=lambda person: person.prominence, default=_Person())
    without = len(times_s) - len(person.times_s)
    reason = ""
    if not people:
        reason = f"no {how.target} seen"
    elif without and how.faces == "every-frame":
        reason = f"a frame without a {how.target}"
    elif how.is_short(person.times_s):
        reason = f"a {how.target} in fewer than {how.min_frames} frames"
    if reason:
        return Cut(None, len(times_s), without, reason)
    material, kept_s = _select_frames(person, how)
    return Cut(material, len(times_s), without, times_s=kept_s, until_s=person.until_s)


def _track_people(sample: Sample, how: Cutting, log: ReadLog) -> tuple[list[float], list[_Person]]:
    """Times of the span's frames, and every person seen in them. Raises MediaError."""
    spec = _picture_spec(how.spec)
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
        log=log,
    ):
        times_s.append(frame.time_s)
        for sighting in sightings(frame, spec, finder):
            people.setdefault(sighting.track, _Person()).add(sighting, frame, spec)
    if not times_s:
        raise MediaError(
            f"{sample.path}: no frame starts within the labelled span. Check the corpus's times."
        )
    return times_s, list(people.values())


def _picture_spec(spec: ClipSpec) -> ClipSpec:
    """The spec without its sound streams."""
    return spec.model_copy(update={"streams": spec.frame_streams})


def _select_frames(person: _Person, how: Cutting) -> tuple[Material, tuple[float, ...]]:
    """The frames to keep, with their times: all on the spec's grid, or those that its rule selects,
    with their flow."""
    spec = _picture_spec(how.spec)
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
    # Through half precision, so that a clip is the same before and after the cache.
    flow = {size: f.astype(np.float16).astype(np.float32) for size, f in material.flow.items()}
    return replace(material, flow=flow), times_s


def _sound_vectors(
    sample: Sample, spec: ClipSpec, until_s: float | None, log: ReadLog
) -> dict[str, Any]:
    """Vectors of the span's sound, {kind: (D,) or (T, mels)}; logmel ends with the pictures.

    Raises MediaError for a sound that is silent, or too short for its features."""
    sound = _read_sound(sample, spec, log)
    if not spec.frame_streams and is_silent(sound.samples):
        raise MediaError(f"{sample.path}: the audio track is silent. Check the recording.")
    vectors: dict[str, Any] = {}
    for stream in spec.audio_streams:
        samples = sound.samples
        if isinstance(stream, LogMel) and until_s is not None:
            samples = sound.during(sample.start_s, until_s)
        alone = spec.model_copy(update={"streams": (stream,), "sampling": None})
        clip = Clip((), audio=samples, sample_rate_hz=sound.rate_hz)
        vectors |= gather(clip, alone, np.zeros(0, dtype=np.int64)).vectors
    for kind, values in vectors.items():
        if not np.isfinite(values).all():
            raise MediaError(
                f"{sample.path}: too short or too quiet for {kind}. Check the recording."
            )
    return vectors


def _read_sound(sample: Sample, spec: ClipSpec, log: ReadLog) -> Sound:
    """The sound of the span. A film without an audio track counts as silent for models of pictures
    and logmel. Raises MediaError for other models, and for a damaged track."""
    try:
        return read_sound(sample.path, start_s=sample.start_s, end_s=sample.end_s, log=log)
    except MediaError:
        needs_sound = not spec.frame_streams or any(
            isinstance(s, Vector) for s in spec.audio_streams
        )
        if needs_sound or probe(sample.path).has_sound:
            raise
        return Sound(np.zeros(0, dtype=np.float32), RATE_HZ, sample.start_s)
