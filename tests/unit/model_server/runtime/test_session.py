"""Sessions run side by side, keep their deadlines and give their memory back."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from modelfleet_services.model_server.rpc_status import Code, StatusError
from modelfleet_services.model_server.runtime.session import session_of_graph

from tests.support.runtime_lab import load, loaded, resident_bytes
from tests.support.saved_models import (
    DTYPES,
    GraphWriter,
    echo,
    half_plus_two_tf2,
    large,
    scale,
    slow,
    string_constant,
    tensor,
)

MEGABYTE = 1 << 20


def run(servable, *values, timeout_s=None):
    reply = servable.run("serving_default", {"x": tensor("float", values)}, ["y"], timeout_s=timeout_s)
    return list(reply["y"].float_val)


def test_tens_of_thousands_of_strings_neither_leak_nor_crash(tmp_path):
    # 2 x 4 kB and 2 x 40 B a call: a leak of either in 20,000 calls would show as 160 MB or 1.6 MB.
    values = tensor("string", [b"x" * 4096, b"y" * 40, b"z" * 4096, b"w" * 40])
    with loaded(string_constant(tmp_path / "1")) as servable:

        def call(times):
            for _ in range(times):
                reply = servable.run("serving_default", {"x": values}, ["y", "label"])
                assert reply["y"] == values
                assert reply["label"].string_val[0].startswith(b"a constant that is longer")

        call(2_000)
        before = resident_bytes()
        call(20_000)
        assert resident_bytes() - before < MEGABYTE


def test_floats_do_not_leak(tmp_path):
    with loaded(echo(tmp_path / "1", "float")) as servable:
        values = [1.0] * 500
        for _ in range(200):
            run(servable, *values)
        before = resident_bytes()
        # 2,000 x 2 kB x 2 tensors are 8 MB.
        for _ in range(2_000):
            run(servable, *values)
        assert resident_bytes() - before < 2 * MEGABYTE


def test_failing_runs_do_not_leak(tmp_path):
    with loaded(scale(tmp_path / "1")) as servable:
        wrong = tensor("string", [b"s" * 4096])

        def fail(times):
            for _ in range(times):
                with pytest.raises(StatusError, match="to be float but string is provided"):
                    servable.run("serving_default", {"x": wrong}, ["y"])

        fail(200)
        before = resident_bytes()
        fail(2_000)
        assert resident_bytes() - before < 2 * MEGABYTE


def test_eight_threads_get_their_own_answers(tmp_path):
    with loaded(scale(tmp_path / "1", 3.0)) as floats, loaded(echo(tmp_path / "2")) as strings:

        def work(number):
            for step in range(300):
                assert run(floats, number, step) == [3.0 * number, 3.0 * step]
                text = tensor("string", [f"{number}-{step}".encode() * 8])
                assert strings.run("serving_default", {"x": text}, ["y"])["y"] == text
            return number

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(work, range(8))) == list(range(8))


def test_load_and_unload_cycles_keep_memory_flat(tmp_path):
    path = large(tmp_path / "1", 16)

    def cycle():
        with loaded(path) as servable:
            assert run(servable, 1.0) == [2.5]

    for _ in range(3):
        cycle()
    before = resident_bytes()
    for _ in range(10):
        cycle()
    # One kept copy would be 16 MB a cycle, 160 MB in all.
    assert resident_bytes() - before < 16 * MEGABYTE


def test_a_graph_of_many_small_nodes_is_given_back_to_the_system(tmp_path):
    graph = GraphWriter()
    last = graph.placeholder("x", "float")
    for number in range(4_000):
        graph.constant(f"c{number}", tensor("float", [0.5] * 64))
        last = graph.node(f"a{number}", "AddV2", [last, f"c{number}"], T=DTYPES["float"])
    graph.signature("serving_default", {"x": ("x:0", "float")}, {"y": (f"{last}:0", "float")})
    path = graph.write(tmp_path / "1")
    with loaded(scale(tmp_path / "0")), ThreadPoolExecutor(1) as pool:
        before = resident_bytes()
        # As in the server, where another thread loads: memory of a thread's own is kept longer than the main thread's.
        servable = pool.submit(load, path).result()
        held = resident_bytes() - before
        servable.close()
        assert resident_bytes() - before < held / 2


def test_a_loaded_model_costs_about_its_size_once(tmp_path):
    with loaded(large(tmp_path / "0", 1)):
        before = resident_bytes()
        with loaded(large(tmp_path / "1", 64)) as servable:
            assert run(servable, 1.0) == [2.5]
            held = resident_bytes() - before
        assert resident_bytes() - before < 8 * MEGABYTE
    # The graph in the session and the graph of the C API each hold the constant.
    assert 60 * MEGABYTE < held < 260 * MEGABYTE


def test_models_load_in_parallel(tmp_path):
    paths = [half_plus_two_tf2(tmp_path / str(number)) for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        servables = list(pool.map(load, paths))
    for servable in servables:
        assert run(servable, 4.0) == [4.0]
        servable.close()


def test_loading_and_closing_others_does_not_disturb_a_running_model(tmp_path):
    other = half_plus_two_tf2(tmp_path / "other")
    stop = threading.Event()
    answers = []

    with loaded(scale(tmp_path / "1", 2.0)) as servable:

        def serve():
            while not stop.is_set():
                answers.append(run(servable, len(answers)) == [2.0 * len(answers)])

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            for _ in range(5):
                with loaded(other) as neighbour:
                    assert run(neighbour, 2.0) == [3.0]
        finally:
            stop.set()
            thread.join(30)
    assert all(answers)
    assert len(answers) > 100


def test_closing_one_model_leaves_a_slow_run_of_another_alone(tmp_path):
    neighbour = load(scale(tmp_path / "2"))
    with loaded(slow(tmp_path / "1", 0.3, 2.0)) as servable, ThreadPoolExecutor(1) as pool:
        pending = pool.submit(run, servable, 5.0)
        time.sleep(0.05)
        neighbour.close()
        assert not pending.done()
        assert pending.result(10) == [10.0]


def test_a_run_takes_the_time_of_its_model_and_leaves_the_interpreter_free(tmp_path):
    with loaded(slow(tmp_path / "1", 0.3)) as servable, ThreadPoolExecutor(4) as pool:
        started = time.monotonic()
        assert list(pool.map(lambda _: run(servable, 1.0), range(4))) == [[1.0]] * 4
        assert 0.3 <= time.monotonic() - started < 0.9


def test_a_deadline_ends_a_slow_run(tmp_path):
    with loaded(slow(tmp_path / "1", 1.0)) as servable:
        started = time.monotonic()
        with pytest.raises(StatusError) as error:
            run(servable, 1.0, timeout_s=0.1)
        assert error.value.code == Code.DEADLINE_EXCEEDED
        assert time.monotonic() - started < 0.8
        for _ in range(3):
            with pytest.raises(StatusError):
                run(servable, 1.0, timeout_s=0.1)


def test_quick_runs_do_not_make_a_later_deadline_void(tmp_path):
    def run_for(servable, micros, timeout_s):
        feeds = {"x:0": tensor("float", [1.0]), "pause:0": tensor("int64", [micros], [])}
        servable.run_many(feeds, ["y:0"], timeout_s=timeout_s)

    with loaded(slow(tmp_path / "1")) as servable:
        for _ in range(20):
            run_for(servable, 0, 30.0)
        started = time.monotonic()
        with pytest.raises(StatusError) as error:
            run_for(servable, 1_000_000, 0.2)
        assert error.value.code == Code.DEADLINE_EXCEEDED
        assert time.monotonic() - started < 1.0


def test_a_deadline_that_has_passed_runs_nothing(tmp_path):
    with loaded(scale(tmp_path / "1")) as servable:
        for timeout_s in (0.0, -1.0):
            with pytest.raises(StatusError) as error:
                run(servable, 1.0, timeout_s=timeout_s)
            assert error.value.code == Code.DEADLINE_EXCEEDED


def test_quick_models_answer_within_their_deadlines(tmp_path):
    with loaded(scale(tmp_path / "1", 2.0)) as servable:
        assert [run(servable, 1.0, timeout_s=5.0) for _ in range(50)] == [[2.0]] * 50


@pytest.mark.parametrize("name", ["nothing:0", "x:none", "x:-1"])
def test_tensors_that_are_not_in_the_graph_are_named(tmp_path, name):
    with loaded(scale(tmp_path / "1")) as servable, pytest.raises(StatusError, match=f"Tensor {name}") as error:
        servable.run_many({"x:0": tensor("float", [1])}, [name])
    assert error.value.code == Code.INVALID_ARGUMENT


def test_an_output_number_that_the_operation_lacks_is_an_error(tmp_path):
    with loaded(scale(tmp_path / "1")) as servable, pytest.raises(StatusError):
        servable.run_many({"x:0": tensor("float", [1])}, ["y:5"])


def test_a_graph_that_is_none_makes_no_session():
    with pytest.raises(StatusError) as error:
        session_of_graph(b"\xff\xff")
    assert error.value.code == Code.INVALID_ARGUMENT


def test_many_different_sets_of_outputs_are_served(tmp_path):
    with loaded(scale(tmp_path / "1", 2.0)) as servable:
        for count in range(1, 20):
            reply = servable.run_many({"x:0": tensor("float", [1])}, ["y:0"] * count)
            assert list(reply["y:0"].float_val) == [2.0]
