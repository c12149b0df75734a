"""How far samples are from data: are they of their anchor's class, and can they be told from real images?

    python -m benchmarks.samples RUN [RUN ...]

Each run is the work directory of an image model whose data have labels. A network with one hidden layer learns the
training images' labels (20,000 at most), a cluster's class is the most frequent one of its test images, and of every anchor
200 samples are drawn.

Beside that, as many images are drawn as there are test images, 5,000 at most, around every anchor in proportion to the training
images that are nearest to it. They are compared with test images by the values of the classifier's hidden layer: the Fréchet
distance, and how often the nearest other image tells a drawn from a real one. The same is done for reconstructions of test images, and
for training images that the classifier did not learn, which no model can better.

Every run is a line of docs/tables/samples.csv, by the name of its directory.
"""

import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from sklearn.neural_network import MLPClassifier

from benchmarks.print import TABLES
from benchmarks.table import Row, Rows, key_of
from nvc_jax.data import Source, random_subset
from nvc_jax.evaluation import TrainedModel, load
from nvc_jax.metrics import fit_mapping, frechet_distance, two_sample_accuracy
from nvc_jax.programs import cli
from nvc_jax.tasks import open_examples
from nvc_jax.training.encoding import latent_health

OF_SETS = ("frechet", "told")
SETS = ("drawn", "reconstructed", "training")
COLUMNS = (
    *("samples", "least", "classifier", "anchor_offset", "anchor_offset_max"),
    *(f"{name}_{what}" for what in SETS for name in OF_SETS),
)
EXAMPLES, SAMPLES, DRAWN = 20_000, 200, 5_000


def pixels(source: Source, task: Any) -> tuple[np.ndarray, np.ndarray]:
    """Images as vectors from 0 to 1, and their labels."""
    batch = source.gather(np.arange(len(source)))
    return task.features(batch), batch["label"]


def hidden(classifier: MLPClassifier, images: np.ndarray) -> np.ndarray:
    """Values of a classifier's hidden layer, float64 `[N, H]`, whose activation is a ReLU."""
    flat = images.reshape(len(images), -1).astype(np.float64)
    return np.maximum(flat @ classifier.coefs_[0] + classifier.intercepts_[0], 0.0)


def draw(model: TrainedModel, shares: np.ndarray, number: int, seed: int) -> np.ndarray:
    """So many samples, around every anchor its share of them."""
    counts = np.random.default_rng(seed).multinomial(number, shares)
    keys = jax.random.split(jax.random.key(seed), len(counts))
    parts = [model.sample(k, int(n), keys[k]) for k, n in enumerate(counts) if n]
    return np.concatenate(parts)


def measure(model: TrainedModel) -> Row:
    """The measures of a run."""
    began = time.perf_counter()
    test = open_examples(model.config, "test")
    some = random_subset(test, DRAWN, 0)
    number = len(some)
    training = random_subset(open_examples(model.config, "train"), EXAMPLES + number, 0)
    images, names = pixels(training, model.task)
    classifier = MLPClassifier((256,), early_stopping=True, random_state=0)
    classifier.fit(images[:-number], names[:-number])
    inputs, labels = pixels(test, model.task)
    encoded = model.encode(test)
    mapping = fit_mapping(labels, encoded["assignment"], "majority")
    keys = jax.random.split(jax.random.key(0), len(model.anchors))
    right = []
    for k in np.unique(encoded["assignment"]):
        drawn = model.sample(int(k), SAMPLES, keys[k]).reshape(SAMPLES, -1)
        right.append(np.mean(classifier.predict(drawn) == mapping[k]))
    health = latent_health(encoded, model.anchors, model.scales)
    nearest = model.encode(training)["assignment"]
    shares = np.bincount(nearest, minlength=len(model.anchors)) / len(nearest)
    real = hidden(classifier, pixels(some, model.task)[0])
    sets = draw(model, shares, number, 1), model.predict(some), images[-number:]
    compared = dict(zip(SETS, sets, strict=True))
    found = {}
    for what, images in compared.items():
        features = hidden(classifier, images)
        found[f"frechet_{what}"] = frechet_distance(real, features)
        found[f"told_{what}"] = two_sample_accuracy(real, features)
    return {
        "seconds": time.perf_counter() - began,
        "samples": np.mean(right),
        "least": np.min(right),
        "classifier": classifier.score(inputs, labels),
        **{name: health[name] for name in COLUMNS if name in health},
        **{name: found[name] for name in COLUMNS if name in found},
    }


def main(arguments: list[str]) -> int:
    """Measures runs and prints their rows."""
    parser = cli.bare_parser(__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--rows", type=Path, default=TABLES, help="folder of the CSV file")
    flags = parser.parse_args(arguments)
    rows = Rows(flags.rows / "samples.csv", COLUMNS)
    for directory in flags.runs:
        model = load(directory)
        told = {"method": directory.name, "seed": model.config.seed, "source": "measured"}
        row = {**told, **key_of(model.config), **measure(model)}
        rows.add(row)
        print(directory.name, ", ".join(f"{name} {row[name]:.3f}" for name in COLUMNS), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
