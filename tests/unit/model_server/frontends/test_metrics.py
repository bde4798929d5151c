"""The metrics and their page."""

from __future__ import annotations

import threading

from modelfleet_services.model_server.metrics import Counter, Histogram, ServerMetrics


def test_counters_by_label_and_the_first_point():
    counter = Counter("/a/b-c", ("model_name", "status"))
    assert counter.first_value() == 0
    counter.add('quo"te\\', "OK")
    counter.add("m", "OK", count=2)
    counter.add('quo"te\\', "OK")
    assert counter.first_value() == 2
    assert counter.lines() == [
        "# TYPE :a:b:c counter",
        ':a:b:c{model_name="quo\\"te\\\\",status="OK"} 2',
        ':a:b:c{model_name="m",status="OK"} 2',
    ]


def test_histograms_are_cumulative_and_end_in_infinity():
    histogram = Histogram("/h", ("m",), (1.0, 10.0))
    for value in (0.5, 5.0, 7.0, 100.0):
        histogram.observe(value, "x")
    assert histogram.lines() == [
        "# TYPE :h histogram",
        ':h_bucket{m="x",le="1"} 1',
        ':h_bucket{m="x",le="10"} 3',
        ':h_bucket{m="x",le="+Inf"} 4',
        ':h_sum{m="x"} 112.5',
        ':h_count{m="x"} 4',
    ]


def test_the_page_has_every_metric_and_nothing_but_type_lines():
    metrics = ServerMetrics()
    page = metrics.page()
    assert page.endswith("\n")
    assert [line.split()[2] for line in page.splitlines() if line.startswith("#")] == [
        f":tensorflow:serving:{name}"
        for name in (
            *("request_count", "request_example_count_total", "request_example_counts"),
            *("request_latency", "runtime_latency"),
        )
    ]


def test_the_first_value_is_found_by_the_metrics_own_name():
    metrics = ServerMetrics()
    metrics.request_count.add("m", "OK", count=3)
    assert metrics.first_value("/tensorflow/serving/request_count") == 3
    assert metrics.first_value("/tensorflow/serving/request_latency") == 0
    assert metrics.first_value("/no/such") == 0


def test_threads_lose_no_count():
    counter = Counter("/n", ("m",))
    threads = [threading.Thread(target=lambda: [counter.add("x") for _ in range(2000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.first_value() == 8000
