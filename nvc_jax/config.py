"""The config that every experiment shares: defaults, overrides by name, JSON."""

from __future__ import annotations

import ast
import difflib
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_collections

from nvc_jax.core.errors import UserError


def weight_schedule(value: float = 0.0) -> ml_collections.ConfigDict:
    """Config of a loss weight that is `value` at every step; see `make_weight_schedule`."""
    return ml_collections.ConfigDict(
        {"schedule": "constant", "start": 0.0, "value": value, "begin": 0, "steps": 0}
    )


def ramp(value: float, begin: int, steps: int) -> ml_collections.ConfigDict:
    """Config of a loss weight that rises linearly from 0 at step `begin` over `steps` steps.

    Example:
      >>> from nvc_jax.training.schedules import make_weight_schedule
      >>> weight = make_weight_schedule(ramp(2.0, begin=100, steps=50))
      >>> [float(weight(step)) for step in (0, 125, 1000)]
      [0.0, 1.0, 2.0]
    """
    return ml_collections.ConfigDict(
        {"schedule": "linear", "start": 0.0, "value": value, "begin": begin, "steps": steps}
    )


def default_config() -> ml_collections.ConfigDict:
    """Makes the config with every key that tasks share and its default.

    Returns:
      A config; files in `configs/` change values in it and return it.
    """
    config = ml_collections.ConfigDict()
    config.task = "image"
    config.seed = 0  # the only seed: initialization, data order, noise, augmentation, k-means

    config.data = ml_collections.ConfigDict()
    config.data.source = "digits"  # see SOURCES in nvc_jax/data/registry.py
    config.data.dir = ""  # folder of the files, or the file where the data are one
    config.data.from_python = False  # set by train(train_data=…): eval.py has nothing to open then
    config.data.name = ""  # name of the TFDS data set
    config.data.train_split = "train"  # TFDS split names; of 3D-RecGAN's folders the first words
    config.data.test_split = "test"
    config.data.validation_fraction = 0.1  # cut from the training split, where there is none
    config.data.holdout_every = (
        5  # data in one file: example i tests where i % 5 is 0, validates at 1
    )
    config.data.image_key = "image"  # names of the fields in npz, npy and TFDS
    config.data.label_key = "label"
    config.data.image_size = (0, 0)  # resize to height, width; 0: as stored
    config.data.channels = 0  # 1 grey, 3 color, 0 as stored; of hands 1 depth, 3 color, 4 both
    config.data.strict = False  # True: stop at the first unreadable file
    config.data.test_area = 5  # of S3DIS, 1 to 6
    config.data.test_subject = 0  # of MSRA's hands, 0 to 8
    config.data.wrist_from_palm = True  # STB: joint 0 moves from the palm's center to the wrist
    config.data.num_models = 480  # of the synthetic furniture
    config.data.num_points = 2048  # of every cloud after resampling
    config.data.resolution = 64  # voxels a side of 3D-RecGAN's volumes, which hold 256
    config.data.unlabeled_class = ""  # examples of the class of this name get no label
    config.data.stretched_copies = 0  # of every training shape, beside the shape itself
    config.data.stretch = 0.15  # axes of a copy are scaled by up to exp(±this), then all to fit
    config.data.side_views = True  # shapes are seen from four sides: level, along an axis
    config.data.oblique_views = 0  # and so many times from above, by a camera of a random azimuth
    config.data.view_seed = 0  # of cameras and rooms; not config.seed: test views stay the same
    config.data.source_language = "de"  # text: suffixes of files, names of folders
    config.data.target_language = "en"
    config.data.max_words = 100  # longer training sentences are left out; 0: no limit
    config.data.max_length_ratio = 0.0  # of words of both sides of a training pair; 0: no limit
    config.data.vocab_size = 4000  # pieces of words, of both languages together
    config.data.max_source_tokens = 64  # longer sentences are cut
    config.data.max_target_tokens = 64
    config.data.num_buckets = 4  # shapes of training batches, by the length of sentences
    config.data.compose_scenes = False  # points: scenes of shapes, labeled by class, not shapes
    config.data.num_scenes = 2000  # composed of training shapes; training rooms, hands
    config.data.num_heldout_scenes = 200  # for validation, and for the test
    config.data.scene_size = (32, 16, 32)  # voxels
    config.data.models_per_scene = (2, 4)  # fewest and most
    config.data.num_threads = 2  # that read ahead from files
    config.data.num_workers = 0  # reader processes

    config.model = ml_collections.ConfigDict()
    config.model.network = "mlp"  # see the factories in nvc_jax/networks/
    config.model.hidden = (512, 256, 128)
    config.model.channels = (32, 64)  # of every stage of a network of volumes, rooms or hands
    config.model.blocks = 1  # residual blocks of a stage
    config.model.skips = True  # feature maps of the encoder go to the decoder beside the code
    config.model.skip_dropout = 0.1  # share of training examples that go without, see docs
    config.model.decoder_hidden = (256, 256)  # of point clouds: before coarse points, before logits
    config.model.num_coarse = 512  # coarse points of a completed cloud
    config.model.fold_grid = 2  # a grid of so many points, squared, is folded around each of them
    config.model.fold_hidden = (128, 128)  # widths of the layers that fold
    config.model.transform = False  # PointNet turns its input by a learned matrix (T-net)
    config.model.num_neighbors = 20  # of a point in DGCNN's graphs
    config.model.dilations = ()  # of its graphs in space, one a layer; (): graphs of the features
    config.model.num_classes = 0  # of voxels, empty among them, or of points
    config.model.know_category = False  # segmentation of parts: the network is told the category
    config.model.width = 128  # of a Transformer's states
    config.model.num_heads = 4  # of its attention
    config.model.feedforward = 512  # width inside its feed-forward networks
    config.model.encoder_layers = 2
    config.model.decoder_layers = 2
    config.model.dropout = 0.1  # after its embedding and each branch
    config.model.latent = "sentence"  # text: a state of its code; token: of every token; none
    # planes: image, one latent for all of it; pixel, one for every square of a small map
    config.model.batch_norm = False
    config.model.latent_dim = 10
    config.model.num_anchors = 10
    config.model.condition_on_assignment = False  # decoder sees the soft assignment too
    config.model.temperature = 1.0  # of the soft assignment
    config.model.logvar_min = -10.0
    config.model.logvar_max = 10.0
    config.model.logvar_init = 0.0  # where the log variance begins, about; small after a warm-up
    config.model.dtype = "float32"  # or bfloat16; parameters and losses stay float32
    config.model.remat = False  # recompute activations in the backward pass: less memory, more time

    config.loss = ml_collections.ConfigDict()
    config.loss.likelihood = "squared_error"  # or binary_cross_entropy, on logits
    config.loss.value_range = (0.0, 1.0)  # of the images the network sees
    config.loss.chamfer = "l1"  # mean distance, halved and summed; or l2, squared distances, summed
    config.loss.fine = 1.0  # weight of the fine points beside the coarse ones
    config.loss.class_weights = ()  # one for each class of voxels or points; (): 1
    config.loss.label_smoothing = 0.0  # share of a token's target spread over the vocabulary
    config.loss.gamma = 0.5  # weight of occupied voxels; 1 - gamma is that of empty ones
    config.loss.soft_iou = 0.0  # shapes: weight of 1 - soft IoU, times the number of voxels, points
    config.loss.num_positions = 8  # tokens or pixels of an example that the latent terms see
    config.loss.reconstruction = weight_schedule(1.0)
    config.loss.kl = weight_schedule(1.0)
    config.loss.triplet = weight_schedule(1.0)
    config.loss.gravity = weight_schedule(0.0)
    config.loss.pull = weight_schedule(0.0)
    config.loss.anchor_scale = 1.0
    config.loss.triplet_form = "anchor"  # ratio, hinge, anchor
    config.loss.triplet_alpha = 1.0
    config.loss.triplet_margin = 1.0
    config.loss.triplet_mining = "hard"  # or all, for hinge
    config.loss.triplet_squared = False
    config.loss.gravity_form = "bounded"  # or paper, which is unbounded below
    config.loss.gravity_radius = 1.0
    config.loss.gravity_reduction = "sum"  # or mean, over pairs of anchors

    config.anchors = ml_collections.ConfigDict()
    config.anchors.init = "kmeans"  # kmeans, kmeans++ (on encoded data); normal, spread (at once)
    config.anchors.warmup_steps = 0  # steps of plain autoencoding before anchors are set from data
    config.anchors.max_examples = 20_000  # examples encoded for it
    config.anchors.restarts = 10
    config.anchors.patience = 200  # an anchor unused for so many steps is dead
    config.anchors.revive_every = 0  # steps between revivals of dead anchors; 0: never
    config.anchors.balanced = False  # equal shares of anchors in every training batch
    config.anchors.train = True

    config.augment = ml_collections.ConfigDict()
    config.augment.shift = 0.0  # pixels, drawn from [-shift, shift], as the others
    config.augment.rotation = 0.0  # radians
    config.augment.scale = 0.0  # 0.2: between 1/1.2 and 1.2
    config.augment.shear = 0.0  # tangent of the angle
    config.augment.mirror = False  # 3D, rooms: half of the examples are mirrored along x
    config.augment.color = 0.0  # rooms: gains of channels, between 1 / (1 + this) and 1 + this
    config.augment.upright_symmetry = False  # 3D: quarter turns and mirrors about the vertical axis
    config.augment.swap = 0.0  # tables: share of features that are those of another row
    config.augment.target = "clean"  # reconstruct the clean image, or the augmented one
    config.augment.assign_from = "clean"  # which view decides on the nearest anchor

    config.optimizer = ml_collections.ConfigDict()
    config.optimizer.name = "adam"  # adam, adamw, sgd
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "constant"  # constant, linear, cosine, inverse_sqrt
    config.optimizer.restart = True  # the schedule starts anew when anchors are set from data
    config.optimizer.warmup_steps = 0
    config.optimizer.end_factor = 0.0  # last learning rate / peak, of linear and cosine
    config.optimizer.momentum = 0.0
    config.optimizer.weight_decay = 0.0  # never on anchors, biases and scales
    config.optimizer.anchor_learning_rate = 0.0  # 0: as the rest
    config.optimizer.clip_norm = 0.0  # 0: off
    config.optimizer.max_skipped = 10  # non-finite steps in a row that end the run

    config.train = ml_collections.ConfigDict()
    config.train.num_steps = 1000
    config.train.batch_size = 256  # over all devices
    config.train.tokens_per_batch = 2000  # text: target tokens, in place of batch_size
    config.train.batch_multiple = 8  # text: of which a batch's size is one; devices divide it
    config.train.microbatches = 1  # parts that a step works through: the same update, less memory
    config.train.log_every = 100
    config.train.eval_every = 1000  # 0: never
    config.train.checkpoint_every = 1000  # 0: only at the end
    config.train.keep = 2  # newest checkpoints kept
    config.train.best_metric = "reconstruction"  # best on the validation split is kept too
    config.train.best_mode = "min"  # or max, where the largest value is the best

    config.eval = ml_collections.ConfigDict()
    config.eval.batch_size = 512
    config.eval.max_train_examples = 20_000  # encoded for k-means and nearest neighbors
    config.eval.tsne_examples = 2_000  # 0: no t-SNE figure
    config.eval.num_neighbors = 5
    config.eval.average_checkpoints = 1  # parameters are averaged over as many of the latest
    config.eval.shown_examples = 24  # in the figure of reconstructions
    config.eval.shown_samples = 8  # drawn around each anchor
    config.eval.threshold = 0.5  # a voxel of this probability or more counts as occupied
    config.eval.thresholds = (0.3, 0.4, 0.5, 0.6, 0.7)  # the same measure at others
    config.eval.keep_observed = True  # voxels and points that were seen stay in a completion
    config.eval.f_score_distance = 0.01  # within which a point counts as found
    config.eval.beam_size = 1  # hypotheses of a translation; 1: greedy
    config.eval.length_penalty = 0.6  # of beam search; 0: none
    config.eval.kmeans_inputs = True  # k-means on the inputs too; slow where they are large
    config.eval.num_classes = 0  # clusters of the k-means baseline; 0: as many as labels
    return config


def load_config(name: str) -> ml_collections.ConfigDict:
    """Runs `get_config()` of a Python file and locks the result.

    Args:
      name: path of the file, or the bare name of a file in `configs/`.

    Returns:
      The locked config.

    Raises:
      UserError: if there is no such file, or it does not define `get_config`.
    """
    path = Path(name)
    if not path.suffix and not path.exists():
        path = Path(__file__).parent.parent / "configs" / f"{name}.py"
    if not path.is_file():
        known = sorted(p.stem for p in path.parent.glob("*.py")) if path.parent.is_dir() else []
        hint = f" Files there: {', '.join(known)}." if known else ""
        raise UserError(f"There is no config file {path}.{hint}")
    spec = importlib.util.spec_from_file_location(f"config_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path} is not a Python file: a config file ends in .py.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise UserError(f"{path} does not define get_config(): see the files in configs/.")
    config = module.get_config()
    _check_names(config, path)
    return config.lock()


def _check_names(config: Any, path: Path) -> None:
    """A config has the keys of the defaults, no fewer and no others."""
    default = default_config()
    if not isinstance(config, ml_collections.ConfigDict):
        raise UserError(f"{path}: get_config() returns no ConfigDict, got {type(config).__name__}.")
    names, known = dict(leaves(config)), dict(leaves(default))
    for name in names.keys() - known.keys():
        raise UserError(
            f"{path} sets an unknown config key {name!r}: did you mean "
            f"{nearest_name(name, default)!r}?"
        )
    for name in known.keys() - names.keys():
        raise UserError(f"{path} lacks the config key {name!r}: begin with default_config().")


def leaves(config: ml_collections.ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Iterates over (dotted name, value) of every leaf of a config."""
    for key in config:
        if isinstance(config[key], ml_collections.ConfigDict):
            yield from leaves(config[key], f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", config[key]


def differences(config: ml_collections.ConfigDict) -> str:
    """One line of what differs from the defaults in a config: `name=value …`."""
    old = dict(leaves(default_config()))
    words = (f"{k}={json.dumps(v)}" for k, v in leaves(config) if v != old[k])
    return " ".join(words) or "none"


def nearest_name(name: str, config: ml_collections.ConfigDict) -> str:
    """Finds the dotted name in a config that looks most like `name`."""
    names = [leaf for leaf, _ in leaves(config)]

    def likeness(known: str) -> float:
        pairs = (name, known), (name.rsplit(".", 1)[-1], known.rsplit(".", 1)[-1])
        whole, last = (difflib.SequenceMatcher(None, *pair).ratio() for pair in pairs)
        return max(whole, last) + 0.01 * whole

    return max(names, key=likeness)


def override(config: ml_collections.ConfigDict, name: str, text: str) -> None:
    """Sets one leaf of a config from text, keeping its type.

    Args:
      config: the config, changed in place.
      name: dotted name, as in `model.num_anchors`.
      text: the value: a number, true/false, a word, or a tuple such as `512,256`.

    Raises:
      UserError: for an unknown name (the nearest is suggested) or a value of another type.
    """
    known = dict(leaves(config))
    if name not in known:
        group = [leaf for leaf in known if leaf.startswith(f"{name}.")]
        if group:
            raise UserError(f"config.{name} is a group: set one of {', '.join(group)}.")
        raise UserError(
            f"Unknown config key {name!r}: did you mean {nearest_name(name, config)!r}?"
        )
    value = _parse(text, known[name], name)
    *groups, last = name.split(".")
    target = config
    for group_name in groups:
        target = target[group_name]
    target[last] = value


def _parse(text: str, present: Any, name: str) -> Any:
    """Reads text as a value of the present value's type."""
    wrong = UserError(
        f"config.{name} takes a value of type {type(present).__name__}, such as {present!r}, "
        f"got {text!r}."
    )
    if isinstance(present, str):
        return text
    if isinstance(present, bool):
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if text.lower() not in words:
            raise wrong
        return words[text.lower()]
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        raise wrong from None
    if isinstance(present, tuple) and not isinstance(value, (tuple, list)):
        value = (value,)
    try:
        return _convert(value, present)
    except TypeError:
        raise wrong from None


def _convert(value: Any, present: Any) -> Any:
    """A value as the present value's type: lists become tuples, ints floats; else TypeError."""
    if isinstance(present, tuple) and isinstance(value, (tuple, list)):
        kind = present[0] if present else 0.0  # only tuples of floats are empty by default
        return tuple(_convert(v, kind) for v in value)
    if isinstance(present, float) and type(value) is int:
        return float(value)
    if type(value) is not type(present):
        raise TypeError(f"expected {type(present).__name__}, got {value!r}")
    return value


def to_json(config: ml_collections.ConfigDict) -> str:
    """Writes a config as JSON text; tuples become lists."""
    return json.dumps(config.to_dict(), indent=2, sort_keys=True) + "\n"


def from_json(text: str, where: str) -> ml_collections.ConfigDict:
    """Reads a config from JSON text over the defaults, so that older files still open.

    Args:
      text: what `to_json` wrote.
      where: the file's path, for messages.

    Returns:
      The locked config. No code is run.

    Raises:
      UserError: if the text is not JSON, or holds a key or type that the defaults do not have.
    """
    try:
        stored = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{where} is not JSON ({error}): it was damaged after training.") from None
    if not isinstance(stored, dict):
        raise UserError(f"{where} does not hold a config: expected a JSON object.")
    config = default_config().lock()
    _update(config, stored, where, "")
    return config


def _update(config: ml_collections.ConfigDict, stored: Any, where: str, prefix: str) -> None:
    """Copies stored values into a config of the same structure."""
    if not isinstance(stored, dict):
        raise UserError(f"{where} has a wrong value for {prefix[:-1]}: expected an object.")
    for key, value in stored.items():
        if key not in config:
            raise UserError(f"{where} has an unknown key '{prefix}{key}'.")
        if isinstance(config[key], ml_collections.ConfigDict):
            _update(config[key], value, where, f"{prefix}{key}.")
            continue
        try:
            config[key] = _convert(value, config[key])
        except TypeError as error:
            raise UserError(f"{where} has a wrong value for {prefix}{key}: {error}.") from None
