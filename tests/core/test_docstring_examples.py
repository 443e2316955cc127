"""Examples in the docstrings of the core run."""

import doctest
from types import ModuleType

import pytest

from emoscope.core import labels, registry, results, votes


@pytest.mark.parametrize("module", [labels, registry, results, votes])
def test_the_examples_run(module: ModuleType) -> None:
    outcome = doctest.testmod(module)
    assert outcome.attempted > 0
    assert outcome.failed == 0
