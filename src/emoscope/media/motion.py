"""Motion as pictures: dense optical flow and dynamic images."""

import itertools
from typing import Literal

import cv2
import numpy as np

from emoscope.core.arrays import AnyArray, ByteArray, Float32Array
from emoscope.core.errors import SpecError

__all__ = ["dynamic_image", "optical_flow", "rank_weights"]

Weighting = Literal["linear", "harmonic"]


def rank_weights(length: int, weighting: Weighting = "linear") -> Float32Array:
    """Coefficients of approximate rank pooling (Bilen et al., TPAMI 2018) -> (length,).

    "linear":    alpha_t = 2t - T - 1: ranks the frames themselves;
    "harmonic":  alpha_t = 2(T - t + 1) - (T + 1)(H_T - H_(t-1)), with H_t the t-th harmonic
                 number: ranks their running means (as in their CVPR 2016 paper).
    Both sum to zero. The streams of a ClipSpec are weighted linearly: only so does a window that
    slides keep its sums.
    """
    t = np.arange(1, length + 1, dtype=np.float64)
    if weighting == "linear":
        alpha = 2 * t - length - 1
    else:
        harmonic = np.concatenate([[0.0], np.cumsum(1 / t)])
        alpha = 2 * (length - t + 1) - (length + 1) * (harmonic[-1] - harmonic[:-1])
    return alpha.astype(np.float32)


def dynamic_image(clip: AnyArray, weighting: Weighting = "linear") -> Float32Array:
    """Summarise a clip's motion in one image: approximate rank pooling (Bilen et al., TPAMI 2018).

    (T, H, W, C) in [0, 1], bytes, or pixels a frame, for flow -> (H, W, C) in the same unit,
    unnormalised; zero where nothing moves."""
    frames = _as_clip(clip)
    # Bytes under linear weights are summed exactly in single precision, other values are not.
    precision = np.float32 if frames.dtype == np.uint8 else np.float64
    frames = frames.astype(precision)
    # The weights sum to zero, so a constant may be taken off first: a still clip is exactly 0.
    frames -= frames[:1].copy()
    weights = rank_weights(len(frames), weighting).astype(precision)
    return np.asarray(np.tensordot(weights, frames, axes=1), dtype=np.float32)


def optical_flow(clip: AnyArray) -> Float32Array:
    """Farnebäck's dense flow from each frame to the next, in pixels a frame.

    (T, H, W, C), RGB or grey, uint8 or float in [0, 1] -> (T - 1, H, W, 2): x to the right, y down.
    Between two equal frames it is exactly zero.
    """
    frames = _as_clip(clip)
    if frames.shape[-1] not in (1, 3):
        raise SpecError(f"Flow is read from RGB or grey frames, got {frames.shape[-1]} channels.")
    if frames.dtype != np.uint8:
        frames = np.clip(np.rint(frames * 255), 0, 255).astype(np.uint8)
    grays = [_gray(frame) for frame in frames]
    flows = [_farneback(a, b) for a, b in itertools.pairwise(grays)]
    return np.stack(flows) if flows else np.zeros((0, *frames.shape[1:3], 2), np.float32)


def _farneback(before: ByteArray, after: ByteArray) -> Float32Array:
    """(H, W) grey pair -> (H, W, 2) pixels. Settings: OpenCV's usual ones for 112 px faces."""
    if np.array_equal(before, after):  # OpenCV's own answer trembles at the border
        return np.zeros((*before.shape, 2), np.float32)
    flow = cv2.calcOpticalFlowFarneback(
        before,
        after,
        np.zeros((*before.shape, 2), np.float32),  # no initial flow
        pyr_scale=0.5,
        levels=3,
        winsize=15,
        iterations=3,
        poly_n=5,
        poly_sigma=1.2,
        flags=0,
    )
    return np.asarray(flow, dtype=np.float32)


def _gray(frame: ByteArray) -> ByteArray:
    if frame.shape[-1] == 1:
        return np.ascontiguousarray(frame[..., 0])
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def _as_clip(clip: AnyArray) -> AnyArray:
    array = np.asarray(clip)
    if array.ndim != 4 or len(array) == 0:
        raise SpecError(f"A clip is (T, H, W, C) with T >= 1, got shape {array.shape}.")
    return array
