"""av-joint: one network for face video and audio, trained end to end.

Fan & Ke ("Spatiotemporal networks for video emotion recognition") fuse the predictions of separate
models and propose a joint network as future work. The architecture is ours.
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
_RATE_HZ = 12.5  # one frame per 8 logmel rows, which three strided layers reduce to one
_SIDE_PX = 48
_AUDIO_NORM = Normalisation(mean=(-60.0,), std=(20.0,))  # in dB; silence becomes -2
_SILENCE = -2.0 + 1e-3  # upper limit of a silent clip's values


class AVJoint(Network):
    """Joint network for face video and audio.

    gray (B, frames, 1, 48, 48) and logmel (B, 8 frames, mels) -> (B, num_classes).

    Small CNNs map both streams to features every 80 ms. The features are concatenated per step
    (front fusion) and processed by a GRU (Cho et al., EMNLP 2014); the mean of its states and the
    last one are classified. The mean over the clip is subtracted from the face features, which
    removes the person's identity, but not from the audio features, as vocal emotion lasts the whole
    clip. The audio features of a silent clip are zero.

    streams        "gray", "logmel" or both; one alone leaves the other modality out
    frames         last frames of the clip at 12.5 Hz, and the audio of the same time span
    mels           frequency bands
    features       features per step of each modality
    hidden_size    size of the GRU
    stem, widths   channels of the image CNN, one residual block per width; each halves the image
    sound_widths   channels of the three audio layers
    dropout        applied before the classifier
    hide_sound     share of training clips whose audio is dropped if both streams are used, so that
                   the network also works without audio

    Raises SpecError for other streams and for other than three `sound_widths`."""

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
            self.face = _FaceEncoder(stem, widths, features)
        if len(sound_widths) != 3:
            raise SpecError(f"sound_widths must be three numbers, got {sound_widths}.")
        if "logmel" in streams:
            self.sound = _AudioEncoder(mels, sound_widths, features)
        self.gru = nn.GRU(features * len(streams), hidden_size, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(2 * hidden_size, num_classes)

    def forward(self, gray: Tensor | None = None, logmel: Tensor | None = None) -> Tensor:
        """Streams of the `clip_spec` -> logits (B, num_classes)."""
        features = []
        if gray is not None:
            features.append(self.face(gray))
        if logmel is not None:
            features.append(self.sound(logmel) * self._audio_mask(logmel))
        states, last = self.gru(torch.cat(features, dim=2))
        return self.classifier(self.dropout(torch.cat([states.mean(1), last[-1]], dim=1)))

    def _audio_mask(self, logmel: Tensor) -> Tensor:
        """(B, 1, 1): 0 for silent clips and, in training, for clips whose audio is dropped."""
        is_used = logmel.amax((1, 2), keepdim=True) > _SILENCE
        if self.training and self.hide_sound:
            is_used = is_used & (torch.rand_like(logmel[:, :1, :1]) >= self.hide_sound)
        return is_used.to(logmel.dtype)


class _FaceEncoder(nn.Module):
    """(B, T, 1, 48, 48) -> (B, T, features) with zero mean over T."""

    def __init__(self, stem: int, widths: Sequence[int], features: int) -> None:
        super().__init__()
        trunk = FaceCNN(stem=stem, widths=widths, blocks=(1,) * len(widths))
        self.stem, self.stages = trunk.stem, trunk.stages
        side = _SIDE_PX // 2 ** len(widths)
        self.project = nn.Linear(widths[-1] * side**2, features)

    def forward(self, gray: Tensor) -> Tensor:
        maps = self.stages(self.stem(gray.flatten(0, 1)))
        features = F.relu(self.project(maps.flatten(1))).reshape(*gray.shape[:2], -1)
        return features - features.mean(1, keepdim=True)


class _AudioEncoder(nn.Module):
    """(B, 8 T, mels) -> (B, T, features); each of three layers halves both time and bands."""

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
    """Windows that hold exactly `frames`, with five strides per window. Raises SpecError."""
    if not streams or len(set(streams)) < len(streams) or not set(streams) <= set(_STREAMS):
        raise SpecError(
            f"streams must be one or more of {', '.join(_STREAMS)}, each once; got "
            f"{tuple(streams)}."
        )
    length_s = frames / _RATE_HZ
    stride_s = max(1, frames // 5) / _RATE_HZ
    size_hw, per_clip = (_SIDE_PX, _SIDE_PX), Normalisation(per_clip=True)
    kinds = {
        "gray": Stream(kind="gray", size_hw=size_hw, normalisation=per_clip),
        "logmel": LogMel(length_s=length_s, mels=mels, normalisation=_AUDIO_NORM),
    }
    has_frames = "gray" in streams
    return ClipSpec(
        region="face",
        sampling=Last(length=frames) if has_frames else None,
        rate_hz=_RATE_HZ if has_frames else None,
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
