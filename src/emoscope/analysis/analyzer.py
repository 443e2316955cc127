"""Video or sound → Timeline: the one road that the command line, Python and live use all take."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from emoscope.analysis.bundle import Bundle, Prior, load_bundle
from emoscope.analysis.moments import Moment, moments
from emoscope.analysis.rows import frame_rows, window_rows
from emoscope.analysis.smoothing import smoothed
from emoscope.analysis.voice import hearings, sound_beside, sound_or_silence
from emoscope.core.errors import MediaError, SpecError
from emoscope.core.results import Provenance, Timeline
from emoscope.core.version import VERSION
from emoscope.core.votes import DEFAULT_FRAME_VOTE, DEFAULT_VOTE, VOTES
from emoscope.media.detectors import create_detector
from emoscope.media.people.sightings import AUTO, MAX_SIDE_PX, detector_for
from emoscope.media.people.tracking import FaceTracker
from emoscope.media.reading.decoding import Grid
from emoscope.media.reading.prefetch import prefetched
from emoscope.media.sound.audio import Sound
from emoscope.media.video import Frame, VideoInfo, probe, read_frames

__all__ = ["DEFAULT_RATE_HZ", "DEFAULT_SMOOTH_S", "Analyzer", "Progress"]

DEFAULT_RATE_HZ = 10.0
DEFAULT_SMOOTH_S = 0.5  # of image models
_BATCH = 16  # moments whose faces share one call of an image model
_AHEAD = 8  # frames decoded while the ones before them are analysed

Progress = Callable[[float], None]  # seconds of video seen so far
Watch = Callable[[Moment], object]


class Analyzer:
    """A model and a way to find faces or bodies, ready for any number of videos.

    model      an installed bundle's name, a bundle's path, or a Bundle
    detector   "haar", "lbp", "lbp=PATH" or "yunet=PATH" for faces, "hog" for bodies, "none": the
               frame is the face or body. "auto" is the default of what the model looks at
    rate_hz    how often an image model looks, in video time; None is every frame. A clip model
               takes the rate and the windows of its own specification. Its faces are followed
               through every frame all the same, as they were in training: a tracker that saw only
               the frames of the grid would give other crops and other gaps, and save little
    backend    "onnxruntime" or "openvino"; ignored for a Bundle
    prior      "uniform" takes the class shares of the training data out of the probabilities, so
               that a label is not favoured for being common there; "train" leaves them in
    vote       how several windows over one stride, and a face's rows in `Timeline.summary()`, make
               one answer, by its name in core/votes.py. None is "expressive-weighted" for an image
               model and "sum-probability" for a clip model
    smooth_s   over how many seconds around each row a face's probabilities are averaged; 0 leaves
               them as they are. None is DEFAULT_SMOOTH_S for an image model and 0 for a clip
               model, whose windows overlap already
    min_confidence   a row, and a face in `Timeline.summary()`, has no label where its highest
               probability, after smoothing, is below; the probabilities stay
    """

    def __init__(
        self,
        model: str | Path | Bundle = "face-ferplus",
        *,
        detector: str = AUTO,
        rate_hz: float | None = DEFAULT_RATE_HZ,
        backend: str = "onnxruntime",
        prior: Prior = "uniform",
        vote: str | None = None,
        smooth_s: float | None = None,
        min_confidence: float = 0.0,
    ) -> None:
        if rate_hz is not None and not 0 < rate_hz < math.inf:
            raise SpecError(f"rate_hz is above 0, or None for every frame; got {rate_hz}.")
        if smooth_s is not None and not 0 <= smooth_s < math.inf:
            raise SpecError(f"smooth_s is seconds, 0 for no smoothing; got {smooth_s}.")
        if not 0 <= min_confidence <= 1:
            raise SpecError(f"min_confidence is a probability, 0 to 1; got {min_confidence}.")
        _ = VOTES[vote or DEFAULT_VOTE]  # a wrong name is told before any work
        self.bundle = model if isinstance(model, Bundle) else load_bundle(model, backend)
        spec = self.bundle.clip_spec
        choice = detector_for(spec, detector)
        self.detector_choice = choice if spec.seen and spec.region != "frame" else ""
        self.detector = create_detector(choice)
        # build_clip lays a clip model's grid over all frames; laid twice it would stutter.
        self.rate_hz = rate_hz if spec.is_image else None
        self.prior, self.min_confidence = prior, min_confidence
        self.vote = vote or (DEFAULT_FRAME_VOTE if spec.is_image else DEFAULT_VOTE)
        usual_s = DEFAULT_SMOOTH_S if spec.is_image else 0.0
        self.smooth_s = usual_s if smooth_s is None else smooth_s

    def analyze(
        self,
        path: str | Path,
        *,
        start_s: float = 0.0,
        end_s: float | None = None,
        progress: Progress | None = None,
        watch: Watch | None = None,
    ) -> Timeline:
        """The Timeline of a video, an image or a folder of numbered images, or of a span of it; by
        a voice model, of a video's sound or a sound file; by a model of pictures and sound, of
        both.

        `progress` is told the seconds of video seen so far, `watch` every moment that is looked at.
        A film without sound is to a voice model nobody, to a model of pictures and sound pictures
        alone, and a note says why. Raises MediaError for a file that cannot be read.
        """
        if self.listens:
            sound, notes = sound_or_silence(Path(path), start_s, end_s)
            info = _info(Path(path), sound if end_s is None else None)
            timeline = self.hear(sound, progress)
        else:
            info, beside, notes = probe(path), None, ()
            if self.bundle.clip_spec.heard:
                beside, notes = sound_beside(Path(path), start_s, end_s)
            seen = _reporting(self._looked_at(info, start_s, end_s), progress, watch)
            timeline = self._smooth(Timeline.concatenate(self._rows(seen, _BATCH, beside)))
        about = self._provenance(info, timeline, start_s, end_s)
        return replace(timeline, provenance=replace(about, notes=(*notes, *about.notes)))

    def hear(self, sound: Sound, progress: Progress | None = None) -> Timeline:
        """The rows that a voice model makes of sound, without their provenance."""
        seen = hearings(sound, self.bundle.clip_spec.window.stride_s)
        rows = self._rows(_reporting(seen, progress), _BATCH, sound)
        return self._smooth(Timeline.concatenate(rows))

    def stream(self, frames: Iterable[Frame]) -> Iterator[Timeline]:
        """The same for frames that arrive live: Timelines of the rows that have become final.

        An image model's row is final when the next frame it looks at arrives, a clip model's when
        the last window that covers it is full; with smoothing, half of `smooth_s` later. Frames
        closer together than `rate_hz` are passed over. Raises SpecError for a model that listens.
        """
        if self.bundle.clip_spec.heard:
            also = "" if self.listens else ", too"
            raise SpecError(f"{self.name} listens{also}, and frames are silent. Analyse a file.")
        grid = Grid(self.rate_hz)
        taken = (frame for frame in frames if grid.takes(frame.time_s))
        spec = self.bundle.clip_spec
        seen = moments(taken, spec, FaceTracker(self.detector), rate_hz=self.rate_hz)
        about = self._about()
        rows = self._rows(seen, batch=1)
        for part in smoothed(rows, self.smooth_s) if self.smooth_s else rows:
            yield replace(part, provenance=about)

    @property
    def name(self) -> str:
        """The model's."""
        return self.bundle.name

    @property
    def listens(self) -> bool:
        """Whether the model hears and does not look."""
        return not self.bundle.clip_spec.seen

    @property
    def takes_rate(self) -> bool:
        """Whether the model looks at single frames, as often as it is asked to."""
        return self.bundle.clip_spec.is_image

    def _looked_at(self, info: VideoInfo, start_s: float, end_s: float | None) -> Iterator[Moment]:
        frames = read_frames(
            info.path, rate_hz=self.rate_hz, start_s=start_s, end_s=end_s, max_side=MAX_SIDE_PX
        )
        ahead = prefetched(frames, _AHEAD)
        first = next(ahead, None)
        if first is None:
            raise MediaError(
                f"{info.path}: no frame starts in the span asked for. Give a longer one."
            )
        until_s = min(
            math.inf if end_s is None else end_s,
            math.inf if math.isnan(info.duration_s) else info.duration_s,
        )
        return moments(
            itertools.chain([first], ahead),
            self.bundle.clip_spec,
            FaceTracker(self.detector),
            scale=info.width / first.rgb.shape[1],
            rate_hz=self.rate_hz,
            until_s=until_s,
        )

    def _rows(
        self, seen: Iterable[Moment], batch: int, sound: Sound | None = None
    ) -> Iterator[Timeline]:
        bundle = self.bundle
        what = (bundle.clip_spec, self._predict, bundle.labels, bundle.card.modality)
        if bundle.clip_spec.is_image:
            return frame_rows(seen, *what, batch=batch)
        return window_rows(seen, *what, sound, self.vote)

    def _smooth(self, timeline: Timeline) -> Timeline:
        return timeline.smooth(self.smooth_s) if self.smooth_s else timeline

    def _predict(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        return self.bundle.predict(inputs, prior=self.prior)

    def _provenance(
        self, info: VideoInfo, timeline: Timeline, start_s: float, end_s: float | None
    ) -> Provenance:
        padded = int(timeline.padded.sum())
        note = (
            f"{padded} of {len(timeline)} rows come from clips shorter than the model needs, padded"
            " by repeating frames"
        )
        return replace(
            self._about(),
            path=str(info.path),
            start_s=start_s,
            end_s=end_s,
            duration_s=info.duration_s,
            fps=info.fps,
            width=info.width,
            height=info.height,
            notes=(note,) if padded else (),
        )

    def _about(self) -> Provenance:
        """What is known of every analysis, live ones too."""
        spec = self.bundle.clip_spec
        return Provenance(
            model=self.bundle.name,
            model_version=self.bundle.card.version,
            backend=self.bundle.backend,
            detector=self.detector_choice,
            prior=self.prior,
            vote=self.vote,
            smooth_s=self.smooth_s,
            min_confidence=self.min_confidence,
            rate_hz=self.rate_hz if spec.is_image else spec.rate_hz,
            emoscope=VERSION,
        )


def _info(path: Path, whole: Sound | None) -> VideoInfo:
    """Of a file that is heard: it need not have a picture, nor one that can be decoded."""
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
