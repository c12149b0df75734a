"""NumPy files: reading, memory, and damaged or dangerous content."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from nvc_jax.core.errors import UserError
from nvc_jax.data.images.arrays import read_npy, read_npz

ROOT = Path(__file__).resolve().parents[3]
IMAGES = np.arange(4 * 2 * 3, dtype=np.uint8).reshape(4, 2, 3)
LABELS = np.array([3, 1, 0, 2])
READERS = {"npz": read_npz, "npy": read_npy}
FILES = {"npz": "train.npz", "npy": "train_image.npy"}
kinds = pytest.mark.parametrize("kind", READERS)


def write(folder, kind, image, label=None, split="train", names=("image", "label")):
    fields = {k: v for k, v in zip(names, (image, label)) if v is not None}
    if kind == "npz":
        np.savez(folder / f"{split}.npz", **fields)
    for name, values in fields.items() if kind == "npy" else ():
        np.save(folder / f"{split}_{name}.npy", values)


@kinds
@pytest.mark.parametrize("split", ["train", "test"])
def test_reads_fields_of_chosen_names(tmp_path, options, kind, split):
    write(tmp_path, kind, IMAGES, LABELS, split, names=("x", "y"))
    source = READERS[kind](options(kind, image_key="x", label_key="y"), split)
    batch = source.gather(np.array([3, 0]))
    np.testing.assert_array_equal(batch["image"], IMAGES[[3, 0], :, :, None])
    np.testing.assert_array_equal(batch["label"], [2, 3])
    assert {k: (v.shape[1:], v.dtype) for k, v in batch.items()} == source.spec


@kinds
def test_label_is_optional(tmp_path, options, kind):
    write(tmp_path, kind, IMAGES.astype(np.float32)[..., None])
    batch = READERS[kind](options(kind), "train").gather(np.array([1]))
    assert batch["label"].tolist() == [-1] and batch["image"].dtype == np.float32


@kinds
@pytest.mark.parametrize("folder_exists", [True, False])
def test_missing_file_names_folder_files_and_remedy(tmp_path, options, kind, folder_exists):
    folder = tmp_path if folder_exists else tmp_path / "missing"
    with pytest.raises(UserError) as error:
        READERS[kind](options(kind, dir=str(folder)), "train")
    test_file = FILES[kind].replace("train", "test")
    assert all(part in str(error.value) for part in (str(folder), test_file, "data.dir"))
    assert ("folder is missing" in str(error.value)) != folder_exists


def test_missing_field_lists_what_is_there(tmp_path, options):
    np.savez(tmp_path / "train.npz", images=IMAGES, other=LABELS)
    with pytest.raises(
        UserError, match=r"no field 'image', got images, other; set data\.image_key"
    ):
        read_npz(options("npz"), "train")


@kinds
@pytest.mark.parametrize("content", [b"", b"<html>".ljust(2048), pickle.dumps(IMAGES)])
def test_other_file_is_one_line_with_the_path_and_no_advice_to_unpickle(
    tmp_path, options, kind, content
):
    path = tmp_path / FILES[kind]
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"not an {kind} ") as error:
        READERS[kind](options(kind), "train")
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    assert "pickle" not in str(error.value)


@pytest.mark.parametrize(
    ("kind", "save"), [("npz", np.savez), ("npz", np.savez_compressed), ("npy", None)]
)
def test_damage_is_told_and_never_a_traceback(tmp_path, options, damaged, kind, save):
    path, image = tmp_path / FILES[kind], IMAGES[:1]
    if save is None:
        np.save(path, image)
    else:
        save(path, image=image)
    contents = list(damaged(path.read_bytes()))[::4]  # some of each kind of damage
    messages = []
    for content in contents:
        path.write_bytes(content)
        try:
            READERS[kind](options(kind), "train").gather(np.array([0]))
        except UserError as error:
            messages.append(str(error))
    assert len(messages) > len(contents) / 3
    assert all(str(path) in message and "\n" not in message for message in messages)


class Payload:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@kinds
@pytest.mark.parametrize("field", ["image", "label"])
def test_pickled_objects_are_refused_and_not_run(tmp_path, options, kind, field):
    trace = tmp_path / "trace"
    objects = np.array([Payload(trace)] * 4, object)
    fields = {"image": IMAGES, "label": LABELS, field: objects}
    write(tmp_path, kind, **fields)
    with pytest.raises(UserError, match="cannot be read"):
        READERS[kind](options(kind), "train")
    assert not trace.exists()


def test_zip_of_other_files_is_refused(tmp_path, options):
    with zipfile.ZipFile(tmp_path / "train.npz", "w") as archive:
        archive.writestr("image", b"not an array")
    with pytest.raises(UserError, match=r"train\.npz cannot be read"):
        read_npz(options("npz"), "train")


MEASURE = """
import resource, sys
import numpy as np
from nvc_jax.config import make_config
from nvc_jax.data import open_source, train_batches
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
data = {"source": "npy", "dir": sys.argv[1], "validation_fraction": 0.0}
data = make_config({"data": data}).data
before = peak()
source = open_source(data, "train")
for size, count in ((100, 4), (500, 40)):
    batches = train_batches(source, size, seed=0, num_threads=2)
    for _ in range(count):
        assert next(batches)["image"].shape == (size, 64, 64, 3)
    batches.close()
    print((peak() - before) / 1e6)
"""


def test_mapped_file_is_not_loaded_into_memory(tmp_path):
    # A sparse file: its 246 MB are never written.
    shape = (20_000, 64, 64, 3)
    np.lib.format.open_memmap(tmp_path / "train_image.npy", "w+", np.uint8, shape)
    result = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    few, all_of_them = map(float, result.stdout.split())
    assert few < 100 and all_of_them < 300  # MB; pages of the file count once they are read


def test_reader_process_gets_the_path_of_a_mapped_file_and_not_its_content(tmp_path, options):
    write(tmp_path, "npy", np.zeros((1000, 8, 8), np.uint8), np.arange(1000))
    sent = pickle.dumps(read_npy(options("npy"), "train"))
    assert len(sent) < 1000
    assert pickle.loads(sent).gather(np.array([5]))["label"].tolist() == [5]
