"""TensorFlow's C API, bound with ctypes to the library inside the installed wheel; ``tensorflow`` is never imported."""

from __future__ import annotations

import ctypes
import importlib.util
from ctypes import POINTER, c_char_p, c_int, c_int64, c_size_t, c_ubyte, c_void_p
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from modelfleet.errors import InvalidInput, MissingDependency

from ..rpc_status import Code, StatusError

if TYPE_CHECKING:
    from collections.abc import Callable

_LIBRARIES = ("libtensorflow_framework.so.2", "libtensorflow_cc.so.2")


class Buffer(ctypes.Structure):
    """``TF_Buffer``: bytes that belong to whoever made it."""

    _fields_ = (("data", c_void_p), ("length", c_size_t), ("deallocator", c_void_p))


class Output(ctypes.Structure):
    """``TF_Output``: one output of a graph operation."""

    _fields_ = (("operation", c_void_p), ("index", c_int))


class _Declaration(NamedTuple):
    result: Any
    arguments: tuple[Any, ...]


_SLOW = {
    "TF_LoadSessionFromSavedModel": _Declaration(
        c_void_p,
        (c_void_p, c_void_p, c_char_p, POINTER(c_char_p), c_int, c_void_p, POINTER(Buffer), c_void_p),
    ),
    "TF_SessionRun": _Declaration(
        None,
        (
            c_void_p,
            POINTER(Buffer),
            POINTER(Output),
            c_void_p,
            c_int,
            POINTER(Output),
            c_void_p,
            c_int,
            c_void_p,
            c_int,
            c_void_p,
            c_void_p,
        ),
    ),
    "TF_NewSession": _Declaration(c_void_p, (c_void_p, c_void_p, c_void_p)),
    "TF_CloseSession": _Declaration(None, (c_void_p, c_void_p)),
    "TF_DeleteSession": _Declaration(None, (c_void_p, c_void_p)),
    "TF_GraphImportGraphDef": _Declaration(None, (c_void_p, POINTER(Buffer), c_void_p, c_void_p)),
    "TF_DeleteGraph": _Declaration(None, (c_void_p,)),
    "TF_TensorFromProto": _Declaration(None, (POINTER(Buffer), c_void_p, c_void_p)),
}
_QUICK = {
    "TF_Version": _Declaration(c_char_p, ()),
    "TF_NewStatus": _Declaration(c_void_p, ()),
    "TF_DeleteStatus": _Declaration(None, (c_void_p,)),
    "TF_GetCode": _Declaration(c_int, (c_void_p,)),
    "TF_Message": _Declaration(c_char_p, (c_void_p,)),
    "TF_NewBuffer": _Declaration(POINTER(Buffer), ()),
    "TF_DeleteBuffer": _Declaration(None, (POINTER(Buffer),)),
    "TF_NewGraph": _Declaration(c_void_p, ()),
    "TF_GraphOperationByName": _Declaration(c_void_p, (c_void_p, c_char_p)),
    "TF_NewImportGraphDefOptions": _Declaration(c_void_p, ()),
    "TF_DeleteImportGraphDefOptions": _Declaration(None, (c_void_p,)),
    "TF_NewSessionOptions": _Declaration(c_void_p, ()),
    "TF_DeleteSessionOptions": _Declaration(None, (c_void_p,)),
    "TF_SetConfig": _Declaration(None, (c_void_p, c_char_p, c_size_t, c_void_p)),
    "TF_AllocateTensor": _Declaration(c_void_p, (c_int, POINTER(c_int64), c_int, c_size_t)),
    "TF_DeleteTensor": _Declaration(None, (c_void_p,)),
    "TF_TensorType": _Declaration(c_int, (c_void_p,)),
    "TF_NumDims": _Declaration(c_int, (c_void_p,)),
    "TF_Dim": _Declaration(c_int64, (c_void_p, c_int)),
    "TF_TensorByteSize": _Declaration(c_size_t, (c_void_p,)),
    "TF_TensorData": _Declaration(c_void_p, (c_void_p,)),
}


class CApi:
    """The functions of the C API, as attributes by their C names.

    Functions that may take long release the interpreter lock; the short ones keep it, because giving it away would cost
    more than they do.
    """

    def __init__(self, path: Path) -> None:
        framework, library = (path / name for name in _LIBRARIES)
        # The second library finds symbols of the first one, which it also names as a dependency.
        self._framework = ctypes.CDLL(str(framework), mode=ctypes.RTLD_GLOBAL)
        for loader, declarations in ((ctypes.CDLL, _SLOW), (ctypes.PyDLL, _QUICK)):
            loaded = loader(str(library))
            for name, declaration in declarations.items():
                function = getattr(loaded, name)
                function.restype = declaration.result
                function.argtypes = declaration.arguments
                setattr(self, name, function)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        raise AttributeError(name)

    @property
    def version(self) -> str:
        """Return TensorFlow's version, for example ``2.21.0``."""
        return str(self.TF_Version().decode())


class Status:
    """``TF_Status``: where a call reports how it went."""

    def __init__(self, api: CApi) -> None:
        self._api = api
        self.handle = api.TF_NewStatus()

    def check(self) -> None:
        """Do nothing if the last call went well.

        Raises:
            StatusError: with the code and the message TensorFlow gave.
        """
        code = self._api.TF_GetCode(self.handle)
        if code != Code.OK:
            raise StatusError(Code(code), self._api.TF_Message(self.handle).decode(errors="replace"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._api.TF_DeleteStatus(self.handle)


def borrowed_buffer(data: bytes) -> Buffer:
    """Return a buffer over bytes that the caller keeps alive for as long as the buffer is used."""
    return Buffer(ctypes.cast(c_char_p(data), c_void_p), len(data), None)


def owned_bytes(buffer: Buffer) -> memoryview:
    """Return a view of a buffer that TensorFlow filled; valid until the buffer is deleted."""
    if not buffer.length:
        return memoryview(b"")
    return memoryview((c_ubyte * buffer.length).from_address(buffer.data)).cast("B")


@lru_cache(maxsize=1)
def c_api() -> CApi:
    """Load the C API; the first call maps some 700 MB and takes about half a second.

    Raises:
        MissingDependency: the wheel is not installed.
        InvalidInput: it is installed, but its libraries cannot be loaded.
    """
    path = package_directory()
    try:
        return CApi(path)
    except (OSError, AttributeError) as error:
        raise InvalidInput(
            str(path), f"TensorFlow's C API cannot be loaded ({error})", "install tensorflow-cpu 2.21"
        ) from error


def package_directory() -> Path:
    """Return the directory of the installed package ``tensorflow``, running none of its code.

    Raises:
        MissingDependency: the wheel is not installed.
    """
    # Finding the specification of a top-level package does not execute it.
    specification = importlib.util.find_spec("tensorflow")
    for location in (specification.submodule_search_locations or ()) if specification else ():
        if all((Path(location) / name).is_file() for name in _LIBRARIES):
            return Path(location)
    raise MissingDependency("tensorflow-cpu (or tensorflow)", "the embedded model server")
