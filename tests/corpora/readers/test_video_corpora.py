import tarfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from emoscope.core.errors import CorpusError
from emoscope.core.labels import LABEL_SETS
from emoscope.corpora.manifest import Manifest, Sample, read_corpus, read_manifest
from emoscope.corpora.readers.video_corpora import read_gemep

ENTERFACE = "subject 1/anger/sentence 1/s1_an_1.avi"
AFEW = "Train_AFEW/Angry/000046280.avi"
RAVDESS = "Actor_12/03-01-05-01-02-01-12.wav"
CREMA = "VideoFlash/1001_DFA_ANG_XX.flv"


def plant(root: Path, names: Iterable[str]) -> Path:
    """A tree of files that hold their own names."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, encoding="utf-8")
    return root


def read(corpus: str, root: Path, *names: str) -> Manifest:
    return read_corpus(corpus, plant(root, names))


def only(manifest: Manifest) -> Sample:
    (sample,) = manifest.samples
    return sample


def facts(manifest: Manifest) -> list[tuple[str, str]]:
    return [(sample.label, sample.subject) for sample in manifest.samples]


# eNTERFACE'05


def test_enterface_tells_label_and_subject_of_every_code(tmp_path: Path) -> None:
    codes = {"an": "anger", "di": "disgust", "fe": "fear"}
    codes |= {"ha": "happiness", "sa": "sadness", "su": "surprise"}
    names = [
        f"subject {s}/{label}/sentence {n}/s{s}_{code}_{n}.avi"
        for s in (1, 2, 10)
        for code, label in codes.items()
        for n in (1, 2)
    ]
    manifest = read("enterface05", tmp_path, *names)
    assert manifest.labels == LABEL_SETS["basic6"].labels
    assert manifest.counts("label") == dict.fromkeys(sorted(codes.values()), 6)
    assert manifest.counts("subject") == {"1": 12, "10": 12, "2": 12}
    assert all(sample.path.parents[1].name == sample.label for sample in manifest.samples)
    assert [s.subject for s in manifest.samples][::12] == ["1", "2", "10"]
    assert manifest.counts("split") == {"": 36}
    assert manifest.left_out == {}


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("subject 6/anger/s6_an_1.avi", "6"),  # has no sentence folders
        ("enterface database/subject 11/anger/sentence 3/s11_an_3.avi", "11"),
        ("Subject 3/Anger/Sentence 5/S_3_AN_5.AVI", "3"),
        ("subject 7/anger/sentence 1/clip.avi", "7"),
        ("subject 7/anger/sentence 1/s7_xx_1.avi", "7"),
        ("subject 8/sentence 1/s8_an_1.avi", "8"),
    ],
)
def test_enterface_forgives_its_releases_quirks(tmp_path: Path, name: str, subject: str) -> None:
    assert facts(read("enterface05", tmp_path, name)) == [("anger", subject)]


def test_enterface_believes_the_name_before_the_folder(tmp_path: Path) -> None:
    assert only(read("enterface05", tmp_path, "subject 1/anger/s1_di_1.avi")).label == "disgust"


def test_enterface_counts_what_it_leaves_out_by_reason(tmp_path: Path) -> None:
    odd = ["subject 1/Thumbs.db", "subject 1/odd/s1_zz_1.avi", "anger/s1_an_1.avi"]
    hidden = ["subject 1/anger/sentence 1/._s1_an_1.avi", "__MACOSX/subject 1/anger/s1_an_1.avi"]
    manifest = read("enterface05", tmp_path, ENTERFACE, *odd, *hidden, "subject 1/odd/x.avi")
    assert len(manifest.samples) == 1
    assert manifest.left_out == {
        "hidden file": 2,
        "not a recording": 1,
        "unknown code 'zz'": 1,
        "no emotion in name or folder": 1,
        "no subject folder": 1,
    }


# AFEW


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


# GEMEP


def test_gemep_maps_each_french_code_to_its_meaning(tmp_path: Path) -> None:
    codes = [
        *("adm", "amu", "att", "col", "deg", "des", "fie", "inq", "int", "irr", "joi", "mep"),
        *("peu", "pla", "sou", "sur", "tri"),
    ]
    manifest = read("gemep", tmp_path, *(f"{n % 10 + 1:02}{c}_x.avi" for n, c in enumerate(codes)))
    meant = {s.path.stem[2:5]: s.label for s in manifest.samples}
    assert [meant[code] for code in codes] == [
        *("admiration", "amusement", "tenderness", "anger", "disgust", "despair", "pride"),
        *("anxiety", "interest", "irritation", "joy", "contempt", "fear", "pleasure"),
        *("relief", "surprise", "sadness"),
    ]
    assert manifest.labels == LABEL_SETS["gemep17"].labels
    assert set(meant.values()) == set(manifest.labels)
    assert set(manifest.counts("subject")) == {str(n) for n in range(1, 11)}


@pytest.mark.parametrize(
    "name",
    [
        *("01peu.avi", "A01_peu_p_101.mov", "gemep2010-1-PEU.AVI", "GEMEP/01_peu.mp4"),
        *("01_take_peu.wav", "actor 1 peu.avi"),
    ],
)
def test_gemep_finds_actor_and_code_in_the_names_of_several_releases(
    tmp_path: Path, name: str
) -> None:
    assert facts(read("gemep", tmp_path, name)) == [("fear", "1")]


def test_gemep_takes_a_pattern_for_another_release(tmp_path: Path) -> None:
    plant(tmp_path, ["joi-of-anna.avi", "tri-of-ben.avi", "zzz-of-ben.avi", "other.avi"])
    manifest = read_gemep(tmp_path, pattern=r"^(?P<emotion>\w{3})-of-(?P<actor>\w+)$")
    assert facts(manifest) == [("joy", "anna"), ("sadness", "ben")]
    assert manifest.left_out == {"unknown code 'zzz'": 1, "no actor and emotion in the name": 1}


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (r"(?P<actor>\d+)", "expected the named groups actor and emotion, found actor"),
        (r"(?P<actor", "not a regular expression"),
    ],
)
def test_gemep_refuses_a_pattern_that_cannot_work(
    tmp_path: Path, pattern: str, reason: str
) -> None:
    with pytest.raises(CorpusError, match=reason):
        read_gemep(tmp_path, pattern=pattern)


# RAVDESS


def test_ravdess_reads_all_seven_fields(tmp_path: Path) -> None:
    manifest = read("ravdess", tmp_path, "Actor_01/01-02-06-02-01-02-01.mp4", RAVDESS)
    woman, man = sorted(manifest.samples, key=lambda sample: sample.path.suffix, reverse=True)
    assert (woman.label, woman.subject) == ("anger", "12")
    assert woman.groups == {
        "modality": "audio",
        "channel": "speech",
        "intensity": "normal",
        "statement": "dogs",
        "repetition": "1",
        "gender": "female",
    }
    assert (man.label, man.subject) == ("fear", "1")
    assert man.groups == {
        "modality": "audio-video",
        "channel": "song",
        "intensity": "strong",
        "statement": "kids",
        "repetition": "2",
        "gender": "male",
    }


def test_ravdess_codes_are_the_eight_labels_in_order(tmp_path: Path) -> None:
    names = [f"Actor_03/03-01-{code:02}-01-01-01-03.flac" for code in range(1, 9)]
    manifest = read("ravdess", tmp_path, *names)
    assert [sample.label for sample in manifest.samples] == [
        *("neutral", "calm", "happiness", "sadness", "anger", "fear", "disgust", "surprise")
    ]


def test_ravdess_counts_unknown_codes_and_other_names(tmp_path: Path) -> None:
    odd = ["03-01-09-01-02-01-12.wav", "03-01-05-03-02-01-12.wav", "03-01-05-01-02-01-12 (1).wav"]
    manifest = read("ravdess", tmp_path, RAVDESS, *(f"Actor_12/{name}" for name in odd), "a.txt")
    assert len(manifest.samples) == 1
    assert manifest.left_out == {
        "unknown code '09' (emotion)": 1,
        "unknown code '03' (intensity)": 1,
        "name is not seven two-digit fields": 1,
        "not a recording": 1,
    }


@pytest.mark.data
def test_ravdess_speech_is_read_whole(shared: Path, tmp_path: Path) -> None:
    with tarfile.open(shared / "data" / "ravdess-speech-actors01-20.tar") as tar:
        tar.extractall(tmp_path, filter="data")
    manifest = read_corpus("ravdess", tmp_path)
    assert len(manifest.samples) == 1200
    assert manifest.counts("subject") == {str(n): 60 for n in sorted(range(1, 21), key=str)}
    others = dict.fromkeys(set(manifest.labels) - {"neutral"}, 160)
    assert manifest.counts("label") == {"neutral": 80, **others}
    assert {sample.groups["modality"] for sample in manifest.samples} == {"audio"}
    twins = [{path.stem for path in group} for group in manifest.duplicates()]
    assert twins == [{"03-01-03-01-02-01-07", "03-01-03-01-02-02-07"}]


# CREMA-D


def test_crema_reads_its_four_fields_and_both_modalities(tmp_path: Path) -> None:
    codes = ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")
    films = [f"VideoFlash/1001_DFA_{code}_XX.flv" for code in codes]
    manifest = read("crema-d", tmp_path, *films, "AudioWAV/1002_ITS_SAD_HI.wav")
    sound, *films_read = manifest.samples
    assert [s.label for s in films_read] == [
        *("anger", "disgust", "fear", "happiness", "neutral", "sadness")
    ]
    assert {s.subject for s in films_read} == {"1001"}
    assert (sound.label, sound.subject) == ("sadness", "1002")
    assert sound.groups == {"modality": "audio", "sentence": "ITS", "level": "high"}
    assert films_read[0].groups == {
        "modality": "audio-video",
        "sentence": "DFA",
        "level": "unspecified",
    }
    assert manifest.labels == LABEL_SETS["crema6"].labels


def test_crema_counts_what_it_leaves_out(tmp_path: Path) -> None:
    odd = ["AudioMP3/1001_DFA_ANG_XX.mp3", "VideoFlash/1001_DFA_BOR_XX.flv", "VideoFlash/a.flv"]
    short = "AudioWAV/1040_ITH_SAD_X.wav"  # as the release has it
    manifest = read("crema-d", tmp_path, CREMA, short, *odd, "README.md")
    assert manifest.counts("subject") == {"1001": 1, "1040": 1}
    assert manifest.left_out == {
        "MP3 copy of AudioWAV": 1,
        "unknown code 'BOR' (emotion)": 1,
        "name is not subject_sentence_emotion_level": 1,
        "not a recording": 1,
    }


# Folders


def test_one_level_of_folders_is_the_label(tmp_path: Path) -> None:
    manifest = read("folder", tmp_path, "Happy/1.mp4", "Happy/2.wav", "bored/3.PNG")
    assert facts(manifest) == [("happiness", ""), ("happiness", ""), ("bored", "")]
    assert manifest.labels == ("bored", "happiness")


def test_two_levels_of_folders_are_subject_and_label(tmp_path: Path) -> None:
    manifest = read("folder", tmp_path, "anna/sad/1.mp4", "ben/sad/1.mp4", "ben/angry/2.mp4")
    assert facts(manifest) == [("sadness", "anna"), ("anger", "ben"), ("sadness", "ben")]


def test_other_depths_and_files_are_counted(tmp_path: Path) -> None:
    odd = ["loose.mp4", "a/b/c/deep.mp4", "sad/notes.txt", "sad/.1.mp4", ".git/sad/1.mp4"]
    manifest = read("folder", tmp_path, "sad/1.mp4", *odd)
    assert facts(manifest) == [("sadness", "")]
    assert manifest.left_out == {
        "neither one nor two folders deep": 2,
        "not a recording": 1,
        "hidden file": 2,
    }


def test_labels_and_subjects_are_not_mixed(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"found anna/sad/1\.mp4 and happy/1\.mp4"):
        read("folder", tmp_path, "happy/1.mp4", "anna/sad/1.mp4")


# All of them

LAYOUTS = {
    "enterface05": ENTERFACE,
    "afew": "Train_AFEW/Angry/",
    "gemep": "01_adm.avi",
    "ravdess": RAVDESS,
    "crema-d": CREMA,
    "folder": "SUBJECT/LABEL/file",
}


@pytest.mark.parametrize("corpus", LAYOUTS)
def test_a_wrong_layout_tells_in_one_line_what_was_expected_and_found(
    corpus: str, tmp_path: Path
) -> None:
    with pytest.raises(CorpusError) as told:
        read(corpus, tmp_path, "a/b/c/holiday.mp4", "readme.txt")
    message = str(told.value)
    assert message.startswith(f"{tmp_path}: expected ")
    assert LAYOUTS[corpus] in message
    assert "found a/b/c/holiday.mp4 (" in message
    assert "\n" not in message


def test_what_is_found_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"found a\.txt, b\.txt\.$"):
        read("ravdess", tmp_path, "a.txt", "b.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match=r"found nothing\.$"):
        read_corpus("ravdess", tmp_path / "empty")


@pytest.mark.parametrize("corpus", LAYOUTS)
def test_an_archive_is_no_folder(corpus: str, tmp_path: Path) -> None:
    plant(tmp_path, ["corpus.tar"])
    with pytest.raises(CorpusError, match=r"expected a folder with .*, found a file"):
        read_corpus(corpus, tmp_path / "corpus.tar")


def test_what_was_read_survives_the_manifest(tmp_path: Path) -> None:
    manifest = read("ravdess", tmp_path, RAVDESS, "Actor_01/01-02-06-02-01-02-01.mp4")
    manifest.write(tmp_path / "m.csv")
    again = read_manifest(tmp_path / "m.csv")
    assert [(s.label, s.subject, s.groups) for s in again.samples] == [
        (s.label, s.subject, s.groups) for s in manifest.samples
    ]
