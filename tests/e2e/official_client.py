"""Ask a deployed node with TensorFlow Serving's official client, and over REST; end with a message if it answers wrong.

Run with an interpreter that has tensorflow and tensorflow-serving-api. Shares no code with the project.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config import model_server_config_pb2

DEADLINE_S = 10
AVAILABLE = get_model_status_pb2.ModelVersionStatus.AVAILABLE


def require(holds: object, what: str) -> None:
    """End with a message unless something holds."""
    if not holds:
        sys.exit(f"official client: {what}")


def error_of(call, request) -> grpc.RpcError:
    """Return the error that a call ends with."""
    try:
        answer = call(request, timeout=DEADLINE_S)
    except grpc.RpcError as error:
        return error
    sys.exit(f"official client: expected an error, got {answer}")


def check_predict(service, probe: dict, version: int) -> None:
    """One version answers with the expected classes and says which version it is."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = probe["model"]
    request.model_spec.version.value = version
    request.inputs["images"].CopyFrom(tf.make_tensor_proto(probe["inputs"]["images"], dtype=tf.float32))
    answer = service.Predict(request, timeout=DEADLINE_S)
    classes = tf.make_ndarray(answer.outputs["classes"])
    require(classes.dtype == np.int64, f"classes are {classes.dtype}, not int64")
    require(classes.tolist() == probe["expect"]["classes"], f"version {version} answers {classes.tolist()}")
    require(answer.model_spec.version.value == version, f"version {answer.model_spec.version.value} answered")
    require(answer.model_spec.signature_name == "serving_default", "the signature's name is not echoed")
    probabilities = tf.make_ndarray(answer.outputs["probabilities"])
    require(probabilities.shape == (1, 10), f"probabilities have the shape {probabilities.shape}")
    require(abs(float(probabilities.sum()) - 1) < 1e-5, "probabilities do not add up to 1")


def check_metadata(service, model: str) -> None:
    """The signature is told."""
    request = get_model_metadata_pb2.GetModelMetadataRequest()
    request.model_spec.name = model
    request.metadata_field.append("signature_def")
    answer = service.GetModelMetadata(request, timeout=DEADLINE_S)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    require(answer.metadata["signature_def"].Unpack(signatures), "metadata holds no SignatureDefMap")
    require("images" in signatures.signature_def["serving_default"].inputs, "the signature lacks its input")
    request.metadata_field[:] = []
    error = error_of(service.GetModelMetadata, request)
    require(error.code() is grpc.StatusCode.INVALID_ARGUMENT, f"no metadata_field gives {error.code()}")
    require("must specify at least one metadata_field" in error.details(), error.details())


def available(service, model: str) -> list[int]:
    """Return the versions that the server calls AVAILABLE, ascending."""
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = model
    statuses = service.GetModelStatus(request, timeout=DEADLINE_S).model_version_status
    return sorted(status.version for status in statuses if status.state == AVAILABLE)


def check_reload(service, config: Path) -> None:
    """Sending the present configuration once more is accepted; an empty request is not."""
    request = model_management_pb2.ReloadConfigRequest()
    request.config.CopyFrom(text_format.Parse(config.read_text(), model_server_config_pb2.ModelServerConfig()))
    answer = service.HandleReloadConfigRequest(request, timeout=DEADLINE_S)
    require(answer.status.error_code == 0, f"a reload of the present configuration gives {answer.status}")
    error = error_of(service.HandleReloadConfigRequest, model_management_pb2.ReloadConfigRequest())
    require(error.code() is grpc.StatusCode.INVALID_ARGUMENT, f"an empty reload gives {error.code()}")
    require("type not supported by HandleReloadConfigRequest" in error.details(), error.details())


def check_unknown(service) -> None:
    """A model that nobody configured is not found, in the server's known words."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "nobody"
    error = error_of(service.Predict, request)
    require(error.code() is grpc.StatusCode.NOT_FOUND, f"an unknown model gives {error.code()}")
    require("Servable not found for request: Latest(nobody)" in error.details(), error.details())


def rest(url: str, body: object = None) -> dict:
    """Return the JSON answer of a URL."""
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(url, data=data, timeout=DEADLINE_S) as answer:  # noqa: S310 (http, given by the caller)
        return json.load(answer)


def check_rest(base: str, probe: dict, versions: list[int]) -> None:
    """REST agrees with gRPC: states, answer, metrics."""
    states = rest(f"{base}/v1/models/{probe['model']}")["model_version_status"]
    told = sorted(int(item["version"]) for item in states if item["state"] == "AVAILABLE")
    require(told == versions, f"REST tells the versions {told}")
    answer = rest(f"{base}/v1/models/{probe['model']}:predict", {"inputs": probe["inputs"]})
    require(answer["outputs"]["classes"] == probe["expect"]["classes"], f"REST answers {answer}")
    rows = rest(f"{base}/v1/models/{probe['model']}:predict", {"instances": probe["inputs"]["images"]})
    require(rows["predictions"][0]["classes"] == probe["expect"]["classes"][0], f"REST answers {rows}")
    with urllib.request.urlopen(f"{base}/monitoring/prometheus/metrics", timeout=DEADLINE_S) as page:  # noqa: S310 (as above)
        require(b":tensorflow:serving:request_count" in page.read(), "the metrics lack request_count")


def main() -> None:
    """Ask everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--grpc", required=True, help="host:port")
    parser.add_argument("--rest", required=True, help="URL")
    parser.add_argument("--config", required=True, type=Path, help="models.config of the node")
    parser.add_argument("--probe", required=True, type=Path, help="a request and its answer")
    parser.add_argument("--versions", required=True, type=lambda text: [int(word) for word in text.split(",")])
    options = parser.parse_args()
    probe = json.loads(options.probe.read_text())
    with grpc.insecure_channel(options.grpc) as channel:
        predictions = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        models = model_service_pb2_grpc.ModelServiceStub(channel)
        served = available(models, probe["model"])
        require(served == options.versions, f"serves {served}, expected {options.versions}")
        for version in options.versions:
            check_predict(predictions, probe, version)
        check_metadata(predictions, probe["model"])
        check_reload(models, options.config)
        check_unknown(predictions)
        require(available(models, probe["model"]) == options.versions, "the reload changed what is served")
    check_rest(options.rest, probe, options.versions)


if __name__ == "__main__":
    main()
