"""Archives as publishers make them, and what comes out of them."""

from __future__ import annotations

import io
import tarfile
import zipfile

from modelfleet.adapters.archives import unpack

ROOM = 1 << 30
MODEL = {"saved_model.pb": b"graph", "variables/variables.index": b"i" * 3_000_000, "assets/empty": b""}


def tar_of(files, mode="w"):
    """Return the bytes of an archive of (name, content) pairs; a content that is a TarInfo is added as it is."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in files:
            if isinstance(content, tarfile.TarInfo):
                content.name = name
                archive.addfile(content)
            else:
                info = tarfile.TarInfo(name)
                info.size, info.mode = len(content), 0o4777
                archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def zip_of(files, method=zipfile.ZIP_DEFLATED):
    """Return the bytes of an archive of (name or ZipInfo, content) pairs."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files:
            info = zipfile.ZipInfo(name) if isinstance(name, str) else name
            archive.writestr(info, content, method)
    return buffer.getvalue()


def kind_of(what):
    """Return a member of a kind, which leads to the model where the kind has a target."""
    info = tarfile.TarInfo()
    info.type, info.linkname = what, "saved_model.pb"
    return info


PACKERS = {
    "zip": ("zip", zip_of),
    "stored zip": ("zip", lambda files: zip_of(files, zipfile.ZIP_STORED)),
    "tar": ("tar", tar_of),
    "tar.gz": ("tar", lambda files: tar_of(files, "w:gz")),
}


def unpacked(place, kind, data, limit=ROOM, check=lambda: None):
    """Unpack into an empty directory, hold that an error leaves it empty, and return what was written."""
    (place / "archive").write_bytes(data)
    into = place / "version"
    try:
        unpack(place / "archive", kind, into, limit_bytes=limit, check=check, subject="model m version 1")
    except BaseException:
        assert not list(into.iterdir())
        assert sorted(path.name for path in place.iterdir()) == ["archive", "version"]
        raise
    return {str(path.relative_to(into)): path.read_bytes() for path in into.rglob("*") if path.is_file()}
