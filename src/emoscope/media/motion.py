"""Dense optical flow and dynamic images."""

import itertools
from typing import Literal

import cv2
import numpy as np

from emoscope.core.arrays import AnyArray, ByteArray, Float32Array
from emoscope.core.errors import SpecError

__all__ = ["dynamic_image", "optical_flow", "rank_weights"]

Weighting = Literal["linear", "harmonic"]


def rank_weights(length: int, weighting: Weighting = "linear") -> Float32Array:
    """Coefficients (length,) of approximate rank pooling (Bilen et al., TPAMI 2018).

    linear     alpha_t = 2t - T - 1: ranks the frames
    harmonic   alpha_t = 2(T - t + 1) - (T + 1)(H_T - H_(t-1)), where H_t is the t-th harmonic
               number: ranks the running means of the frames (their CVPR 2016 paper)

    Both sum to zero. ClipSpec streams use linear weights, as these can be updated incrementally
    when a window slides.
    """
    t = np.arange(1, length + 1, dtype=np.float64)
    if weighting == "linear":
        alpha = 2 * t - length - 1
    else:
        harmonic = np.concatenate([[0.0], np.cumsum(1 / t)])
        alpha = 2 * (length - t + 1) - (length + 1) * (harmonic[-1] - harmonic[:-1])
    return alpha.astype(np.float32)


def dynamic_image(clip: AnyArray, weighting: Weighting = "linear") -> Float32Array:
    """Summarise motion in one image by approximate rank pooling (Bilen et al., TPAMI 2018).

    (T, H, W, C) -> (H, W, C) float32 in the unit of the input, unnormalised; zero where nothing
    moves. The input may be images in [0, 1], uint8 images, or optical flow. Raises SpecError for
    other shapes.

    >>> import numpy as np
    >>> from emoscope.media.motion import dynamic_image
    >>> clip = np.zeros((3, 1, 2, 1))
    >>> clip[:, 0, 0, 0] = [0.0, 0.5, 1.0]  # the left pixel brightens, the right one stays black
    >>> dynamic_image(clip)[0, :, 0]
    array([2., 0.], dtype=float32)
    """
    frames = _as_clip(clip)
    # float32 sums of bytes with linear weights are exact; sums of other values are not.
    precision = np.float32 if frames.dtype == np.uint8 else np.float64
    frames = frames.astype(precision)
    # The weights sum to zero, so subtracting a constant makes a still clip exactly 0.
    frames -= frames[:1].copy()
    weights = rank_weights(len(frames), weighting).astype(precision)
    return np.asarray(np.tensordot(weights, frames, axes=1), dtype=np.float32)


def optical_flow(clip: AnyArray) -> Float32Array:
    """Compute dense optical flow between consecutive frames (Farnebäck, SCIA 2003).

    (T, H, W, C), RGB or grey, uint8 or float in [0, 1] -> (T - 1, H, W, 2) float32 in pixels per
    frame: x to the right, y down. Flow between two equal frames is exactly zero. Raises SpecError
    for other shapes.

    >>> import numpy as np
    >>> from emoscope.media.motion import optical_flow
    >>> noise = np.random.default_rng(0).random((48, 64))
    >>> clip = np.stack([noise, np.roll(noise, 2, axis=1)])[..., None]  # moves 2 px to the right
    >>> flow = optical_flow(clip)
    >>> flow.shape
    (1, 48, 64, 2)
    >>> x, y = np.median(flow, axis=(0, 1, 2))
    >>> round(x), abs(round(y))
    (2, 0)
    """
    frames = _as_clip(clip)
    if frames.shape[-1] not in (1, 3):
        raise SpecError(f"Optical flow needs RGB or grey frames, got {frames.shape[-1]} channels.")
    if frames.dtype != np.uint8:
        frames = np.clip(np.rint(frames * 255), 0, 255).astype(np.uint8)
    grays = [_gray(frame) for frame in frames]
    flows = [_farneback(a, b) for a, b in itertools.pairwise(grays)]
    return np.stack(flows) if flows else np.zeros((0, *frames.shape[1:3], 2), np.float32)


def _farneback(before: ByteArray, after: ByteArray) -> Float32Array:
    """Flow (H, W, 2) in pixels between two grey images (H, W), with OpenCV's usual settings."""
    if np.array_equal(before, after):  # OpenCV's result is not quite zero at the border
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
        raise SpecError(f"A clip must be (T, H, W, C) with T >= 1, got shape {array.shape}.")
    return array
