"""What it costs to have TensorFlow Serving's messages: ours from descriptors, the peer's from its generated modules.

python benchmarks/messages.py     (in the development environment)
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from modelfleet.adapters.protos import PROTOS_VARIABLE
from modelfleet_services import protos
from pairs import compare

REPEATS = 3
OURS = "from modelfleet.adapters.protos import message as m; import grpc; m('tensorflow.serving.PredictRequest')()"
PEER = "from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc as p; predict_pb2.PredictRequest()"


def main() -> None:
    """Print time and memory of both."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tfserving.binpb"
        protos.write(path)
        environment = {PROTOS_VARIABLE: str(path)}
        commands = {
            "descriptors and gRPC": [sys.executable, "-c", OURS],
            "tensorflow_serving.apis": [sys.executable, "-c", PEER],
        }
        compare(commands, REPEATS, environment)


if __name__ == "__main__":
    main()
