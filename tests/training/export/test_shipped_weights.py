"""The cards of the shipped weights are correct."""

import tarfile
from pathlib import Path

import numpy as np
import pytest

import emoscope
from emoscope.corpora.readers.ferplus import read_ferplus
from emoscope.media.clips import Clip, build_clip
from emoscope.media.reading.images import read_image
from emoscope.training.export.card import card_page
from emoscope.training.metrics import accuracy, ece, uar


def test_the_page_beside_the_bundle_is_its_card() -> None:
    bundle = emoscope.load_bundle("face-ferplus")
    assert bundle.path.with_suffix(".md").read_text(encoding="utf-8") == card_page(bundle.card)


@pytest.mark.data
@pytest.mark.slow
def test_the_figures_of_the_card_are_measured_again(shared: Path, tmp_path: Path) -> None:
    """Through the bundle and ONNX Runtime, where training measured in torch."""
    with tarfile.open(shared / "data" / "ferplus-train-valid.tar.gz") as archive:
        wanted = [m for m in archive if "FER2013Valid" in m.name or m.name.endswith(".csv")]
        archive.extractall(tmp_path, members=wanted, filter="data")
    corpus = read_ferplus(tmp_path / "ferplus")
    stills = [s for s in corpus.split("valid") if s.is_clear]
    bundle = emoscope.load_bundle("face-ferplus")
    figures = bundle.card.figures
    assert len(stills) == figures["samples"]
    built = [build_clip(Clip([read_image(s.path)]), bundle.clip_spec)["gray"] for s in stills]
    probs = np.concatenate(
        [bundle.predict({"gray": np.stack(built[i : i + 64])}) for i in range(0, len(built), 64)]
    )
    truth = np.array([corpus.labels.index(still.label) for still in stills])
    assert accuracy(truth, probs.argmax(1)) == pytest.approx(figures["accuracy"], abs=1e-3)
    assert accuracy(truth, probs.argmax(1)) >= 0.8
    assert uar(truth, probs.argmax(1)) == pytest.approx(figures["uar"], abs=2e-3)
    assert ece(probs, truth) == pytest.approx(figures["ece"], abs=2e-3)
