"""Metrics as Prometheus reads them."""

from __future__ import annotations

import re
import time

from modelfleet_services.common.prometheus import counter, gauge, of_this_process, render

SAMPLE = re.compile(r'[a-z_]+(\{[a-z_]+="(?:[^"\\\n]|\\["\\n])*"(,[a-z_]+="(?:[^"\\\n]|\\["\\n])*")*\})? -?[0-9.e+-]+')


def test_samples_have_explanations_types_labels_and_escapes():
    text = render(
        [
            gauge("a_bytes", "How\\many\nbytes.").add(1.5).add(2**53, model='q"\\\n', code="x"),
            counter("b_total", "Count.").add(0),
            gauge("c", "Nothing yet."),
        ]
    )
    assert text == (
        "# HELP a_bytes How\\\\many\\nbytes.\n"
        "# TYPE a_bytes gauge\n"
        "a_bytes 1.5\n"
        'a_bytes{model="q\\"\\\\\\n",code="x"} 9007199254740992\n'
        "# HELP b_total Count.\n"
        "# TYPE b_total counter\n"
        "b_total 0\n"
        "# HELP c Nothing yet.\n"
        "# TYPE c gauge\n"
    )


def test_the_process_is_measured():
    begin = time.process_time()
    values = {metric.name: metric.samples[0][1] for metric in of_this_process()}
    assert begin - 0.1 <= values["process_cpu_seconds_total"] <= time.process_time() + 0.1
    assert 5_000_000 < values["process_resident_memory_bytes"] < 20_000_000_000
    assert 3 <= values["process_open_fds"] < 5000
    assert values["process_threads"] >= 1
    assert time.time() - 3600 < values["process_start_time_seconds"] < time.time()
    for line in render(of_this_process()).splitlines():
        assert line.startswith("# ") or SAMPLE.fullmatch(line)
