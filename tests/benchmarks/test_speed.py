"""What is counted where speed is measured, and what is printed and kept."""

import jax
import numpy as np
import pytest

from benchmarks import speed
from benchmarks.grid import GRIDS
from benchmarks.print import rows_file
from benchmarks.speed import PROGRAMS, transformer_products
from benchmarks.table import Rows
from nvc_jax.config import load_config


def test_products_of_a_transformer_step_by_hand():
    model = load_config("translation").model
    model.update({"width": 4, "feedforward": 8, "encoder_layers": 1, "decoder_layers": 1})
    found = transformer_products(model, 50, 3, 5)
    # Source: 4 squares and both feed-forward layers, keys and values; target: 6 squares and the same.
    weights = 3 * (6 * 16 + 2 * 32) + 5 * (6 * 16 + 2 * 32) + 5 * 4 * 50
    assert sum(m * k * n for m, k, n in found) == 3 * weights
    assert found[:3] == [(3, 4, 4), (4, 3, 4), (3, 4, 4)]


def test_exponents_are_slopes():
    assert speed.exponent([1, 2, 4, 8], [3, 12, 48, 192]) == pytest.approx(2.0)
    assert speed.exponent([1, 10, 100], [5, 5, 5]) == pytest.approx(0.0)


def test_products_of_an_mlp_step_by_hand():
    # Encoder 3 -> 2 -> 2 heads of 1, decoder 1 -> 2 -> 3; the first layer has no gradient of its input.
    found = speed.mlp_products(5, (3, 2, 1))
    assert found[:4] == [(5, 3, 2), (5, 2, 2), (5, 1, 2), (5, 2, 3)]
    assert found[4:6] == [(2, 5, 3), (5, 3, 2)] and found[-1] == (3, 5, 2) and len(found) == 11


def test_every_term_that_is_timed_exists():
    arrays = [jax.ShapeDtypeStruct((4, 3), np.float32)] * 2
    for term, options in speed.COST_TERMS.values():
        jax.eval_shape(speed.loss_of({term: 1.0}, **options), *arrays)


def test_rows_are_printed_and_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(speed, "COST_TERMS", {"pull": ("pull", {})})  # others take long to compile
    monkeypatch.setattr(speed, "rows_file", lambda name: tmp_path / f"{name}.csv")
    flags = ["--num_rounds=1", "--save"]
    assert speed.main(["products", "--sizes", "4x3x2", *flags]) == 0
    assert "| all 5 |" in capsys.readouterr().out
    names = [row["method"] for row in Rows(tmp_path / "products.csv").all()]
    assert names[0] == "4,3 @ 3,4" and names[-1] == "all 5"
    assert speed.main(["cost-k", "--sizes", "2", "4", *flags]) == 0
    assert Rows(tmp_path / "cost-k.csv").columns == ("2", "4", "exponent", "compile")
    assert speed.main(["chamfer", "--sizes", "2x8", "--num_rounds=0"]) == 0  # memory alone
    assert "| 2 x 8, l1 | " in capsys.readouterr().out and not (tmp_path / "chamfer.csv").exists()


def test_published_rows_have_the_columns_of_their_program():
    for name, program in PROGRAMS.items():
        if rows_file(name).is_file():
            assert Rows(rows_file(name)).columns == program.columns, name


def test_no_program_writes_the_rows_of_a_grid():
    assert not PROGRAMS.keys() & GRIDS.keys()
