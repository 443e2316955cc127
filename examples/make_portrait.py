"""Make `portrait.mp4`, the clip of `make demo`, from scikit-image's astronaut portrait.

The portrait is NASA's, of Eileen Collins, in the public domain. A camera pans and zooms over it,
the light changes, for two seconds no face is in the picture, and a soft tone is the sound track.

    python examples/make_portrait.py examples/portrait.mp4
"""

import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import skimage.data

FPS = 25
SIZE = 640, 360  # width, height in pixels
SOUND_HZ = 44_100

# time in s -> centre x, centre y and width of the view, all in pixels of the 512 px portrait
FACE_VIEWS = {0.0: (256, 150, 500), 2.5: (224, 125, 330), 5.0: (232, 118, 240)}
EMPTY_VIEWS = {5.0: (395, 180, 200), 7.0: (410, 200, 190)}
BACK_VIEWS = {7.0: (200, 130, 400), 9.5: (226, 116, 260), 12.0: (240, 140, 440)}
LENGTH_S = 12.0

Picture = npt.NDArray[np.uint8]


def view_at(time_s: float) -> tuple[float, float, float]:
    """Centre and width of the view, linear between the views above."""
    views = FACE_VIEWS if time_s < 5 else EMPTY_VIEWS if time_s < 7 else BACK_VIEWS
    x, y, width = (
        float(np.interp(time_s, list(views), [view[i] for view in views.values()]))
        for i in range(3)
    )
    return x, y, width


def picture_at(portrait: Picture, time_s: float) -> Picture:
    """One frame, (360, 640, 3) RGB."""
    x, y, width = view_at(time_s)
    zoom = SIZE[0] / width
    matrix = np.array([[zoom, 0, SIZE[0] / 2 - zoom * x], [0, zoom, SIZE[1] / 2 - zoom * y]])
    view = cv2.warpAffine(
        portrait, matrix, SIZE, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )
    light = 1.0 if time_s < 7 else 0.8 + 0.3 * np.sin(2 * np.pi * (time_s - 7) / 4)
    return np.clip(view * light, 0, 255).astype(np.uint8)


def tone() -> Iterator[av.AudioFrame]:
    """A sine that glides from 220 to 330 Hz, at a tenth of full scale."""
    times = np.arange(int(LENGTH_S * SOUND_HZ)) / SOUND_HZ
    phase = 2 * np.pi * np.cumsum(np.interp(times, [0, LENGTH_S], [220, 330])) / SOUND_HZ
    samples = (0.1 * np.sin(phase)).astype(np.float32)
    for start in range(0, len(samples), 1024):
        frame = av.AudioFrame.from_ndarray(
            samples[None, start : start + 1024], format="fltp", layout="mono"
        )
        frame.sample_rate = SOUND_HZ
        frame.pts = start
        yield frame


def main(path: Path) -> None:
    """Write the clip."""
    portrait = skimage.data.astronaut()  # type: ignore[no-untyped-call]
    with av.open(str(path), "w") as film:
        picture = film.add_stream("libx264", rate=FPS)
        picture.width, picture.height = SIZE
        picture.pix_fmt = "yuv420p"
        picture.options = {"crf": "26", "preset": "slow"}
        sound = film.add_stream("aac", rate=SOUND_HZ)
        sound.bit_rate = 48_000
        for i in range(int(LENGTH_S * FPS)):
            frame = av.VideoFrame.from_ndarray(picture_at(portrait, i / FPS), format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, FPS)
            film.mux(picture.encode(frame))
        film.mux(picture.encode())
        for chunk in tone():
            film.mux(sound.encode(chunk))
        film.mux(sound.encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
