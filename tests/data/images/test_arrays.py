"""scikit-learn's digits, MNIST's files and NumPy's: reading, memory, and damaged or dangerous content."""

import gzip
import pickle
import struct
import zipfile

import numpy as np
import pytest
from sklearn.datasets import load_digits

from nvc_jax.data.base.source import subset
from nvc_jax.data.images.arrays import read_idx_file
from tests.processes import run_python
from tests.refusals import refused
from tests.sources import Harmful, damage_told, everything, take

IMAGES = np.arange(4 * 2 * 3, dtype=np.uint8).reshape(4, 2, 3)
LABELS = np.array([3, 1, 0, 2])
FILES = {"npz": "train.npz", "npy": "train_image.npy"}
kinds = pytest.mark.parametrize("kind", FILES)


def write(folder, kind, image, label=None, split="train", names=("image", "label")):
    fields = {k: v for k, v in zip(names, (image, label)) if v is not None}
    if kind == "npz":
        np.savez(folder / f"{split}.npz", **fields)
    for name, values in fields.items() if kind == "npy" else ():
        np.save(folder / f"{split}_{name}.npy", values)


@kinds
@pytest.mark.parametrize("split", ["train", "test"])
def test_reads_fields_of_chosen_names(tmp_path, read, kind, split):
    write(tmp_path, kind, IMAGES, LABELS, split, names=("x", "y"))
    batch = take(read(kind, split, image_key="x", label_key="y"), 3, 0)
    np.testing.assert_array_equal(batch["image"], IMAGES[[3, 0], :, :, None])
    np.testing.assert_array_equal(batch["label"], [2, 3])


@kinds
def test_label_is_optional(tmp_path, read, kind):
    write(tmp_path, kind, IMAGES.astype(np.float32)[..., None])
    batch = take(read(kind, "train"), 1)
    assert batch["label"].tolist() == [-1] and batch["image"].dtype == np.float32


@pytest.mark.parametrize(
    ("kind", "split", "files"),
    [
        ("npz", "train", ["test.npz"]),
        ("npy", "train", ["test_image.npy"]),
        ("idx", "test", ["t10k-images-idx3-ubyte.gz", "labels-idx1"]),
    ],
)
def test_missing_file_names_folder_files_and_remedy(tmp_path, read, kind, split, files):
    for folder in (tmp_path, tmp_path / "missing"):
        told = refused(None, read, kind, split, dir=str(folder))
        assert all(part in told for part in (str(folder), *files, "data.dir"))
        assert ("folder is missing" in told) != (folder == tmp_path)


def test_missing_field_lists_what_is_there(tmp_path, read):
    np.savez(tmp_path / "train.npz", images=IMAGES, other=LABELS)
    message = r"no field 'image', got images, other; set data\.image_key"
    refused(message, read, "npz", "train")


@kinds
@pytest.mark.parametrize("content", [b"", b"<html>".ljust(2048), pickle.dumps(IMAGES)])
def test_other_file_is_told_with_its_path_and_no_advice_to_unpickle(tmp_path, read, kind, content):
    path = tmp_path / FILES[kind]
    path.write_bytes(content)
    told = refused(f"not an {kind} ", read, kind, "train")
    assert str(path) in told and "pickle" not in told


@pytest.mark.parametrize(
    ("kind", "save"), [("npz", np.savez), ("npz", np.savez_compressed), ("npy", None)]
)
def test_damage_is_told_and_never_a_traceback(tmp_path, read, kind, save):
    path, image = tmp_path / FILES[kind], IMAGES[:1]
    if save is None:
        np.save(path, image)
    else:
        save(path, image=image)
    good = path.read_bytes()

    def again(content):
        path.write_bytes(content)
        take(read(kind, "train"), 0)

    told = damage_told(good, again, every=4)  # some of each kind of damage
    assert len(told) > 3 * len(good) / 4 / 3 and all(str(path) in message for message in told)


@kinds
@pytest.mark.parametrize("field", ["image", "label"])
def test_pickled_objects_are_refused_and_not_run(tmp_path, read, kind, field):
    trace = tmp_path / "trace"
    objects = np.array([Harmful(trace)] * 4, object)
    fields = {"image": IMAGES, "label": LABELS, field: objects}
    write(tmp_path, kind, **fields)
    refused("cannot be read", read, kind, "train")
    assert not trace.exists()


def test_zip_of_other_files_is_refused(tmp_path, read):
    with zipfile.ZipFile(tmp_path / "train.npz", "w") as archive:
        archive.writestr("image", b"not an array")
    refused(r"train\.npz cannot be read", read, "npz", "train")


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
    few, all_of_them = map(float, run_python("-c", MEASURE, tmp_path).stdout.split())
    assert few < 100 and all_of_them < 300  # MB; pages of the file count once they are read


def test_reader_process_gets_the_path_of_a_mapped_file_and_not_its_content(tmp_path, read):
    write(tmp_path, "npy", np.zeros((1000, 8, 8), np.uint8), np.arange(1000))
    sent = pickle.dumps(read("npy", "train"))
    assert len(sent) < 1000
    assert pickle.loads(sent).gather(np.array([5]))["label"].tolist() == [5]


DIGITS = np.arange(3 * 2 * 4, dtype=np.uint8).reshape(3, 2, 4) * 10
CLASSES = np.array([7, 0, 9], np.uint8)
HTML = b"<html><body>Not found</body></html>".ljust(2048)


def idx(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_idx(folder, images=DIGITS, labels=CLASSES, prefix="train", suffix=""):
    pack = gzip.compress if suffix else bytes
    for name, array in (("images-idx3", images), ("labels-idx1", labels)):
        (folder / f"{prefix}-{name}-ubyte{suffix}").write_bytes(pack(idx(array)))


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(("split", "prefix"), [("train", "train"), ("test", "t10k")])
def test_reads_images_and_labels(tmp_path, read, suffix, split, prefix):
    write_idx(tmp_path, prefix=prefix, suffix=suffix)
    source = read("idx", split)
    batch = take(source, 2, 0)
    np.testing.assert_array_equal(batch["image"], DIGITS[[2, 0], :, :, None])
    np.testing.assert_array_equal(batch["label"], [9, 7])
    assert len(source) == 3


def test_page_in_place_of_an_archive_is_one_line_with_the_path(tmp_path, read):
    write_idx(tmp_path, suffix=".gz")
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(HTML)
    assert str(path) in refused("no gzip file", read, "idx", "train")


def test_wrong_content_is_told(tmp_path):
    for content, message in [
        (b"", "empty file"),
        (HTML, "not an IDX file.*3c68746d"),
        (idx(CLASSES), "3 axes"),
        (b"\0\0\x0d\3" + idx(DIGITS)[4:], "not an IDX file of bytes"),
        (idx(DIGITS)[:10], "header is incomplete"),
        (idx(DIGITS)[:-1], "expected 24 bytes.*got 23"),
        (idx(DIGITS) + b"\0", "got 25"),
        (b"\0\0\x08\3" + struct.pack(">3I", 2**31, 2**31, 4), "got 0"),
    ]:
        path = tmp_path / "images"
        path.write_bytes(content)
        assert str(path) in refused(message, read_idx_file, path, 3)


def test_damaged_archive_never_yields_wrong_images(tmp_path):
    good = gzip.compress(idx(DIGITS), mtime=0)

    def read(content):
        (tmp_path / "images.gz").write_bytes(content)
        np.testing.assert_array_equal(read_idx_file(tmp_path / "images.gz", 3), DIGITS)

    assert len(damage_told(good, read)) > len(good)


def test_numbers_of_images_and_labels_must_agree(tmp_path, read):
    write_idx(tmp_path, labels=CLASSES[:2])
    refused(r"labels are integers \[3\].*\(2,\)", read, "idx", "train")


def as_rows(images, labels):
    """Examples as a sorted list of bytes: pixels from 0 to 16, then the label."""
    pixels = np.rint(np.reshape(images, (len(images), -1))).astype("u1")
    return sorted(map(bytes, np.column_stack([pixels, labels.astype("u1")])))


def test_both_parts_together_are_the_digits(read):
    parts = [everything(read("digits", split)) for split in ("train", "test")]
    assert [len(part["label"]) for part in parts] == [1438, 359]
    for part in parts:
        assert part["image"].dtype == np.float32 and part["image"].shape[1:] == (8, 8, 1)
        assert part["image"].min() == 0 and part["image"].max() == 1
        assert part["label"].dtype == np.int32 and set(part["label"]) == set(range(10))
    images, labels = (np.concatenate([part[k] for part in parts]) for k in ("image", "label"))
    bunch = load_digits()
    assert as_rows(images * 16, labels) == as_rows(bunch.images, bunch.target)


def test_parts_are_the_same_every_time(read):
    first, second = (everything(read("digits", "test")) for _ in range(2))
    np.testing.assert_array_equal(first["image"], second["image"])


BIG = np.array([2**40, 1, -7])


@pytest.mark.parametrize("form", ["npz", "npy"])
@pytest.mark.parametrize(
    ("train", "test", "names", "numbers"),
    [
        (BIG, BIG[:2], ("-7", "1", "1099511627776"), ([2, 1, 0], [2, 1])),
        (BIG[1:], BIG[:1], ("-7", "1", "1099511627776"), ([1, 0], [2])),  # the same in both splits
        (np.array([-1, 2**31]), np.array([2**31]), ("2147483648",), ([-1, 0], [0])),  # -1: none
        (np.array(["dog", "cat"]), np.array(["ape"]), ("ape", "cat", "dog"), ([2, 1], [0])),
        (np.array([b"dog", b"cat"]), np.array([b"dog"]), ("cat", "dog"), ([1, 0], [1])),
        (
            np.array([2**64 - 1, 3], np.uint64),
            np.array([3], np.uint64),
            ("3", str(2**64 - 1)),
            ([1, 0], [0]),
        ),
        (np.array([7, 5]), np.array([6]), (), ([7, 5], [6])),  # numbers of classes stay
    ],
)
def test_any_integers_and_text_are_labels(form, train, test, names, numbers, tmp_path, read):
    for split, label in (("train", train), ("test", test)):
        image = np.zeros((len(label), 4, 4), np.uint8)
        if form == "npz":
            np.savez(tmp_path / f"{split}.npz", image=image, label=label)
        else:
            np.save(tmp_path / f"{split}_image.npy", image)
            np.save(tmp_path / f"{split}_label.npy", label)
    for split, expected in zip(("train", "test"), numbers, strict=True):
        source = read(form, split)
        assert everything(source)["label"].tolist() == expected
        assert source.class_names == names


@pytest.mark.parametrize("value", [1e300, -np.inf, np.nan])
def test_images_that_float32_cannot_hold_are_refused(value, tmp_path, read):
    image = np.zeros((3, 4, 4))
    image[1, 2, 3] = value
    np.savez(tmp_path / "train.npz", image=image)
    np.save(tmp_path / "train_image.npy", image)
    refused(r"the images hold .* at \[1, 2, 3\]", read, "npz", "train")
    source = read("npy", "train")
    everything(subset(source, np.array([0, 2])))
    refused(r"train_image.npy: the images of a batch hold .* at \[0, 2, 3, 0\]", take, source, 1)


def test_names_in_capitals_are_found(tmp_path, read):
    np.savez(tmp_path / "train.npz", image=np.zeros((3, 4, 4), np.uint8))
    (tmp_path / "train.npz").rename(tmp_path / "train.NPZ")
    assert len(read("npz", "train")) == 3
