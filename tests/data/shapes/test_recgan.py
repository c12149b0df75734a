"""3D-RecGAN's pairs: padding, pooling, folders, and wrong files."""

import pickle

import numpy as np
import pytest

from nvc_jax.data.base.source import class_names_of
from nvc_jax.data.shapes.recgan import center_and_pool, parse_recgan_txt
from tests.refusals import refused
from tests.sources import everything, put, take


def save(path, shape, *occupied):
    """Writes a volume `[X, Y, Z, 1]` with some voxels occupied."""
    volume = np.zeros((*shape, 1), np.int8)
    for place in occupied:
        volume[place] = 1
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, volume)


def save_pair(folder, part, name, shape=(1, 1, 1), seen=(0, 0, 0), whole=((0, 0, 0),)):
    save(folder / f"{part}_25d_vox256" / name, shape, seen)
    save(folder / f"{part}_3d_vox256" / name, shape, *whole)


def test_off_center_voxels_come_to_places_computed_by_hand(tmp_path, read):
    # Offsets: (256 − 144) / 2 = 56, 0, (256 − 127) / 2 = 64.5 → 64.
    # (143, 200, 3) → (199, 200, 67) → / 4: (49, 50, 16); (0, 255, 126) → (56, 255, 190) → (14, 63, 47).
    save_pair(
        tmp_path / "P1_03001627_chair",
        "train_125",
        "a_0_0_0.npz",
        (144, 256, 127),
        (143, 200, 3),
        ((143, 200, 3), (0, 255, 126)),
    )
    fields = take(read("recgan", "train"), 0)
    assert np.argwhere(fields["partial"][0]).tolist() == [[49, 50, 16]]
    assert np.argwhere(fields["complete"][0]).tolist() == [[14, 63, 47], [49, 50, 16]]
    assert fields["partial"].max() == 1 and fields["label"].tolist() == [0]
    (fine,) = read("recgan", "train", resolution=256).gather(np.array([0]))["partial"]
    assert np.argwhere(fine).tolist() == [[199, 200, 67]]


def test_centering_and_pooling_agree_with_padded_blocks():
    volume = np.random.default_rng(0).random((5, 12, 8)) < 0.1
    padded = np.pad(volume, ((3, 4), (0, 0), (2, 2)))  # to a cube of 12
    blocks = padded.reshape(4, 3, 4, 3, 4, 3).max(axis=(1, 3, 5))
    np.testing.assert_array_equal(center_and_pool(volume, 12, 4), blocks)


def test_what_does_not_fit_is_cut_off_on_both_sides():
    volume = np.ones((7, 4, 4), np.int8)
    volume[1] = 0  # (4 − 7) / 2 → −1: voxels 1 to 4 stay
    pooled = center_and_pool(volume, 4, 4)
    assert pooled[0].max() == 0 and pooled[1:].min() == 1


def test_published_folders_and_early_spellings(tmp_path, read):
    save_pair(tmp_path / "P1_04379243_table", "train_125", "b_0_0_0.npz")
    save_pair(tmp_path / "P1_04379243_table", "train_125", "a_0_0_1.npz")
    save_pair(tmp_path / "P1_04379243_table", "train", "old.npz")  # beside it, an early sample
    save_pair(tmp_path / "P1_04379243_table", "test_125", "t.npz")
    save_pair(tmp_path / "P1_04379243_table", "test_216", "u.npz")
    save_pair(tmp_path / "P1_04379243_table", "test_216", "v.npz")
    save_pair(tmp_path / "P1_04256520_coach", "train", "c.npz")
    save_pair(tmp_path / "P1_02828884_bench", "test", "d.npz")
    (tmp_path / "results").mkdir()
    train, test = (read("recgan", split) for split in ("train", "test"))
    assert class_names_of(train) == class_names_of(test) == ("bench", "couch", "table")
    assert everything(train)["label"].tolist() == [1, 2, 2]
    assert everything(test)["label"].tolist() == [0, 2]
    assert len(read("recgan", "test", test_split="test_216")) == 2


def test_reader_process_gets_paths(tmp_path, read):
    save_pair(tmp_path / "a_chair", "train", "x.npz", (2, 2, 2), (1, 1, 1))
    sent = pickle.dumps(read("recgan", "train", resolution=256))
    assert len(sent) < 3000
    (volume,) = pickle.loads(sent).gather(np.array([0]))["partial"]
    assert np.argwhere(volume).tolist() == [[128, 128, 128]]


def test_text_volumes_of_the_first_version(tmp_path, read):
    for kind, text in (("25d", "0 61 3\n"), ("3d", "0 61 3\n44 0 46\n\n")):
        folder = tmp_path / "chair" / f"train_{kind}" / "voxel_grids_64"
        put(folder / "chair_0890_0_0_0_045_062_047.txt", text)
    fields = read("recgan", "train").gather(np.array([0]))
    # Offsets: 19 / 2 → 9, 2 / 2 = 1, 17 / 2 → 8.
    assert np.argwhere(fields["partial"][0]).tolist() == [[9, 62, 11]]
    assert np.argwhere(fields["complete"][0]).tolist() == [[9, 62, 11], [53, 1, 54]]
    refused("a divisor of 64", read, "recgan", "train", resolution=128)


def test_text_rows_are_x_y_z():
    volume = parse_recgan_txt("1 2 3\n0 0 0\n1 2 3", (2, 3, 4), "file")
    assert volume.shape == (2, 3, 4) and volume.dtype == np.uint8
    assert np.argwhere(volume).tolist() == [[0, 0, 0], [1, 2, 3]]


def test_wrong_text_is_told():
    for text, message in [
        ("", "3 whole numbers"),
        ("1 2", "3 whole numbers"),
        ("0 0 0\n1 2", "3 whole numbers"),
        ("0 0 x", "3 whole numbers"),
        ("0 0 0.5", "3 whole numbers"),
        ("0 0 nan", "3 whole numbers"),
        ("2 0 0", r"inside \(2, 3, 4\)"),
        ("0 -1 0", r"inside \(2, 3, 4\)"),
        ("0 0 inf", r"inside \(2, 3, 4\)"),
    ]:
        assert "some.txt" in refused(message, parse_recgan_txt, text, (2, 3, 4), "some.txt")


@pytest.mark.parametrize("lost", ["25d", "3d"])
def test_missing_partner_is_told(tmp_path, read, lost):
    folder = tmp_path / "P1_1_chair"
    save_pair(folder, "train_125", "a.npz")
    save_pair(folder, "train_125", "b.npz")
    missing = folder / f"train_125_{lost}_vox256" / "b.npz"
    missing.unlink()
    assert str(missing) in refused("incomplete", read, "recgan", "train")


def test_wrong_folders_and_resolutions_are_told(tmp_path, read):
    refused("is missing", read, "recgan", "train", dir=str(tmp_path / "none"))
    refused("got none", read, "recgan", "train")
    save_pair(tmp_path / "chair", "train", "a.npz")
    refused(r"test_125_25d_vox256 .*got none", read, "recgan", "test")
    for resolution in (48, 512):
        message = f"resolution is {resolution}: use a divisor of 256"
        refused(message, read, "recgan", "train", resolution=resolution)


def test_wrong_volumes_are_told(tmp_path, read):
    save_pair(tmp_path / "chair", "train", "a.npz")
    path = tmp_path / "chair" / "train_25d_vox256" / "a.npz"
    source, good = read("recgan", "train"), path.read_bytes()

    def cut():
        path.write_bytes(good[: len(good) // 2])

    for spoil, message in (
        (cut, "not an npz archive"),
        (lambda: np.savez(path, np.zeros((2, 2, 2))), "arr_0"),
        (lambda: np.savez(path, np.zeros((2, 2, 2, 2))), "arr_0"),
        (lambda: np.savez(path, np.full((2, 2, 2, 1), "1")), "arr_0"),
        (lambda: np.savez(path, voxels=np.zeros((2, 2, 2, 1))), "arr_0"),
        (path.unlink, "is missing"),
    ):
        spoil()
        assert str(path) in refused(message, source.gather, np.array([0]))


@pytest.mark.parametrize("name", ["chair.txt", "chair_1_2.txt", "chair_1_2_x.txt"])
def test_text_without_sizes_in_its_name_is_told(tmp_path, read, name):
    for kind in ("25d", "3d"):
        put(tmp_path / "chair" / f"train_{kind}" / name, "0 0 0")
    refused(f"{name}: expected a name", lambda: everything(read("recgan", "train")))
