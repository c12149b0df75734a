"""Grids of runs: rows that are not computed again, their keys, and what methods share."""

from types import SimpleNamespace

import pytest

from benchmarks import grid as grids
from benchmarks import table
from benchmarks.grid import GRIDS, METHODS
from benchmarks.table import Grid, Rows, key_of
from nvc_jax.config import changed, to_json
from nvc_jax.core.options import leaves
from tests.refusals import refused

COLUMNS = ("iou", "nmi")


def test_rows_are_kept_and_replaced(tmp_path):
    path = tmp_path / "deep" / "table.csv"
    row = {"method": "nvc, at best", "seed": 0, "steps": 10, "seconds": 1.5}
    Rows(path, COLUMNS).add({**row, "iou": 0.25, "not shown": 3})
    Rows(path, COLUMNS).add({**row, "seed": 1, "nmi": 0.5})
    Rows(path, COLUMNS).add({**row, "iou": 0.75})
    first, second = Rows(path).all()
    assert (first["method"], first["iou"], first["nmi"], first["seconds"]) == (
        "nvc, at best", "0.75", "", "1.5",
    )  # fmt: skip
    assert Rows(path).find("nvc, at best", 1, 10) == second and second["nmi"] == "0.5"
    assert Rows(path).find("nvc, at best", 1, 20) is None
    refused("move it away", Rows, path, ("miou",))
    refused("no rows", Rows, tmp_path / "other.csv")


def test_a_key_is_of_the_whole_config_wherever_the_data_lie():
    config = GRIDS["voxels"].configure({"data.dir": "/here/shapes.npz"})
    key = key_of(config)
    assert key == key_of(changed(config, {"data.dir": "/there/shapes.npz"}))
    assert key != key_of(changed(config, {"data.dir": "/here/others.npz"}))
    assert key != key_of(changed(config, {"eval.num_neighbors": 7}))
    assert key_of({"data": "iris"}) != key_of({"data": "wine"})


def test_the_code_that_computes_is_part_of_the_version(tmp_path, monkeypatch):
    folders = ("model", "plots")
    for folder in folders:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "file.py").write_text("a = 1\n")
    monkeypatch.setattr(
        table, "nvc_jax", SimpleNamespace(__file__=str(tmp_path / "_"), __version__="7")
    )
    found = [table.code_version.__wrapped__()]
    for folder in folders:
        (tmp_path / folder / "file.py").write_text("a = 2\n")
        found.append(table.code_version.__wrapped__())
    assert found[0].startswith("7+") and found[0] != found[1] == found[2]  # figures are no rows


def run_small(folder, capsys, steps=50, data="here/shapes.npz", settings=(), again=False):
    """Runs two methods and two seeds; returns what was computed and the values of all rows."""
    computed = []

    def measure(config, directory):
        assert 0 < config.anchors.warmup < 1 < config.train.num_steps < 100
        computed.append((directory.name, config.seed, config.model.num_anchors))
        return {"seconds": 1.0, "iou": float(len(computed))}

    few = {name: METHODS[name] for name in ("vae", "nvc")}
    plain = lambda config: {"input": {"iou": 0.1}, "nearest": {"iou": 0.2}}  # noqa: E731
    grid = Grid(COLUMNS, few, measure, "cad:voxels", dict(settings), plain, seeds=(0, 1))
    rows = Rows(folder / "voxels.csv", COLUMNS)
    grid.run(rows, grid.configure({"data.dir": data}, steps), folder, again=again)
    return (
        computed,
        [(r["method"], r["seed"], r["iou"]) for r in rows.all()],
        capsys.readouterr().out,
    )


def test_a_finished_row_is_not_computed_again(tmp_path, capsys):
    computed, rows, _ = run_small(tmp_path, capsys)
    assert computed == [("00-0", 0, 1), ("01-0", 0, 12), ("00-1", 1, 1), ("01-1", 1, 12)]
    assert rows[:2] == [("input", "", "0.1"), ("nearest", "", "0.2")]
    assert rows[2:] == [
        ("vae", "0", "1.0"), ("nvc", "0", "2.0"), ("vae", "1", "3.0"), ("nvc", "1", "4.0"),
    ]  # fmt: skip
    computed, same, told = run_small(tmp_path, capsys, data="where they lie now/shapes.npz")
    assert not computed and same == rows and "stale" not in told
    assert len(run_small(tmp_path, capsys, steps=60)[0]) == 4  # another length is another row


def test_stale_rows_are_told_and_computed_when_asked(tmp_path, capsys):
    _, rows, _ = run_small(tmp_path, capsys)
    other = {"eval.num_neighbors": 7}  # such as a changed default
    computed, same, told = run_small(tmp_path, capsys, settings=other)
    assert not computed and same == rows and told.count("stale") == 4
    computed, after, told = run_small(tmp_path, capsys, settings=other, again=True)
    assert len(computed) == 4 and len(after) == len(rows) and "stale" not in told


def test_half_a_run_is_no_row(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "train", lambda *_, **__: SimpleNamespace(stopped="SIGTERM"))
    grid = GRIDS["semantic"]._replace(baselines=None)
    rows = Rows(tmp_path / "semantic.csv", grid.columns)
    with pytest.raises(KeyboardInterrupt):
        grid.run(rows, grid.configure({"data.dir": "shapes.npz"}), tmp_path)
    assert rows.all() == []


def config_of(name):
    return GRIDS[name].configure({"data.dir": "data"} if GRIDS[name].data else {})


def test_every_variant_is_another_recipe():
    for name, grid in GRIDS.items():
        if grid.recipe and name != "peers":
            recipe = config_of(name)
            made = {to_json(changed(recipe, changes)) for changes in grid.variants.values()}
            assert len(made) == len(grid.variants), name


def test_methods_share_all_but_weights_and_anchors():
    allowed = {"model.num_anchors", "model.latent", "loss.kl.value", "loss.triplet.value"}
    for name in [
        "mnist",
        "voxels",
        "semantic",
        "points",
        "scenes",
        "hands",
        "planes",
        "translation",
    ]:
        recipe = config_of(name)
        assert 0 < recipe.anchors.warmup < 1 and recipe.anchors.init == "kmeans"
        before = leaves(recipe)
        for method in GRIDS[name].methods or GRIDS[name].variants:
            after = leaves(changed(recipe, GRIDS[name].variants[method]))
            assert {key for key, value in after.items() if value != before[key]} <= allowed


def test_peers_that_share_a_recipe_keep_rows_of_their_own(tmp_path):
    peers = GRIDS["peers"]
    made = {
        name: lambda config, directory, value=value: {"seconds": 1.0, "nmi": value}
        for value, name in enumerate(peers.variants)
    }
    rows = Rows(tmp_path / "p.csv", ("nmi",))
    grid = peers._replace(measure=made, columns=("nmi",))
    grid.run(rows, config_of("peers"), tmp_path, seeds=[0])
    assert [row["nmi"] for row in rows.all()] == [str(i) for i in range(len(made))]


def test_a_study_makes_its_page(tmp_path):
    rows = Rows(tmp_path / "weights.csv", GRIDS["weights"].columns)
    for seed, value in ((1, 1.0), (2, 2.0)):
        values = dict.fromkeys(rows.columns, value)
        rows.add({"method": "KL 10", "seed": seed, "source": "measured", "seconds": 2, **values})
    rows.add({"method": "it diverged", "seed": 1, "source": "measured"})
    grids.write_page(tmp_path / "weights.md", "weights", "10 images of something")
    page = (tmp_path / "weights.md").read_text()
    assert "| KL 10 | 1.5 ± 0.71 | 1.5 ± 0.71 |" in page and " | 2 ± 0 |" in page
    assert page.startswith(f"# {GRIDS['weights'].question}") and "10 images of something" in page
    assert "| it diverged | | " in page
    assert (tmp_path / "weights.png").read_bytes().startswith(b"\x89PNG")


def test_data_that_a_grid_needs_are_asked_for(capsys):
    with pytest.raises(SystemExit):
        grids.main(["mnist"])
    assert "benchmarks.print mnist" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        grids.main(["clusters", "--methods", "nothing"])
    assert "iris: KMeans" in capsys.readouterr().err
