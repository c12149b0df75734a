"""Exported models compute what the library computes, in programs that know nothing of it."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from nvc_jax import NebulaClustering
from nvc_jax.config import make_config
from nvc_jax.data.base.source import FieldSpec
from nvc_jax.data.hands.synthetic import Hands
from nvc_jax.evaluation import load
from nvc_jax.export import Deployable, programs_of
from nvc_jax.export.onnx_graph import to_onnx
from nvc_jax.programs.export import main
from nvc_jax.training.experiment import abstract_state, make_experiment
from nvc_jax.training.loop import train
from nvc_jax.training.state import find_anchors
from tests.networks.test_images import fill
from tests.processes import run_python
from tests.refusals import refused

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")
pytest.importorskip("safetensors")
pytest.importorskip("flatbuffers")


@pytest.fixture(scope="module", autouse=True)
def promotion_of_users():
    """Optax's Adam needs it."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


TINY = {"model.latent_dim": 2, "model.num_anchors": 3}
IMAGE = {"image": ((8, 8, 1), "u1")}
VOXELS = {"partial": ((8, 8, 8), "u1"), "complete": ((8, 8, 8), "u1")}
CLOUD = {"partial": ((24, 3), "f4"), "complete": ((32, 3), "f4")}
HANDS = {name: (field.shape, field.dtype) for name, field in Hands("train", 1, 16, 1).spec.items()}
MODELS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "table": ({"task": "table", "model.hidden": (4,)}, {"features": ((5,), "f4")}),
    "counts": (
        {"task": "counts", "loss.likelihood": "poisson", "model.hidden": (4,)},
        {"counts": ((5,), "f4")},
    ),
    "image mlp": ({"task": "image", "model.hidden": (4,)}, IMAGE),
    "image conv": ({"task": "image", "model.network": "conv"}, IMAGE),
    "image fire": ({"task": "image", "model.network": "fire"}, IMAGE),
    "voxels": (
        {"task": "voxel_completion", "model.channels": (4,), "model.blocks": 0},
        VOXELS,
    ),
    "hands": (
        {
            "task": "hand_pose",
            "data.source": "hands",
            "data.image_size": (16, 16),
            "model.channels": (4,),
            "model.hidden": (8,),
            "model.decoder_hidden": (8,),
        },
        HANDS,
    ),
    "segments": (
        {
            "task": "point_segmentation",
            "model.parts": "furniture",
            "model.network": "dgcnn",
            "model.hidden": (6, 6, 8),
            "model.decoder_hidden": (6,),
            "model.num_neighbors": 4,
        },
        {"points": ((24, 3), "f4"), "point_label": ((24,), "u1")},
    ),
    "points": ({"task": "point_completion"}, CLOUD),
}


def deployable(settings, fields):
    """A model with parameters that are no training's."""
    spec = {name: FieldSpec(shape, np.dtype(dtype)) for name, (shape, dtype) in fields.items()}
    spec.setdefault("label", FieldSpec((), np.dtype(np.int32)))
    config = make_config({"data.source": "python", **TINY, **settings})
    experiment = make_experiment(config, spec, None)
    state = abstract_state(experiment, config)
    params = fill(state.params)
    state = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), state)
    return Deployable(experiment, state.replace(params=params), spec, 0.7)


def examples(model, count):
    rng = np.random.default_rng(0)
    batch = {}
    for name, field in model.fields.items():
        shape = (count, *field.shape)
        values = (
            np.abs(rng.normal(size=shape)) if field.dtype.kind == "f" else rng.integers(0, 2, shape)
        )
        batch[name] = values.astype(field.dtype)
    return batch


def run(program, *arrays):
    session = onnxruntime.InferenceSession(to_onnx(program, {}).SerializeToString())
    names = [item.name for item in session.get_inputs()]
    assert names == list(program.inputs)
    return session.run(None, dict(zip(names, arrays, strict=True)))


@pytest.mark.parametrize("name", MODELS)
def test_onnx_equals_jax(name):
    """The oracle is the model of the task itself, and NumPy in float64 for anchors and probabilities."""
    model = deployable(*MODELS[name])
    encoder, *decoders = programs_of(model)
    assert bool(decoders) == model.experiment.task.decodes_codes
    task, apply = model.experiment.task, model.experiment.apply
    anchors = np.asarray(find_anchors(model.state.params), np.float64)
    for count in (1, 3):
        batch = examples(model, count)
        prepared = task.prepare(jax.tree.map(jnp.asarray, batch))
        code = np.asarray(apply(model.state, prepared, method="encode").mean)
        found, cluster, probability = run(encoder, *(batch[field] for field in encoder.inputs))
        scale = max(1.0, np.abs(code).max())
        np.testing.assert_allclose(found / scale, code / scale, atol=1e-5)
        squared = ((code[:, None] - anchors[None]) ** 2).sum(axis=-1)
        np.testing.assert_array_equal(cluster, squared.argmin(axis=1))
        np.testing.assert_allclose(probability, softmax(-squared / 0.7, axis=1), atol=1e-5)
        for decoder in decoders:
            output = task.postprocess(apply(model.state, code, method="decode"))
            (decoded,) = run(decoder, code)
            scale = max(1.0, np.abs(output).max())
            np.testing.assert_allclose(decoded / scale, output / scale, atol=1e-5)


@pytest.fixture(scope="module")
def fitted():
    """Rows far from zero, one of them far out, and their model."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 4)) * [1, 10, 0.1, 1] + [2e6, 0, 0, 5]
    x[0, 1] = 1e4
    return NebulaClustering(3, hidden=(8,), latent_dim=2, max_iter=30, random_state=0).fit(x), x


SERVE = """
import json, sys
import numpy as np, onnxruntime
x = np.load(sys.argv[1])
encoder, decoder = (onnxruntime.InferenceSession(f"{sys.argv[2]}/{n}.onnx") for n in ("encoder", "decoder"))
code, cluster, probability = encoder.run(None, {"features": x})
(output,) = decoder.run(None, {"code": code})
np.savez(sys.argv[3], code=code, cluster=cluster, probability=probability, output=output)
assert not {"jax", "nvc_jax", "flax"} & set(sys.modules)
"""


def test_an_estimator_is_served_without_jax(fitted, tmp_path):
    model, x = fitted
    folder = model.export(tmp_path / "wine")
    np.save(tmp_path / "x.npy", x)
    command = [tmp_path / "x.npy", folder, tmp_path / "out.npz"]
    run_python("-c", SERVE, *map(str, command), cwd=tmp_path)
    found = np.load(tmp_path / "out.npz")
    np.testing.assert_allclose(found["code"], model.transform(x), atol=1e-5)
    np.testing.assert_array_equal(found["cluster"], model.predict(x))
    np.testing.assert_allclose(found["probability"], model.predict_proba(x), atol=1e-5)
    np.testing.assert_allclose(
        (found["output"] - model.reconstruct(x)) / x.std(axis=0), 0, atol=1e-5
    )
    assert "encoder.onnx" in (folder / "README.md").read_text()


def test_stablehlo_equals_the_model(fitted, tmp_path):
    model, x = fitted
    folder = model.export(tmp_path / "out", format="stablehlo")
    with jax.enable_x64(True):
        encoder = jax.export.deserialize(bytearray((folder / "encoder.stablehlo").read_bytes()))
        for count in (1, 7):
            code, cluster, probability = jax.device_get(encoder.call(x[:count]))
            np.testing.assert_allclose(code, model.transform(x[:count]), atol=1e-5)
            np.testing.assert_array_equal(cluster, model.predict(x[:count]))
            np.testing.assert_allclose(probability, model.predict_proba(x[:count]), atol=1e-5)


def test_weights_of_an_estimator_come_back(fitted, tmp_path):
    model, x = fitted
    folder = model.export(tmp_path / "out", format="safetensors")
    again = NebulaClustering.load(folder)
    for name in ("transform", "predict_proba", "score_samples"):
        np.testing.assert_array_equal(getattr(again, name)(x), getattr(model, name)(x))
    np.testing.assert_array_equal(again.labels_, model.labels_)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    refused("damaged", NebulaClustering.load, folder)
    weights.unlink()
    refused("no model.safetensors", NebulaClustering.load, folder)
    refused("holds no exported model", NebulaClustering.load, tmp_path)
    refused("use one of onnx, stablehlo, safetensors", model.export, folder, "pickle")


def test_a_run_is_exported(tmp_path, capsys):
    settings = {
        "model.hidden": (8,), "model.latent_dim": 2, "model.num_anchors": 3, "train.num_steps": 4,
        "train.batch_size": 32, "train.figures": False, "train.eval_every": 0,
    }  # fmt: skip
    train(make_config({"data.source": "digits", **settings}), tmp_path / "run")
    (tmp_path / "run" / "results.json").write_text(
        json.dumps({"step": 4, "metrics": {"nmi": 0.25}, "notes": {"nmi": "arithmetic"}})
    )
    image = np.random.default_rng(0).random((5, 8, 8, 1), np.float32)
    model = load(tmp_path / "run")
    assert main([str(tmp_path / "run"), "--format=safetensors", f"--out={tmp_path / 'out'}"]) == 0
    assert "model.safetensors" in capsys.readouterr().out
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: nvc_jax") and "| nmi | 0.25 | arithmetic |" in card
    again = load(tmp_path / "out")
    np.testing.assert_array_equal(again.embed(image), model.embed(image))
    assert main([str(tmp_path / "run")]) == 0
    folder = tmp_path / "run" / "export-onnx"
    session = onnxruntime.InferenceSession(folder / "encoder.onnx")
    code, cluster, probability = session.run(None, {"image": image})
    np.testing.assert_allclose(code, model.embed(image), atol=1e-5)
    np.testing.assert_array_equal(cluster, model.assign(image))
    squared = ((code[:, None].astype(float) - model.anchors) ** 2).sum(axis=-1)
    expected = softmax(-squared / (2 * np.mean(model.scales**2)), axis=1)
    np.testing.assert_allclose(probability, expected, atol=1e-5)
    refused("is the run itself", main, [str(tmp_path / "run"), f"--out={tmp_path / 'run'}"])
    refused("holds no run", main, [str(tmp_path / "none")])


def test_what_has_no_rule_is_named():
    model = deployable(*MODELS["table"])
    refused("operation asinh", to_onnx, programs_of(model._replace(before=jnp.arcsinh))[0], {})
