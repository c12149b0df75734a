"""The page of a report: what is on it, that it is whole, and how it behaves in a browser."""

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from nvc_jax.plots.shapes import class_colors
from nvc_jax.plots.solids import solid_cloud, solid_volume
from nvc_jax.report import Report, pictures, points, to_html, write_report
from nvc_jax.report.palette import readable
from nvc_jax.report.solids import scenes_data
from tests.refusals import refused
from tests.reports import EVIL, evil, full, images, small

VOID = {"meta", "link", "img", "br", "input"}
SECTIONS = [
    "latent",
    "confusion",
    "anchors",
    "examples",
    "turned",
    "figures",
    "curves",
    "metrics",
    "config",
]


class Reader(HTMLParser):
    """Reads a page and checks that its elements nest."""

    def __init__(self, page):
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.contents: dict[str, list[str]] = {}
        self.feed(page.replace("<wbr>", ""))  # leave to break a line is no text
        self.close()
        assert not self.open
        ids = self.values("id")
        assert len(ids) == len(set(ids))

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
            self.contents.setdefault(tag, []).append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.contents[self.open[-1]][-1] += data
        self.texts.append(data)

    def values(self, attribute):
        return [a[attribute] for _, a in self.elements if attribute in a]

    def of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    @property
    def data(self):
        return json.loads(self.contents["script"][0])


@pytest.fixture(scope="module")
def page():
    return to_html(full())


def picture_of(address):
    kind, _, content = address.partition(";base64,")
    assert kind in ("data:image/png", "data:image/jpeg")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


def test_page_has_every_section(page):
    read = Reader(page)
    assert [attributes["id"] for attributes in read.of("section")] == SECTIONS
    assert [name for a in read.of("a") if (name := a["href"][1:]) in SECTIONS] == SECTIONS
    for text in ("1,234", "0.12346", "arithmetic mean", "none", "there are no labels"):
        assert text in read.text
    assert "model.latent_dim" in read.text
    assert all(attributes["alt"] for attributes in read.of("img"))
    assert read.of("html")[0]["lang"] == "en"


def test_page_loads_nothing(page):
    read = Reader(page)
    assert all(source.startswith("data:") for source in read.values("src"))
    assert all(target.startswith(("#", "data:")) for target in read.values("href"))
    assert not re.search(r"url\(|@import", read.contents["style"][0])
    (policy,) = [a["content"] for a in read.of("meta") if "http-equiv" in a]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data: blob:"
    sources = {f"{kind}-src" for kind in ("default", "script", "style", "img")}
    assert set(rules) <= sources | {"base-uri", "form-action"}
    scripts = read.contents["script"][1:]
    hashes = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    assert rules["script-src"].split() == [*(f"'sha256-{h}'" for h in hashes), "'unsafe-eval'"]


def test_text_of_the_data_is_no_html():
    read = Reader(to_html(evil()))
    assert len(read.of("script")) == 3
    harmless = {tag for tag, _ in Reader(to_html(full())).elements}
    assert {tag for tag, _ in read.elements} == harmless | {"b"}
    assert not [name for _, a in read.elements for name in a if name.startswith("on")]
    assert all(source.startswith("data:") for source in read.values("src"))
    assert read.contents["h1"][0] == EVIL
    assert read.data["points"]["texts"] == [EVIL] * 9
    assert read.data["points"]["groups"]["split"]["names"] == [EVIL, "train"]


def test_what_is_missing_is_left_out():
    bare = Report(**{n: getattr(small(), n) for n in ("mean", "assignment", "anchors")})
    read = Reader(to_html(bare))
    assert [attributes["id"] for attributes in read.of("section")] == ["latent", "anchors"]
    assert [attributes["name"] for attributes in read.of("select")] == ["color", "anchor"]
    assert not read.of("img")
    assert "purity" not in read.text.lower()
    unlabeled = small(label=np.full(9, -1), pictures=lambda ids: None, texts=lambda ids: None)
    read = Reader(to_html(unlabeled))
    assert [attributes["name"] for attributes in read.of("select")] == ["color", "anchor", "split"]
    assert not read.of("img")


@pytest.mark.parametrize("number", [0, 1])
def test_hardly_any_example_is_enough(number):
    few = small(
        mean=np.full((number, 2), 3.0, np.float32), assignment=np.zeros(number, np.int64),
        label=None, split=None, tsne_examples=5, pictures=images(1).__getitem__,
    )  # fmt: skip
    read = Reader(to_html(few))
    assert [a["id"] for a in read.of("section")] == ["latent", "anchors"][1 - number :]
    assert "unused" in read.text


def test_anchors_tell_size_purity_and_neighbors(page):
    """Of the first split alone; counted by hand."""
    read = Reader(page)
    cards = [p for p in read.contents["p"] if "purity" in p]
    assert [card.strip() for card in cards] == [
        "3 examples, 50.0%; purity 67% (label cat)",
        "3 examples, 50.0%; purity 100% (label 5)",
    ]
    assert read.text.count("no example: unused") == 1
    alt = [a["alt"] for a in read.of("img")]
    assert "Nearest examples of anchor 0, labels cat, cat" in alt
    assert "Nearest examples of anchor 1, labels 5, 5" in alt
    assert "Anchor 2 decoded" in alt and "Samples drawn around anchor 2" in alt
    nearest = alt.index("Nearest examples of anchor 1, labels 5, 5")
    row = picture_of(read.of("img")[nearest]["src"])
    np.testing.assert_array_equal(row[:, :6], images(9)[3, ..., 0])
    np.testing.assert_array_equal(row[:, -6:], images(9)[5, ..., 0])


@pytest.mark.parametrize("channels", [1, 3])
def test_every_point_has_its_own_picture(channels):
    image = images(1100, 6, channels)
    rng = np.random.default_rng(0)
    mean = rng.normal(size=(1100, 2))
    mean[7] = np.nan
    data = points.page_data(
        Report(
            mean=mean, assignment=np.zeros(1100, np.int64), anchors=np.zeros((1, 2)),
            pictures=image.__getitem__,
        )
    )  # fmt: skip
    found = data["points"]
    numbers = found["number"]
    assert sorted(numbers) == [k for k in range(1100) if k != 7]
    assert found["pictures"]["count"] == 1099 and found["pictures"]["tile"] == (6, 6)
    sheets = [picture_of(address) for address in found["pictures"]["sheets"]]
    for place in (0, 33, 1023, 1024, 1098):
        row, column = divmod(place % 1024, 32)
        tile = sheets[place // 1024][8 * row : 8 * row + 6, 8 * column : 8 * column + 6]
        np.testing.assert_array_equal(tile.reshape(6, 6, channels), image[numbers[place]])
    x, y = np.array([data["views"][-1][axis] for axis in "xy"])
    centered = mean[numbers] - mean[numbers].mean(axis=0)
    np.testing.assert_allclose(np.hypot(x, y), np.linalg.norm(centered, axis=1), atol=1e-3)


def test_ten_thousand_points_with_pictures_stay_below_10_mb():
    """Noise is what compresses worst."""
    rng = np.random.default_rng(0)
    noise = solid_volume(rng.random((20, 20, 20)) > 0.7)
    image, number, anchors = images(2000, 20, 3), 11_000, rng.normal(size=(30, 8))
    report = Report(
        mean=rng.normal(size=(number, 8)), assignment=rng.integers(0, 30, number),
        anchors=anchors, label=rng.integers(0, 30, number), split=["test"] * number,
        pictures=lambda ids: image[ids % 2000], texts=lambda ids: ["Ein Satz, ö" * 50] * len(ids),
        samples=images(240, 20, 3).reshape(30, 8, 20, 20, 3), decoded=images(30, 20, 3),
        examples={"input": images(24, 20, 3), "output": images(24, 20, 3)},
        figures={"drawing": images(1, 1000, 3)[0]}, scenes={str(k): {"truth": noise} for k in range(50)},
        records=[{"step": s, **{f"term{k}": 1.0 + k * s for k in range(40)}} for s in range(900)],
    )  # fmt: skip
    page = to_html(report)
    assert len(page.encode()) < 10_000_000
    found = Reader(page).data
    assert found["points"]["count"] == 10_000 == len(found["points"]["texts"])
    assert found["points"]["pictures"]["count"] > 5_000
    scenes = len(found["turned"]["scenes"])
    assert 5 < scenes < 50 and f"For {50 - scenes} more there was no room." in page
    assert "10,000 of 11,000 examples" in page


def numbers(text, kind):
    return np.frombuffer(base64.b64decode(text), kind)


def test_solids_keep_their_places_and_colors(page):
    """A scene's cube is that around all of its solids."""
    read = Reader(page)
    volumes, cloud = read.data["turned"]["scenes"]
    assert volumes["name"] == "example 0" and [p["name"] for p in volumes["panes"]] == [
        "input",
        "truth",
    ]
    whole = volumes["panes"][1]
    places = numbers(whole["points"], "<u2").reshape(-1, 3) / 65535
    # x and y from 0 to 3, z from −1 to 2 about its only layer.
    expected = [[0.5, 0.5, 1.5], [0.5, 1.5, 1.5], [0.5, 2.5, 1.5], [2.5, 0.5, 1.5]]
    np.testing.assert_allclose(places, np.array(expected) / 3, atol=1e-5)
    assert whole["side"] == pytest.approx(65535 / 3) and whole["text"] == "4 voxels"
    assert numbers(whole["faces"], "u1").tolist() == [63 - 8, 63 - 12, 63 - 4, 63]
    corner = numbers(volumes["panes"][0]["points"], "<u2") / 65535
    np.testing.assert_allclose(corner, places[3], atol=1e-9)
    one, _, _, other = numbers(whole["colors"], "u1").tolist()
    for ground, colors in read.data["turned"]["colors"].items():
        assert colors[one] != colors[other] and colors[one] == readable(class_colors(1), ground)
    points, line, nothing = cloud["panes"]
    assert (points["kind"], line["kind"]) == ("dots", "bones")
    assert len(numbers(points["points"], "<u2")) == 2 * 3  # the third is nowhere
    assert points["faces"] == line["faces"] == ""
    assert not nothing["points"] and nothing["text"] == "1 point"


def test_too_many_colors_are_rounded():
    colors = np.random.default_rng(0).random((1000, 3))
    cloud = solid_cloud(colors, colors=colors)
    data = scenes_data({"one": {"all": cloud}, "two": {}})
    assert [len(scene["panes"]) for scene in data["scenes"]] == [1]
    assert len(data["colors"]["light"]) <= 216
    place = numbers(data["scenes"][0]["panes"][0]["colors"], "u1")
    dark = np.array([to_rgb(data["colors"]["dark"][k]) for k in place])
    bright = colors[:, 1] > 0.7  # and so unchanged on dark ground
    assert np.abs(dark - colors)[bright].max() < 0.11
    assert scenes_data({})["scenes"] == []


def test_curves_keep_their_last_value_and_leave_gaps():
    records = [{"step": s, "loss": float(s), "validation/loss": None} for s in range(1, 1001)]
    records += [{"step": 1000, "loss": -3.0}, {"step": 5, "kl": float("nan")}]
    (panel,) = points.page_data(small(records=records))["curves"]
    assert panel["name"] == "loss" and not panel["logarithmic"]
    (line,) = panel["lines"]
    assert (line["x"][-1], line["y"][-1]) == (1000, -3.0)
    assert 100 <= len(line["x"]) <= points.MOST_STEPS
    (panel,) = points.page_data(small(records=[{"step": s, "a": 10.0**-s} for s in range(9)]))[
        "curves"
    ]
    assert panel["logarithmic"]


def test_what_was_measured_once_is_told_and_not_charted():
    records = [{"step": s, "kl": 1.0 / s, "loss": 3.0} for s in (1, 2)]
    records.append({"step": 2, **{f"validation/{name}": 0.5 for name in ("kl", "iou", "loss")}})
    page = Reader(to_html(small(records=records)))
    (panel,) = page.data["curves"]
    assert [line["key"] for line in panel["lines"]] == ["kl", "validation/kl"]
    assert "Measured once, or the same at every step (3)" in page.text
    assert (
        "loss 3, validation/loss 0.5, validation/iou 0.5." in page.text
        and "curve-1" not in page.values("id")
    )


def test_pixels_of_pictures():
    gray = np.array([[[0.0], [0.5], [2.0]]], np.float32)
    np.testing.assert_array_equal(pictures.to_pixels(gray), [[0, 128, 255]])
    two = np.array([[[0, 65535]]], np.uint16)
    np.testing.assert_array_equal(pictures.to_pixels(two), [[128]])
    gray[0, 1] = np.nan
    np.testing.assert_array_equal(
        pictures.to_pixels(gray), [[[0, 0, 0], [255, 0, 255], [255, 255, 255]]]
    )


def test_pictures_that_fit_in_no_format_are_cut_off():
    noise = [pictures.to_pixels(image) for image in images(9, 64, 3)]
    assert len(pictures.encode_all(noise, 10**7)) == 9
    assert picture_of(pictures.encode_all(noise, 10**7)[0]).shape == (64, 64, 3)
    addresses = pictures.encode_all(noise, 4_000)
    assert 0 < len(addresses) < 9 and sum(map(len, addresses)) <= 4_000
    assert picture_of(addresses[0]).shape == (16, 16, 3)


def test_arrays_that_disagree_are_refused():
    refused("9 mean, 8 assignment", small, assignment=np.zeros(8, np.int64))
    refused("3 anchors, 2 decoded", small, decoded=images(2))
    refused("2 input, 1 output", small, examples={"input": ["a", "b"], "output": ["c"]})


def test_page_is_written(tmp_path, page):
    path = write_report(tmp_path / "report.html", full())
    assert path.read_text("utf-8") == page
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    refused("could not be written", write_report, tmp_path / "none" / "report.html", small())
