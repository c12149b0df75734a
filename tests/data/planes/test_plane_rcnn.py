"""PlaneRCNN's annotation of ScanNet's scenes, in its published layout."""

import logging
import pickle
import shutil

import numpy as np
import pytest
from PIL import Image

from nvc_jax.data import open_source
from tests.sources import Harmful, everything, take

H, W = 120, 80
CAMERA = {"fx_depth": 70.5, "fy_depth": 71.5, "mx_depth": 39.0, "my_depth": 30.0}
# World axes x right, y forward, z up: the camera stands at (1, 2, 1.5) and looks along y.
POSE = np.array([[1.0, 0, 0, 1], [0, 0, 1, 2], [0, -1, 0, 1.5], [0, 0, 0, 1]])
# n·d in the world, and seen by the camera: the floor z = 0.25, a wall y = 6, one x = -2, no plane,
# one through the camera.
WORLD = [[0, 0, 0.25], [0, 6.0, 0], [-2.0, 0, 0], [0, 0, 0], [0, 0, 1.5]]
SEEN = [[0, 1.25, 0], [0, 0, 4.0], [-3.0, 0, 0]]


def color_of(ids):
    """The color of plane i: 100·(i + 1) as red, green, blue; black and white are none."""
    code = np.where(ids == -1, 0, np.where(ids == 167771, 0xFFFFFF, 100 * (ids + 1)))
    return np.stack([code >> 16, code >> 8 & 255, code & 255], axis=-1).astype(np.uint8)


def labels():
    """Wall on the left, floor below right, the rest of what is none."""
    ids = np.full((H, W), -1)
    ids[:, :40] = 1
    ids[60:, 40:] = 0
    for number, rows in ((167771, 13), (3, 26), (99, 39), (4, 52)):  # 520 pixels each
        ids[rows - 13 : rows, 40:] = number
    ids[52:60, 40:] = 2  # 320 pixels are too few
    return ids


def write_frame(scene, frame, ids, pose=POSE):
    height, width = ids.shape
    for folder in ("color", "depth", "pose"):
        (scene / "frames" / folder).mkdir(parents=True, exist_ok=True)
    (scene / "annotation" / "segmentation").mkdir(parents=True, exist_ok=True)
    image = np.full((2 * height, 2 * width, 3), 40, np.uint8)  # of another size, as in ScanNet
    image[..., 0], image[:, width:, 2] = 200, frame
    Image.fromarray(image).save(scene / "frames" / "color" / f"{frame}.jpg", quality=95)
    depth = np.full((height, width), 2345, np.uint16)
    depth[0] = 0
    Image.fromarray(depth).save(scene / "frames" / "depth" / f"{frame}.png")
    np.savetxt(scene / "frames" / "pose" / f"{frame}.txt", pose)
    path = scene / "annotation" / "segmentation" / f"{frame}.png"
    Image.fromarray(color_of(ids)).save(path)


def write_scene(root, name, frames, ids=None, planes=WORLD):
    ids = labels() if ids is None else ids
    scene = root / "scans" / name
    for frame in frames:
        write_frame(scene, frame, ids)
    size = {"depthHeight": ids.shape[0], "depthWidth": ids.shape[1], "colorWidth": 1296}
    lines = [f"{key} = {value}" for key, value in {**CAMERA, **size}.items()]
    (scene / f"{name}.txt").write_text("\n".join([*lines, "sceneType = Office  "]))
    np.save(scene / "annotation" / "planes.npy", np.array(planes, np.float64))
    with (scene / "annotation" / "plane_info.npy").open("wb") as file:
        np.save(file, np.array([Harmful(root / "made")], object), allow_pickle=True)
    return scene


@pytest.fixture
def root(tmp_path):
    """Two training scenes and two of the test list, one of which counts."""
    lists = tmp_path / "ScanNet" / "Tasks" / "Benchmark"
    lists.mkdir(parents=True)
    (lists / "scannetv1_train.txt").write_text("scene0001_00\nscene0002_00\nscene0003_00\n")
    (lists / "scannetv1_test.txt").write_text("scene0004_00\nscene0005_00\n")
    np.save(tmp_path / "scene_ids_val.npy", np.array([b"scene0005_00", b"scene0003_00"]))
    (tmp_path / "invalid_indices_train.txt").write_text("0 1 7\n3 frames\n")
    (tmp_path / "invalid_indices_test.txt").write_text("0 0 11\n")
    write_scene(tmp_path, "scene0001_00", [0, 2, 10])
    write_scene(tmp_path, "scene0003_00", [7, 8])  # number 1 of those that are there
    write_scene(tmp_path, "scene0005_00", [10, 11, 12])
    yield tmp_path
    assert not (tmp_path / "made").exists()  # no file ran code


@pytest.mark.parametrize(("size", "factor"), [((0, 0), 1), ((60, 40), 2)])
def test_frame_in_the_cameras_axes(root, read, size, factor):
    batch = take(read("plane_rcnn", "train", image_size=size), 1)
    height, width = H // factor, W // factor
    frame = {name: values[0] for name, values in batch.items()}
    assert frame["image"].shape == (height, width, 3) and frame["label"] == -1
    assert (abs(frame["image"][3, 3] - np.array([200.0, 40, 40])) < 6).all()  # JPEG
    np.testing.assert_allclose(frame["planes"][:2], [SEEN[1], SEEN[0]], atol=1e-6)
    assert frame["planes"].shape == (20, 3) and not frame["planes"][2:].any()
    segmentation = np.full((height, width), 20, np.uint8)
    segmentation[:, : width // 2] = 0
    segmentation[height // 2 :, width // 2 :] = 1
    np.testing.assert_array_equal(frame["segmentation"], segmentation, strict=True)
    fx, fy, cx, cy = CAMERA.values()
    shifted = [(cx + 0.5) / factor - 0.5, (cy + 0.5) / factor - 0.5]
    np.testing.assert_allclose(frame["camera"], [fx / factor, fy / factor, *shifted], rtol=1e-6)
    np.testing.assert_allclose(frame["depth"][1:], 2.345, rtol=1e-6)
    if factor == 1:
        assert not frame["depth"][0].any()


def test_points_of_the_world_lie_on_the_planes(root, read):
    """Any pose: points of planes of the world, brought to the camera, fulfil n·x = d."""
    rng = np.random.default_rng(0)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = np.linalg.qr(rng.normal(size=(3, 3)))[0], rng.normal(size=3)
    planes = rng.normal(size=(3, 3)) * 3
    ids = np.repeat(np.arange(3), H * W // 3).reshape(H, W)
    scene = write_scene(root, "scene0001_00", [0], ids, planes)
    write_frame(scene, 0, ids, pose)
    found = read("plane_rcnn", "train").gather(np.array([0]))["planes"][0, :3]
    for world, seen in zip(planes, found, strict=True):
        points = world + np.cross(world, rng.normal(size=(5, 3)))
        camera = (points - pose[:3, 3]) @ pose[:3, :3]
        np.testing.assert_allclose(camera @ seen, seen @ seen, rtol=1e-4, atol=1e-4)


def test_splits_by_the_published_lists(root, options, read):
    data = options("plane_rcnn", validation_fraction=0.25, image_size=(6, 8))
    batches = {}
    for split in ("train", "validation", "test"):
        source = pickle.loads(pickle.dumps(open_source(data, split)))
        batches[split] = everything(source)["image"]
    assert [len(image) for image in batches.values()] == [3, 1, 2]
    # Blue tells the frame: 10 and 12, 11 is invalid.
    assert np.abs(batches["test"][:, 3, -1, 2].astype(int) - [10, 12]).max() <= 2
    frames = everything(read("plane_rcnn", "train"))["image"][:, 30, -5, 2]
    assert np.abs(frames.astype(int) - [0, 2, 10, 8]).max() <= 2


def test_scene_ids_may_be_text_and_frames_without_partner_are_left_out(root, read):
    np.save(root / "scene_ids_val.npy", np.array(["scene0004_00"]))
    write_scene(root, "scene0004_00", [1, 2, 3])
    (root / "scans/scene0004_00/annotation/segmentation/1.png").unlink()
    (root / "scans/scene0004_00/frames/color/3.jpg").unlink()
    assert len(read("plane_rcnn", "test")) == 1


def test_only_the_twenty_largest_planes_stay(root, read, caplog):
    size = np.array([*range(500, 521), 530])  # 22 planes, the first two are the smallest
    order = np.random.default_rng(1).permutation(22)
    ids = np.full(120 * 100, -1)
    ids[: size.sum()] = np.repeat(order, size[order])
    planes = np.tile([0.0, 6.0, 0.0], (22, 1)) + np.arange(22)[:, None] * [0, 0.1, 0]
    write_scene(root, "scene0001_00", [0], ids.reshape(120, 100), planes)
    with caplog.at_level(logging.WARNING, "nvc_jax"):
        frame = read("plane_rcnn", "train").gather(np.array([0, 0]))
    np.testing.assert_allclose(frame["planes"][0, :, 2], 4 + 0.1 * np.arange(21, 1, -1), rtol=1e-5)
    segmentation = frame["segmentation"][0].reshape(-1)
    np.testing.assert_array_equal(segmentation, np.where(ids < 2, 20, 21 - ids))
    path = root / "scans/scene0001_00/annotation/segmentation/0.png"
    messages = [record.getMessage() for record in caplog.records]  # one, of three readings
    assert messages == [f"{path} has 22 planes: the 2 smallest became non-planar."]


def test_lost_pose_makes_planes_unknown(root, read):
    scene = root / "scans" / "scene0001_00"
    (scene / "frames/pose/2.txt").write_text("-inf -inf -inf -inf\n" * 4)
    frame = read("plane_rcnn", "train").gather(np.array([1]))
    assert (frame["segmentation"] == 255).all() and not frame["planes"].any()
    assert frame["depth"].max() > 2


def array(values):
    return lambda path: np.save(path, values)


def image(height, width, dtype):
    return Image.fromarray(np.zeros((height, width), dtype)).save


def objects(path):
    shutil.copy(path.with_name("plane_info.npy"), path)


SCENE, LIST = "scans/scene0005_00", "ScanNet/Tasks/Benchmark/scannetv1_test.txt"
PLANES, DEPTH = f"{SCENE}/annotation/planes.npy", f"{SCENE}/frames/depth/10.png"
WRONG = [
    ("scene_ids_val.npy", None, "scene_ids_val.npy is missing"),
    ("scene_ids_val.npy", b"<html>", "scene_ids_val.npy cannot be read"),
    (LIST, None, "scannetv1_test.txt is missing"),
    (LIST, b"x", "the test split has no frame"),
    ("invalid_indices_test.txt", None, "invalid_indices_test.txt is missing"),
    ("invalid_indices_test.txt", b"a b c", "invalid_indices_test.txt is no list of frames"),
    (SCENE + "/scene0005_00.txt", b"fx_depth = 3", "tells no camera: expected lines"),
    (SCENE + "/scene0005_00.txt", b"fx_depth = a\nx", "tells no camera"),
    (PLANES, b"\x93NUMPY", "planes.npy cannot be read"),
    (PLANES, objects, r"planes\.npy cannot be read"),
    (PLANES, array(np.zeros((4, 4))), r"planes\.npy has shape \(4, 4\), expected \[N, 3\]"),
    (PLANES, array(np.array(["a"])), r"planes\.npy does not hold what its name tells"),
    (SCENE + "/annotation/segmentation/10.png", b"<html>", "10.png cannot be read as an"),
    (SCENE + "/frames/color/10.jpg", b"", "10.jpg cannot be read as an image"),
    (DEPTH, None, "10.png is missing"),
    (DEPTH, image(H, W, np.uint8), r"10\.png has mode L and .*, expected mode I"),
    (DEPTH, image(H, 3, np.uint16), r"\(120, 3\), expected mode I and \(120, 80\)"),
    (SCENE + "/frames/pose/10.txt", b"1 0 0 0", "10.txt is no pose"),
    (SCENE + "/frames/pose/10.txt", b"a " * 16, "10.txt is no pose"),
    (SCENE + "/frames/pose/10.txt", None, "10.txt is missing"),
]


def test_wrong_files_are_told(root, refuses):
    refuses(WRONG, "plane_rcnn", "test")
