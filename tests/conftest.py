"""Tests marked `data` read real clips and corpora beside the checkout; without them they skip."""

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if SHARED.is_dir():
        return
    for item in items:
        if item.get_closest_marker("data"):
            item.add_marker(pytest.mark.skip(reason="no ../shared beside this checkout"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real clips, data and models; for tests marked `data`."""
    return SHARED
