"""What no person put into a folder is no data, for any reader; and names of lists stay below it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nvc_jax.data.base.source import class_names_of
from nvc_jax.data.base.tree import files_below, files_matching, folders_in, inside
from nvc_jax.data.shapes.meshes import convert_meshes
from tests.data.shapes import test_binvox, test_completion, test_epn, test_meshes, test_recgan
from tests.data.text.test_gettext_catalogs import HEADER, mo
from tests.refusals import refused
from tests.sources import put

NOT_OURS = (".ipynb_checkpoints", "__MACOSX", ".git", "._cat")


def litter(folder: Path) -> None:
    """Leaves in every folder below what programs leave there: empty folders, copies, half files."""
    for base in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        for name in NOT_OURS:
            (base / name).mkdir()
        for path in [path for path in base.iterdir() if path.is_file()]:
            for name in NOT_OURS:
                shutil.copy(path, base / name)
            (base / f"._{path.name}").write_bytes(b"\0\5\26\7\0\2\0\0Mac OS X")


def test_only_visible_files_and_folders(tmp_path):
    for name in ("b.txt", "a.TXT", "x/c.txt", ".h.txt", "x/.h/d.txt", "__MACOSX/e.txt", "x/f.png"):
        put(tmp_path / name, "")
    hidden = tmp_path / ".hidden"  # above what was asked for it does not matter
    put(hidden / "y" / "g.txt", "")

    def names(paths):
        return [path.relative_to(tmp_path).as_posix() for path in paths]

    assert names(files_below(tmp_path, (".txt",))) == ["a.TXT", "b.txt", "x/c.txt"]
    assert names(files_below(hidden)) == [".hidden/y/g.txt"]
    assert names(folders_in(tmp_path)) == ["x"] and folders_in(tmp_path / "none") == []
    assert names(files_matching(tmp_path, "*/*", ".txt")) == ["x/c.txt"]


def test_folders_that_are_links_are_named(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("nvc_jax.data.base.tree._logger.propagate", True)
    put(tmp_path / "a" / "b.txt", "")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    assert files_below(tmp_path / "a") == [tmp_path / "a" / "b.txt"]
    assert "1 folders that are links" in caplog.text


@pytest.mark.parametrize(
    "name", ["../a", "/a", "x/../../a", "..\\a", "C:\\a", "\\\\host\\a", "C:a", "", "a\0b"]
)
def test_names_of_lists_stay_below_the_folder(name):
    refused("files lie below here", inside, Path("here"), name, Path("list.txt"))
    assert inside(Path("here"), "a/b\\c.png", Path("list.txt")) == Path("here/a/b/c.png")


def of_binvox(root):
    for name in ("cat", "dog"):
        for i in range(5):
            test_binvox.write(root / name / str(i) / "model.binvox", np.eye(4)[None].repeat(4, 0))


def of_gettext(root):
    for language in ("de", "fr"):
        texts = {f"word {c}": f"{language} {c}" for c in "abcdefghij"}
        put(root / language / "LC_MESSAGES" / "program.mo", mo({**HEADER, **texts}))


def of_images(root):
    for split in ("train", "test"):
        for value, name in enumerate(("cat", "dog")):
            (root / split / name).mkdir(parents=True)
            Image.new("L", (4, 4), 9 * value).save(root / split / name / "a.png")


def of_pcn(root):
    for split in ("train", "test"):
        for value, name in enumerate(("02/a", "03/b")):
            test_completion.write_pair(root, split, name, value, views=2)


def of_recgan(root):
    for name in ("P1_1_chair", "P1_2_table"):
        for part in ("train", "test"):
            test_recgan.save_pair(root / name, part, "a_0_0_0.npz")


def of_epn(root):
    for model in ("a", "b"):
        for kind in ("sdf", "df"):
            test_epn.write(root, kind, f"{model}__0__", test_epn.field(v000=0.5))
    for split, model in (("train", "a"), ("test", "b")):
        put(root / f"completion_{split}.txt", f"x/03/{model}\n")


TREES = {
    "folder": (of_images, {}),
    "binvox": (of_binvox, {}),
    "pcn": (of_pcn, {"num_points": 4}),
    "recgan": (of_recgan, {}),
    "epn": (of_epn, {}),
    "gettext": (of_gettext, {"source_language": "en", "target_language": "de"}),
}


@pytest.mark.parametrize("source", TREES)
def test_readers_of_trees_pass_over_it(source, tmp_path, read):
    write, changes = TREES[source]
    write(tmp_path)
    before = [read(source, split, **changes) for split in ("train", "test")]
    litter(tmp_path)
    for source_before, split in zip(before, ("train", "test"), strict=True):
        after = read(source, split, **changes)
        assert len(after) == len(source_before)
        assert class_names_of(after) == class_names_of(source_before)
        ids = np.arange(len(after))
        for name, values in source_before.gather(ids).items():
            np.testing.assert_array_equal(after.gather(ids)[name], values)


def test_meshes_pass_over_it(tmp_path):
    for name in ("cat", "dog"):
        put(tmp_path / "in" / name / "a.off", test_meshes.off())
    litter(tmp_path / "in")
    assert not convert_meshes(tmp_path / "in", tmp_path / "out.npz", resolution=4, num_points=4)
    with np.load(tmp_path / "out.npz") as file:
        assert file["label_names"].tolist() == ["cat", "dog"] and file["label"].tolist() == [0, 1]
        assert file["name"].tolist() == ["cat/a.off", "dog/a.off"]
