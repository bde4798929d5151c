"""gcsfs: with_gcsfs.py BUCKET/PREFIX DIRECTORY."""

from __future__ import annotations

import sys

import gcsfs

if __name__ == "__main__":
    gcsfs.GCSFileSystem(token="anon").get(sys.argv[1], sys.argv[2], recursive=True)  # noqa: S106  (a way to log in)
