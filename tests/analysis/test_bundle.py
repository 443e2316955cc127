import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tiny_bundles import (
    answer,
    clip_bundle,
    clip_card,
    image_bundle,
    image_card,
    voice_bundle,
    write_bundle,
)

from emoscope.analysis.bundle import (
    BACKENDS,
    METADATA_KEY,
    Bundle,
    BundleCard,
    bundle_names,
    load_bundle,
)
from emoscope.core.clipspec import Stream
from emoscope.core.errors import BundleError, MissingExtra, SpecError, UnknownName


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(image_bundle(tmp_path_factory.mktemp("bundle") / "tiny.onnx"))


def grey(*levels: float) -> dict[str, np.ndarray]:
    """A batch of plain pictures for the image bundle."""
    pictures = np.ones((len(levels), 1, 1, 8, 8), np.float32)
    return {"gray": pictures * np.array(levels, np.float32)[:, None, None, None, None]}


def rewritten(path: Path, **fields: Any) -> Path:
    """A bundle with changed metadata; a field of None is left out."""
    fields_of_card = json.loads(image_card().model_dump_json()) | fields
    kept = {key: value for key, value in fields_of_card.items() if value is not None}
    return write_bundle(path, image_card(), metadata={METADATA_KEY: json.dumps(kept)})


def refusal(path: Path) -> str:
    """The one-line reason why a file is refused; it begins with the path."""
    with pytest.raises(BundleError) as caught:
        load_bundle(path)
    reason = str(caught.value)
    assert "\n" not in reason
    assert reason.startswith(f"{path}: ")
    assert reason.count(str(path)) == 1
    return reason


# Facts and predictions


def test_a_bundle_has_the_facts_of_its_card(bundle: Bundle) -> None:
    card = image_card()
    assert bundle.card == card
    assert (bundle.name, bundle.labels, bundle.clip_spec) == ("tiny", card.labels, card.clip_spec)
    assert (bundle.path.name, bundle.backend) == ("tiny.onnx", "onnxruntime")


def test_a_path_may_be_text_and_need_not_end_in_onnx(tmp_path: Path) -> None:
    path = image_bundle(tmp_path / "tiny.onnx").rename(tmp_path / "model.bin")
    assert load_bundle(str(path)).name == load_bundle(path).name == "tiny"


def test_probabilities_are_the_softmax_of_logits_over_temperature(bundle: Bundle) -> None:
    logits = [-24 * 0.25 + 8, 0.0, 24 * 0.25 - 16]
    weights = [math.exp(logit / 2.0) for logit in logits]
    expected = [weight / sum(weights) for weight in weights]
    assert bundle.predict(grey(0.25))[0] == pytest.approx(expected, abs=1e-6)


def test_the_uniform_prior_divides_by_the_shares_of_the_training_data(bundle: Bundle) -> None:
    trained = bundle.predict(grey(0.4))[0]
    shifted = trained / np.array([0.5, 0.3, 0.2])
    probs = bundle.predict(grey(0.4), prior="uniform")[0]
    assert probs == pytest.approx(shifted / shifted.sum(), abs=1e-6)
    assert abs(probs - trained).max() > 0.05


@pytest.mark.parametrize("prior", ["train", "uniform"])
def test_every_clip_of_a_batch_has_its_own_prediction(bundle: Bundle, prior: Any) -> None:
    levels = (0.0, 0.3, 0.55, 1.0)
    probs = bundle.predict(grey(*levels), prior=prior)
    assert probs.shape == (4, 3)
    assert probs == pytest.approx(np.array([answer(level, prior) for level in levels]), abs=1e-6)


def test_huge_logits_do_not_overflow(tmp_path: Path) -> None:
    cold = load_bundle(image_bundle(tmp_path / "cold.onnx", temperature=1e-6))
    assert cold.predict(grey(1.0), prior="uniform").tolist() == [[0.0, 0.0, 1.0]]


# A model that fails gives an error: NaN means that there was nothing to see (issue 18, kind 16).


@pytest.mark.parametrize("prior", ["train", "uniform"])
def test_a_temperature_at_which_logits_overflow_is_an_error(tmp_path: Path, prior: Any) -> None:
    frozen = load_bundle(image_bundle(tmp_path / "frozen.onnx", temperature=1e-310))
    with pytest.raises(BundleError, match=r"^tiny: its temperature 1e-310 is too small"):
        frozen.predict(grey(1.0), prior=prior)


@pytest.mark.parametrize("weight", [np.nan, 3e38])
def test_logits_that_are_not_finite_are_an_error(tmp_path: Path, weight: float) -> None:
    broken = load_bundle(clip_bundle(tmp_path / "a.onnx", length=1, frame_weights=[weight]))
    with pytest.raises(BundleError, match=r"^tiny: the model returned NaN or infinite logits"):
        broken.predict({"rgb": np.full((2, 1, 3, 8, 8), 0.5, np.float32)})


def test_a_model_that_fails_while_it_runs_is_named(bundle: Bundle) -> None:
    def run(_: object) -> np.ndarray:
        raise RuntimeError("Non-zero status code returned\nmany lines")

    with pytest.raises(BundleError, match=r"^tiny: the model failed: Non-zero status code ret.*$"):
        replace(bundle, run=run).predict(grey(1.0))


@pytest.mark.parametrize(("value", "reason"), [(np.nan, "NaN"), (np.inf, "infinity")])
def test_pictures_that_are_not_finite_are_refused(
    bundle: Bundle, value: float, reason: str
) -> None:
    with pytest.raises(SpecError, match=rf"^tiny: gray contains {reason}\. Give finite values"):
        bundle.predict(grey(0.5, value))


def test_a_vector_of_silence_stays_without_a_prediction(tmp_path: Path) -> None:
    voice = load_bundle(voice_bundle(tmp_path / "voice.onnx"))
    vectors = np.zeros((2, 88), np.float32)
    vectors[1, 5] = np.nan
    probs = voice.predict({"egemaps": vectors})
    assert np.isnan(probs).all(axis=1).tolist() == [False, True]
    vectors[1, 5] = np.inf
    with pytest.raises(SpecError, match=r"^tiny: egemaps contains infinity"):
        voice.predict({"egemaps": vectors})


def test_no_clips_give_no_predictions(bundle: Bundle) -> None:
    assert bundle.predict({"gray": np.empty((0, 1, 1, 8, 8), np.float32)}).shape == (0, 3)


def test_double_precision_is_taken_as_float32(bundle: Bundle) -> None:
    doubled = {"gray": grey(0.3)["gray"].astype(np.float64)}
    np.testing.assert_array_equal(bundle.predict(doubled), bundle.predict(grey(0.3)))


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ({}, r"tiny takes \['gray'\], got \[\]"),
        ({"rgb": np.zeros((1, 1, 3, 8, 8))}, r"takes \['gray'\], got \['rgb'\]"),
        ({**grey(0.5), "flow": np.zeros((1, 1, 2, 8, 8))}, r"got \['flow', 'gray'\]"),
        ({"gray": np.zeros((1, 1, 8, 8))}, r"gray must be \(B, \*\(1, 1, 8, 8\)\), got \(1, 1, 8"),
        ({"gray": np.zeros((1, 1, 1, 8, 9))}, r"got \(1, 1, 1, 8, 9\)"),
        ({"gray": np.float32(0.5)}, r"got \(\)"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(bundle: Bundle, inputs: Any, reason: str) -> None:
    with pytest.raises(SpecError, match=reason):
        bundle.predict(inputs)


def test_streams_of_different_batches_are_refused(tmp_path: Path) -> None:
    streams = (Stream(kind="rgb", size_hw=(8, 8)), Stream(kind="gray", size_hw=(8, 8)))
    card = clip_card()
    spec = card.clip_spec.model_copy(update={"streams": streams})
    both = load_bundle(
        write_bundle(tmp_path / "both.onnx", card.model_copy(update={"clip_spec": spec}))
    )
    rgb, gray = np.full((2, 4, 3, 8, 8), 0.3), np.full((2, 4, 1, 8, 8), 0.5)
    probs = both.predict({"rgb": rgb, "gray": gray}, prior="uniform")
    assert probs == pytest.approx(np.array([answer(0.4)] * 2), abs=1e-6)
    with pytest.raises(SpecError, match=r"need the same batch size, got \{'rgb': 2, 'gray': 1\}"):
        both.predict({"rgb": rgb, "gray": gray[:1]})


def test_an_unknown_prior_is_refused(bundle: Bundle) -> None:
    with pytest.raises(SpecError, match="prior must be one of uniform, train, got 'unifrom'"):
        bundle.predict(grey(0.5), prior="unifrom")  # type: ignore[arg-type]


# Refused files


def test_a_missing_file_is_named() -> None:
    assert "no such file" in refusal(Path("nowhere/tiny.onnx"))


@pytest.mark.parametrize("data", [b"", b"This is no model.\n" * 40], ids=["empty", "text"])
def test_a_file_that_is_not_onnx_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "text.onnx"
    path.write_bytes(data)
    assert "not an ONNX model that ONNX Runtime can run" in refusal(path)


@pytest.mark.parametrize("fraction", [0.3, 0.7, 0.95])
def test_a_truncated_bundle_is_refused(tmp_path: Path, fraction: float) -> None:
    data = image_bundle(tmp_path / "whole.onnx").read_bytes()
    path = tmp_path / "cut.onnx"
    path.write_bytes(data[: int(len(data) * fraction)])
    assert "not an ONNX model that ONNX Runtime can run" in refusal(path)


def test_a_model_without_metadata_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "plain.onnx", image_card(), metadata={"author": "someone"})
    assert "without Emoscope's metadata. Make a bundle with `emoscope export`" in refusal(path)


def test_a_newer_format_is_refused_whatever_its_other_fields(tmp_path: Path) -> None:
    path = rewritten(tmp_path / "new.onnx", format=2, clip_spec=None, sampler="quantum")
    reason = refusal(path)
    assert "bundle format 2, this Emoscope reads up to 1" in reason
    assert "pip install -U emoscope" in reason


@pytest.mark.parametrize("text", ["{", "[1]", "null", '"tiny"', '{"format": "new"}'])
def test_metadata_that_is_not_a_card_is_refused(tmp_path: Path, text: str) -> None:
    path = write_bundle(tmp_path / "odd.onnx", image_card(), metadata={METADATA_KEY: text})
    assert "the bundle's metadata is" in refusal(path)


@pytest.mark.parametrize(
    "name",
    ["name", "version", "modality", "labels", "clip_spec", "temperature", "prior", "licence"],
)
def test_a_missing_field_is_named(tmp_path: Path, name: str) -> None:
    reason = refusal(rewritten(tmp_path / "less.onnx", **{name: None}))
    assert f"metadata is invalid: {name}: Field required" in reason


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"colour": "red"}, "colour: Extra inputs are not permitted"),
        ({"temperature": 0.0}, "temperature: Input should be greater than 0"),
        ({"prior": [0.5, 0.5]}, "prior must have 3 entries, one per label, got 2"),
        ({"prior": [0.5, 0.5, 0.0]}, "prior.2: Input should be greater than 0"),
        ({"labels": ["a", "b", "a"]}, "labels must differ"),
        ({"modality": "smell"}, "modality: Input should be 'face', 'body', 'voice'"),
        ({"clip_spec": {"sampling": {"rule": "all"}}}, "clip_spec.sampling: Input tag 'all'"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, fields: dict[str, Any], reason: str) -> None:
    assert reason in refusal(rewritten(tmp_path / "wrong.onnx", **fields))


def test_an_infinite_temperature_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        image_card(temperature=math.inf)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"inputs": {"rgb": ("batch", 1, 1, 8, 8)}},
            "the graph takes {'rgb': (1, 1, 8, 8)}, but its ClipSpec gives {'gray': (1, 1, 8, 8)}",
        ),
        (
            {"inputs": {"gray": ("batch", 1, 1, 9, 8)}},
            "the graph takes {'gray': (1, 1, 9, 8)}, but its ClipSpec gives {'gray': (1, 1, 8, 8)}",
        ),
        (
            {"inputs": {"gray": ("batch", 1, 1, 8, 8), "flow": ("batch", 1, 2, 8, 8)}},
            "the graph takes {'gray': (1, 1, 8, 8), 'flow': (1, 2, 8, 8)}",
        ),
        ({"inputs": {"gray": (1, 1, 1, 8, 8)}}, "takes gray only in batches of 1"),
        ({"kind": TensorProto.DOUBLE}, "takes gray as tensor(double), not float32"),
        ({"outputs": 4}, "the graph returns [(4,)], but its card names 3 labels"),
    ],
)
def test_a_graph_that_does_not_fit_its_spec_is_refused(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    assert reason in refusal(write_bundle(tmp_path / "other.onnx", image_card(), **changes))


# Run folders


def test_a_run_folder_stands_for_the_bundle_in_it(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"name": "mine"}')
    image_bundle(tmp_path / "mine.onnx", name="mine")
    assert load_bundle(tmp_path).path == tmp_path / "mine.onnx"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"name": "mine"}', "the run has no bundle yet. Write it with `emoscope export"),
        ("{", "not readable"),
        ("{}", "not readable"),
        ("[]", "not readable"),
    ],
)
def test_a_run_folder_without_a_bundle_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(BundleError) as raised:
        load_bundle(tmp_path)
    assert str(raised.value).startswith(str(tmp_path))
    assert reason in str(raised.value)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r": not a run folder: run.json is missing\."):
        load_bundle(tmp_path)


def test_an_installed_name_wins_over_a_run_folder_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "face-ferplus"
    run.mkdir()
    (run / "run.json").write_text('{"name": "mine"}')
    image_bundle(run / "mine.onnx", name="mine")
    monkeypatch.chdir(tmp_path)
    assert load_bundle("face-ferplus").name == "face-ferplus"
    assert load_bundle("./face-ferplus").name == "mine"


# Backends


def test_openvino_predicts_the_same_as_onnx_runtime(tmp_path: Path, bundle: Bundle) -> None:
    pytest.importorskip("openvino")
    clip = clip_bundle(tmp_path / "clip.onnx", length=4)
    batch = np.random.default_rng(0).random((5, 4, 3, 8, 8), dtype=np.float32)
    expected = load_bundle(clip).predict({"rgb": batch})
    other = load_bundle(clip, backend="openvino")
    assert other.backend == "openvino"
    np.testing.assert_allclose(other.predict({"rgb": batch}), expected, atol=1e-5)
    # An answer stays what it was when the next one comes.
    np.testing.assert_allclose(other.predict({"rgb": batch[:2]}), expected[:2], atol=1e-5)


def test_openvino_refuses_a_model_with_operators_it_lacks_in_one_line(tmp_path: Path) -> None:
    """Kind 17 of issue 18. Models of scikit-learn, such as a voice's, have such operators."""
    pytest.importorskip("openvino")
    model = onnx.load(image_bundle(tmp_path / "plain.onnx"))
    model.graph.output[0].name = "scaled"
    scaler = helper.make_node(
        "Scaler", ["logits"], ["scaled"], domain="ai.onnx.ml", offset=[0.0] * 3, scale=[1.0] * 3
    )
    model.graph.node.append(scaler)
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    onnx.save(model, tmp_path / "scaled.onnx")
    assert load_bundle(tmp_path / "scaled.onnx").predict(grey(0.5)).shape == (1, 3)
    with pytest.raises(
        BundleError,
        match=r"^\S+scaled\.onnx: OpenVINO cannot run this model: .*Scaler\. Use the backend "
        r"onnxruntime\.$",
    ):
        load_bundle(tmp_path / "scaled.onnx", "openvino")


def test_openvino_that_is_not_installed_names_the_extra(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(
        MissingExtra, match=r"OpenVINO backend .* pip install 'emoscope\[openvino]'"
    ):
        load_bundle(bundle.path, backend="openvino")


def test_an_unknown_backend_suggests_the_nearest(bundle: Bundle) -> None:
    with pytest.raises(UnknownName, match=r"No backend named 'openvin'. Did you mean 'openvino'"):
        load_bundle(bundle.path, backend="openvin")
    assert list(BACKENDS) == ["onnxruntime", "openvino"]


# Names


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of an installed package `other-weights` with two bundles."""
    folder = tmp_path / "site" / "other_weights"
    folder.mkdir(parents=True)
    image_bundle(folder / "glad-or-sad.onnx", name="glad-or-sad")
    image_bundle(folder / "asleep.onnx", name="asleep")
    (folder / "asleep.md").write_text("Its card.\n")
    install(tmp_path / "site", monkeypatch, "other_weights")
    yield folder
    sys.modules.pop("other_weights", None)


def install(site: Path, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    about = site / f"{module}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[emoscope.weights]\nany = {module}\n")
    monkeypatch.syspath_prepend(str(site))


@pytest.mark.parametrize("is_namespace", [False, True])
def test_packages_add_bundles_by_entry_point(installed: Path, is_namespace: bool) -> None:
    if not is_namespace:
        (installed / "__init__.py").touch()
    assert [n for n in bundle_names() if n in ("asleep", "glad-or-sad")] == [
        "asleep",
        "glad-or-sad",
    ]
    bundle = load_bundle("glad-or-sad")
    assert (bundle.name, bundle.path) == ("glad-or-sad", installed / "glad-or-sad.onnx")


def test_an_unknown_name_suggests_the_nearest(installed: Path) -> None:
    with pytest.raises(UnknownName, match=r"named 'glad_or_sad'. Did you mean 'glad-or-sad'\?"):
        load_bundle("glad_or_sad")


def test_the_first_package_of_a_name_keeps_it(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "late" / "late_weights"
    other.mkdir(parents=True)
    image_bundle(other / "asleep.onnx", name="not this one")
    install(tmp_path / "late", monkeypatch, "late_weights")
    monkeypatch.setattr(sys, "path", [*sys.path[1:], sys.path[0]])
    assert load_bundle("asleep").path == installed / "asleep.onnx"


def test_a_package_that_cannot_be_imported_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "site", monkeypatch, "gone_weights")
    with pytest.raises(BundleError, match=r"gone_weights: .*cannot be imported.*Reinstall"):
        bundle_names()


def ran_in_a_fresh_process(code: str, path: Path) -> str:
    """The output of code that gets the path of a bundle."""
    ran = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONWARNINGS": ""},
    )
    return ran.stdout.strip()


def test_loading_and_predicting_do_not_import_torch(bundle: Bundle) -> None:
    code = (
        "import sys, numpy as np, emoscope\n"
        "bundle = emoscope.load_bundle(sys.argv[1])\n"
        "bundle.predict({'gray': np.zeros((1, 1, 1, 8, 8), np.float32)})\n"
        "heavy = {'torch', 'scipy', 'sklearn', 'cv2', 'av', 'openvino', 'onnx'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert ran_in_a_fresh_process(code, bundle.path) == "[]"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux's processor sets")
@pytest.mark.skipif(os.cpu_count() == 1, reason="needs two processors")
def test_a_process_bound_to_one_processor_stays_on_it(bundle: Bundle) -> None:
    code = (
        "import os, sys, time\n"
        "here = {min(os.sched_getaffinity(0))}\n"
        "os.sched_setaffinity(0, here)\n"
        "from emoscope.analysis.bundle import load_bundle\n"
        "bundle = load_bundle(sys.argv[1])\n"
        "time.sleep(0.2)\n"  # a thread binds itself when it has begun
        "threads = map(int, os.listdir('/proc/self/task'))\n"
        "print([t for t in threads if os.sched_getaffinity(t) != here])"
    )
    assert ran_in_a_fresh_process(code, bundle.path) == "[]"


def test_a_card_survives_json() -> None:
    card = clip_card()
    assert BundleCard.model_validate_json(card.model_dump_json()) == card
