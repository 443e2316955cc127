from pathlib import Path

from planting import AFEW, read

from emoscope.core.labels import LABEL_SETS


def test_afew_has_a_split_and_no_subjects(tmp_path: Path) -> None:
    folders = ["Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise"]
    train = [f"Train_AFEW/{folder}/00{n}.avi" for folder in folders for n in range(3)]
    valid = [f"Val_AFEW/{folder}/100.avi" for folder in folders]
    manifest = read("afew", tmp_path, *train, *valid)
    assert manifest.labels == LABEL_SETS["basic7"].labels
    assert manifest.counts("label") == dict.fromkeys(sorted(manifest.labels), 4)
    assert manifest.counts("split") == {"train": 21, "valid": 7}
    assert manifest.counts("subject") == {"": 28}
    assert {s.label for s in manifest.samples if s.path.parent.name == "Happy"} == {"happiness"}


def test_afew_leaves_out_the_unlabelled_and_the_faces(tmp_path: Path) -> None:
    faces = "Train_AFEW/AlignedFaces_LBPTOP_Points/Faces/000046280/0.jpg"
    odd = ["Test_AFEW/1.avi", "Train_AFEW/Bored/1.avi", faces]
    manifest = read("afew", tmp_path, f"AFEW/{AFEW}", "AFEW/val_afew/SAD/1.AVI", *odd)
    assert manifest.counts("label") == {"anger": 1, "sadness": 1}
    assert manifest.left_out == {
        "outside Train_AFEW and Val_AFEW": 1,
        "unknown emotion folder 'Bored'": 1,
        "not a recording": 1,
    }
