"""Nebula Variational Coding as an estimator of scikit-learn, for people who have an array.

from nvc_jax import NebulaClustering

model = NebulaClustering(n_clusters=10, random_state=0).fit(X)
model.labels_, model.predict(X_new), model.transform(X_new)
"""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    ClusterMixin,
    TransformerMixin,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from nvc_jax.config import from_json, to_json
from nvc_jax.core.errors import UserError
from nvc_jax.core.forks import check_not_forked
from nvc_jax.data import Source
from nvc_jax.data.base.source import FieldSource, SparseSource, random_subset
from nvc_jax.estimator.calibration import (
    MOST_CALIBRATED,
    fit_temperature,
    log_probabilities,
    neighbors_of,
)
from nvc_jax.estimator.compiled import Compiled, compile_config
from nvc_jax.estimator.export import export_estimator, exported_state, read_exported
from nvc_jax.estimator.file import damaged, read_estimator, read_state, write_estimator
from nvc_jax.estimator.guidance import make_guidance
from nvc_jax.estimator.recipe import (
    COUNTS,
    NO_SCALING,
    Scaling,
    check_numbers,
    config_of,
    median_total,
    redundancy,
    scaling_of,
)
from nvc_jax.model.guidance import Guidance
from nvc_jax.model.nebulae import Nebulae, mixture_kl
from nvc_jax.model.number import MOST_EXAMPLES, Number, find_number
from nvc_jax.training.state import TrainState, anchor_scales, find_anchors, replace_anchors

FLOATS = (np.float64, np.float32)
MOST_CLUSTERS = 30
"""That `n_clusters="auto"` may find."""


class NebulaClustering(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BaseEstimator
):
    """Clusters rows of a table, or images, in the latent space of an autoencoder, without labels.

    A variational autoencoder is warmed up, k-means on its codes gives the anchors, and then a KL term
    draws every example to its nearest anchor and a triplet term away from the others. The nearest
    anchor is the cluster.

    Inputs are `[N, F]` tables of any real dtype, or images `[N, H, W]` and `[N, H, W, C]`. They are
    scaled inside, see `scaling`; whatever is decoded comes back in their units and shape, as float64 where
    those of the fit were float64 or integers, else as float32. Values that float32 cannot hold are refused.

    Args:
      n_clusters: number of anchors; `auto`: the largest number that two halves of the data agree on, up to
        30, see `find_number`.
      latent_dim: number of dimensions of the latent space.
      hidden: widths of the encoder's layers; the decoder mirrors them.
      max_iter: number of training steps, a batch each; all of them are taken.
      batch_size: examples a step. Small data come several times in a batch.
      learning_rate: peak of Adam's learning rate.
      reconstruction_weight: of the reconstruction error, where the KL term has weight 1. More keeps more
        of what differs within a cluster.
      triplet_weight: of the term that keeps clusters apart; `auto`: 20, and 1 for counts, whose likelihood
        keeps them apart by itself.
      shares: of clusters in every training batch: `learned`: a moving average of how many examples are
        nearest to each anchor; `equal`, where clusters have about one size; `free`: every example goes
        to its nearest anchor; or an array of `n_clusters` numbers.
      neighbors: an example is drawn to the anchor of one of its so many nearest neighbors; 0: of its
        own.
      augment: strength of the random changes of training inputs, of which the unchanged ones are
        reconstructed; `auto`: 1, and for tables from 0 to 1, the more of a feature the others
        tell. 1: of a row 0.3 of the features are taken from other rows, of counts 0.3 are left
        out; images are shifted, turned, scaled and sheared a little. 0: none.
      scaling: of a table's features. `features`: one by one to standard deviation 1, and those of two
        values to a distance at which two categories, each a column, are 1 apart; `global`: all by the same
        number; `auto`: the latter if no range is above 4 times the median range, as where they share a unit
        or were scaled before. Images are scaled to 0 … 1 together.
      likelihood: of an example, given its code; `auto`: squared error for tables, binary cross-entropy for
        images. `negative_binomial` and `poisson` are for counts, such as those of genes in cells: they
        are given as they were counted, and clustered by their frequencies, whatever their sum.
      random_state: seed; an int gives the same result at every fit.
      verbose: show a progress bar, or lines where no terminal is.

    Attributes:
      cluster_centers_: float32 `[n_clusters, latent_dim]`, the anchors, in the latent space.
      cluster_scales_: float32 `[n_clusters, latent_dim]`, standard deviations of the codes around them.
      cluster_shares_: float32 `[n_clusters]`, shares of the examples of the last fit.
      n_clusters_: number of anchors.
      number_: for `n_clusters="auto"`, how it was found: range and stability, see `Number`.
      labels_: int32 `[N]`, cluster of every example of the last fit: that of `predict`, but for examples whose cluster
        is given by labels or pairs.
      n_iter_: number of training steps taken.
      input_shape_: shape of an example.
      n_features_in_: number of features of a row, or of values of an image.
      feature_names_in_: names of a data frame's columns, where they are strings.

    Reference: Wang, Tan, Navab and Tombari, "Self-supervised Latent Space Optimization with Nebula
    Variational Coding", TPAMI 2022.
    """

    def __init__(
        self,
        n_clusters: int | str = 8,
        *,
        latent_dim: int = 10,
        hidden: tuple[int, ...] = (256, 128),
        max_iter: int = 1000,
        batch_size: int = 256,
        learning_rate: float = 2e-3,
        reconstruction_weight: float = 1.0,
        triplet_weight: float | str = "auto",
        shares: Any = "learned",
        neighbors: int = 10,
        augment: float | str = "auto",
        scaling: str = "auto",
        likelihood: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ):
        self.n_clusters = n_clusters
        self.latent_dim = latent_dim
        self.hidden = hidden
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.reconstruction_weight = reconstruction_weight
        self.triplet_weight = triplet_weight
        self.shares = shares
        self.neighbors = neighbors
        self.augment = augment
        self.scaling = scaling
        self.likelihood = likelihood
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn asks: codes are float32; images are taken too."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.sparse = self.likelihood in COUNTS
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def fit(
        self,
        X: Any,
        y: object = None,
        *,
        labels: Any = None,
        must_link: Any = None,
        cannot_link: Any = None,
    ) -> NebulaClustering:
        """Trains from the beginning.

        What is known of some examples takes part from where anchors are set, on the examples themselves and on
        their neighbors, in place of the anchors that would be found. Without it no label is used.

        Args:
          X: `[N, F]`, `[N, H, W]` or `[N, H, W, C]`, finite, N at least `n_clusters`. Counts may be a sparse
            matrix of SciPy.
          y: ignored, as in all of scikit-learn's clustering: labels that a search or a pipeline passes on for its
            score have no part in the fit.
          labels: integers `[N]`: the clusters of examples, from 0 to `n_clusters` − 1, and -1 where they are not
            known; None: of none.
          must_link: pairs of numbers of examples of one cluster, `[P, 2]`.
          cannot_link: pairs of numbers of examples of two clusters, `[Q, 2]`.

        Raises:
          UserError: a ValueError, for data or parameters that do not fit.
        """
        check_numbers(self.get_params(deep=False))
        x = self._check_input(X, reset=True)
        count = None if isinstance(self.n_clusters, str) else int(self.n_clusters)
        if count is not None and x.shape[0] < count:
            raise UserError(f"n_samples={x.shape[0]} is below n_clusters={count}.")
        most = min(MOST_CLUSTERS, x.shape[0]) if count is None else count
        guidance = make_guidance(
            labels, must_link, cannot_link, num_examples=x.shape[0], num_clusters=most
        )
        facts = self._look_at(x)
        self._seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self._configure(count or 1, facts)
        source, state = self._source(x), self._compiled().init(self._seed)
        self.number_: Number | None = None
        neighbors = None
        if count is None:
            state, neighbors = self._find_number(source, state, guidance, facts)
        steps = self._compiled().config.train.num_steps - int(state.step)
        return self._train(source, state, steps, guidance, neighbors)

    def _look_at(self, x: np.ndarray) -> dict[str, float]:
        """Sets the scaling, and tells what the config depends on."""
        if self.likelihood in COUNTS:
            self._scaling = NO_SCALING
            return {"total": median_total(x)}
        rows = x.reshape(len(x), *_network_shape(x.shape[1:]))
        self._scaling = scaling_of(rows, self.scaling)
        return {"told": redundancy(self._scaling.apply(rows))} if x.ndim == 2 else {}

    def _configure(self, count: int, facts: dict[str, float]) -> None:
        """Sets the config for a number of clusters."""
        options = {**self.get_params(deep=False), "n_clusters": count}
        self._config = to_json(config_of(options, _network_shape(self.input_shape_), **facts))

    def _find_number(
        self,
        source: Source,
        state: TrainState,
        guidance: Guidance | None,
        facts: dict[str, float],
    ) -> tuple[TrainState, np.ndarray | None]:
        """Warms up and finds the number of clusters in the codes.

        Returns:
          (a state of so many anchors to go on with; the examples' neighbors).
        """
        state, neighbors = self._compiled().warm_up(
            state, source, seed=self._seed, progress=bool(self.verbose)
        )
        some = random_subset(source, MOST_EXAMPLES, self._seed)
        codes = self._compiled().encode(state, some)["mean"]
        self.number_ = find_number(codes, MOST_CLUSTERS, self._seed)
        known = 0 if guidance is None else int(guidance.labels.max()) + 1
        self._configure(max(self.number_.found, known), facts)
        fresh = self._compiled().init(self._seed)
        params = replace_anchors(state.params, find_anchors(fresh.params))
        warm = fresh.replace(step=state.step, params=params, batch_stats=state.batch_stats)
        return warm, neighbors

    def partial_fit(self, X: Any, y: object = None, *, labels: Any = None) -> NebulaClustering:
        """Goes on training with other examples, once through them; the first call is `fit`.

        Scaling and parameters stay those of the first call, the learning rate that of its end.

        Args:
          X: as for `fit`, of any number of examples from the second call on.
          y: ignored.
          labels: as for `fit`.
        """
        if not hasattr(self, "_state"):
            return self.fit(X, labels=labels)
        x = self._check_input(X, reset=False)
        size = self._compiled().config.train.batch_size
        guidance = make_guidance(
            labels, None, None, num_examples=x.shape[0], num_clusters=self.n_clusters_
        )
        return self._train(self._source(x), self._state, -(-x.shape[0] // size), guidance)

    def _train(
        self,
        source: Source,
        state: TrainState,
        steps: int,
        guidance: Guidance | None,
        neighbors: np.ndarray | None = None,
    ) -> NebulaClustering:
        """Takes steps from a state, and sets what is known after a fit."""
        compiled = self._compiled()
        state, known = compiled.train(
            state,
            source,
            steps,
            seed=self._seed,
            progress=bool(self.verbose),
            guidance=guidance,
            neighbors=neighbors,
        )
        encoded = compiled.encode(state, source)
        some = np.random.default_rng(self._seed).permutation(len(source))[:MOST_CALIBRATED]
        near = neighbors_of(compiled.features(source, some), self._seed)
        anchors = np.asarray(find_anchors(state.params))
        temperature = fit_temperature(encoded["mean"][some], anchors, near)
        labels = encoded["assignment"]
        self._keep(
            state, labels if known is None else np.where(known >= 0, known, labels), temperature
        )
        found = len(np.unique(self.labels_))
        if found < self.n_clusters_:
            warnings.warn(
                f"{found} clusters were found of n_clusters={self.n_clusters_}: the others have no "
                "example. Give a smaller number, or check whether many examples are alike.",
                ConvergenceWarning,
                stacklevel=3,
            )
        return self

    def _keep(self, state: TrainState, labels: np.ndarray, temperature: float) -> None:
        """Sets what is known after a fit."""
        self._state, self.labels_, self._temperature = state, labels, temperature
        self.n_iter_ = int(state.step)
        self.cluster_centers_ = np.asarray(find_anchors(state.params))
        self.cluster_scales_ = anchor_scales(state, self._compiled().config.loss.anchor_scale)
        self.cluster_shares_ = np.asarray(state.shares)
        self.n_clusters_, self._n_features_out = self.cluster_centers_.shape

    def predict(self, X: Any) -> np.ndarray:
        """Cluster of every example, the nearest anchor of its code, int32 `[N]`."""
        return self._encode(self._input(X))["assignment"]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of every cluster, float64 `[N, n_clusters]`; the likeliest is that of `predict`.

        `softmax_k(−d²(z, A_k) / T)` of the code z, with the one T for all at which the probabilities of an
        example of the fit best tell the clusters of its nearest neighbors. No label is used, so they
        say how sure a cluster is, not whether it is a class.
        """
        return self._probabilities(self.transform(X))

    def _probabilities(self, codes: np.ndarray) -> np.ndarray:
        """`predict_proba` of codes."""
        return np.exp(log_probabilities(codes, self.cluster_centers_, self._temperature))

    def transform(self, X: Any) -> np.ndarray:
        """Codes: means of the latent distribution, float32 `[N, latent_dim]`."""
        return self._encode(self._input(X))["mean"]

    def inverse_transform(self, X: Any) -> np.ndarray:
        """Decodes latent vectors `[N, latent_dim]`, such as `cluster_centers_`, to examples."""
        check_is_fitted(self)
        sample = check_array(X, dtype=FLOATS)
        _check_range(sample)
        if sample.shape[1] != self._n_features_out:
            raise UserError(
                f"Latent vectors have {self._n_features_out} dimensions, got {sample.shape[1]}."
            )
        compiled = self._compiled()
        output = compiled.decode(self._state, sample)
        shown = self._scaling.undo(compiled.steps.experiment.task.postprocess(output))
        return shown.reshape(len(sample), *self.input_shape_).astype(self._dtype, copy=False)

    def reconstruct(self, X: Any) -> np.ndarray:
        """What the decoder makes of the codes of examples, of the shape of `X`."""
        return self.inverse_transform(self.transform(X))

    def score_samples(self, X: Any) -> np.ndarray:
        """How normal every example is: outliers have the smallest values.

        `−(reconstruction_weight·error + KL(own latent distribution ‖ Σ_k share_k·N(A_k, scale_k²)))` with the
        error of what is decoded from the mean, on scaled examples, and a bound of the KL, see `mixture_kl`:
        but for that and a constant, a lower bound of the log-density under the mixture that `sample` draws
        from.

        Args:
          X: as for `fit`.

        Returns:
          float64 `[N]`.
        """
        return self._scores(self._encode(self._input(X)))

    def _scores(self, encoded: dict[str, np.ndarray]) -> np.ndarray:
        """`score_samples` of encoded examples."""
        config = self._compiled().config
        error = config.loss.reconstruction.value * encoded["reconstruction"].astype(np.float64)
        nebulae = Nebulae(self.cluster_centers_, self.cluster_scales_, self.cluster_shares_)
        return -(error + mixture_kl(encoded["mean"], encoded["logvar"], nebulae))

    def score(self, X: Any, y: object = None) -> float:
        """Mean of `score_samples`: greater is better, and `y` is ignored."""
        return float(np.mean(self.score_samples(X)))

    def sample(
        self, n_samples: int = 1, *, anchor: int | None = None, random_state: Any = None
    ) -> np.ndarray:
        """Decodes draws from `N(cluster_centers_, cluster_scales_²)`.

        Args:
          n_samples: how many.
          anchor: from 0 to `n_clusters` − 1; None: each draw is around any anchor, by `cluster_shares_`.
          random_state: of the draws; None: the estimator's.

        Returns:
          Examples `[n_samples, ...]`.

        Raises:
          UserError: if there is no such anchor.
        """
        check_is_fitted(self)
        count, dim = self.cluster_centers_.shape
        if anchor is not None and not 0 <= anchor < count:
            raise UserError(f"There is no anchor {anchor}: they go from 0 to {count - 1}.")
        rng = check_random_state(self.random_state if random_state is None else random_state)
        chosen = np.full(n_samples, anchor)
        if anchor is None:
            shares = self.cluster_shares_.astype(np.float64)
            chosen = rng.choice(count, size=n_samples, p=shares / shares.sum())
        noise = rng.standard_normal((n_samples, dim))
        return self.inverse_transform(
            self.cluster_centers_[chosen] + self.cluster_scales_[chosen] * noise
        )

    def report(self, path: str | Path, X: Any, y: Any = None) -> Path:
        """Writes a page to look at: latent space, anchors, reconstructions; it opens offline.

        The estimator does not keep the examples, so they are given again, or others.

        Args:
          path: the file, `.html`, which is replaced.
          X: as for `fit`.
          y: labels `[N]`, numbers or strings, to color by and to tell how pure anchors are; or None.

        Returns:
          The path.
        """
        from nvc_jax.estimator.page import estimator_page
        from nvc_jax.report import write_report

        return write_report(
            path, estimator_page(self, X, y, f"NebulaClustering: {Path(path).stem}")
        )

    def save(self, path: str | Path) -> Path:
        """Writes everything to one npz file, which holds arrays and JSON and no code.

        Args:
          path: the file, which is replaced.

        Returns:
          The path. A `random_state` that is an object is saved as None.
        """
        check_is_fitted(self)
        write_estimator(Path(path), self._facts(), self._arrays(), self._state)
        return Path(path)

    def export(self, path: str | Path, format: str = "onnx") -> Path:
        """Writes the model for programs without this library: scaling, networks, anchors, probabilities.

        `onnx` and `stablehlo` make two files, an encoder (examples → `code`, `cluster`, `probability`) and a decoder
        (`code` → `output`), for batches of any size; `safetensors` holds the weights, which `load` reads. A
        `README.md` says how each is used, and a `config.json` what the networks are made by.

        Args:
          path: a folder, which is made if it is not there.
          format: `onnx`, `stablehlo` or `safetensors`.

        Returns:
          The path.

        Raises:
          UserError: for another format, or a package of the extra `export` that is not installed.
        """
        check_is_fitted(self)
        return export_estimator(self, Path(path), format)

    def _facts(self) -> dict[str, Any]:
        """What a file of the estimator holds beside arrays, as JSON can hold it."""
        params = self.get_params(deep=False)
        if isinstance(self.random_state, np.random.RandomState):
            params["random_state"] = None
        names = getattr(self, "feature_names_in_", None)
        return {
            "params": params,
            "config": json.loads(self._config),
            "input_shape": self.input_shape_,
            "dtype": self._dtype.name,
            "feature_names": None if names is None else names.tolist(),
            "seed": self._seed,
        }

    def _arrays(self) -> dict[str, np.ndarray]:
        """What belongs to the estimator beside the state."""
        return {
            "labels": self.labels_,
            "temperature": np.float64(self._temperature),
            **self._scaling._asdict(),
        }

    @classmethod
    def load(cls, path: str | Path) -> NebulaClustering:
        """Reads what `save` wrote, or `export` with `format="safetensors"`. Runs no code found in the file.

        Args:
          path: the file, or the folder.

        Returns:
          The fitted estimator.

        Raises:
          UserError: if the file is missing, damaged, or holds something else.
        """
        path = Path(path)
        names = ("labels", "temperature", *Scaling._fields)
        read = read_exported if path.is_dir() else read_estimator
        facts, arrays = read(path, names)
        try:
            model = cls(**{**facts["params"], "hidden": tuple(facts["params"]["hidden"])})
            config, model._seed = json.dumps(facts["config"]), int(facts["seed"])
            model.input_shape_ = tuple(facts["input_shape"])
            model._dtype = np.dtype(facts.get("dtype", "float32"))  # version 0.1.0 had this alone
            names = facts["feature_names"]
        except (ValueError, TypeError, KeyError):
            raise damaged(path) from None
        model._config = to_json(from_json(config, "the estimator's config"))
        model.n_features_in_ = math.prod(model.input_shape_)
        if names is not None:
            model.feature_names_in_ = np.asarray(names, object)
        model._scaling = Scaling(*(arrays[name] for name in Scaling._fields))
        restore = exported_state if path.is_dir() else read_state
        state = restore(path, model._compiled().empty_state())
        model._keep(state, arrays["labels"], float(arrays["temperature"]))
        return model

    def _check_input(self, X: Any, *, reset: bool) -> np.ndarray:
        """Finite floats of the right shape; `reset` learns the shape, or else it is compared."""
        if np.asarray(X).ndim < 3:
            sparse = "csr" if self.likelihood in COUNTS else False
            x = validate_data(self, X, dtype=FLOATS, reset=reset, accept_sparse=sparse)
        else:
            x = check_array(X, dtype=FLOATS, allow_nd=True)
            if x.ndim > 4:
                raise UserError(f"X is [N, F], [N, H, W] or [N, H, W, C], got shape {x.shape}.")
            if reset and hasattr(self, "feature_names_in_"):
                del self.feature_names_in_  # of an earlier fit, to a data frame
        _check_range(x)
        if reset:
            self._dtype = x.dtype
            self.input_shape_, self.n_features_in_ = x.shape[1:], math.prod(x.shape[1:])
        elif x.shape[1:] != self.input_shape_:
            raise UserError(f"Examples have shape {self.input_shape_}, got {x.shape[1:]}.")
        return x

    def _input(self, X: Any) -> Source:
        """A user's examples, checked against those of the fit, as a source."""
        check_is_fitted(self)
        return self._source(self._check_input(X, reset=False))

    def _source(self, x: np.ndarray) -> Source:
        """Checked examples as a scaled source."""
        if issparse(x):
            return SparseSource(self._compiled().field, x)
        values = self._scaling.apply(x.reshape(len(x), *_network_shape(x.shape[1:])))
        return FieldSource({self._compiled().field: values})

    def _compiled(self) -> Compiled:
        """The compiled functions of the fitted config."""
        check_not_forked()
        shape = _network_shape(self.input_shape_)
        return compile_config(self._config, shape)

    def _encode(self, source: Source) -> dict[str, np.ndarray]:
        """What evaluation gives for every example."""
        return self._compiled().encode(self._state, source)


def _check_range(x: Any) -> None:
    """Refuses values that float32, in which the network computes, cannot hold; `x` is dense, or CSR."""
    values = x.tocoo().data if issparse(x) else x.ravel()
    most = np.finfo(np.float32).max
    if x.dtype == np.float32 or not values.size or -most <= values.min() <= values.max() <= most:
        return
    first = int(np.argmax(np.abs(values) > most))
    place = (
        np.array(x.tocoo().coords)[:, first] if issparse(x) else np.unravel_index(first, x.shape)
    )
    row, *others = map(int, place)
    where = f"column {others[0]}" if len(others) == 1 else f"at {others}"
    raise UserError(
        f"X has {values[first]:.3g} in row {row}, {where}, which float32 cannot hold (it ends at "
        f"{most:.3g}): correct or remove it."
    )


def _network_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of an example as the network sees it: images have channels."""
    return (*shape, 1) if len(shape) == 2 else shape
