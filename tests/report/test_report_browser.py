"""The page of a report in a real browser, where one is installed."""

import time
from contextlib import closing

import numpy as np
import pytest

from nvc_jax.report import write_report
from tests.browser import CHROMIUM, Page
from tests.reports import EVIL, evil, full, table

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

STATUS = "document.getElementById('status').textContent"
ANCHOR_TEXTS = "document.getElementById('scatter').data[1].text"
CARD = "document.getElementById('card').innerText"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    path = write_report(folder / "report.html", full())
    with closing(Page(path, folder / "profile", "anchor=0&split=test&color=label")) as opened:
        yield opened


def test_filters_come_from_the_address(browser):
    assert browser.evaluate(STATUS) == "3 of 9 examples shown"
    assert browser.evaluate("document.getElementById('controls').elements.color.value") == "label"
    assert browser.evaluate("document.getElementById('scatter').data[0].x.length") == 3
    assert browser.evaluate(ANCHOR_TEXTS) == ["0", "1", "2"]
    buttons = browser.evaluate(
        "[...document.querySelectorAll('#legend button')].map(b => b.innerText)"
    )
    assert [text.split(" ", 1)[1] for text in buttons] == ["unlabeled (0)", "cat (2)", "5 (1)"]


def test_form_controls_filter(browser):
    browser.evaluate(
        "(() => { const form = document.getElementById('controls'); form.elements.anchor.value = '1';"
        " form.elements.split.value = 'train';"
        " form.dispatchEvent(new Event('change')); })()"
    )
    assert browser.evaluate(STATUS) == "1 of 9 examples shown"
    assert browser.evaluate("location.hash") == "#color=label&anchor=1&split=train"
    browser.evaluate("document.querySelector('#controls button').click()")
    browser.wait(f"{STATUS} === '9 of 9 examples shown'")
    assert browser.evaluate("location.hash") == "#color=label", "the color stays"


def test_dark_mode_recolors_plot_and_curves(browser):
    color = "document.getElementById('scatter').data[0].marker.color[0]"
    curve = "document.getElementById('curve-0').layout"
    browser.show_curve()
    light = browser.evaluate(color)
    for scheme, other in (("dark", False), ("light", True)):
        browser.call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )
        browser.wait(f"({color} === '{light}') === {str(other).lower()}")
        ground = "#ffffff" if scheme == "light" else "#15181d"
        browser.wait(f"{curve}.paper_bgcolor.replace(/^#fff$/, '#ffffff') === '{ground}'")


def test_curves_mark_what_happened(browser):
    layout = "document.getElementById('curve-0').layout"
    browser.show_curve()
    assert browser.evaluate(f"{layout}.shapes.map((line) => line.x0)") == [2]
    assert browser.evaluate(f"{layout}.annotations[0].text") == "anchors set"


def test_keyboard_chooses_and_lets_go(browser):
    browser.evaluate("document.querySelector('#controls button').focus()")
    for _ in range(9):
        browser.press("Tab")
        if browser.evaluate("document.activeElement.id") == "scatter":
            break
    browser.press("ArrowRight")
    first = browser.evaluate(CARD)
    assert "line" in first and "distance to the anchor" in first
    browser.press("ArrowLeft")
    assert browser.evaluate(CARD) != first
    browser.wait("document.getElementById('picture').width === 6 * 27")
    label = browser.evaluate("document.getElementById('picture').getAttribute('aria-label')")
    assert label.startswith("Picture of example")
    browser.press("Escape")
    assert "Point at" in browser.evaluate(CARD)


def test_pointing_shows_an_example(browser):
    place = browser.evaluate(
        "(() => { const plot = document.getElementById('scatter'); plot.scrollIntoView();"
        " const box = plot.getBoundingClientRect(), at = plot._fullLayout, one = plot.data[0];"
        " return [box.x + at.margin.l + at.xaxis.l2p(one.x[0]) + 0,"
        " box.y + at.margin.t + at.yaxis.l2p(one.y[0])]; })()"
    )
    for offset in (30, 0):
        browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=place[0] + offset, y=place[1])
        time.sleep(0.2)
    browser.wait(f"{CARD}.includes('distance')")


KEEP = """new MutationObserver((changes) => {
  for (const { addedNodes } of changes) for (const node of addedNodes)
    if (node.className === "sketch") globalThis.sketched = node;
}).observe(document, { childList: true, subtree: true });"""
SKETCHED = """(() => {
  const plot = document.getElementById("scatter"), at = plot._fullLayout;
  const context = sketched.getContext("2d");
  const color = (x, y) => [...context.getImageData(x, y, 1, 1).data];
  return plot.data[0].x.map((x, i) => color(at.margin.l + at.xaxis.l2p(x), at.margin.t + at.yaxis.l2p(plot.data[0].y[i])));
})()"""


def test_points_stand_in_their_places_before_plotly_is_read(browser):
    browser.call("Page.addScriptToEvaluateOnNewDocument", source=KEEP)
    browser.call("Page.reload")
    browser.wait("globalThis.sketched && document.body.dataset.ready === 'true'")
    marks = [
        browser.evaluate(f"performance.getEntriesByName('{name} drawn')[0].startTime")
        for name in ("sketch", "plot")
    ]
    assert marks[0] < marks[1]
    colors = np.array(browser.evaluate(SKETCHED))
    wanted = browser.evaluate("document.getElementById('scatter').data[0].marker.color")
    wanted = [[int(text[i : i + 2], 16) for i in (1, 3, 5)] for text in wanted]
    assert len(colors) == 9 and (colors[:, 3] > 200).all()
    np.testing.assert_allclose(colors[:, :3], wanted, atol=3)
    assert browser.evaluate("document.querySelector('.sketch')") is None


def eyes(browser):
    return browser.evaluate(
        "[...document.querySelectorAll('.solid')].map((pane) => pane.layout.scene.camera.eye)"
    )


@pytest.fixture
def solids(browser):
    """The solids in sight, drawn, and seen from where they are at first."""
    browser.evaluate("document.getElementById('solids').scrollIntoView()")
    browser.wait("document.getElementById('solids').dataset.ready === 'true'")
    browser.evaluate("document.getElementById('solids').focus({ preventScroll: true })")
    browser.press("Home")
    browser.wait(f"{TURN} === 'Seen from 32° around and 24° above'")
    return browser


TURN = "document.getElementById('turn').textContent"
LAST_EYE = "[...document.querySelectorAll('.solid')].at(-1).layout.scene.camera.eye"


def test_keys_turn_all_solids_together(solids):
    before = eyes(solids)
    assert len(before) == 2 and before[0] == before[1]
    solids.press("ArrowRight")
    solids.press("ArrowUp")
    assert solids.evaluate(TURN) == "Seen from 22° around and 14° above"
    solids.wait(f"{LAST_EYE}.z < {before[0]['z']}")
    after = eyes(solids)
    assert after[0] == after[1]
    # To the right of the front by 22 degrees, above it by 14, as far away as before.
    around, up = np.radians([22, 14])
    far = np.linalg.norm(list(before[0].values()))
    expected = far * np.array(
        [np.cos(up) * np.sin(around), -np.cos(up) * np.cos(around), np.sin(up)]
    )
    np.testing.assert_allclose([after[0][axis] for axis in "xyz"], expected, rtol=1e-6)
    solids.press("+")
    solids.wait(f"Math.hypot(...Object.values({LAST_EYE})) < {0.95 * far}")


def test_dragging_turns_what_is_drawn(solids):
    place = solids.evaluate(
        "(() => { const box = document.querySelector('.solid').getBoundingClientRect();"
        " return [box.x + box.width / 2, box.y + box.height / 2]; })()"
    )
    before, picture = eyes(solids)[0], solids.picture(*place, 200)
    assert (picture.std(axis=-1) > 20).sum() > 100, "something that is not gray"
    solids.drag(place, (60, 20))
    assert solids.evaluate(TURN) == "Seen from 2° around and 34° above"
    solids.wait(f"{LAST_EYE}.z > {before['z']}")
    solids.evaluate("new Promise((done) => setTimeout(done, 500))")
    changed = np.abs(solids.picture(*place, 200) - picture).max(axis=-1) > 50
    assert changed.sum() > 100


def test_solids_are_what_the_data_say(solids):
    names = solids.evaluate(
        "[...document.querySelectorAll('.solid')].map((pane) => pane.getAttribute('aria-label'))"
    )
    assert names == ["input of example 0: 1 voxel", "truth of example 0: 4 voxels"]
    trace = "document.querySelectorAll('.solid')[1].data[0]"
    assert solids.evaluate(f"{trace}.x.length") == 4 * (6 + 5 + 4 + 5)
    assert solids.evaluate(f"new Set({trace}.facecolor).size") == 2 * 3
    # The L lies in x from −1/2 to 1/2; its corner on the right is low, and y of the data is up: Plotly's z.
    corners = solids.evaluate(
        f"[...{trace}.x.keys()].filter((k) => {trace}.x[k] > 0.49).map((k) => {trace}.z[k])"
    )
    assert len(corners) and max(corners) == pytest.approx(-1 / 6, abs=1e-3)
    solids.evaluate(
        "(() => { const field = document.getElementById('scenes').elements.scene; field.value = '1';"
        " field.dispatchEvent(new Event('change', { bubbles: true })); })()"
    )
    solids.wait(f"document.querySelectorAll('.solid').length === 3 && {LAST_EYE} !== undefined")
    kinds = "[...document.querySelectorAll('.solid')].map((pane) => [pane.data[0].mode, pane.data[0].x.length])"
    assert solids.evaluate(kinds) == [["markers", 2], ["lines", 3], ["markers", 0]]


def test_phone_needs_no_sideways_scrolling(browser):
    browser.resize(390, 844)
    browser.wait("document.getElementById('scatter').clientWidth < 390")
    assert browser.evaluate("innerWidth") == 390
    assert browser.evaluate("document.documentElement.scrollWidth") == 390
    rows = "[...document.querySelectorAll('#metrics tr')].map((row) => row.offsetHeight)"
    assert max(browser.evaluate(rows)) < 300, "a note is squeezed into a column of letters"
    browser.resize(1280, 900)


def test_a_row_shows_all_its_features(browser, tmp_path):
    browser.open(write_report(tmp_path / "report.html", table()), "example=0")
    assert browser.evaluate("document.querySelectorAll('#row tr').length") == 3
    assert EVIL in browser.evaluate("document.getElementById('row').innerText")
    assert "2.0 sd" in browser.evaluate("document.querySelector('.clusters').innerText")


def test_nothing_went_wrong(browser):
    assert browser.problems == []


def test_evil_text_stays_text(browser, tmp_path):
    browser.open(write_report(tmp_path / "report.html", evil()), "color=label&example=0")
    assert EVIL in browser.evaluate(CARD)
    assert browser.evaluate("document.querySelectorAll('script').length") == 3
    browser.show_curve()
    assert EVIL in browser.evaluate("document.getElementById('curve-0').textContent")
    assert browser.evaluate(ANCHOR_TEXTS) == ["0, 1, 2", "", ""], "all are in one place"
    assert browser.evaluate("document.querySelectorAll('img[src=x], a[href^=http]').length") == 0
    assert browser.problems == []
