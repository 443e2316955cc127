"""The message of a corpus that cannot be read."""

from collections.abc import Callable

import pytest

from emoscope.core.errors import CorpusError


def refusal(call: Callable[[], object]) -> str:
    """The message of the CorpusError that a call raises: one line."""
    with pytest.raises(CorpusError) as raised:
        call()
    message = str(raised.value)
    assert "\n" not in message
    return message
