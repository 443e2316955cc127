from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace
from making import Picture, corner_picture, make_joined, make_video

from emoscope.media.reading.pixels import Orientation, fit
from emoscope.media.video import probe, read_frames

RED, GREEN, BLUE, GREY = (220, 30, 30), (30, 200, 30), (30, 30, 220), (128, 128, 128)


def quarters(rgb: Picture) -> list[tuple[int, int, int]]:
    """The nearest of the four colours in each quarter: top left, top right, bottom left, right."""
    height, width = rgb.shape[:2]
    centres = [
        rgb[y, x] for y in (height // 4, height * 3 // 4) for x in (width // 4, width * 3 // 4)
    ]
    return [
        min((RED, GREEN, BLUE, GREY), key=lambda c: float(np.abs(centre - c).sum()))
        for centre in centres
    ]


@pytest.mark.parametrize(
    ("rotation", "hflip", "expected"),
    [
        (0, False, [RED, GREEN, BLUE, GREY]),
        (90, False, [GREEN, GREY, RED, BLUE]),  # counter-clockwise
        (-90, False, [BLUE, RED, GREY, GREEN]),  # a phone held upright
        (180, False, [GREY, BLUE, GREEN, RED]),
        (0, True, [GREEN, RED, GREY, BLUE]),
        (180, True, [BLUE, GREY, RED, GREEN]),
        (90, True, [GREY, GREEN, BLUE, RED]),
        (-90, True, [RED, BLUE, GREEN, GREY]),
    ],
)
def test_frames_are_rotated_upright(
    tmp_path: Path, rotation: int, hflip: bool, expected: list[tuple[int, int, int]]
) -> None:
    path = make_video(
        tmp_path / "turned.mp4",
        picture=lambda _: corner_picture(),
        rotation=rotation,
        hflip=hflip,
        num_frames=2,
    )
    frame = next(read_frames(path))
    info = probe(path)
    assert frame.rgb.shape == ((64, 48, 3) if abs(rotation) == 90 else (48, 64, 3))
    assert frame.rgb.shape[:2] == (info.height, info.width)
    assert frame.rgb.flags.c_contiguous
    assert quarters(frame.rgb) == expected
    assert quarters(next(read_frames(path, max_side=32)).rgb) == expected


@pytest.mark.parametrize("rotation", [0, 90, -90, 180])
def test_rotation_is_known_even_where_side_data_cannot_be_listed(
    tmp_path: Path, rotation: int
) -> None:
    path = make_video(tmp_path / "turned.mp4", rotation=rotation, num_frames=1)
    with av.open(str(path)) as container:
        real = next(container.decode(video=0))

        class Unlistable:
            rotation = real.rotation

            @property
            def side_data(self) -> object:
                raise ValueError("31 is not a valid Type")

        assert Orientation.of(Unlistable()) == Orientation.of(real)  # type: ignore[arg-type]


FORMATS = [
    ("libx264", "yuv420p", ".mp4"),
    ("libx264", "yuvj420p", ".mp4"),
    ("libx264", "yuv422p", ".mp4"),
    ("libx264", "yuv444p", ".mp4"),
    ("libx264", "yuv420p10le", ".mp4"),
    ("libx264", "yuv422p10le", ".mp4"),
    ("libx264rgb", "rgb24", ".mp4"),
    ("ffv1", "yuva420p", ".mkv"),
    ("ffv1", "yuv420p16le", ".mkv"),
    ("ffv1", "yuv444p12le", ".mkv"),
    ("ffv1", "bgr0", ".mkv"),
    ("mjpeg", "yuvj422p", ".avi"),
    ("rawvideo", "rgb24", ".mov"),
    ("rawvideo", "yuyv422", ".mov"),
    ("qtrle", "argb", ".mov"),
]


@pytest.mark.parametrize(("codec", "pix_fmt", "suffix"), FORMATS)
@pytest.mark.parametrize("max_side", [None, 48])
def test_colours_survive_every_pixel_format(
    tmp_path: Path, codec: str, pix_fmt: str, suffix: str, max_side: int | None
) -> None:
    colours = np.array([[255, 255, 255], [0, 0, 0], [200, 60, 30], [30, 90, 200]], np.uint8)
    drawn = colours.reshape(2, 2, 3).repeat(48, axis=0).repeat(48, axis=1)
    path = make_video(
        tmp_path / f"colours{suffix}",
        picture=lambda _: drawn,
        codec=codec,
        pix_fmt=pix_fmt,
        options={"qp": "0"} if codec.startswith("libx264") else {},
        num_frames=2,
    )
    rgb = next(read_frames(path, max_side=max_side)).rgb
    scale = rgb.shape[0] / 96
    seen = [rgb[int(y * scale), int(x * scale)] for y in (24, 72) for x in (24, 72)]
    np.testing.assert_allclose(np.array(seen, int), colours, atol=3)
    np.testing.assert_array_equal(seen[:2], colours[:2])  # white and black exactly


@pytest.mark.parametrize("pix_fmt", ["gray", "gray10le", "gray16le"])
def test_grey_video_is_three_equal_channels(tmp_path: Path, pix_fmt: str) -> None:
    ramp = np.arange(256, dtype=np.uint8)[None, :, None].repeat(16, 0).repeat(3, 2)
    path = make_video(
        tmp_path / "grey.mkv", picture=lambda _: ramp, codec="ffv1", pix_fmt=pix_fmt, num_frames=1
    )
    rgb = next(read_frames(path)).rgb
    assert (rgb == rgb[..., :1]).all()
    np.testing.assert_allclose(rgb.astype(int), ramp, atol=2)


def write_yuv(path: Path, *, size_wh: tuple[int, int], matrix: int, full: bool) -> Path:
    """One frame of Y = 120, Cb = 100, Cr = 160, its matrix (2: not stated) and range stated."""
    frame = av.VideoFrame(*size_wh, "yuv444p")
    for plane, value in zip(frame.planes, (120, 100, 160), strict=True):
        plane.update(np.full(plane.buffer_size, value, np.uint8).tobytes())
    frame.pts = 0
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25, width=size_wh[0], height=size_wh[1])
        stream.pix_fmt = "yuv444p"
        context = stream.codec_context
        context.colorspace = matrix
        context.color_range = ColorRange.JPEG if full else ColorRange.MPEG
        frame.colorspace, frame.color_range = context.colorspace, context.color_range
        container.mux([*stream.encode(frame), *stream.encode()])
    return path


def to_rgb(kr: float, kb: float, full: bool) -> list[float]:
    """Y = 120, Cb = 100, Cr = 160 by the textbook (ITU-R BT.601 and BT.709, section 3)."""
    y, c = (120 / 255, 255) if full else ((120 - 16) / 219, 224)
    cb, cr = (100 - 128) / c, (160 - 128) / c
    r, b = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    return [255 * v for v in (r, (y - kr * r - kb * b) / (1 - kr - kb), b)]


BT601, BT709, BT2020 = (0.299, 0.114), (0.2126, 0.0722), (0.2627, 0.0593)


@pytest.mark.parametrize(
    ("size_wh", "matrix", "full", "weights"),
    [
        ((64, 48), Colorspace.ITU709, False, BT709),
        ((64, 48), Colorspace.ITU709, True, BT709),
        ((64, 48), Colorspace.ITU601, False, BT601),
        ((64, 48), Colorspace.ITU601, True, BT601),
        ((64, 48), Colorspace.BT2020, False, BT2020),
        ((1280, 720), Colorspace.ITU601, False, BT601),
        ((64, 48), 2, False, BT601),  # not stated: as players do
        ((1280, 720), 2, False, BT709),
        ((64, 48), 8, False, BT601),  # YCgCo, which swscale refuses
    ],
)
def test_colour_matrix_and_range_are_those_stated(
    tmp_path: Path, size_wh: tuple[int, int], matrix: int, full: bool, weights: tuple[float, float]
) -> None:
    path = write_yuv(tmp_path / "colours.mkv", size_wh=size_wh, matrix=matrix, full=full)
    for max_side in (None, 32):
        rgb = next(read_frames(path, max_side=max_side)).rgb
        np.testing.assert_allclose(rgb[5, 5].astype(int), to_rgb(*weights, full), atol=3)


@pytest.mark.parametrize(
    ("codec", "pix_fmt"), [("rawvideo", "rgb24"), ("qtrle", "rgb24"), ("libx264", "yuv420p")]
)
def test_drawing_on_a_frame_does_not_change_the_next(
    tmp_path: Path, codec: str, pix_fmt: str
) -> None:
    """Codecs that store changes only keep the previous frame in memory."""

    def dot(index: int) -> Picture:
        rgb = corner_picture()
        rgb[20:24, 4 * index : 4 * index + 4] = 255
        return rgb

    path = make_video(
        tmp_path / "film.mov", codec=codec, pix_fmt=pix_fmt, picture=dot, num_frames=5
    )
    clean = [f.rgb.copy() for f in read_frames(path)]
    for frame, expected in zip(read_frames(path), clean, strict=True):
        np.testing.assert_array_equal(frame.rgb, expected)
        frame.rgb[:] = 77


@pytest.mark.parametrize(
    ("size_wh", "max_side", "expected"),
    [
        ((640, 480), None, (640, 480)),
        ((640, 480), 640, (640, 480)),
        ((640, 480), 320, (320, 240)),
        ((480, 640), 100, (75, 100)),
        ((4000, 3), 100, (100, 1)),
    ],
)
def test_fit_keeps_the_aspect_ratio(
    size_wh: tuple[int, int], max_side: int | None, expected: tuple[int, int]
) -> None:
    assert fit(*size_wh, max_side) == expected


# Kind 7 of issue 18: square pixels, interlaced film, sizes that change


@pytest.mark.parametrize(
    ("size_wh", "aspect", "expected_wh"),
    [
        ((72, 58), Fraction(64, 45), (102, 58)),  # DV, 16:9
        ((72, 48), Fraction(8, 9), (64, 48)),  # DV, NTSC
        ((36, 58), Fraction(32, 11), (105, 58)),  # half D1
        ((144, 108), Fraction(4, 3), (192, 108)),  # HDV
        ((64, 48), Fraction(1, 1), (64, 48)),
        ((640, 48), Fraction(1215, 1216), (640, 48)),  # cropped: as good as square
        ((64, 48), Fraction(50, 1), (64, 48)),  # damaged
    ],
)
@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_pixels_are_square(
    tmp_path: Path,
    size_wh: tuple[int, int],
    aspect: Fraction,
    expected_wh: tuple[int, int],
    suffix: str,
) -> None:
    """The sample aspect ratio was ignored: faces were squeezed."""
    path = make_video(
        tmp_path / f"film{suffix}",
        picture=lambda _: corner_picture(size_wh),
        num_frames=2,
        aspect=aspect,
    )
    width, height = expected_wh
    frame, info = next(read_frames(path)), probe(path)
    assert (info.width, info.height) == expected_wh
    assert frame.rgb.shape == (height, width, 3)
    assert frame.scale == 1
    assert quarters(frame.rgb) == [RED, GREEN, BLUE, GREY]
    small = next(read_frames(path, max_side=40))
    assert max(small.rgb.shape) == 40
    assert small.rgb.shape[1] * small.scale == pytest.approx(width)
    assert small.rgb.shape[1] / small.rgb.shape[0] == pytest.approx(width / height, rel=0.03)


def test_a_turned_film_of_oblong_pixels_is_stretched_before_it_is_turned(tmp_path: Path) -> None:
    path = make_video(
        tmp_path / "film.mp4",
        picture=lambda _: corner_picture((36, 48)),
        num_frames=2,
        aspect=Fraction(2),
        rotation=90,
    )
    info = probe(path)
    assert (info.width, info.height) == (48, 72)
    assert next(read_frames(path)).rgb.shape == (72, 48, 3)


def combs(rgb: Picture) -> float:
    """How much neighbouring lines differ, in grey levels."""
    return float(np.abs(np.diff(rgb[..., 0].astype(int), axis=0)).mean())


@pytest.mark.parametrize("max_side", [None, 48])
def test_interlaced_film_has_no_combs(tmp_path: Path, max_side: int | None) -> None:
    """A bar moves between the fields, which are the even and the odd lines."""

    def woven(index: int) -> Picture:
        rgb = np.full((48, 64, 3), 40, np.uint8)
        rgb[0::2, 8 + index : 28 + index] = 200
        rgb[1::2, 18 + index : 38 + index] = 200
        return rgb

    path = make_video(
        tmp_path / "film.mkv",
        picture=woven,
        num_frames=4,
        options={"qp": "0"},
        interlaced=True,
    )
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).interlaced_frame
    frames = [frame.rgb for frame in read_frames(path, max_side=max_side)]
    assert combs(woven(0)) > 40
    assert max(combs(rgb) for rgb in frames) < 4
    if max_side is None:  # the first field, at its place
        assert all(rgb[:, 12 + i : 24 + i].min() > 170 for i, rgb in enumerate(frames))
        assert all(rgb[:, 32 + i :].max() < 70 for i, rgb in enumerate(frames))


def test_progressive_film_keeps_every_line(tmp_path: Path) -> None:
    stripes = np.zeros((48, 64, 3), np.uint8)
    stripes[::2] = 200
    path = make_video(
        tmp_path / "film.mkv", picture=lambda _: stripes, num_frames=2, options={"qp": "0"}
    )
    np.testing.assert_allclose(next(read_frames(path)).rgb, stripes, atol=4)


def test_a_size_that_changes_midway_has_its_own_scale(tmp_path: Path) -> None:
    parts = [
        make_video(tmp_path / f"{width}.ts", size_wh=(width, width // 2), num_frames=10)
        for width in (320, 160)
    ]
    frames = list(read_frames(make_joined(tmp_path / "film.ts", *parts), max_side=200))
    shapes = [(frame.rgb.shape[:2], frame.scale) for frame in frames]
    assert shapes[0] == ((100, 200), 1.6)
    assert shapes[-1] == ((80, 160), 1.0)
    assert len(frames) >= 19
