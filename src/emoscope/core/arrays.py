"""Array types for annotations. Shapes are documented where an array is created."""

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "AnyArray",
    "BoolArray",
    "ByteArray",
    "Float32Array",
    "Float64Array",
    "FloatArray",
    "Int64Array",
    "IntArray",
    "Picture",
    "StrArray",
]

AnyArray = npt.NDArray[Any]
BoolArray = npt.NDArray[np.bool_]
ByteArray = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.floating]
Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.integer]
Int64Array = npt.NDArray[np.int64]
StrArray = npt.NDArray[np.str_]

Picture = npt.NDArray[np.uint8]  # (H, W, 3) RGB
