"""``modelfleet predict``: one prediction over gRPC, from the command line."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelfleet.adapters.tfserving import TFServing
from modelfleet.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Send one request and print the answer as JSON.

    Raises:
        ModelfleetError: the input is not acceptable, or the server did not answer it.
    """
    parser = argparse.ArgumentParser(prog="modelfleet predict", description="Send one Predict request over gRPC.")
    parser.add_argument("--target", default="127.0.0.1:8500", metavar="HOST:PORT", help="the gRPC listener")
    parser.add_argument("--model", required=True, metavar="NAME", help="the model to ask")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--version", type=int, metavar="N", help="the version to ask; the newest by default")
    which.add_argument("--label", default="", help="the label to ask by")
    parser.add_argument("--signature", default="", metavar="NAME", help="the signature; serving_default by default")
    parser.add_argument(
        "--input", required=True, metavar="JSON|@FILE|-", help="an object: value of each input by its name"
    )
    parser.add_argument("--timeout", type=float, default=10.0, metavar="SECONDS", help="deadline of the request")
    options = parser.parse_args(arguments)
    inputs = _inputs(options.input)
    with TFServing(options.target, timeout_s=options.timeout) as server:
        answer = server.predict(
            options.model,
            inputs,
            version=options.version,
            label=options.label,
            signature_name=options.signature,
        )
    result = {
        "model": options.model,
        "version": answer.version,
        "outputs": answer.outputs,
        "latency_ms": round(answer.seconds * 1000, 3),
    }
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


def _inputs(given: str) -> dict[str, Any]:
    """Return the request's inputs from a JSON text, a file or the standard input."""
    source = "--input"
    if given == "-":
        text = sys.stdin.read()
    elif given.startswith("@"):
        source = given[1:]
        try:
            text = Path(source).read_text(encoding="utf-8")
        except OSError as error:
            raise InvalidInput(source, f"cannot be read ({error.strerror})", "name a readable file") from error
    else:
        text = given
    try:
        data = json.loads(text)
    except ValueError as error:
        raise InvalidInput(source, f"is not JSON ({error})", 'give an object such as {"x": [1.0]}') from error
    if not isinstance(data, dict):
        raise InvalidInput(source, "is not a JSON object", 'give one such as {"x": [1.0]}')
    return data
