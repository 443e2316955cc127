"""The analysis of videos or sound with one model."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from emoscope.analysis.bundle import Bundle, load_bundle
from emoscope.analysis.moments import Moment, Moments, moments
from emoscope.analysis.rows import FrameRows, WindowRows
from emoscope.analysis.session import Session
from emoscope.analysis.smoothing import Smoother
from emoscope.analysis.stages import Stage, through
from emoscope.analysis.voice import hearings, sound_beside, sound_or_silence
from emoscope.core.errors import MediaError, SpecError
from emoscope.core.options import DEFAULT_SMOOTH_S, AnalyzeOptions
from emoscope.core.provenance import Provenance
from emoscope.core.results import Timeline
from emoscope.core.version import VERSION
from emoscope.core.votes import DEFAULT_FRAME_VOTE, DEFAULT_VOTE
from emoscope.media.detectors import Detector, DetectorPool, create_detector
from emoscope.media.people.sightings import MAX_SIDE_PX, detector_for
from emoscope.media.people.tracking import FaceTracker
from emoscope.media.reading.prefetch import prefetched
from emoscope.media.sound.audio import Sound
from emoscope.media.video import Frame, ReadLog, VideoInfo, probe, read_frames

__all__ = ["BundleAnalyzer", "Progress", "Watch", "with_window"]

_BATCH = 16  # moments whose faces go through an image model in one call
_AHEAD = 8  # frames decoded in advance

Progress = Callable[[float], object]  # called with the seconds of video analysed so far
Watch = Callable[[Moment], object]  # called with every moment analysed


class BundleAnalyzer:
    """One model with its detector, for any number of videos.

    `options` are those given, with the model's own defaults in place of None. An option that the
    model does not use keeps its value: `rate_hz` of a clip model, for example.

    A clip model takes all frames, whatever the rate: its faces are tracked through every frame, as
    they were in training. A tracker that sees fewer frames gives other crops and other gaps.

    Raises UnknownName, BundleError, SpecError or MediaError if the model or the detector cannot be
    opened.
    """

    def __init__(self, model: str | Path | Bundle, options: AnalyzeOptions) -> None:
        if options.speaker is not None:
            name = model.name if isinstance(model, Bundle) else model
            raise SpecError(
                f"{name}: the option 'speaker' is for systems of a face and a voice model, but "
                "this is a single model. Leave it out."
            )
        bundle = model if isinstance(model, Bundle) else load_bundle(model, options.backend)
        self.bundle = with_window(bundle, options)
        spec = self.bundle.clip_spec
        is_image = spec.is_image
        self.options = options.replace(
            window_s=None if is_image else spec.window.length_s,
            stride_s=None if is_image else spec.window.stride_s,
            vote=options.vote or (DEFAULT_FRAME_VOTE if is_image else DEFAULT_VOTE),
            smooth_s=(DEFAULT_SMOOTH_S if is_image else 0.0)
            if options.smooth_s is None
            else options.smooth_s,
        )
        detector = detector_for(spec, options.detector)
        self.detectors = DetectorPool(partial(create_detector, detector))
        # build_clip applies a clip model's time grid to all frames; two grids would interfere.
        self._rate_hz = options.rate_hz if is_image else None
        self._provenance = Provenance.from_options(
            self.options,
            model=self.bundle.name,
            model_version=self.bundle.card.version,
            backend=self.bundle.backend,
            detector=detector if spec.frame_streams and spec.region != "frame" else "",
            rate_hz=options.rate_hz if is_image else spec.rate_hz,
            emoscope=VERSION,
        )

    @property
    def name(self) -> str:
        return self.bundle.name

    @property
    def labels(self) -> tuple[str, ...]:
        return self.bundle.labels

    @property
    def looks(self) -> bool:
        """Whether the model uses pictures."""
        return bool(self.bundle.clip_spec.frame_streams)

    @property
    def listens(self) -> bool:
        """Whether the model uses sound."""
        return bool(self.bundle.clip_spec.audio_streams)

    @property
    def uses_rate(self) -> bool:
        """Whether the model analyses single frames, `rate_hz` of them a second."""
        return self.bundle.clip_spec.is_image

    def analyze(
        self,
        path: str | Path,
        *,
        start_s: float = 0.0,
        end_s: float | None = None,
        progress: Progress | None = None,
        watch: Watch | None = None,
    ) -> Timeline:
        """The Timeline of a recording; see `Analyzer.analyze`."""
        path, log = Path(path), ReadLog()
        if not self.looks:
            sound, notes = sound_or_silence(path, start_s, end_s, log)
            info = _sound_info(path, sound if end_s is None else None)
            timeline = self.analyze_sound(sound, progress)
        else:
            info, audio, notes = probe(path), None, ()
            if self.listens:
                audio, notes = sound_beside(path, start_s, end_s, log)
            with self.detectors.borrow() as detector:
                seen = self._moments(info, start_s, end_s, detector, log)
                timeline = self._timeline(_reporting(seen, progress, watch), audio)
        if padded := int(timeline.padded.sum()):
            notes = (
                *notes,
                f"{padded} of {len(timeline)} rows come from clips shorter than the model needs,"
                " padded by repeating frames",
            )
        provenance = replace(
            self._provenance,
            path=str(info.path),
            start_s=start_s,
            end_s=end_s,
            duration_s=max(info.duration_s, log.end_s) if log.restarts else info.duration_s,
            fps=info.fps,
            width=info.width,
            height=info.height,
            notes=(*log.notes, *notes),
        )
        return replace(timeline, provenance=provenance)

    def analyze_sound(self, sound: Sound, progress: Progress | None = None) -> Timeline:
        """The rows of a voice model for some sound, without their provenance."""
        windows = hearings(sound, self.bundle.clip_spec.window.stride_s)
        return self._timeline(_reporting(windows, progress), sound)

    def session(self) -> Session:
        """The analysis of one live video; see `Analyzer.session`."""
        if self.listens:
            raise SpecError(
                f"{self.name} needs sound, and live frames have none. Analyse a file instead."
            )
        detector = self.detectors.take()
        stages: list[Stage[Any, Any]] = [
            Moments(self.bundle.clip_spec, FaceTracker(detector), rate_hz=self._rate_hz),
            self._rows(batch=1),
        ]
        if self.options.smooth_s:
            stages.append(Smoother(self.options.smooth_s))
        return Session(
            stages,
            rate_hz=self._rate_hz,
            empty=Timeline.empty(self.labels, self._provenance),
            release=lambda: self.detectors.give_back(detector),
        )

    def stream(self, frames: Iterable[Frame]) -> Iterator[Timeline]:
        """Timelines of the rows that become final; see `Analyzer.stream`."""
        return self.session().run(iter(frames))

    def _moments(
        self, info: VideoInfo, start_s: float, end_s: float | None, detector: Detector, log: ReadLog
    ) -> Iterator[Moment]:
        frames = read_frames(
            info.path,
            rate_hz=self._rate_hz,
            start_s=start_s,
            end_s=end_s,
            max_side=MAX_SIDE_PX,
            log=log,
        )
        ahead = prefetched(frames, _AHEAD)
        first = next(ahead, None)
        if first is None:
            raise MediaError(
                f"{info.path}: no frame starts in the requested span. Give a longer span."
            )
        until_s = min(
            math.inf if end_s is None else end_s,
            math.inf if math.isnan(info.duration_s) else info.duration_s,
        )
        return moments(
            itertools.chain([first], ahead),
            self.bundle.clip_spec,
            FaceTracker(detector),
            rate_hz=self._rate_hz,
            until_s=until_s,
        )

    def _rows(self, batch: int, sound: Sound | None = None) -> Stage[Moment, Timeline]:
        """The stage that makes the rows, for one recording."""

        def predict(inputs: dict[str, np.ndarray]) -> np.ndarray:
            return self.bundle.predict(inputs, prior=self.options.prior)

        spec, modality = self.bundle.clip_spec, self.bundle.card.modality
        if spec.is_image:
            return FrameRows(spec, predict, self.labels, modality, batch)
        vote = self.options.vote or DEFAULT_VOTE
        return WindowRows(spec, predict, self.labels, modality, sound, vote)

    def _timeline(self, seen: Iterable[Moment], sound: Sound | None) -> Timeline:
        timeline = Timeline.concatenate(through(self._rows(_BATCH, sound), seen))
        return timeline.smooth(self.options.smooth_s) if self.options.smooth_s else timeline


def with_window(bundle: Bundle, options: AnalyzeOptions) -> Bundle:
    """The bundle with the windows that the options give, if any.

    Raises SpecError for a model of single images, and for windows that would leave gaps."""
    given = {"length_s": options.window_s, "stride_s": options.stride_s}
    changes = {name: value for name, value in given.items() if value is not None}
    if not changes:
        return bundle
    spec = bundle.clip_spec
    if spec.is_image:
        raise SpecError(
            f"{bundle.name} analyses single images, which have no window. Leave out the window and "
            "the stride."
        )
    window = spec.window.model_copy(update=changes)
    if window.stride_s > window.length_s:
        raise SpecError(
            f"{bundle.name}: a stride of {window.stride_s:g} s is longer than the window of "
            f"{window.length_s:g} s. Give a shorter stride or a longer window."
        )
    spec = spec.model_copy(update={"window": window})
    return replace(bundle, card=bundle.card.model_copy(update={"clip_spec": spec}))


def _sound_info(path: Path, whole: Sound | None) -> VideoInfo:
    """Information on a file whose sound is analysed; it may have no readable picture."""
    try:
        return probe(path)
    except MediaError:
        return VideoInfo(path, 0, 0, duration_s=whole.end_s if whole else math.nan, has_sound=True)


def _reporting(
    seen: Iterable[Moment], progress: Progress | None, watch: Watch | None = None
) -> Iterator[Moment]:
    for moment in seen:
        if watch is not None:
            watch(moment)
        yield moment
        if progress is not None:
            progress(moment.end_s)
