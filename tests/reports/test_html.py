import base64
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from emoscope.core.labels import LABEL_SETS
from emoscope.core.results import Timeline
from emoscope.reports.formats import write_report
from emoscope.reports.html import MAX_POINTS, outline, page
from emoscope.reports.palette import colours

VOID = {"meta", "img", "br", "link", "input"}
HOSTILE = '<img src=x onerror="alert(1)">&amp;.mp4'


class Page(HTMLParser):
    """Parsed page: tags with attributes, text and scripts; refuses unbalanced tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif self.open and self.open[-1] != "style":
            self.text += data

    def all(self, tag: str, **attributes: str) -> list[dict[str, str]]:
        wanted = {name.rstrip("_"): value for name, value in attributes.items()}
        return [
            values for name, values in self.tags if name == tag and wanted.items() <= values.items()
        ]

    @property
    def data(self) -> dict[str, Any]:
        read: dict[str, Any] = json.loads(self.scripts[0])
        return read


def test_notes_stand_at_the_top_of_the_page(two_people: Timeline) -> None:
    """Kind: notes reach console, page and JSON."""
    notes = ("The film ends at 3.1 of 8.0 s.", "No voice was heard.")
    noted = replace(two_people, provenance=replace(two_people.provenance, notes=notes))
    parsed = Page(page(noted))
    assert len(parsed.all("ul", class_="notes")) == 1
    places = [parsed.text.index(note) for note in notes]
    assert places == sorted(places)
    assert places[-1] < parsed.text.index("Person 1")
    without = replace(two_people, provenance=replace(two_people.provenance, notes=()))
    assert not Page(page(without)).all("ul", class_="notes")


def test_nothing_is_fetched_from_a_network(two_people: Timeline) -> None:
    parsed = Page(page(two_people))
    for tag, attributes in parsed.tags:
        for name in ("src", "href", "data", "action", "poster", "srcset"):
            assert not re.match(r"\s*(https?:|//)", attributes.get(name, "")), (tag, attributes)
    assert not parsed.all("link")
    (policy,) = parsed.all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert policy["content"].startswith("default-src 'none'")
    assert "http" not in policy["content"]


def test_the_page_is_complete_and_has_its_notices(two_people: Timeline, tmp_path: Path) -> None:
    (path,) = write_report(two_people, tmp_path, ["html"])
    parsed = Page(path.read_text(encoding="utf-8"))
    assert parsed.all("html", lang="en")
    assert parsed.all("meta", name="viewport")
    assert parsed.all("noscript")
    for words in (
        "two.mp4",
        "face-ferplus 1.0",
        "haar",
        "160 × 120",
        "Trained on grey pictures.",
        "not what a person feels",
        "Article 5(1)(f)",
    ):
        assert words in parsed.text
    assert any("plotly.js" in script for script in parsed.scripts)


def test_each_person_has_a_plot_a_key_and_a_table(two_people: Timeline) -> None:
    parsed = Page(page(two_people))
    assert len(parsed.all("div", class_="plot")) == 2
    assert all(plot["aria-label"] for plot in parsed.all("div", class_="plot"))
    first, second = parsed.data["people"]
    stretches = [(start_s, end_s, label) for start_s, end_s, label, _ in first["segments"]]
    assert stretches == [(0.0, 0.5, 0), (1.0, 2.0, 1)]  # neutral, happiness
    assert len(second["y"]) == len(two_people.labels)
    assert len(parsed.all("table")) == 2
    assert parsed.text.index("Person 1") < parsed.text.index("Person 2")  # seen for longer
    assert "happiness 67" in parsed.text.replace("\xa0", " ")  # 1 s of 1.5


def test_the_plot_has_a_gap_where_no_face_was_seen(two_people: Timeline) -> None:
    times_s, probs = outline(two_people.for_track(1))
    total = probs.sum(axis=1)
    inside = (times_s > 0.5) & (times_s < 1.0)
    assert not inside.any()
    # Straight up at 0, down at 0.5, up at 1, down at 2, and all of it in between.
    assert times_s[total == 0].tolist() == [0.0, 0.5, 1.0, 2.0]
    np.testing.assert_allclose(total[total > 0], 1)
    assert np.all(np.diff(times_s) >= 0)


def test_an_hour_is_averaged_to_few_points_that_sum_to_1(two_people: Timeline) -> None:
    n = 36_000
    start_s = np.arange(n) / 10
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(8), size=n)
    seen = (start_s < 1000) | (start_s >= 1060)
    hour = replace(
        two_people,
        spans_s=np.column_stack([start_s, start_s + 0.1])[seen],
        track=np.ones(seen.sum(), int),
        boxes_xyxy=np.full((seen.sum(), 4), 10.0),
        probs=probs[seen],
        modalities=np.full(seen.sum(), "face"),
        padded=np.zeros(seen.sum(), bool),
    )
    times_s, values = outline(hour)
    assert len(times_s) <= MAX_POINTS + 8
    total = values.sum(axis=1)
    np.testing.assert_allclose(total[total > 0], 1)
    assert not ((times_s > 1000.01) & (times_s < 1059.99)).any()
    assert (total == 0).sum() == 4
    np.testing.assert_allclose(values[1:-1].mean(axis=0), probs.mean(axis=0), atol=0.01)
    assert "Each point of the plot is the mean over 0.9 s." in Page(page(hour)).text


def test_hostile_names_and_labels_are_escaped(two_people: Timeline) -> None:
    labels = ("</script><script>alert(2)</script>", *two_people.labels[1:])
    provenance = replace(two_people.provenance, path=HOSTILE, notes=("<b>bold</b>",))
    text = page(replace(two_people, labels=labels, provenance=provenance))
    parsed = Page(text)
    assert not parsed.all("img")
    assert len(parsed.all("script")) == 3
    assert parsed.text.count(HOSTILE) == 2  # title and heading
    assert "<b>bold</b>" in parsed.text
    assert labels[0] in parsed.text
    assert parsed.data["labels"][0] == labels[0]


def test_a_thumbnail_shows_the_face_at_the_peak_of_its_label(
    two_people: Timeline, make_video: Callable[..., Path]
) -> None:
    # Person 1 is neutral in the red part, happy in the blue one.
    video = make_video([(200, 20, 20)] * 8 + [(20, 20, 200)] * 12)
    parsed = Page(page(two_people.for_track(1), video))
    pictures = {image["alt"].split(", ")[-1]: image["src"] for image in parsed.all("img")}
    assert set(pictures) == {"neutral", "happiness"}
    for label, channel in (("neutral", 0), ("happiness", 2)):
        kind, _, encoded = pictures[label].partition(",")
        assert kind == "data:image/jpeg;base64"
        jpeg = np.frombuffer(base64.b64decode(encoded), np.uint8)
        bgr = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
        assert bgr is not None
        assert bgr.shape == (160, 160, 3)
        assert bgr[:, :, ::-1].mean(axis=(0, 1)).argmax() == channel


def test_a_page_for_an_unreadable_video_lacks_only_the_thumbnails(
    two_people: Timeline, tmp_path: Path
) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"not a video")
    for video in (tmp_path / "broken.mp4", tmp_path / "missing.mp4"):
        parsed = Page(page(two_people, video))
        assert not parsed.all("img")
        assert len(parsed.all("div", class_="plot")) == 2


def test_a_page_without_faces_says_so(two_people: Timeline) -> None:
    no_faces = two_people.for_track(-1)
    for timeline in (no_faces, Timeline.empty(two_people.labels)):
        parsed = Page(page(timeline))
        assert "No face was seen" in parsed.text
        assert not parsed.all("div", class_="plot")


@pytest.mark.parametrize("name", list(LABEL_SETS))
def test_no_two_labels_of_a_set_share_a_colour(name: str) -> None:
    labels = LABEL_SETS[name].labels
    assert len(set(colours(labels).values())) == len(labels)
