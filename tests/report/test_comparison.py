"""Several runs in a page: numbers, curves and differences, counted by hand."""

import json
from contextlib import closing

import pytest

from nvc_jax.config import make_config, to_json
from nvc_jax.programs.report import main
from nvc_jax.report.comparison import Run, comparison_html
from tests.browser import CHROMIUM, Page
from tests.refusals import refused
from tests.reports import EVIL


def records(*losses):
    return [{"step": k, "loss": loss, "weight/kl": 1.0} for k, loss in enumerate(losses)]


def pair(name="b"):
    return [
        Run("a", {"nmi": 0.5, "ari": None}, records(3, 2, 1), {"seed": 0, "train": {"keep": 1}}),
        Run(name, {"nmi": 0.75}, records(4, 2), {"seed": 1, "train": {"keep": 1}}, {"step": 9}),
    ]


def script_data(page):
    return json.loads(page.split('type="application/json">')[1].split("</script>")[0])


def test_numbers_curves_and_differences():
    page = comparison_html(pair())
    assert "2 runs, whose configs differ in 1 key: seed." in page
    assert '<th scope="row">nmi</th><td class="number">0.5</td><td class="number">0.75</td>' in page
    assert '<th scope="row">ari</th><td class="number">-</td>' in page
    assert '<th scope="row">seed</th><td class="number">0</td><td class="number">1</td>' in page
    assert "train.keep" not in page
    (panel,) = script_data(page)["curves"]
    assert panel["name"] == "loss"
    assert [(line["name"], line["x"], line["y"]) for line in panel["lines"]] == [
        ("a", [0, 1, 2], [3, 2, 1]),
        ("b", [0, 1], [4, 2]),
    ]
    refused("two or more runs of different names", comparison_html, pair("a"))
    refused("two or more runs", comparison_html, pair()[:1])


def test_runs_of_a_folder(tmp_path, capsys):
    for seed in (1, 2):
        folder = tmp_path / "runs" / str(seed)
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(to_json(make_config({"seed": seed})))
        (folder / "metrics.jsonl").write_text('{"step": 1, "loss": 2}\n{"step": 2, "loss": 1}\n')
    (tmp_path / "runs" / "1" / "results.json").write_text('{"step": 7, "metrics": {"nmi": 0.25}}')
    (tmp_path / "runs" / "notes.txt").write_text("no run")
    out = tmp_path / "runs.html"
    assert main([*map(str, (tmp_path / "runs").iterdir()), f"--out={out}"]) == 0
    assert str(out) in capsys.readouterr().out
    page = out.read_text()
    assert "without metrics: 2." in page and ">0.25<" in page and ">7<" in page
    refused("holds no run", main, [str(tmp_path / "none"), str(tmp_path / "runs" / "1")])
    refused("named", main, [str(tmp_path / "runs" / "1"), "--out=runs.txt"])


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_in_a_browser(tmp_path):
    path = tmp_path / "runs.html"
    path.write_text(comparison_html(pair(EVIL)))
    with closing(Page(path, tmp_path / "profile")) as page:
        page.show_curve()
        assert page.evaluate("document.getElementById('curve-0').data.length") == 2
        assert EVIL in page.evaluate("document.querySelector('.runs thead').innerText")
        assert page.evaluate("document.querySelectorAll('img[src=x]').length") == 0
        assert page.problems == []
