"""Meshes of every format, written here byte by byte, and what becomes of a folder of them."""

import json
import os
import struct

import numpy as np
import pytest
import trimesh

from nvc_jax.data.shapes.meshes import convert_meshes, normalize, read_triangles, sample_points
from nvc_jax.programs.meshes import main
from tests.processes import run_python
from tests.refusals import refused
from tests.sources import put

# A box of 4 × 2 × 1 around (2, 1, 0.5), as quads counterclockwise from outside.
CORNERS = np.array(
    [[0, 0, 0], [4, 0, 0], [4, 2, 0], [0, 2, 0], [0, 0, 1], [4, 0, 1], [4, 2, 1], [0, 2, 1]], float
)
QUADS = [[0, 3, 2, 1], [4, 5, 6, 7], [0, 1, 5, 4], [2, 3, 7, 6], [1, 2, 6, 5], [0, 4, 7, 3]]
TRIANGLES = [[a, *pair] for a, b, c, d in QUADS for pair in ([b, c], [c, d])]
SOUP = CORNERS[TRIANGLES]


def words(rows):
    return "".join(" ".join(map(str, row)) + "\n" for row in rows)


def off(faces=TRIANGLES, header="OFF\n", counts=None, extra=""):
    counts = counts or f"{len(CORNERS)} {len(faces)} 0"
    rows = words([len(face), *face] for face in faces)
    return f"{header}{counts}\n{words(CORNERS)}{extra}{rows}".encode()


def obj(faces=TRIANGLES, reference="{}"):
    lines = words(["f", *(reference.format(i + 1) for i in face)] for face in faces)
    return (words(["v", *corner] for corner in CORNERS) + lines).encode()


def ascii_stl():
    facets = "".join(
        f"facet normal 0 0 0\nouter loop\n{words(['vertex', *c] for c in face)}endloop\nendfacet\n"
        for face in SOUP
    )
    return f"solid box\n{facets}endsolid box\n".encode()


def binary_stl():
    rows = b"".join(struct.pack("<12fH", 0, 0, 0, *face.ravel(), 0) for face in SOUP)
    return bytes(80) + struct.pack("<I", len(SOUP)) + rows


def ply_header(encoding):
    return (
        f"ply\nformat {encoding} 1.0\ncomment TextureFile missing.png\n"
        f"element vertex {len(CORNERS)}\nproperty float x\nproperty float y\nproperty float z\n"
        f"element face {len(QUADS)}\nproperty list uchar int vertex_indices\nend_header\n"
    )


def ascii_ply():
    return (ply_header("ascii") + words(CORNERS) + words([4, *q] for q in QUADS)).encode()


def binary_ply(byte_order="<"):
    name = "binary_little_endian" if byte_order == "<" else "binary_big_endian"
    vertices = CORNERS.astype(f"{byte_order}f4").tobytes()
    faces = b"".join(struct.pack(f"{byte_order}B4i", 4, *q) for q in QUADS)
    return ply_header(name).encode() + vertices + faces


def gltf(folder):
    """A scene in JSON with its buffer in a file beside it, and a texture that is missing."""
    positions, indices = CORNERS.astype("<f4").tobytes(), np.array(TRIANGLES, "<u2").tobytes()
    (folder / "buffer.bin").write_bytes(positions + indices)
    bounds = {"min": [0, 0, 0], "max": [4, 2, 1]}
    scene = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "images": [{"uri": "missing.png"}],
        "textures": [{"source": 0}],
        "materials": [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1, "material": 0}]}],
        "buffers": [{"uri": "buffer.bin", "byteLength": len(positions + indices)}],
        "bufferViews": [
            {"buffer": 0, "byteOffset": 0, "byteLength": len(positions)},
            {"buffer": 0, "byteOffset": len(positions), "byteLength": len(indices)},
        ],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 8, "type": "VEC3", **bounds},
            {"bufferView": 1, "componentType": 5123, "count": 36, "type": "SCALAR"},
        ],
    }
    return json.dumps(scene).encode()


def box_mesh():
    return trimesh.Trimesh(CORNERS, TRIANGLES, process=False)


FILES = {
    "off": off(),
    "quads.off": off(QUADS),
    "fused.off": off(header="OFF"),
    "header.off": off(header="OFF "),
    "comments.off": off(header="# a box\nOFF # of quads\n\n", extra="# faces\n\n"),
    "lower.off": off(header="off\n"),
    "colors.OFF": off().replace(b"3 0 3 2\n", b"3 0 3 2 0.5 0.5 0.5\n"),
    "windows.off": off().replace(b"\n", b"\r\n"),
    "pentagon.off": off([*QUADS, [0, 1, 2, 3, 3]]),
    "obj": obj(),
    "quads.obj": obj(QUADS),
    "mixed.obj": obj([QUADS[0], *TRIANGLES[2:]]),
    "normals.obj": b"vn 0 0 1\nvt 0 0\n" + obj(reference="{}/1/1"),
    "skipped.obj": b"vn 0 0 1\n" + obj(reference="{}//1"),
    "materials.obj": "# Stühle\nmtllib missing.mtl\nusemtl wood\n".encode("latin-1") + obj(),
    "ascii.stl": ascii_stl(),
    "binary.STL": binary_stl(),
    "ascii.ply": ascii_ply(),
    "little.ply": binary_ply(),
    "big.ply": binary_ply(">"),
    "glb": box_mesh().export(file_type="glb"),
}


def write(folder, files):
    for name, content in files.items():
        put(folder / name, content)
    return folder


def area_and_volume(triangles):
    """Signed volume: positive if the faces are counterclockwise from outside."""
    cross = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    return np.linalg.norm(cross, axis=1).sum() / 2, (triangles[:, 0] * cross).sum() / 6


@pytest.mark.parametrize("name", sorted({*FILES, "gltf"}))
def test_reads_a_box_of_every_format(tmp_path, name):
    path = tmp_path / (name if "." in name else f"box.{name}")
    path.write_bytes(gltf(tmp_path) if name == "gltf" else FILES[name])
    triangles = read_triangles(path)
    assert triangles.dtype == np.float64 and triangles.shape[1:] == (3, 3)
    np.testing.assert_allclose(triangles.min((0, 1)), [0, 0, 0])
    np.testing.assert_allclose(triangles.max((0, 1)), [4, 2, 1])
    extra = 8 if name == "pentagon.off" else 0  # one more side
    assert area_and_volume(triangles)[0] == pytest.approx(28 + extra)
    assert area_and_volume(triangles)[1] == pytest.approx(8)


def test_relative_indices_of_an_obj_count_from_their_line(tmp_path):
    first = words(["v", *corner] for corner in SOUP[0]) + "f -3 -2 -1\n"
    second = words(["v", *corner] for corner in SOUP[5]) + "g part\nf -3 -2 \\\n-1\n"
    path = tmp_path / "relative.obj"
    path.write_text(first + second)
    np.testing.assert_array_equal(read_triangles(path), SOUP[[0, 5]])


def test_scenes_are_merged_with_their_transforms(tmp_path):
    scene, part = trimesh.Scene(), trimesh.creation.box((1, 1, 1))
    for x, mirror in ((0, 1), (10, -1)):
        transform = np.diag([mirror, 2, 1, 1]).astype(float)
        transform[0, 3] = x
        scene.add_geometry(part, transform=transform)
    scene.add_geometry(trimesh.PointCloud([[99, 99, 99]]))
    path = tmp_path / "scene.glb"
    path.write_bytes(scene.export(file_type="glb"))
    triangles = read_triangles(path)
    assert len(triangles) == 24
    np.testing.assert_allclose(triangles.min((0, 1)), [-0.5, -1, -0.5])
    np.testing.assert_allclose(triangles.max((0, 1)), [10.5, 1, 0.5])
    assert area_and_volume(triangles)[1] == pytest.approx(4)  # the mirrored one is not inside out


CLOUD = trimesh.PointCloud(CORNERS)
BAD = {
    "html.obj": (b"<html>Not found</html>", "no faces"),
    "empty.off": (b"", "not an OFF"),
    "empty.stl": (b"", "cannot be read|no faces"),
    "garbage.ply": (b"\x00\xff" * 99, "cannot be read"),
    "garbage.glb": (b"\x00\xff" * 99, "is not JSON"),
    "words.obj": (obj().replace(b"4.0", b"four"), "cannot be read .ValueError"),
    "index.obj": (obj() + b"f 1 2 99\n", "none of the vertices"),
    "zero.obj": (obj() + b"f 0 1 2\n", "corners count from 1"),
    "early.obj": (b"v 0 0 0\nf -1 -2 -3\n", "none of the vertices"),
    "index.off": (off([*TRIANGLES, [0, 1, 8]]), "none of the vertices"),
    "points.obj": (words(["v", *c] for c in CORNERS).encode(), "no faces"),
    "points.off": (off([]), "no faces"),
    "points.ply": (CLOUD.export(file_type="ply"), "cloud of points"),
    "points.glb": (trimesh.Scene(CLOUD).export(file_type="glb"), "cloud of points"),
    "binary.off": (b"OFF BINARY\n" + bytes(99), "not an OFF"),
    "4.off": (b"4OFF\n1 0 0\n0 0 0 1\n", "not an OFF"),
    "short.off": (off(counts="8 14 0"), "cut off, got 8 of 8 vertices and 12 of 14 faces"),
    "short.ply": (ascii_ply()[:-40], "cut off"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_told_in_one_sentence(tmp_path, name):
    content, reason = BAD[name]
    path = tmp_path / name
    path.write_bytes(content)
    assert str(path) in refused(reason, read_triangles, path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_file_that_is_cut_off_is_refused(tmp_path, share):
    for name in ("off", "fused.off", "ascii.stl", "binary.STL", "ascii.ply", "little.ply", "glb"):
        path = tmp_path / (name if "." in name else f"box.{name}")
        path.write_bytes(FILES[name][: int(share * len(FILES[name]))])
        refused(None, read_triangles, path)


def test_normalizing_centers_and_scales():
    for mesh in (SOUP + np.array([5, -7, 1e3]), (SOUP - 2) * 8e307, SOUP * 1e-300):
        turned = normalize(mesh)
        np.testing.assert_allclose(turned.min((0, 1)), [-0.5, -0.25, -0.125])
        np.testing.assert_allclose(turned.max((0, 1)), [0.5, 0.25, 0.125])


def test_z_up_becomes_y_up_without_a_mirror():
    corner = normalize(SOUP, up="z").reshape(-1, 3)[SOUP.reshape(-1, 3).tolist().index([4, 2, 1])]
    np.testing.assert_allclose(corner, [0.5, 0.125, -0.25])
    assert area_and_volume(normalize(SOUP, up="z"))[1] == pytest.approx(8 / 4**3)


def test_what_cannot_be_normalized():
    for triangles, reason in [
        (np.where(np.arange(3) == 1, np.nan, SOUP), "not finite"),
        (np.where(SOUP == 4, np.inf, SOUP), "not finite"),
        (np.ones((2, 3, 3)), "no extent"),
        (SOUP * [1, 0, 0], "without area"),
    ]:
        refused(reason, normalize, triangles)


def test_points_lie_on_the_surface_by_area():
    triangles = normalize(SOUP)
    points, normals = sample_points(triangles, 7000, np.random.default_rng(0))
    assert points.dtype == normals.dtype == np.float32
    half = np.array([0.5, 0.25, 0.125])
    face = np.abs(normals).argmax(1)
    rows = np.arange(len(points))
    np.testing.assert_allclose(np.abs(normals).sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(points[rows, face], normals[rows, face] * half[face], atol=1e-6)
    assert (np.abs(points) <= half + 1e-6).all()
    # Sides of 2 × 1, 4 × 1 and 4 × 2 of the box: 28 together, twice each.
    np.testing.assert_allclose(np.bincount(face) / 7000, [4 / 28, 8 / 28, 16 / 28], atol=0.02)
    assert abs(points.mean(0)).max() < 0.02


def test_converts_a_folder(tmp_path, read):
    src = write(
        tmp_path / "meshes",
        {
            "chair/train/1.off": FILES["fused.off"],
            "chair/test/2.off": FILES["off"],
            "bed/1.STL": FILES["binary.STL"],
            "loose.obj": FILES["obj"],
            "bed/bad.off": BAD["short.off"][0],
            "bed/._1.stl": b"the attributes of a file",
            "table/bad.ply": BAD["points.ply"][0],
            "notes.txt": b"nothing",
        },
    )
    out = tmp_path / "new" / "shapes.npz"
    failures = convert_meshes(src, out, resolution=16, num_points=50)
    assert {name: reason.split(",")[0] for name, reason in failures.items()} == {
        "bed/bad.off": "is cut off",
        "table/bad.ply": "is a cloud of points without faces.",
    }
    with np.load(out, allow_pickle=False) as stored:
        names = ["bed/1.STL", "chair/test/2.off", "chair/train/1.off", "loose.obj"]
        assert stored["name"].tolist() == names
        assert stored["label_names"].tolist() == ["bed", "chair", "table"]
        assert stored["label"].tolist() == [0, 1, 1, -1]
        assert stored["voxels"].shape == (4, 16**3 // 8) and stored["voxels"].dtype == np.uint8
        voxels = np.unpackbits(stored["voxels"], axis=1).reshape(4, 16, 16, 16)
        assert stored["points"].shape == stored["normals"].shape == (4, 50, 3)
        assert not np.array_equal(stored["points"][1], stored["points"][2])
    expected = np.zeros((16, 16, 16))
    expected[:, 4:12, 6:10] = 1
    for solid in voxels:
        np.testing.assert_array_equal(solid, expected)
    source = read("shapes", "train", dir=str(out), holdout_every=3)
    assert source.spec["points"].shape == (50, 3) and source.spec["voxels"].shape == (16, 16, 16)


def test_points_depend_on_name_and_seed_only(tmp_path):
    def points(files, seed=0):
        src, out = write(tmp_path / str(len(os.listdir(tmp_path))), files), tmp_path / "out.npz"
        convert_meshes(src, out, resolution=4, num_points=9, seed=seed)
        with np.load(out) as stored:
            return dict(zip(stored["name"].tolist(), stored["points"]))

    alone = points({"b.off": off()})["b.off"]
    np.testing.assert_array_equal(points({"a.off": off(), "b.off": off()})["b.off"], alone)
    assert not np.array_equal(points({"b.off": off()}, seed=1)["b.off"], alone)


def test_program(tmp_path, capsys):
    src = write(tmp_path / "src", {"a/1.off": off(), "a/2.off": b""})
    out = tmp_path / "out.npz"
    flags = [str(src), str(out), "--resolution=8", "--num_points=5", "--up=z"]
    assert main(flags) == 0
    told = capsys.readouterr().out
    assert "Left out 1:" in told and "a/2.off is not an OFF file" in told
    with np.load(out) as stored:
        solid = np.unpackbits(stored["voxels"]).reshape(8, 8, 8)
    assert [int(solid.any(axes).sum()) for axes in ((1, 2), (0, 2), (0, 1))] == [8, 2, 4]
    before = out.read_bytes()
    refused(r"exists.*--overwrite", main, flags)
    assert out.read_bytes() == before
    assert main([*flags, "--seed=1", "--overwrite"]) == 0
    assert out.read_bytes() != before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.npz", "src"]


def test_program_that_reads_nothing_exits_with_one_sentence(tmp_path):
    src = write(tmp_path / "src", {"1.off": b""})
    result = run_python("-m", "nvc_jax.programs.meshes", src, tmp_path / "out.npz", code=1)
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1] == (
        "error: None of the 1 meshes can be read; 1.off is not an OFF file of text in three "
        "dimensions."
    )
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out.npz").exists()


def test_program_that_finds_twins(tmp_path, capsys):
    volumes = np.random.default_rng(0).integers(0, 2, (6, 4, 4, 4), dtype=np.uint8)
    np.savez(tmp_path / "shapes.npz", voxels=np.concatenate([volumes, volumes[:, ::-1]]))
    flags = ["--find_twins", str(tmp_path / "shapes.npz"), str(tmp_path / "groups.npz")]
    assert main([*flags, "--threshold=0.99", "--holdout_every=3"]) == 0
    assert "12 of 12 shapes have a twin" in capsys.readouterr().out
    with np.load(tmp_path / "groups.npz") as found:
        np.testing.assert_array_equal(found["group"], [*range(6)] * 2)
        assert np.bincount(found["split"]).tolist() == [4, 4, 4]
    refused("exists", main, flags)
    np.savez(tmp_path / "shapes.npz", points=np.zeros((2, 3, 3)))
    refused("has no field 'voxels'", main, [*flags, "--overwrite"])


def test_mistakes_in_paths(tmp_path):
    write(tmp_path, {"src/1.off": off(), "file": b""})
    (tmp_path / "empty").mkdir()
    for src, out, message in [
        ("none", "out.npz", "none' is missing"),
        ("empty", "out.npz", "there is no .obj, .off"),
        ("src", "out.npy", r"\*\.npz"),
        ("src", "file/out.npz", "cannot be made"),
    ]:
        refused(message, main, [str(tmp_path / src), str(tmp_path / out)])


@pytest.mark.parametrize("flag", ["--resolution=0", "--num_points=-1", "--seed=-1", "--up=x"])
def test_mistakes_in_flags(tmp_path, flag, capsys):
    with pytest.raises(SystemExit) as caught:
        main([str(tmp_path), str(tmp_path / "out.npz"), flag])
    assert caught.value.code == 2 and flag.split("=")[0] in capsys.readouterr().err


UNIT = "\n".join(str(word) for word in off().decode().split()) + "\n"


@pytest.mark.parametrize("kind", ["obj", "off", "ascii.ply", "ascii.stl"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
def test_marks_of_byte_order_are_no_part_of_a_file(kind, encoding, tmp_path):
    text = FILES[kind].decode()
    content = ("\ufeff" if encoding == "utf-16-be" else "") + text
    path = put(tmp_path / f"box.{kind}", content.encode(encoding))
    np.testing.assert_allclose(area_and_volume(read_triangles(path)), (28, 8))


def test_text_in_utf_16_without_a_mark_is_named(tmp_path):
    path = put(tmp_path / "box.obj", FILES["obj"].decode().encode("utf-16-le"))
    refused("box.obj looks like text in UTF-16", read_triangles, path)


def test_one_number_a_line_and_headers_alone(tmp_path):
    path = put(tmp_path / "box.off", UNIT)
    np.testing.assert_array_equal(read_triangles(path), SOUP)
    lines = UNIT.splitlines()
    for end in range(1, len(lines)):
        refused("box.off: (is|has)", read_triangles, put(path, "\n".join(lines[:end])))
    refused("is cut off", read_triangles, put(path, "OFF\n"))


def changed(folder, change):
    """The scene of `gltf` with a change of its JSON."""
    scene = json.loads(gltf(folder))
    change(scene)
    return put(folder / "box.gltf", json.dumps(scene))


def strip(scene, mode):
    """The box's first quad as a strip or a fan."""
    scene["meshes"][0]["primitives"][0] |= {"mode": mode}
    scene["accessors"][1]["count"] = 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: s.update(extensionsRequired=["KHR_draco_mesh_compression"]),
            "KHR_draco_mesh_compression",
        ),
        (
            lambda s: s.update(extensionsRequired=["EXT_meshopt_compression"]),
            "EXT_meshopt_compression",
        ),
        (lambda s: s.update(extensionsRequired=["KHR_mesh_quantization"]), "KHR_mesh_quantization"),
        (
            lambda s: s.update(extensionsRequired=["KHR_materials_unlit", "ACME_x"]),
            "extension ACME_x",
        ),
        (lambda s: strip(s, 6), "faces of mode 6 .fans."),
        (lambda s: s["accessors"][0].pop("bufferView"), "not stored in full"),
        (lambda s: s["accessors"][0].update(sparse={"count": 1}), "not stored in full"),
        (lambda s: s["accessors"][0].update(componentType=5122, normalized=True), "no floats"),
        (
            lambda s: s["buffers"][0].update(uri="../buffer.bin"),
            "names '../buffer.bin': files lie below",
        ),
        (lambda s: s["buffers"][0].update(uri="%2e%2e/buffer.bin"), "names '../buffer.bin'"),
        (lambda s: s["buffers"][0].update(uri="/etc/passwd"), "names '/etc/passwd'"),
        (lambda s: s.update(nodes=s), "is not JSON|cannot be read"),
    ],
)
def test_scenes_that_would_be_read_in_part_are_refused(change, message, tmp_path):
    if "is not JSON" in message:
        path = put(tmp_path / "box.gltf", b'{"a": ' * 20)
    else:
        path = changed(tmp_path, change)
    refused(f"box.gltf.*{message}", read_triangles, path)


def test_extensions_of_looks_alone_and_strips_are_read(tmp_path):
    path = changed(tmp_path, lambda s: s.update(extensionsRequired=["KHR_materials_unlit"]))
    np.testing.assert_allclose(area_and_volume(read_triangles(path)), (28, 8))
    assert len(read_triangles(changed(tmp_path, lambda s: strip(s, 5)))) == 2


def test_a_container_that_is_cut_short_is_told(tmp_path):
    for end in (0, 3, 19, 40, len(FILES["glb"]) - 1):
        refused("a.glb", read_triangles, put(tmp_path / "a.glb", FILES["glb"][:end]))
