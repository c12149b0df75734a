"""Files that were written by pickle and hold arrays of numbers, read without running what is in them."""

import io
import pickle
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.data.base.files import read_content, told

_KINDS = "fiub"


class _Dtype:
    """What a pickle tells of a NumPy type: its name and the order of bytes."""

    def __init__(self, name: Any = None, *_: Any):
        self.name, self.order = name, "="

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]

    def numpy(self) -> np.dtype:
        """The type, if it is one of plain numbers."""
        if not isinstance(self.name, str) or self.name[:1] not in _KINDS:
            raise pickle.UnpicklingError("not an array of numbers")
        return np.dtype(f"{self.order}{self.name}")


class _Array:
    """What a pickle tells of an array. NumPy's own reconstruction is never called."""

    values: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, content = state
        self.values = _values(content, dtype, shape, "F" if is_fortran else "C")


def _values(content: Any, dtype: _Dtype, shape: Any, order: str) -> np.ndarray:
    """The numbers in bytes."""
    if isinstance(content, str):  # as Python 2 wrote them
        content = content.encode("latin1")
    return np.frombuffer(content, dtype.numpy()).reshape(shape, order="F" if order == "F" else "C")


def _reconstruct(*_: Any) -> _Array:
    """An array whose state follows."""
    return _Array()


def _from_buffer(content: Any, dtype: _Dtype, shape: Any, order: str) -> _Array:
    """An array as protocol 5 has it."""
    array = _Array()
    array.values = _values(content, dtype, shape, order)
    return array


def _no_bytes() -> bytes:
    """What protocols before 3 call for an array without elements."""
    return b""


_ADMITTED = {
    **{
        (f"numpy.{core}", name): stand_in
        for core in ("core.multiarray", "_core.multiarray", "core.numeric", "_core.numeric")
        for name, stand_in in (("_reconstruct", _reconstruct), ("_frombuffer", _from_buffer))
    },
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("__builtin__", "bytes"): _no_bytes,
}
"""Names that a file may ask for, with what stands in for them; `_codecs.encode` is the reader's own."""


class _Unpickler(pickle._Unpickler):
    """Knows arrays, and what pickle writes without a class: dicts, lists, tuples, numbers, text.

    The implementation in Python is used, since damaged bytes can make that in C fill all memory.
    """

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]

    def __init__(self, path: Path):
        self._path, content = path, read_content(path)
        self._room = len(content)
        super().__init__(io.BytesIO(content), encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        """A stand-in for an admitted name."""
        if (module, name) == ("_codecs", "encode"):
            return self._encode
        if (module, name) not in _ADMITTED:
            raise UserError(
                f"{self._path} asks for {module}.{name}: only arrays of numbers are read from pickles; "
                "fetch the file from its publisher."
            )
        return _ADMITTED[module, name]

    def _encode(self, text: str, encoding: str) -> bytes:
        """Bytes, which protocols before 3 spell as text."""
        self._room -= len(text)
        if encoding != "latin1" or self._room < 0:
            raise pickle.UnpicklingError("text in another encoding, or the same one over and over")
        return text.encode("latin1")

    def load_setitem(self) -> None:
        """One entry of a dict."""
        _check_keys(self.stack[-2:-1])
        super().load_setitem()  # type: ignore[misc]

    def load_setitems(self) -> None:
        """Many entries of a dict."""
        _check_keys(self.stack[::2])
        super().load_setitems()  # type: ignore[misc]

    def load_dict(self) -> None:
        """A dict with its entries."""
        _check_keys(self.stack[::2])
        super().load_dict()  # type: ignore[misc]

    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems
    dispatch[pickle.DICT[0]] = load_dict
    for _code in (pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET):
        del dispatch[_code[0]]

    def persistent_load(self, _: Any) -> NoReturn:
        """Nothing outside of the file is asked for."""
        raise pickle.UnpicklingError("a reference to something else")


def read_pickled_arrays(path: Path) -> Any:
    """Reads a pickle of arrays of numbers in dicts, lists and tuples.

    The file can call nothing: the few names that arrays are written with get inert stand-ins, and
    every other name is refused.

    Args:
      path: the file.

    Returns:
      What was stored; arrays may be read-only.

    Raises:
      UserError: for a missing or damaged file, or one that asks for anything but arrays.

    Reference: Python's documentation of `pickle`, "Restricting Globals".
    """
    with told(
        f"{path} cannot be read as a pickle of arrays: it is cut short, damaged or of another kind; "
        "fetch it again."
    ):
        return _unwrapped(_Unpickler(path).load(), {})


def _check_keys(keys: list[Any]) -> None:
    """Keys are numbers and text: the hash of tuples in tuples can take forever."""
    if not all(isinstance(key, int | str | bytes) for key in keys):
        raise pickle.UnpicklingError("a key that is neither a number nor text")


def _unwrapped(value: Any, known: dict[int, Any]) -> Any:
    """The same with arrays in place of what was read of them; `known` has by id what was met before."""
    if id(value) not in known:
        known[id(value)] = _with_arrays(value, known)
    return known[id(value)]


def _with_arrays(value: Any, known: dict[int, Any]) -> Any:
    """See `_unwrapped`."""
    if isinstance(value, _Array):
        if value.values is None:
            raise pickle.UnpicklingError("an array without content")
        return value.values
    if isinstance(value, dict):
        return {key: _unwrapped(item, known) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_unwrapped(item, known) for item in value)
    return value
