"""All targets by name."""

from fuzz.harness import Target
from fuzz.media import Media

__all__ = ["TARGETS"]

TARGETS: dict[str, type[Target]] = {target.name: target for target in (Media,)}
