"""Ways to damage bytes, the same for the same random generator: `(data, rng) -> data`."""

from collections.abc import Callable
from random import Random

__all__ = ["GENERAL", "Mutator", "overwrite_fields"]

Mutator = Callable[[bytes, Random], bytes]

_ENDS = 512  # bytes: headers are at the beginning, indexes at either end


def _block(data: bytes, rng: Random) -> slice:
    """A stretch of at most a quarter of the data, small ones as often as large ones."""
    length = min(len(data), max(1, int(len(data) / 4 * rng.random() ** 4)))
    start = rng.randint(0, len(data) - length)
    return slice(start, start + length)


def flip_bits(data: bytes, rng: Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 4, 32, 256))):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def flip_bits_at_the_ends(data: bytes, rng: Random) -> bytes:
    damaged = bytearray(data)
    reach = min(_ENDS, len(damaged))
    for _ in range(rng.choice((1, 1, 4, 16))):
        position = rng.randrange(reach)
        damaged[position if rng.random() < 0.7 else -1 - position] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def overwrite_block(data: bytes, rng: Random) -> bytes:
    block = _block(data, rng)
    length = block.stop - block.start
    filling = rng.choice((b"\x00" * length, b"\xff" * length, rng.randbytes(length)))
    return data[: block.start] + filling + data[block.stop :]


def truncate(data: bytes, rng: Random) -> bytes:
    return data[: rng.randrange(len(data))]


def drop_block(data: bytes, rng: Random) -> bytes:
    block = _block(data, rng)
    return data[: block.start] + data[block.stop :]


def repeat_block(data: bytes, rng: Random) -> bytes:
    block = _block(data, rng)
    return data[: block.stop] + data[block] + data[block.stop :]


def swap_blocks(data: bytes, rng: Random) -> bytes:
    damaged = bytearray(data)
    length = max(1, int(len(data) / 4 * rng.random() ** 2))
    if len(data) < 2 * length:
        return data[::-1]
    first, second = rng.randint(0, len(data) - length), rng.randint(0, len(data) - length)
    damaged[first : first + length] = data[second : second + length]
    damaged[second : second + length] = data[first : first + length]
    return bytes(damaged)


def append_itself(data: bytes, rng: Random) -> bytes:
    """Two recordings joined: the clock starts again in the middle."""
    return data + data[rng.choice((0, 0, _block(data, rng).start)) :]


def overwrite_fields(markers: tuple[bytes, ...]) -> Mutator:
    """Overwrite numbers that follow one of the markers, such as `mdhd`, with extreme values."""

    def mutate(data: bytes, rng: Random) -> bytes:
        known = [marker for marker in markers if marker in data]
        if not known:
            return flip_bits(data, rng)
        damaged = bytearray(data)
        for _ in range(rng.choice((1, 1, 2, 8))):
            marker = rng.choice(known)
            places = [i for i in range(len(data)) if data.startswith(marker, i)]
            width = rng.choice((1, 2, 4, 4, 8))
            start = rng.choice(places) + len(marker) + rng.randrange(24)
            value = rng.choice(
                (
                    b"\x00" * width,
                    b"\xff" * width,
                    b"\x7f" + b"\xff" * (width - 1),
                    (1).to_bytes(width, "big"),
                    rng.randbytes(width),
                )
            )
            damaged[start : start + width] = value[: max(0, len(damaged) - start)]
        return bytes(damaged)

    return mutate


GENERAL: dict[str, Mutator] = {
    "bits flipped": flip_bits,
    "bits flipped at the ends": flip_bits_at_the_ends,
    "block overwritten": overwrite_block,
    "truncated": truncate,
    "block dropped": drop_block,
    "block repeated": repeat_block,
    "blocks swapped": swap_blocks,
    "appended to itself": append_itself,
}
