"""The Transformer against NumPy; padding, neighbors, the cache and devices change nothing."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nvc_jax.model.bottleneck import example_keys
from nvc_jax.networks.decoding import beam_search, greedy
from nvc_jax.networks.transformer import Dropout, Embedding, attend, make_transformer, positions
from tests.networks.test_images import assert_every_weight_counts, fill
from tests.numeric import normal, numeric_gradient
from tests.settings import model_options

VOCAB = 11
OPTIONS = {
    "width": 8,
    "num_heads": 2,
    "feedforward": 12,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "dropout": 0.25,
}
SOURCE = np.array(
    [
        [7, 4, 9, 3, 0, 0, 0, 0, 0, 0, 0, 0],
        [5, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        [4, 4, 8, 10, 6, 5, 9, 7, 4, 8, 6, 3],
        [9, 6, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        [6, 5, 10, 7, 8, 9, 3, 0, 0, 0, 0, 0],
    ],
    np.int32,
)
LENGTHS = (SOURCE > 0).sum(1)
TARGET = np.array([[2, 8, 5, 0], [2, 9, 9, 6], [2, 3, 0, 0], [2, 0, 0, 0], [2, 10, 4, 7]], np.int32)


def make(**changes):
    return make_transformer(model_options("translation", **{**OPTIONS, **changes}), VOCAB)


@functools.cache
def variables(**changes):
    model = make(**changes)
    source = jax.ShapeDtypeStruct((1, 2), jnp.int32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), source, source)
    values = fill(shapes)
    # The memory counts for more than at first, and the best token is not the one that was put in.
    params = dict(values["params"])
    params["embedding"] = {"table": 5 * params["embedding"]["table"]}
    params["decoder"] = jax.tree_util.tree_map_with_path(
        lambda path, x: 2 * x if "memory_attention" in jax.tree_util.keystr(path) else x,
        params["decoder"],
    )
    params["decoder"]["last"]["scale"] = normal(4, OPTIONS["width"])
    return {"params": params}


@functools.cache
def compiled(**changes):
    """Encoder's states and mask, and logits, of (variables, source, target, keys)."""
    model = make(**changes)

    def run(model, source, target, keys):
        states, mask = model.encoder(source, keys)
        return states, mask, model.decoder(target, states, mask, keys)

    return jax.jit(lambda *inputs: model.apply(*inputs, method=run))


def outputs(source, target, **changes):
    inputs = (jnp.asarray(source), jnp.asarray(target), None)
    return compiled(**changes)(variables(**changes), *inputs)


def numpy_attention(parts, mask):
    query, key, value = parts
    scores = np.where(mask, query @ key.swapaxes(-1, -2) / np.sqrt(query.shape[-1]), -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ value


class NumpyTransformer:
    """The network of one sentence without padding, in float64, from its definition."""

    def __init__(self, params, heads):
        self.params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
        self.heads = heads

    def embed(self, tokens):
        table = self.params["embedding"]["table"]
        half = table.shape[1] // 2
        angle = np.arange(len(tokens))[:, None] / 10_000 ** (np.arange(half) / half)
        waves = np.concatenate([np.sin(angle), np.cos(angle)], 1)
        return table[tokens] * np.sqrt(table.shape[1]) + waves

    def norm(self, x, params):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        return x * params["scale"] + params["bias"]

    def attention(self, parts, mask, params):
        split = [x.reshape(len(x), self.heads, -1).swapaxes(0, 1) for x in parts]
        x = numpy_attention(split, mask).swapaxes(0, 1)
        return x.reshape(len(x), -1) @ params["output"]["kernel"]

    def dense(self, x, params):
        first, second = params["Dense_0"], params["Dense_1"]
        x = np.maximum(x @ first["kernel"] + first["bias"], 0)
        return x @ second["kernel"] + second["bias"]

    def own(self, x, mask, params):
        parts = np.split(x @ params["inputs"]["kernel"], 3, axis=-1)
        return self.attention(parts, mask, params)

    def encode(self, tokens):
        params, x = self.params["encoder"], self.embed(tokens)
        for number in range(sum(name.startswith("layers_") for name in params)):
            layer = params[f"layers_{number}"]
            x = x + self.own(self.norm(x, layer["norms_0"]), True, layer["attention"])
            x = x + self.dense(self.norm(x, layer["norms_1"]), layer["dense"])
        return self.norm(x, params["last"])

    def decode(self, tokens, memory):
        params, x = self.params["decoder"], self.embed(tokens)
        causal = np.tril(np.ones((len(tokens), len(tokens)), bool))
        for number in range(sum(name.startswith("layers_") for name in params)):
            layer = params[f"layers_{number}"]
            x = x + self.own(self.norm(x, layer["norms_0"]), causal, layer["attention"])
            cross = layer["memory_attention"]
            parts = np.split(memory @ cross["memory"]["kernel"], 2, axis=-1)
            query = self.norm(x, layer["norms_1"]) @ cross["query"]["kernel"]
            x = x + self.attention([query, *parts], True, cross)
            x = x + self.dense(self.norm(x, layer["norms_2"]), layer["dense"])
        return self.norm(x, params["last"]) @ self.params["embedding"]["table"].T


def test_it_is_its_definition():
    changes = {"encoder_layers": 2, "decoder_layers": 2}
    states, mask, logits = outputs(SOURCE, TARGET, **changes)
    oracle = NumpyTransformer(variables(**changes)["params"], OPTIONS["num_heads"])
    np.testing.assert_array_equal(mask, SOURCE > 0)
    assert logits.dtype == jnp.float32 and logits.shape == (5, 4, VOCAB)
    for row, length in enumerate(LENGTHS):
        expected = oracle.encode(SOURCE[row, :length])
        np.testing.assert_allclose(states[row, :length], expected, atol=1e-4)
        real = max((TARGET[row] > 0).sum(), 1)
        expected = oracle.decode(TARGET[row, :real], expected)
        np.testing.assert_allclose(logits[row, :real], expected, rtol=1e-4, atol=1e-3)


def test_gradient_of_masked_attention():
    query, key, value, weight = (normal(seed, 1, 2, 3, 2) for seed in range(4))
    mask = np.array([[1, 0, 1], [1, 1, 0], [0, 0, 1]], bool)[None, None]

    def total(query, key, value):
        return jnp.sum(attend(query, key, value, mask) * weight)

    def numpy_total(parts):
        return np.sum(numpy_attention(parts, mask) * weight)

    gradient = np.stack(jax.grad(total, argnums=(0, 1, 2))(query, key, value))
    expected = numeric_gradient(numpy_total, np.stack([query, key, value]))
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)


def test_number_of_parameters():
    """One table, and W² for every projection of an attention."""
    width, hidden, norm = 8, 12, 2 * 8
    dense = 2 * width * hidden + hidden + width
    encoder = 4 * width**2 + dense + 2 * norm
    decoder = 8 * width**2 + dense + 3 * norm
    expected = VOCAB * width + encoder + decoder + 2 * norm
    assert sum(x.size for x in jax.tree.leaves(variables())) == expected


def test_initial_embeddings_and_logits_have_unit_scale():
    tokens = np.arange(4, 104, dtype=np.int32)[None]
    embedded, parameters = Embedding(500, 64).init_with_output(jax.random.key(0), tokens)
    assert 0.95 < np.std(embedded[0] - positions(jnp.arange(100), 64)) < 1.05
    logits = Embedding(500, 64).apply(parameters, normal(0, 100, 64), method="logits")
    assert 0.95 < np.std(logits) < 1.05


def test_positions():
    found = positions(jnp.array([0, 3]), 4)
    expected = [[0, 0, 1, 1], [np.sin(3), np.sin(0.03), np.cos(3), np.cos(0.03)]]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_padding_neighbors_and_batch_size_do_not_count():
    states, _, logits = outputs(SOURCE, TARGET)
    alone = outputs(SOURCE[3:4, :3], TARGET[3:4, :1])
    np.testing.assert_allclose(alone[0][0], states[3, :3], atol=1e-5)
    np.testing.assert_allclose(alone[2][0], logits[3, :1], atol=1e-5)
    longer = outputs(np.pad(SOURCE, [(0, 0), (0, 5)])[::-1], np.pad(TARGET, [(0, 0), (0, 3)])[::-1])
    real = SOURCE > 0
    np.testing.assert_allclose(longer[0][::-1, :12][real], states[real], atol=1e-5)
    np.testing.assert_allclose(longer[2][::-1, :4][TARGET > 0], logits[TARGET > 0], atol=1e-5)


def test_no_position_sees_a_later_one():
    _, _, logits = outputs(SOURCE, TARGET)
    changed = TARGET.copy()
    changed[:, 2] = 4
    _, _, others = outputs(SOURCE, changed)
    np.testing.assert_array_equal(others[:, :2], logits[:, :2])
    assert np.abs(others - logits)[:4, 2:].max(axis=(1, 2)).min() > 1e-3


@functools.cache
def gradient_of(**changes):
    """((a sum of squares, (states, logits)), its gradient); of what `compiled` takes."""
    apply = compiled(**changes)

    def total(variables, source, target, keys):
        states, _, logits = apply(variables, source, target, keys)
        total = jnp.sum(jnp.square(logits)) + jnp.sum(jnp.square(states - 1))
        return total, (states, logits)

    return jax.jit(jax.value_and_grad(total, has_aux=True))


def test_rows_of_padding_are_finite():
    source, target = SOURCE.copy(), TARGET.copy()
    source[1], target[1] = 0, 0
    for x in outputs(source, target):
        assert np.isfinite(x).all()
    keys = example_keys(jax.random.key(3), 5, None)
    chex.assert_tree_all_finite(gradient_of(remat=False)(variables(), source, target, keys))
    expected = outputs(SOURCE, TARGET)[2]
    rest = np.array([0, 2, 3, 4])
    np.testing.assert_allclose(outputs(source, target)[2][rest], expected[rest], atol=1e-5)


def test_every_weight_counts_and_recomputing_changes_nothing():
    """With dropout: a layer that is computed again leaves out the same values."""
    keys = example_keys(jax.random.key(3), 5, None)
    results = [
        gradient_of(remat=remat)(variables(), SOURCE, TARGET, keys) for remat in (False, True)
    ]
    chex.assert_trees_all_close(*results, rtol=1e-4, atol=1e-4)
    assert_every_weight_counts(results[0][1])


def test_bfloat16():
    run = gradient_of(dtype="bfloat16")
    (_, (states, logits)), gradient = run(variables(), SOURCE, TARGET, None)
    assert states.dtype == logits.dtype == jnp.float32
    expected = outputs(SOURCE, TARGET)[2]
    error = np.abs(logits - expected)[TARGET > 0]
    assert 0 < error.max() < 0.1 * np.abs(expected).max()
    chex.assert_tree_all_finite(gradient)
    chex.assert_trees_all_equal_dtypes(gradient, variables())


def draws(rate, keys, *shape):
    return Dropout(rate).apply({}, jnp.ones((len(keys), *shape)), keys)


def test_dropout_zeroes_a_share_and_keeps_the_mean():
    keys = example_keys(jax.random.key(0), 8, None)
    kept = np.asarray(draws(0.25, keys, 50, 50))
    np.testing.assert_allclose(np.unique(kept), [0, 4 / 3], rtol=1e-6)
    assert abs(kept.mean() - 1) < 0.02
    assert all((kept[0] != kept[i]).any() for i in range(1, 8))
    np.testing.assert_array_equal(draws(0.0, keys, 3), np.ones((8, 3)))


def test_dropout_is_keyed_by_example_and_by_place():
    """An example gets the same wherever it stands in the part of a batch that a device has."""
    rng = jax.random.key(1)
    keys = example_keys(rng, 5, None)
    whole = compiled()(variables(), SOURCE, TARGET, keys)
    index = jnp.array([4, 1, 1, 0, 3], jnp.int32)
    part = compiled()(variables(), SOURCE[index], TARGET[index], example_keys(rng, 5, index))
    for one, all_of_them in zip(part, whole):
        np.testing.assert_allclose(one, all_of_them[index], atol=1e-5)
    same = np.repeat(SOURCE[:1], 5, axis=0)
    states = np.asarray(compiled()(variables(), same, TARGET, keys)[0])
    assert all(np.abs(states[0] - states[i]).max() > 1e-2 for i in range(1, 5))

    def two_places(model, keys):
        ones = jnp.ones((5, 40))
        parts = (model.encoder.first, model.decoder.first, model.encoder.layers[0].dropouts[0])
        return [part(ones, keys) for part in parts]

    masks = [np.asarray(x) for x in make().apply(variables(), keys, method=two_places)]
    assert all((masks[i] != masks[j]).any() for i, j in ((0, 1), (0, 2), (1, 2)))


@functools.cache
def decoded(search):
    """Ids of (source, limit), by `greedy` or by a beam search."""
    model = make()

    def run(model, source, limit):
        states, mask = model.encoder(source)
        context, cache = model.decoder.start(states, mask, 9)
        step = functools.partial(model.decoder.step, context)
        if search == "greedy":
            return greedy(step, cache, len(source), max_length=9, limit=limit)
        options = {"beam_size": search, "alpha": 0.6, "max_length": 9, "limit": limit}
        return beam_search(step, cache, len(source), **options)[0]

    return jax.jit(lambda *inputs: model.apply(variables(), *inputs, method=run))


LIMIT = np.minimum(LENGTHS + 2, 9).astype(np.int32)


def test_cached_decoding_is_uncached_decoding():
    """Where two sequences attend to each example."""
    model = make()

    def begin(model):
        context, cache = model.decoder.start(*model.encoder(jnp.asarray(SOURCE)), 6)
        return context, jax.tree.map(lambda x: jnp.repeat(x, 2, axis=0), cache)

    step = jax.jit(
        lambda *inputs: model.apply(variables(), *inputs, method=lambda m, *x: m.decoder.step(*x))
    )
    context, cache = jax.jit(lambda: model.apply(variables(), method=begin))()
    targets = (TARGET, TARGET[::-1])
    expected = np.stack([outputs(SOURCE, target)[2] for target in targets], 1).reshape(10, 4, -1)
    tokens = np.stack(targets, 1).reshape(10, 4)
    for index in range(4):
        logits, cache = step(context, cache, tokens[:, index], index)
        np.testing.assert_allclose(logits, expected[:, index], atol=1e-5)


def test_greedy_decoding_takes_the_best_token_of_the_uncached_network():
    expected = np.zeros((5, 9), np.int32)
    tokens = np.full((5, 10), 0, np.int32)
    tokens[:, 0] = 2
    for index in range(9):
        best = np.asarray(outputs(SOURCE, tokens)[2])[:, index, 1:].argmax(-1) + 1
        over = (expected == 3).any(1) | (index >= LIMIT)
        expected[:, index] = np.where(over, 0, best)
        tokens[:, index + 1] = expected[:, index]
    np.testing.assert_array_equal(decoded("greedy")(SOURCE, LIMIT), expected)
    assert len({tuple(row) for row in expected}) == 5


@pytest.mark.parametrize("search", ["greedy", 3])
def test_decoding_does_not_depend_on_the_batch(search):
    run = decoded(search)
    expected = run(SOURCE, LIMIT)
    assert expected.dtype == jnp.int32
    wider = np.pad(SOURCE, [(0, 0), (0, 7)])
    for i in range(5):
        alone = slice(i, i + 1)
        np.testing.assert_array_equal(run(wider[alone], LIMIT[alone]), expected[alone])
    np.testing.assert_array_equal(run(SOURCE[::-1], LIMIT[::-1]), expected[::-1])


def test_published_size():
    """transformer_iwslt_de_en with a joint vocabulary of 10,000; projections without biases."""
    options = {"width": 512, "num_heads": 4, "feedforward": 1024}
    options |= {"encoder_layers": 6, "decoder_layers": 6}
    model = make_transformer(model_options("translation", **{**OPTIONS, **options}), 10_000)
    tokens = jax.ShapeDtypeStruct((1, 2), jnp.int32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), tokens, tokens)
    dense = 2 * 512 * 1024 + 1024 + 512
    layers = 6 * (12 * 512**2 + 2 * dense + 5 * 1024)
    assert sum(x.size for x in jax.tree.leaves(shapes)) == 5_120_000 + layers + 2 * 1024
