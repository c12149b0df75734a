"""The times of an exported model."""

import numpy as np
import pytest

from benchmarks import serving
from benchmarks.table import Rows

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def test_a_folder_is_a_row(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(serving, "LEAST_SECONDS", 0.0)
    floats = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["b", 3]) for name in "xy"
    ]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["x"], ["y"])], "same", floats[:1], floats[1:]
    )
    made = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9
    )
    onnx.save(made, tmp_path / "encoder.onnx")
    assert serving.main([f"same={tmp_path}", f"--rows={tmp_path}"]) == 0
    (row,) = Rows(tmp_path / "serving.csv").all()
    assert row["method"] == "same"
    np.testing.assert_allclose(
        float(row["megabytes"]), (tmp_path / "encoder.onnx").stat().st_size / 1e6
    )
    assert float(row["ms_1"]) > 0 and float(row["ms_1000"]) > 0
    assert capsys.readouterr().out.startswith("| same |")
