"""Warm-up requests run before a version is available, and one that fails keeps it from becoming so."""

from __future__ import annotations

import logging

import pytest
from modelfleet.adapters.protos import message
from modelfleet_services.model_server.rpc_status import Code, StatusError
from modelfleet_services.model_server.runtime import warmup

from tests.support.runtime_lab import example, example_request, load, loaded, multi_request, resident_bytes
from tests.support.saved_models import (
    CLASSIFY,
    REGRESS,
    WARMUP_FILE,
    half_plus_two_tf1,
    large,
    predict_log,
    scale,
    tensor,
    tf_records,
    with_warmup,
)


def good(count=1):
    return [predict_log("m", {"x": tensor("float", [1])})] * count


def failure(path, **options):
    with pytest.raises(StatusError) as error:
        load(path, **options)
    return error.value


def recorded(path, caplog, **options):
    """Return the text of the log line that counts the records."""
    with caplog.at_level(logging.INFO), loaded(path, **options):
        return next(record.getMessage() for record in caplog.records if "warmup" in record.getMessage())


def test_records_of_every_api_run(tmp_path, caplog):
    path = half_plus_two_tf1(tmp_path / "1")
    classify_log, regress_log, multi_log = (message("tensorflow.serving.PredictionLog")() for _ in range(3))
    classify_log.classify_log.request.CopyFrom(example_request("Classification", "classify_x_to_y", example(x=1.0)))
    regress_log.regress_log.request.CopyFrom(example_request("Regression", "regress_x_to_y", example(x=1.0)))
    tasks = (("classify_x_to_y", CLASSIFY), ("regress_x_to_y", REGRESS))
    multi_log.multi_inference_log.request.CopyFrom(multi_request(*tasks, examples=(example(x=1.0),)))
    with_warmup(path, [*good(), classify_log, regress_log, multi_log])
    assert "Number of warmup records read: 4" in recorded(path, caplog)


@pytest.mark.parametrize(
    ("kind", "request_of"),
    [
        ("predict_log", lambda: predict_log("m", {"x": tensor("float", [1])}, "nowhere").predict_log.request),
        ("classify_log", lambda: example_request("Classification", "nowhere", example(x=1.0))),
        ("regress_log", lambda: example_request("Regression", "nowhere", example(x=1.0))),
        ("multi_inference_log", lambda: multi_request(("nowhere", REGRESS), examples=(example(x=1.0),))),
    ],
)
def test_a_failing_request_of_any_api_fails_the_load(tmp_path, kind, request_of):
    log = message("tensorflow.serving.PredictionLog")()
    getattr(log, kind).request.CopyFrom(request_of())
    assert "nowhere" in failure(with_warmup(half_plus_two_tf1(tmp_path / "1"), [log])).message


def test_a_request_that_the_model_refuses_fails_the_load_with_its_words(tmp_path):
    log = predict_log("m", {"x": tensor("string", [b"text"])})
    error = failure(with_warmup(scale(tmp_path / "1"), [*good(), log]))
    assert error.code == Code.INVALID_ARGUMENT
    assert "to be float but string is provided" in error.message


def test_without_a_file_or_with_warmup_off_nothing_runs(tmp_path, caplog):
    path = scale(tmp_path / "1")
    assert recorded(path, caplog).startswith("No warmup data file found at ")
    with_warmup(path, [b"\xff"])
    with loaded(path, enable_model_warmup=False) as servable:
        assert servable.signatures


def test_every_request_runs_as_often_as_asked(tmp_path, monkeypatch):
    runs = []
    real = warmup.predict
    monkeypatch.setattr(warmup, "predict", lambda *args, **options: runs.append(1) or real(*args, **options))
    with loaded(with_warmup(scale(tmp_path / "1"), good(2)), num_request_iterations_for_warmup=3):
        assert len(runs) == 6


def test_the_signature_check_holds_for_warmup_too(tmp_path):
    path = half_plus_two_tf1(tmp_path / "1")
    with_warmup(path, [predict_log("m", {"x": tensor("float", [1])}, "misnamed")])
    with loaded(path):
        pass
    assert "somebody/elses/method" in failure(path, enable_signature_method_name_check=True).message


def test_a_thousand_records_are_the_limit(tmp_path, caplog):
    path = with_warmup(scale(tmp_path / "1"), good(1000))
    assert "Number of warmup records read: 1000" in recorded(path, caplog)
    error = failure(with_warmup(path, good(1001)))
    assert error.code == Code.INVALID_ARGUMENT
    assert error.message == f"Number of warmup records exceeds the maximum (1000) at {path / WARMUP_FILE}"


def test_a_record_that_is_no_prediction_log_is_named(tmp_path):
    path = with_warmup(scale(tmp_path / "1"), [b"\xff"])
    error = failure(path)
    assert error.code == Code.INVALID_ARGUMENT
    assert error.message.startswith("Failed to parse warmup record: ")
    assert error.message.endswith(f" from {path / WARMUP_FILE}")


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"this was never a file of records",
        lambda data: data[:-3],
        lambda data: data[:20] + bytes([data[20] ^ 1]) + data[21:],
        lambda data: bytes([data[0] ^ 1]) + data[1:],
    ],
    ids=["no records", "truncated", "a bit of the data", "a bit of the length"],
)
def test_a_damaged_file_is_data_loss(tmp_path, damage):
    path = with_warmup(scale(tmp_path / "1"), good(2))
    file = path / WARMUP_FILE
    file.write_bytes(damage(file.read_bytes()))
    error = failure(path)
    assert error.code == Code.DATA_LOSS
    assert error.message.endswith(". Please verify your warmup data is in TFRecord format.")
    assert "\n" not in error.message


def test_an_empty_file_has_no_records(tmp_path, caplog):
    assert "Number of warmup records read: 0" in recorded(with_warmup(scale(tmp_path / "1"), []), caplog)


def test_a_log_of_another_kind_is_not_supported(tmp_path):
    log = message("tensorflow.serving.PredictionLog")()
    log.session_run_log.SetInParent()
    error = failure(with_warmup(scale(tmp_path / "1"), [log]))
    assert (error.code, error.message.rpartition(":")[0]) == (Code.UNIMPLEMENTED, "Unsupported log_type for warmup")


def test_records_are_read_up_to_a_limit(tmp_path):
    file = tmp_path / "records"
    records = [b"", b"a", b"b" * 70_000, b"c"]
    file.write_bytes(tf_records(records))
    assert list(warmup.read_records(str(file), limit=3)) == records[:3]


def test_a_version_that_fails_its_warmup_is_freed(tmp_path):
    path = with_warmup(large(tmp_path / "1", 16), [b"\xff"])
    failure(path)
    before = resident_bytes()
    for _ in range(5):
        failure(path)
    assert resident_bytes() - before < 16 << 20
