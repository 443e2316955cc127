from pathlib import Path

import pytest
from planting import facts, plant, read

from emoscope.core.errors import CorpusError
from emoscope.core.labels import LABEL_SETS
from emoscope.corpora.readers.gemep import read_gemep


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
