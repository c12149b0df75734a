"""How far samples are from data: does a classifier of real images name the class of the anchor that they are drawn around?

    python -m benchmarks.samples RUN [RUN ...]

Each run is the work directory of an image model whose data have labels. A network with one hidden layer learns the
training images' labels (20,000 at most), a cluster's class is the most frequent one of its test images, and of every anchor
200 samples are drawn. Every run is a line of docs/tables/samples.csv, by the name of its directory.
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
from nvc_jax.metrics import fit_mapping
from nvc_jax.programs import cli
from nvc_jax.tasks import open_examples
from nvc_jax.training.encoding import latent_health

COLUMNS = ("samples", "least", "classifier", "anchor_offset", "anchor_offset_max")
EXAMPLES, SAMPLES = 20_000, 200


def pixels(source: Source, task: Any) -> tuple[np.ndarray, np.ndarray]:
    """Images as vectors from 0 to 1, and their labels."""
    batch = source.gather(np.arange(len(source)))
    return task.features(batch), batch["label"]


def measure(model: TrainedModel) -> Row:
    """The measures of a run."""
    began = time.perf_counter()
    training = random_subset(open_examples(model.config, "train"), EXAMPLES, 0)
    test = open_examples(model.config, "test")
    classifier = MLPClassifier((256,), early_stopping=True, random_state=0)
    classifier.fit(*pixels(training, model.task))
    inputs, labels = pixels(test, model.task)
    encoded = model.encode(test)
    mapping = fit_mapping(labels, encoded["assignment"], "majority")
    keys = jax.random.split(jax.random.key(0), len(model.anchors))
    right = []
    for k in np.unique(encoded["assignment"]):
        drawn = model.sample(int(k), SAMPLES, keys[k]).reshape(SAMPLES, -1)
        right.append(np.mean(classifier.predict(drawn) == mapping[k]))
    health = latent_health(encoded, model.anchors, model.scales)
    return {
        "seconds": time.perf_counter() - began,
        "samples": np.mean(right),
        "least": np.min(right),
        "classifier": classifier.score(inputs, labels),
        **{name: health[name] for name in COLUMNS if name in health},
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
