"""Translation of sentences: tokens of one language → tokens of another."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.core.options import Option
from nvc_jax.data.base.examples import NOTHING, Learned, Spec
from nvc_jax.data.base.source import Source
from nvc_jax.data.text.examples import SentencePairs, learned_vocabulary
from nvc_jax.data.text.vocabulary import BEGIN_ID, PADDING_ID
from nvc_jax.metrics.token_loss import cross_entropy
from nvc_jax.metrics.translation import bleu, chrf
from nvc_jax.model.autoencoder import content_keys, draw_positions, make_bottleneck, make_latents
from nvc_jax.model.bottleneck import Latent, NebulaBottleneck, example_keys
from nvc_jax.networks.decoding import beam_search, greedy
from nvc_jax.networks.transformer import TRANSFORMER_NETWORKS, Transformer, make_transformer
from nvc_jax.tasks.base import NUM_POSITIONS, Outputs, Task

LATENTS = ("sentence", "token", "none")


class TranslationModel(nn.Module):
    """Transformer whose encoded sentence goes through a bottleneck.

    With `latent = "sentence"` the mean of the encoder's states is the bottleneck's feature, and its
    code becomes one more state that the decoder attends to; with "none" the decoder sees nothing of
    it. With "token" every state goes through the bottleneck, and the decoder attends to what is made
    of the codes alone; terms of the loss see the latents of the tokens at `position`.

    Attributes:
      transformer: encoder, decoder and their embedding.
      bottleneck: features → latent.
      latent: one of `LATENTS`.
    """

    transformer: Transformer
    bottleneck: NebulaBottleneck
    latent: str = "sentence"

    def setup(self) -> None:
        """Declares the layer that makes a state of the code."""
        self.slot = nn.Dense(self.transformer.width, dtype=jnp.float32)

    def __call__(
        self,
        batch: Mapping[str, jax.Array],
        *,
        train: bool,
        example_index: jax.Array | None = None,
        noise_scale: jax.Array | float = 1.0,
        assignment: jax.Array | None = None,
    ) -> Outputs:
        """Encodes, draws (in training) and decodes with the target before every position in sight.

        Returns:
          Logits, float32 `[B, T, V]`, and the latent.
        """
        target = batch["target"]
        keys = None
        if train:
            keys = example_keys(self.make_rng("noise"), target.shape[0], example_index)
        (memory, memory_mask), latent = self._encode(
            batch,
            keys,
            assignment,
            deterministic=not train,
            example_index=example_index,
            noise_scale=noise_scale,
        )
        begun = jnp.pad(target[:, :-1], ((0, 0), (1, 0)), constant_values=BEGIN_ID)
        return Outputs(self.transformer.decoder(begun, memory, memory_mask, keys), latent)

    def encode(self, batch: Mapping[str, jax.Array]) -> Latent:
        """The deterministic latent."""
        return self._encode(batch, deterministic=True)[1]

    def start(self, batch: Mapping[str, jax.Array], max_length: int) -> tuple[Any, Any]:
        """Context and cache for decoding token by token from the mean, see the decoder's `start`."""
        memory, _ = self._encode(batch, deterministic=True)
        return self.transformer.decoder.start(*memory, max_length)

    def step(
        self, context: Any, cache: Any, tokens: jax.Array, index: jax.Array
    ) -> tuple[jax.Array, Any]:
        """Logits of the next tokens, see the decoder's `step`."""
        return self.transformer.decoder.step(context, cache, tokens, index)

    def _encode(
        self,
        batch: Mapping[str, jax.Array],
        keys: jax.Array | None = None,
        assignment: jax.Array | None = None,
        **options: Any,
    ) -> tuple[tuple[jax.Array, jax.Array], Latent]:
        """What the decoder attends to, `[B, M, W]`, and which of it counts, `[B, M]`; the latent."""
        states, mask = self.transformer.encoder(batch["source"], keys)
        features = states if self.latent == "token" else masked_mean(states, mask)
        latent, seen = make_latents(self.bottleneck, features, batch, assignment, **options)
        if self.latent == "none":
            return (states, mask), seen
        slots = self.slot(latent.code)
        if self.latent == "token":
            return (slots, mask), seen
        memory = jnp.concatenate([slots[:, None], states], axis=1)
        return (memory, jnp.pad(mask, ((0, 0), (1, 0)), constant_values=True)), seen


def masked_mean(states: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean over the positions that count, `[B, S, W]` and `[B, S]` → `[B, W]`; 0 where none does."""
    weight = mask.astype(jnp.float32)[..., None]
    return jnp.sum(states * weight, axis=1) / jnp.maximum(jnp.sum(weight, axis=1), 1.0)


class TranslationTask(Task):
    """Label-smoothed cross-entropy of tokens, and BLEU of translations."""

    options = (
        Option(
            "model.latent",
            "sentence",
            "a state of its code; token: of every token; none: the decoder sees nothing of it",
            LATENTS,
        ),
        Option(
            "loss.label_smoothing",
            0.0,
            "share of a token's target spread over the vocabulary",
            at_least=0,
            below=1,
        ),
        NUM_POSITIONS,
        Option("eval.beam_size", 1, "hypotheses of a translation; 1: greedy", at_least=1),
        Option("eval.length_penalty", 0.6, "of beam search; 0: none", at_least=0),
    )
    networks = TRANSFORMER_NETWORKS
    examples = SentencePairs
    fields: ClassVar = {"source": ("[S]", "int32"), "target": ("[T]", "int32")}
    decodes_codes = False
    measures_predictions = True

    def __init__(self, config: ml_collections.ConfigDict, spec: Spec, learned: Learned = NOTHING):
        super().__init__(config, spec, learned)
        self.vocabulary = learned_vocabulary(learned)

    def check_batch(self, batch: Mapping[str, np.ndarray]) -> None:
        """See `Task`; rows may be shorter than the longest."""
        for name in ("source", "target"):
            rows, longest = batch.get(name), self.batch_spec[name].shape[0]
            if rows is None or rows.ndim != 2 or rows.dtype != np.int32 or rows.shape[1] > longest:
                got = "none" if rows is None else f"{list(rows.shape)} {rows.dtype}"
                raise UserError(
                    f"The batch does not fit: expected {name} [b, {longest} or less] int32, got {got}."
                )

    def make_model(self, axis_name: str | None) -> nn.Module:
        """See `Task`."""
        return TranslationModel(
            make_transformer(self.config.model, self.vocabulary.size),
            make_bottleneck(self.config),
            self.config.model.latent,
        )

    def prepare(
        self, batch: dict[str, jax.Array], keys: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """See `Task`; there is no augmentation, but random tokens for the latent terms."""
        if self.config.model.latent != "token":
            return batch
        source, count = batch["source"], self.config.loss.num_positions
        length = jnp.sum(source != PADDING_ID, axis=1, dtype=jnp.int32)
        if keys is None:
            keys, count = content_keys(source), 1
        return {**batch, "position": draw_positions(keys, length, count)}

    def weight(self, batch: Mapping[str, jax.Array]) -> jax.Array:
        """Number of target tokens: the error is `Σ loss / Σ tokens` over the global batch."""
        return jnp.sum(batch["target"] != PADDING_ID, axis=1, dtype=jnp.float32)

    def reconstruction(self, outputs: Outputs, batch: Mapping[str, jax.Array]) -> jax.Array:
        """Label-smoothed cross-entropy in nats per target token of every sentence, `[B]`."""
        smoothing = self.config.loss.label_smoothing
        sums = cross_entropy(outputs.output, batch["target"], smoothing=smoothing)
        return sums.loss / jnp.maximum(sums.tokens, 1.0)

    def metrics(self, outputs: Outputs, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """Sums over the tokens of every sentence, `[B, 3]`: nats, right ones, and their number."""
        sums = cross_entropy(outputs.output, batch["target"])
        return {"token_sums": jnp.stack([sums.nll, sums.correct, sums.tokens], axis=-1)}

    def predict(self, apply: Callable[..., Any], batch: Mapping[str, jax.Array]) -> jax.Array:
        """Tokens of the translation, int32 `[B, T]`, by beam search or greedily."""
        size, longest = batch["source"].shape[0], self.batch_spec["target"].shape[0]
        context, cache = apply(batch, longest, method="start")
        step = partial(apply, method="step")
        length = jnp.sum(batch["source"] != PADDING_ID, axis=1, dtype=jnp.int32)
        limit = jnp.minimum(2 * length + 10, longest)

        def next_logits(cache: Any, tokens: jax.Array, index: jax.Array) -> Any:
            return step(context, cache, tokens, index)

        options = self.config.eval
        if options.beam_size == 1:
            return greedy(next_logits, cache, size, max_length=longest, limit=limit)
        return beam_search(
            next_logits,
            cache,
            size,
            beam_size=options.beam_size,
            alpha=options.length_penalty,
            max_length=longest,
            limit=limit,
        )[0]

    def summary(self, encoded: Mapping[str, np.ndarray], source: Source) -> dict[str, float]:
        """`bleu` and `chrf` of detokenized text; `perplexity` and `token_accuracy`."""
        nats, right, tokens = encoded["token_sums"].sum(axis=0, dtype=np.float64)
        values = {"perplexity": float(np.exp(nats / tokens)), "token_accuracy": right / tokens}
        references = getattr(source, "references", None)
        if references is not None:
            translations = self.postprocess(encoded["prediction"]).tolist()
            values["bleu"] = bleu(translations, references).value
            values["chrf"] = chrf(translations, references).value
        return values

    def postprocess(self, output: Any) -> np.ndarray:
        """Text of every translation, `[N]` strings."""
        return np.array(self.vocabulary.decode(np.asarray(output)), object)
