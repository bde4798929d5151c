"""What refuses a start, and what flags and files are turned into."""

from __future__ import annotations

import pytest
from modelfleet_services.model_server import startup, text_protos
from modelfleet_services.model_server.flags import parse
from modelfleet_services.model_server.rpc_status import Code, StatusError


def flags_of(*arguments):
    return parse(["--model_base_path=/m", *arguments]).flags


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--port=0",), "At least one of server_options.grpc_port or server_options.grpc_socket_path must be set."),
        (
            ("--use_alts_credentials", "--ssl_config_file=x"),
            "Either use_alts_credentials must be false or ssl_config_file must be empty.",
        ),
        (
            ("--model_base_path=",),
            "Both server_options.model_base_path and server_options.model_config_file are empty!",
        ),
        (
            ("--batching_parameters_file=x",),
            "server_options.batching_parameters_file is set without setting server_options.enable_batching to true.",
        ),
        (
            (
                "--tensorflow_session_parallelism=1",
                "--tensorflow_intra_op_parallelism=1",
                "--tensorflow_inter_op_parallelism=1",
            ),
            "Either configure server_options.tensorflow_session_parallelism or (",
        ),
    ],
)
def test_conflicts(arguments, words):
    with pytest.raises(StatusError) as failure:
        startup.check_conflicts(flags_of(*arguments))
    assert failure.value.code is Code.INVALID_ARGUMENT
    assert failure.value.message.startswith(words)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--port=0", "--grpc_socket_path=x"),
        ("--platform_config_file=x", "--batching_parameters_file=x"),
        ("--enable_batching", "--batching_parameters_file=x"),
    ],
)
def test_no_conflict(arguments):
    startup.check_conflicts(flags_of(*arguments))


def test_the_single_model():
    config = startup.model_server_config(flags_of("--model_name=a"))
    (model,) = config.model_config_list.config
    assert (model.name, model.base_path, model.model_platform) == ("a", "/m", "tensorflow")


def test_a_config_file_wins_over_the_single_model(tmp_path):
    path = tmp_path / "models.config"
    path.write_text(
        'model_config_list { config: { name: "x" model_version_policy { specific { versions: [1, 2] } } } }'
    )
    config = startup.model_server_config(flags_of(f"--model_config_file={path}"))
    (model,) = config.model_config_list.config
    assert (model.name, list(model.model_version_policy.specific.versions)) == ("x", [1, 2])


def test_a_custom_config_cannot_start(tmp_path):
    path = tmp_path / "models.config"
    path.write_text("custom_model_config { }")
    with pytest.raises(StatusError, match="ModelServer does not yet support custom model config"):
        startup.model_server_config(flags_of(f"--model_config_file={path}"))


@pytest.mark.parametrize(
    ("arguments", "intra", "inter"),
    [
        ((), 0, 0),
        (("--tensorflow_session_parallelism=3",), 3, 3),
        (("--tensorflow_session_parallelism=3", "--tensorflow_inter_op_parallelism=2"), 0, 2),
        (("--tensorflow_intra_op_parallelism=2",), 2, 0),
    ],
)
def test_threads_of_a_session(tmp_path, arguments, intra, inter):
    path = tmp_path / "session.txt"
    path.write_text("intra_op_parallelism_threads: 7 inter_op_parallelism_threads: 7 allow_soft_placement: true")
    config = startup.session_config(flags_of(*arguments, f"--tensorflow_session_config_file={path}"))
    assert (config.intra_op_parallelism_threads, config.inter_op_parallelism_threads) == (intra, inter)
    assert config.allow_soft_placement


def test_options_of_the_life_cycle_and_of_the_models():
    flags = flags_of("--load_retry_interval_micros=1500", "--saved_model_tags=serve,gpu", "--num_load_threads=4")
    core = startup.core_options(flags)
    assert (core.load_retry_interval_s, core.num_load_threads, core.file_system_poll_wait_s) == (0.0015, 4, 1)
    assert startup.runtime_options(flags).saved_model_tags == ("serve", "gpu")


def test_a_platform_file_replaces_the_flags_of_the_platform():
    options = startup.runtime_options(
        flags_of("--platform_config_file=x", "--saved_model_tags=a", "--prefer_tflite_model")
    )
    assert (options.saved_model_tags, options.prefer_tflite_model) == (("serve",), False)


def test_channel_arguments():
    assert startup.channel_arguments("") == []
    assert startup.channel_arguments("a=1,b=x,c=-2,d=,e=f=g") == [
        ("a", 1),
        ("b", "x"),
        ("c", -2),
        ("d", ""),
        ("e", "f"),
    ]
    huge = "1" * 5000
    assert startup.channel_arguments(f"a=2147483647,b=2147483648,c=-2147483649,d={huge}") == [
        ("a", 2**31 - 1),
        ("b", "2147483648"),
        ("c", "-2147483649"),
        ("d", huge),
    ]
    with pytest.raises(StatusError, match="'b' is not of the form key=value"):
        startup.channel_arguments("a=1,b")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("prometheus_config { enable: true }", "/monitoring/prometheus/metrics"),
        ('prometheus_config { enable: true path: "/m" }', "/m"),
        ('prometheus_config { path: "/m" }', None),
    ],
)
def test_where_the_metrics_are(tmp_path, text, path):
    file = tmp_path / "monitoring.txt"
    file.write_text(text)
    assert startup.metrics_path(flags_of(f"--monitoring_config_file={file}")) == path
    assert startup.metrics_path(flags_of()) is None


class Loaded:
    closed = False

    def close(self):
        self.closed = True


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("allowed_batch_sizes: [8, 32]", "last entry was 32; expected 1000"),
        ("max_batch_size { value: 32 } allowed_batch_sizes: [8, 16]", "last entry was 16; expected 32"),
        ("max_batch_size { value: 32 } allowed_batch_sizes: [8, 32]", None),
        ("batch_timeout_micros { value: 5 }", None),
    ],
)
def test_batching_parameters_decide_whether_models_load(tmp_path, text, refused):
    file = tmp_path / "batching.txt"
    file.write_text(text)
    servable = Loaded()
    load = startup.batched(flags_of("--enable_batching", f"--batching_parameters_file={file}"), lambda *_: servable)
    if refused is None:
        assert load("m", 1, "/m/1") is servable
        return
    with pytest.raises(StatusError, match=refused):
        load("m", 1, "/m/1")
    assert servable.closed


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("allowed_batch_sizes: [8, 32]", "last entry was 32; expected 1000"),
        ("max_batch_size { value: 32 } allowed_batch_sizes: [8, 32]", None),
        ("no_such_field: 1", "Invalid protobuf file: '.*/1/batching_params.pbtxt'"),
        ("", "batching_params.pbtxt; Invalid argument"),
        (None, None),
    ],
)
def test_a_versions_own_batching_parameters_decide_whether_it_loads(tmp_path, text, refused):
    common, version = tmp_path / "batching.txt", tmp_path / "1"
    common.write_text("allowed_batch_sizes: [7]")
    version.mkdir()
    if text is not None:
        (version / "batching_params.pbtxt").write_text(text)
    servable = Loaded()
    arguments = ("--enable_per_model_batching_parameters", f"--batching_parameters_file={common}")
    load = startup.batched(flags_of("--enable_batching", *arguments), lambda *_: servable)
    if refused is None:
        assert load("m", 1, str(version)) is servable
        return
    with pytest.raises(StatusError, match=refused) as failure:
        load("m", 1, str(version))
    assert failure.value.code is Code.INVALID_ARGUMENT
    assert servable.closed


def test_without_batching_a_versions_parameters_are_not_read(tmp_path):
    (tmp_path / "batching_params.pbtxt").write_text("nonsense")
    servable = Loaded()
    load = startup.batched(flags_of("--enable_per_model_batching_parameters"), lambda *_: servable)
    assert load("m", 1, str(tmp_path)) is servable


def test_every_named_file_is_read(tmp_path):
    for flag in ("platform_config_file", "thread_pool_factory_config_file"):
        with pytest.raises(StatusError) as failure:
            startup.check_other_files(flags_of(f"--{flag}={tmp_path}/no"))
        assert failure.value.code is Code.NOT_FOUND


def test_a_file_that_is_missing_empty_or_something_else(tmp_path, capsys):
    name = "tensorflow.serving.ModelServerConfig"

    def refused(path):
        with pytest.raises(StatusError) as failure:
            text_protos.read(str(path), name)
        return str(failure.value)

    empty, wrong, binary = tmp_path / "empty", tmp_path / "wrong", tmp_path / "binary"
    empty.touch()
    wrong.write_text("model_config_list { }\nmodel_config_list { }")
    binary.write_bytes(b"\xff\xfe")
    assert refused(tmp_path / "no") == f"NOT_FOUND: {tmp_path}/no; No such file or directory"
    assert refused(empty) == f"INVALID_ARGUMENT: {empty}; Invalid argument"
    assert refused(tmp_path) == f"INVALID_ARGUMENT: {tmp_path}; Is a directory"
    assert refused(binary) == f"INVALID_ARGUMENT: Invalid protobuf file: '{binary}'"
    capsys.readouterr()
    assert refused(wrong) == f"INVALID_ARGUMENT: Invalid protobuf file: '{wrong}'"
    assert capsys.readouterr().err.startswith(f"Error parsing text-format {name}: 2:1")


def test_the_messages_described_here_have_the_fields_of_the_real_ones():
    ssl = text_protos.message_class("tensorflow.serving.SSLConfig")(server_key="k", client_verify=True)
    assert ssl.SerializeToString() == b"\x0a\x01k\x20\x01"
    batching = text_protos.message_class("tensorflow.serving.BatchingParameters")(
        max_batch_size={"value": 3}, allowed_batch_sizes=[1, 3]
    )
    assert batching.SerializeToString() == b"\x0a\x02\x08\x03\x32\x02\x01\x03"
