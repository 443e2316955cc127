import numpy as np
import torch

from emoscope import models
from emoscope.core.clipspec import ClipSpec
from emoscope.core.labels import LABEL_SETS
from emoscope.media.clips import Clip, build_clip


def test_face_cnn_has_its_documented_size() -> None:
    model = models.create("face-cnn")
    assert sum(p.numel() for p in model.parameters()) == 2_728_336
    assert sum(v.numel() * v.element_size() for v in model.state_dict().values()) <= 12e6


def test_face_cnn_has_the_classes_of_ferplus_by_default() -> None:
    model = models.create("face-cnn").eval()
    with torch.no_grad():
        logits = model(**model.example_inputs(batch=1))
    assert logits.shape == (1, len(LABEL_SETS["ferplus8"]))


def test_face_cnn_is_invariant_to_brightness_and_contrast() -> None:
    spec = models.create("face-cnn", **models.small("face-cnn")).clip_spec
    assert isinstance(spec, ClipSpec)
    dim = np.random.default_rng(0).integers(0, 100, (48, 48, 1), dtype=np.uint8).repeat(3, axis=2)
    one, other = (build_clip(Clip([frame]), spec)["gray"] for frame in (dim, 2 * dim + 20))
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    model = models.create("face-cnn", dropout=0.5, **models.small("face-cnn"))
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.eval()
    inputs = model.example_inputs()
    with torch.no_grad():
        assert not torch.equal(model(**inputs), model(**inputs))
        model.eval()
        assert torch.equal(model(**inputs), model(**inputs))
