"""Packages of extras: refused in one sentence, and needed by what uses them alone."""

import numpy as np

from nvc_jax.core.extras import require
from tests.extras import WITHOUT_EXTRAS
from tests.processes import run_python
from tests.refusals import refused


def test_what_is_missing_names_the_extra():
    told = refused(None, require, "no_such_package.part", extra="shapes", what="Reading HDF5 files")
    assert told == (
        "Reading HDF5 files needs the package no_such_package, which is not installed: pip install "
        "'nvc_jax[shapes]'."
    )


def test_what_a_package_lacks_is_named(tmp_path, monkeypatch):
    (tmp_path / "half_installed.py").write_text("import no_such_dependency")
    monkeypatch.syspath_prepend(tmp_path)
    message = "needs the package no_such_dependency,"
    refused(message, require, "half_installed", extra="data", what="This")


LIGHT = """
import numpy as np
from nvc_jax.config import make_config
from nvc_jax.core.errors import UserError
from nvc_jax.data import open_source, train_batches
import nvc_jax

for module in pkgutil.walk_packages(nvc_jax.__path__, "nvc_jax."):
    importlib.import_module(module.name)

folder = sys.argv[1]
for source in ("digits", "npz", "idx", "folder"):
    data = {"source": source, **({} if source == "digits" else {"dir": folder})}
    config = make_config({"data": data})
    batches = train_batches(open_source(config.data, "train"), 4, seed=0, num_threads=2)
    print(source, next(batches)["image"].shape)
    batches.close()

tfds = make_config({"data": {"source": "tfds", "name": "mnist"}}).data
parallel = train_batches(open_source(config.data, "train"), 4, seed=0, num_workers=1)
for use in (lambda: open_source(tfds, "train"), lambda: next(parallel)):
    try:
        use()
    except UserError as error:
        print(error)
"""


def test_arrays_and_images_need_no_extra(tmp_path):
    from PIL import Image

    images = np.zeros((9, 2, 3), np.uint8)
    np.savez(tmp_path / "train.npz", image=images)
    header = b"\0\0\x08\3" + np.array(images.shape, ">u4").tobytes()
    (tmp_path / "train-images-idx3-ubyte").write_bytes(header + images.tobytes())
    labels = b"\0\0\x08\1" + np.array([9], ">u4").tobytes() + bytes(9)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(labels)
    for i in range(9):
        Image.fromarray(images[0]).save(tmp_path / f"{i}.png")
    told = run_python("-c", WITHOUT_EXTRAS + LIGHT, tmp_path).stdout
    assert told.splitlines() == [
        "digits (4, 8, 8, 1)",
        *(f"{source} (4, 2, 3, 1)" for source in ("npz", "idx", "folder")),
        *(
            f"{what} needs the package {package}, which is not installed: pip install 'nvc_jax[data]'."
            for what, package in (
                ("Reading data sets of TFDS", "tensorflow_datasets"),
                ("data.num_workers above 0", "grain"),
            )
        ),
    ]
