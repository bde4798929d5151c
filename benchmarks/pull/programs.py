"""The programs that are compared, and how each is called."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE = Path(__file__).resolve().parent
OURS = "modelfleet"
#: Every workload is this version of this model, in a bucket of its own.
VERSION = "model/1"


@dataclass(frozen=True)
class Program:
    """A program that brings a version to a directory.

    Attributes:
        command: The command and its arguments.
        made: Where the version's files then are.
        checked: Whether it compares what arrived with the store's checksums.
        synced: Whether the bytes are on disk when it ends.
    """

    command: tuple[str, ...]
    made: Path
    checked: bool = True
    synced: bool = False


def programs(url: str, root: Path, bucket: str, out: Path, environments: Mapping[str, Path]) -> dict[str, Program]:
    """Return every program by its name, set up to bring one bucket's version.

    Args:
        url: Where the emulator answers.
        root: What it serves.
        bucket: The workload.
        out: An empty directory.
        environments: Directories of the peers' programs.
    """
    here, prefix = str(out), f"{VERSION}/"
    source = f"{root}/{bucket}/{VERSION}/."
    peer, older = str(environments["peers"] / "python"), str(environments["older"] / "python")
    manager = (peer, str(HERE / "peers/with_transfer_manager.py"))
    obstore = (peer, str(HERE / "peers/with_obstore.py"))
    result = {
        OURS: Program(
            (sys.executable, str(HERE / "ours.py"), "all", f"gs://{bucket}", here), out / VERSION, synced=True
        ),
        "cp": Program(("cp", "-r", source, here), out, checked=False),
        "cp, sync": Program(
            ("sh", "-c", 'cp -r "$0" "$1" && sync -f "$1"', source, here), out, checked=False, synced=True
        ),
        "obstore": Program((*obstore, "bare", url, bucket, prefix, here), out, checked=False),
        "obstore, with crc32c and fsync": Program((*obstore, "sound", url, bucket, prefix, here), out, synced=True),
        "rclone": Program((str(environments["peers"] / "rclone"), "copy", f":gcs:{bucket}/{VERSION}", here), out),
        "transfer_manager, processes": Program((*manager, "processes", bucket, prefix, here), out),
        "transfer_manager, threads": Program((*manager, "threads", bucket, prefix, here), out),
        "transfer_manager, chunks": Program((*manager, "chunks", bucket, prefix, here), out),
        "gcsfs": Program(
            (older, str(HERE / "peers/with_gcsfs.py"), f"{bucket}/{prefix}", f"{here}/"), out, checked=False
        ),
        "kserve-storage": Program(
            (older, str(HERE / "peers/with_kserve_storage.py"), f"gs://{bucket}/{VERSION}", here), out
        ),
    }
    if bucket == "small":
        # Chunks are for large objects: every small one would be a pool of processes.
        del result["transfer_manager, chunks"]
    return result


def variables(url: str) -> dict[str, str]:
    """Return what the programs find the emulator by."""
    return {
        "STORAGE_EMULATOR_HOST": url,
        "RCLONE_CONFIG": "/dev/null",
        "RCLONE_GCS_ANONYMOUS": "true",
        "RCLONE_GCS_ENDPOINT": f"{url}/storage/v1/",
    }
