"""The flags of ``modelfleet puller``, with their defaults and the environment variables that stand for them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from modelfleet.adapters.access import Access
from modelfleet.puller import PullerSettings

from ..common import arguments
from ..common.command_line import Flag
from ..common.event_log import FORMATS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Where KServe's agent looks for definitions, the usual place first.
DEFINITIONS = (Path("/mnt/configs"), Path("/mnt/config"))
#: What the words for the style of S3's addresses mean.
PATH_STYLES: Mapping[str, bool | None] = {"auto": None, "yes": True, "no": False}

_USUAL, _WAY = PullerSettings(), Access()
_MOST_WORKERS = 64
_SHORTEST_S = 0.05

FLAGS: Mapping[str, Sequence[Flag]] = {
    "what to pull": (
        Flag(
            name="--node",
            metavar="NAME",
            meaning="name of this node, as overrides of a manifest have it",
            variable="HOSTNAME",
            required="set it to the name of this node, or give --node",
        ),
        Flag(
            name="--repository",
            metavar="URI",
            meaning="where the models are: gs://bucket/prefix, s3://bucket/prefix, file:///directory or a directory",
            read=arguments.url,
            variable="REMOTE_MODEL_DIRECTORY",
        ),
        Flag(
            name="--config-dir",
            metavar="DIR",
            meaning="KServe's definitions instead of a repository: models.json, or a file for each model; without a "
            f"repository the default is {DEFINITIONS[0]} or {DEFINITIONS[1]}, whichever is there",
            read=arguments.path,
        ),
        Flag(
            name="--model-dir",
            metavar="DIR",
            meaning="where to pull to, the node's directory of models",
            read=arguments.path,
            default="/mnt/models",
            variable="LOCAL_MODEL_DIRECTORY",
        ),
        Flag(
            name="--manifest",
            metavar="FILE",
            meaning="a manifest to follow instead of the repository's fleet.json",
            read=arguments.path,
        ),
        Flag(
            name="--allow-tracking",
            meaning="want every model in its newest version although a fleet.json was followed before and is gone",
        ),
        Flag(
            name="--memory-budget",
            metavar="BYTES",
            meaning="memory of this node for models; one that announces more than is left is refused; 0 for no check",
            read=arguments.amount,
            default=str(_USUAL.memory_bytes),
        ),
        Flag(name="--require-digest", meaning="refuse versions that have no digests.json"),
    ),
    "how to pull": (
        Flag(
            name="--num-workers",
            metavar="N",
            meaning="parts of objects that are pulled at the same time, of all models together",
            read=arguments.whole(1, _MOST_WORKERS),
            default=str(_USUAL.workers),
        ),
        Flag(
            name="--headroom",
            metavar="BYTES",
            meaning="space that stays free on the disk",
            read=arguments.amount,
            default="1Gi",
        ),
        Flag(
            name="--bandwidth",
            metavar="BYTES",
            meaning="most bytes per second, for example 100Mi; 0 for no limit",
            read=arguments.amount,
            default=str(_USUAL.bandwidth_bytes_per_s),
        ),
        Flag(
            name="--resync-seconds",
            metavar="S",
            meaning="how often repository and disk are looked at in full",
            read=arguments.seconds(_SHORTEST_S),
            default=f"{_USUAL.resync_s:g}",
        ),
        Flag(
            name="--watch-seconds",
            metavar="S",
            meaning="how often manifest file and definitions are looked at for a change",
            read=arguments.seconds(_SHORTEST_S),
            default=f"{_USUAL.watch_s:g}",
        ),
        Flag(
            name="--stall-seconds",
            metavar="S",
            meaning="after how long without a byte a transfer is begun again",
            read=arguments.seconds(_SHORTEST_S),
            default=f"{_USUAL.stall_s:g}",
        ),
        Flag(
            name="--num-retries",
            metavar="N",
            meaning="retries after which a version counts as refused; from then on it is tried at the longest pause",
            read=arguments.whole(0, 1000),
            default=str(_USUAL.retries),
        ),
        Flag(
            name="--first-retry-seconds",
            metavar="S",
            meaning="pause after a failure; it doubles with each further one",
            read=arguments.seconds(_SHORTEST_S),
            default=f"{_USUAL.first_retry_s:g}",
        ),
        Flag(
            name="--max-retry-seconds",
            metavar="S",
            meaning="the longest pause after a failure; there is no last attempt",
            read=arguments.seconds(_SHORTEST_S),
            default=f"{_USUAL.max_retry_s:g}",
        ),
        Flag(
            name="--scrub-seconds",
            metavar="S",
            meaning="how often every byte on the disk is read and checked again; 0 for never",
            read=arguments.seconds(0.0),
            default=f"{_USUAL.scrub_s:g}",
        ),
        Flag(
            name="--scrub-bandwidth",
            metavar="BYTES",
            meaning="how many bytes per second are read for that; 0 for no limit",
            read=arguments.amount,
            default="64Mi",
        ),
    ),
    "how to reach repositories": (
        Flag(
            name="--s3-endpoint",
            metavar="URL",
            meaning="a server that speaks S3 instead of Amazon's",
            read=arguments.endpoint,
        ),
        Flag(name="--s3-region", metavar="NAME", meaning="region of the bucket, instead of what the environment says"),
        Flag(
            name="--s3-path-style",
            metavar="WORD",
            meaning="whether the bucket goes into the path: yes, no, or auto, which is yes with an endpoint",
            read=arguments.one_of(*PATH_STYLES),
            default="auto",
        ),
        Flag(
            name="--gcs-endpoint",
            metavar="URL",
            meaning="a server that speaks Cloud Storage instead of Google's",
            read=arguments.endpoint,
        ),
        Flag(name="--anonymous", meaning="ask without credentials"),
        Flag(
            name="--credentials-file",
            metavar="FILE",
            meaning="Google credentials, instead of application default credentials",
            read=arguments.path,
        ),
        Flag(
            name="--http-headers-file",
            metavar="FILE",
            meaning='headers for http(s) sources as JSON, {"host": {"Header": "value"}}; mode 0600',
            read=arguments.path,
        ),
        Flag(
            name="--ca-bundle",
            metavar="FILE",
            meaning="certificates to trust, instead of the system's",
            read=arguments.path,
        ),
        Flag(
            name="--proxy",
            metavar="URL",
            meaning="proxy of every request, instead of what the environment says",
            read=arguments.endpoint,
        ),
        Flag(
            name="--connect-timeout-seconds",
            metavar="S",
            meaning="how long a connection may take",
            read=arguments.seconds(_SHORTEST_S),
            default=f"{_WAY.connect_timeout_s:g}",
        ),
        Flag(
            name="--read-timeout-seconds",
            metavar="S",
            meaning="how long a server may send nothing",
            read=arguments.seconds(_SHORTEST_S),
            default=f"{_WAY.read_timeout_s:g}",
        ),
    ),
    "the service": (
        Flag(
            name="--bind",
            metavar="ADDRESS",
            meaning="IP address to listen on",
            read=arguments.address,
            default="127.0.0.1",
        ),
        Flag(name="--port", metavar="N", meaning="TCP port; 0 for any", read=arguments.port, default="8001"),
        Flag(
            name="--token-file",
            metavar="FILE",
            meaning="bearer token of those who may change things, mode 0600; needed unless bound to a loopback address",
            read=arguments.path,
        ),
        Flag(
            name="--app-dir",
            metavar="DIR",
            meaning="where threads leave signs of life, below heartbeats/",
            read=arguments.path,
            default="/app",
        ),
        Flag(
            name="--heartbeat-limit-seconds",
            metavar="S",
            meaning="how long a thread may show no life before the service is unhealthy; "
            "without it 300, or twice --stall-seconds where that is more",
            read=arguments.seconds(1.0),
        ),
        Flag(
            name="--log-format",
            metavar="WORD",
            meaning=" or ".join(FORMATS),
            read=arguments.one_of(*FORMATS),
            default=FORMATS[0],
        ),
    ),
}

EPILOG = """\
Each flag may be written with one dash or with two, as --flag VALUE or as --flag=VALUE. Flags win over the environment.
Credentials come from the environment and from files, never from flags: $CLOUDSDK_CONFIG is the directory of Google's
application_default_credentials.json; AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (also AWS_ACCESS_KEY and
AWS_SECRET_KEY) or AWS's own files are for S3.
"""
