from pathlib import Path

import pytest
from preparing import make_film


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Less than a second of moving picture, and a tone."""
    return make_film(tmp_path_factory.mktemp("film") / "film.mp4")
