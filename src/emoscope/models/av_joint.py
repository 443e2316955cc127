"""av-joint: one network over a face in motion and its sound, trained end to end.

Fan & Ke ("Spatiotemporal networks for video emotion recognition") fuse the answers of separate
models and name this as future work. All of the network is ours.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emoscope.core.clipspec import ClipSpec, Last, LogMel, Normalisation, Stream, Window
from emoscope.core.errors import SpecError
from emoscope.models.face import FaceCNN
from emoscope.models.network import Network
from emoscope.models.registry import MODELS, ModelEntry

__all__ = ["AVJoint"]

JointStream = Literal["gray", "logmel"]

_STREAMS: tuple[JointStream, ...] = get_args(JointStream)
_RATE_HZ = 12.5  # of pictures: eight rows of logmel a picture, which three layers halve to one
_SOUND = Normalisation(mean=(-60.0,), std=(20.0,))  # dB: silence is -2
_SILENCE = -2.0 + 1e-3


class AVJoint(Network):
    """A face in motion and its sound in one network, front fusion: gray (B, frames, 1, 48, 48) and
    logmel (B, 8 frames, mels) -> (B, num_classes).

    Small CNNs bring both to one grid of 80 ms; their features meet step by step (front fusion), and
    a GRU (Cho et al., EMNLP 2014) goes over them together. The mean of its states and the last one
    are classified.
    From a picture's features their mean over the clip is taken off, as in face-gru: who it is
    cancels out. Those of the sound keep it, for a voice's colour lasts the whole clip. Where a clip
    is silent, the sound's features are zero.

    streams        "gray", "logmel" or both: the same network with one modality left out
    frames         of a clip, at 12.5 Hz: its last ones, and the sound beside them
    mels           bands of the sound
    features       of a step, of each modality
    hidden_size    of the GRU
    stem, widths   channels of the pictures' CNN, a residual block each; each width halves the sides
    sound_widths   channels of the sound's three layers
    dropout        on what is classified
    hide_sound     share of the training clips whose sound is taken away, of a network with both, so
                   that it learns to answer without

    Raises SpecError for other streams."""

    def __init__(
        self,
        num_classes: int = 7,
        streams: Sequence[JointStream] = _STREAMS,
        frames: int = 25,
        mels: int = 64,
        features: int = 64,
        hidden_size: int = 64,
        stem: int = 8,
        widths: Sequence[int] = (32, 64),
        sound_widths: Sequence[int] = (16, 32, 64),
        dropout: float = 0.2,
        hide_sound: float = 0.1,
    ) -> None:
        super().__init__()
        self.clip_spec = _clip_spec(streams, frames, mels)
        self.hide_sound = hide_sound if len(streams) > 1 else 0.0
        if "gray" in streams:
            self.face = _Face(stem, widths, features)
        if len(sound_widths) != 3:
            raise SpecError(f"sound_widths are three, got {sound_widths}.")
        if "logmel" in streams:
            self.sound = _Sound(mels, sound_widths, features)
        self.gru = nn.GRU(features * len(streams), hidden_size, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(2 * hidden_size, num_classes)

    def forward(self, gray: Tensor | None = None, logmel: Tensor | None = None) -> Tensor:
        """The streams that the network was made with -> logits (B, num_classes)."""
        steps = []
        if gray is not None:
            steps.append(self.face(gray))
        if logmel is not None:
            steps.append(self.sound(logmel) * self._heard(logmel))
        states, last = self.gru(torch.cat(steps, dim=2))
        return self.classifier(self.dropout(torch.cat([states.mean(1), last[-1]], dim=1)))

    def _heard(self, logmel: Tensor) -> Tensor:
        """(B, 1, 1): 0 where a clip is silent, or in training its sound is hidden; else 1."""
        heard = logmel.amax((1, 2), keepdim=True) > _SILENCE
        if self.training and self.hide_sound:
            heard = heard & (torch.rand_like(logmel[:, :1, :1]) >= self.hide_sound)
        return heard.to(logmel.dtype)


class _Face(nn.Module):
    """(B, T, 1, 48, 48) -> (B, T, features), of zero mean over T."""

    def __init__(self, stem: int, widths: Sequence[int], features: int) -> None:
        super().__init__()
        trunk = FaceCNN(stem=stem, widths=widths, blocks=(1,) * len(widths))
        self.stem, self.stages = trunk.stem, trunk.stages
        side = 48 // 2 ** len(widths)
        self.project = nn.Linear(widths[-1] * side**2, features)

    def forward(self, gray: Tensor) -> Tensor:
        maps = self.stages(self.stem(gray.flatten(0, 1)))
        features = F.relu(self.project(maps.flatten(1))).reshape(*gray.shape[:2], -1)
        return features - features.mean(1, keepdim=True)


class _Sound(nn.Module):
    """(B, 8 T, mels) -> (B, T, features): three layers, each of which halves time and bands."""

    def __init__(self, mels: int, widths: Sequence[int], features: int) -> None:
        super().__init__()
        self.layers = nn.Sequential()
        channels = 1
        for width in widths:
            self.layers.append(nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False))
            self.layers.append(nn.BatchNorm2d(width))
            self.layers.append(nn.ReLU())
            channels, mels = width, -(-mels // 2)
        self.project = nn.Linear(channels * mels, features)

    def forward(self, logmel: Tensor) -> Tensor:
        maps = self.layers(logmel[:, None])  # (B, C, T, bands)
        return F.relu(self.project(maps.transpose(1, 2).flatten(2)))


def _clip_spec(streams: Sequence[JointStream], frames: int, mels: int) -> ClipSpec:
    """Windows of as many seconds as there are frames, five of them in each. Raises SpecError."""
    if not streams or len(set(streams)) < len(streams) or not set(streams) <= set(_STREAMS):
        raise SpecError(f"streams are any of {', '.join(_STREAMS)}, each once; got {streams}.")
    length_s = frames / _RATE_HZ
    stride_s = max(1, frames // 5) / _RATE_HZ
    kinds = {
        "gray": Stream(kind="gray", size_hw=(48, 48), normalisation=Normalisation(per_clip=True)),
        "logmel": LogMel(length_s=length_s, mels=mels, normalisation=_SOUND),
    }
    seen = "gray" in streams
    return ClipSpec(
        region="face",
        sampling=Last(length=frames) if seen else None,
        rate_hz=_RATE_HZ if seen else None,
        window=Window(length_s=length_s, stride_s=stride_s),
        streams=tuple(kinds[kind] for kind in streams),
    )


MODELS.add(
    "av-joint",
    ModelEntry(
        AVJoint,
        small={
            "frames": 4,
            "mels": 16,
            "features": 8,
            "hidden_size": 8,
            "stem": 4,
            "widths": (4, 8),
            "sound_widths": (4, 4, 8),
        },
    ),
)
