"""KServe's storage initializer: with_kserve_storage.py URI DIRECTORY."""

from __future__ import annotations

import sys

from kserve_storage import Storage

if __name__ == "__main__":
    Storage.download(sys.argv[1], sys.argv[2])
