"""glTF files: what has to hold of one before trimesh reads it, which passes over what it does not know."""

import re
import struct
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from nvc_jax.core.errors import UserError
from nvc_jax.core.json_files import parse_json
from nvc_jax.data.base.tree import inside

_LOOKS = re.compile(
    r"KHR_materials_\w+|KHR_texture_\w+|EXT_texture_\w+|MSFT_texture_dds|KHR_lights_punctual|KHR_xmp\w*"
)
"""Extensions that change how a mesh looks, and not its places."""
_FLOAT = 5126
_STRIP, _FAN = 5, 6
_READ_MODES = (None, 0, 1, 2, 3, 4, _STRIP)
"""Points and lines (0 to 3) have no faces, and are passed over as in other formats."""


def check_gltf(content: bytes, path: Path) -> None:
    """Refuses a file that asks for more than is read, of which parts would be missing or wrong.

    Args:
      content: a `.gltf` text, or a `.glb` container.
      path: the file.

    Raises:
      UserError: for a damaged header, an extension that the file requires and that changes the mesh, faces in
        another form, positions that are not stored as they are, or buffers that lie elsewhere.

    Reference: The Khronos Group, "glTF 2.0 Specification".
    """
    text = _header(content, path) if content.startswith(b"glTF") else content
    tree: dict[str, Any] = parse_json(text, path, dict, "a scene", "export it again")
    for name in tree.get("extensionsRequired", []):
        if not _LOOKS.fullmatch(str(name)):
            raise UserError(
                f"{path}: requires the extension {name}, which is not read: export it without."
            )
    for buffer in tree.get("buffers", []):
        uri = buffer.get("uri", "data:")
        if not uri.startswith("data:"):
            inside(path.parent, unquote(uri), path)
    for primitive in (p for mesh in tree.get("meshes", []) for p in mesh["primitives"]):
        _check_primitive(primitive, tree["accessors"], path)


def _check_primitive(primitive: dict[str, Any], accessors: list[Any], path: Path) -> None:
    """Refuses a part of a mesh that would be read as another one."""
    mode = primitive.get("mode")
    if mode not in _READ_MODES:
        raise UserError(
            f"{path}: has faces of mode {mode} ({'fans' if mode == _FAN else 'unknown'}), which are not read: "
            "export triangles."
        )
    position = accessors[primitive["attributes"]["POSITION"]]
    used = [position, *([accessors[primitive["indices"]]] if "indices" in primitive else [])]
    if any("sparse" in accessor or "bufferView" not in accessor for accessor in used):
        raise UserError(
            f"{path}: has values that are not stored in full, which is not read: export it again."
        )
    if position["componentType"] != _FLOAT:
        raise UserError(
            f"{path}: has positions that are no floats, which are not read: export it again."
        )


def _header(content: bytes, path: Path) -> bytes:
    """The JSON text of a `.glb` container, its first chunk."""
    if len(content) < 20:
        raise UserError(f"{path}: is cut off, its header is incomplete.")
    total, size = struct.unpack_from("<II", content, 8)
    if total > len(content) or 20 + size > len(content):
        raise UserError(f"{path}: is cut off, got {len(content)} of {total} bytes.")
    return content[20 : 20 + size]
