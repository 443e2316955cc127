"""A small Timeline and a maker of small videos."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from emoscope.core.labels import LABEL_SETS
from emoscope.core.results import Provenance, Timeline

LABELS = LABEL_SETS["ferplus8"].labels


@pytest.fixture
def two_people() -> Timeline:
    """Two seconds in spans of 0.25 s at 160x120 with two people.

    Person 1 is neutral from 0 to 0.5 s and happy from 1 to 2 s. Person 2 is there from 1 to 1.5 s.
    No face is seen from 0.5 to 1 s."""
    starts = [(0.0, 1), (0.25, 1), (0.5, -1), (0.75, -1)]
    starts += [(1.0, 1), (1.0, 2), (1.25, 1), (1.25, 2), (1.5, 1), (1.75, 1)]
    start_s, track = np.array([s for s, _ in starts]), np.array([t for _, t in starts])
    seen = track > 0
    boxes = np.where((track == 1)[:, None], [20.0, 30.0, 60.0, 80.0], [100.0, 30.0, 140.0, 80.0])
    logits = np.random.default_rng(0).normal(size=(len(track), len(LABELS)))
    logits[(start_s < 0.5), 0] += 6
    logits[(start_s >= 1.0) & (track == 1), 1] += 6
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Timeline(
        spans_s=np.column_stack([start_s, start_s + 0.25]),
        track=track,
        boxes_xyxy=np.where(seen[:, None], boxes, np.nan),
        probs=np.where(seen[:, None], probs, np.nan),
        modalities=np.where(seen, "face", ""),
        labels=LABELS,
        padded=np.arange(len(track)) == 0,
        provenance=Provenance(
            path="clips/two.mp4",
            model="face-ferplus",
            model_version="1.0",
            detector="haar",
            rate_hz=4.0,
            duration_s=2.0,
            fps=10.0,
            width=160,
            height=120,
            notes=("Trained on grey pictures.",),
        ),
    )


@pytest.fixture
def make_video(tmp_path: Path) -> Callable[..., Path]:
    """Write a video with one plain frame per colour, optionally with a tone."""

    def make(
        colours: list[tuple[int, int, int]],
        *,
        fps: int = 10,
        size_wh: tuple[int, int] = (160, 120),
        sound: bool = False,
        name: str = "two.mp4",
    ) -> Path:
        path = tmp_path / name
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=fps, options={"crf": "10"})
            stream.width, stream.height = size_wh
            stream.pix_fmt = "yuv420p"
            tone = container.add_stream("aac", rate=16000) if sound else None
            for colour in colours:
                picture = np.full((size_wh[1], size_wh[0], 3), colour, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
            if tone is not None:
                samples = np.sin(np.arange(16000 * len(colours) // fps) / 6)[None]
                audio = av.AudioFrame.from_ndarray(
                    samples.astype(np.float32), format="fltp", layout="mono"
                )
                audio.sample_rate = 16000
                container.mux(tone.encode(audio))
                container.mux(tone.encode())
        return path

    return make
