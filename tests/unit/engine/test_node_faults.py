"""Servers that hang, crash, refuse or vanish, and what the loop makes of them."""

from __future__ import annotations

import pytest
from modelfleet import models_config
from modelfleet.errors import (
    DeadlineExceeded,
    ReloadLockHeld,
    ServerRefused,
    ServerUnreachable,
)
from modelfleet.models_config import ModelEntry, ModelsConfig
from modelfleet.node import start_failures
from modelfleet.status import ServingState, VersionStatus

from tests.support.node_rig import LIMITS, one, released_after_a_failed_load


def hanging(rig, *, loading=(), down=False):
    """Make the next reload hang: some versions load for ever, and perhaps no status is told any more."""

    def hang(config, *, timeout_s):
        for model, version in loading:
            rig.server.monitor.setdefault(model, {})[version] = VersionStatus(ServingState.LOADING)
        rig.server.up = not down
        raise ReloadLockHeld("server", f"did not return within {timeout_s} s")

    rig.server.reload = hang


def test_a_reload_that_does_not_return_is_reported_and_a_restart_is_enough(rig):
    rig.converge({"digits": one(1)})
    hanging(rig, loading=[("words", 1)])
    with pytest.raises(ReloadLockHeld):
        rig.converge({"digits": one(1), "words": one(1)})
    assert {key: record.code for key, record in rig.store.quarantined().items()} == {("words", 1): "LOAD_TIMEOUT"}
    assert rig.configured() == {"digits": (1,)}


def test_what_waited_behind_a_stuck_reload_is_not_blamed_for_it(rig):
    rig.publish("later", 1)
    rig.converge({"digits": one(1)})
    accept = rig.server.reload
    hanging(rig, loading=[("words", 1)])
    wish = {"digits": one(1), "words": one(1), "later": one(1)}
    with pytest.raises(ReloadLockHeld):
        rig.converge(wish)
    rig.server.reload = accept
    rig.server.restart(models_config.read(rig.file))
    rig.converge(wish)
    assert rig.available() == {"digits": [1], "later": [1]}


def test_a_stuck_reload_of_a_server_that_tells_nothing_condemns_nothing(rig):
    rig.converge({"digits": one(1)})
    hanging(rig, down=True)
    with pytest.raises(ReloadLockHeld):
        rig.converge({"digits": one(1), "words": one(1)})
    assert rig.store.quarantined() == {}
    assert "digits" in rig.configured()


def test_a_start_gets_only_what_has_proven_to_load(rig):
    rig.converge({"digits": one(1), "words": one(1)})
    rig.publish("digits", 2)
    rig.server.up = False
    with pytest.raises(ServerUnreachable):
        rig.converge({"digits": one(2), "words": one(1)})
    assert rig.configured()["digits"] == (1,)


def test_a_version_that_takes_the_server_down_each_time_is_set_aside(rig):
    rig.converge({"digits": one(1), "words": one(1)})
    rig.publish("digits", 2)
    load = rig.server._advance_loads

    def crash():
        managed = rig.server.managed.get(("digits", 2))
        if managed is not None and managed.state is ServingState.LOADING:
            rig.server.up = False
        else:
            load()

    rig.server._advance_loads = crash
    down_since = []

    def supervisor():
        if rig.server.up:
            down_since.clear()
        else:
            down_since.append(rig.time)
            if len(down_since) > 3:
                rig.server.restart(models_config.read(rig.file))

    rig.while_waiting = supervisor
    rig.converge({"digits": one(2), "words": one(1)})
    assert rig.available() == {"digits": [1], "words": [1]}
    assert "went away" in rig.store.quarantined()[("digits", 2)].message


def test_a_file_that_was_written_but_not_sent_is_sent_before_a_failure_is_believed(rig):
    wish = released_after_a_failed_load(rig)
    entries = models_config.read(rig.file)
    models_config.write(rig.file, entries.with_entry(ModelEntry("digits", f"{rig.store.root}/digits", (1, 2))))
    rig.converge(wish)
    assert rig.available()["digits"] == [2]
    assert rig.store.quarantined() == {}


def test_a_reload_that_went_astray_is_sent_again(rig):
    rig.converge({"digits": one(1), "words": one(1)})
    accept = rig.server.reload
    calls = []

    def astray(config, *, timeout_s):
        calls.append(config)
        if len(calls) == 1:
            raise ServerUnreachable("server", "reset")
        accept(config, timeout_s=timeout_s)

    rig.server.reload = astray
    rig.converge({"digits": one(1)})
    assert len(calls) == 2
    assert rig.available() == {"digits": [1], "words": []}


def test_a_server_that_takes_no_reload_is_given_up_after_a_while(rig):
    rig.converge({"digits": one(1), "words": one(1)})

    def astray(config, *, timeout_s):
        raise ServerUnreachable("server", "reset")

    rig.server.reload = astray
    with pytest.raises(ServerUnreachable, match="took a configuration within 5 s"):
        rig.converge({"digits": one(1)})


def test_a_version_that_never_finishes_loading_is_given_up_and_the_old_one_stays(rig):
    rig.converge({"digits": one(1), "words": one(1)})
    rig.publish("digits", 2)
    advance = rig.server._advance_loads
    rig.server._advance_loads = lambda: None
    rig.while_waiting = lambda: (
        setattr(rig.server, "_advance_loads", advance) if ("digits", 2) in rig.store.quarantined() else None
    )
    rig.converge({"digits": one(2), "words": one(1)})
    assert rig.store.quarantined()[("digits", 2)].code == "LOAD_TIMEOUT"
    assert rig.available()["digits"] == [1]
    assert rig.time < 2 * LIMITS.load_timeout_s


def test_a_server_that_does_not_follow_is_reported_with_a_deadline(rig):
    rig.converge({"digits": one(1), "words": one(1)})
    rig.publish("digits", 2)
    rig.server.tick = lambda: None
    with pytest.raises(DeadlineExceeded, match="does not follow"):
        rig.converge({"digits": one(2), "words": one(1)})


def test_a_refused_configuration_is_taken_back(rig):
    rig.converge({"digits": one(1)})
    good = rig.file.read_text()
    accept = rig.server.reload

    def refuse(config, *, timeout_s):
        if "words" in config.entries:
            raise ServerRefused("server", "INVALID_ARGUMENT", "no")
        accept(config, timeout_s=timeout_s)

    rig.server.reload = refuse
    with pytest.raises(ServerRefused, match="INVALID_ARGUMENT"):
        rig.converge({"digits": one(1), "words": one(1)})
    assert rig.file.read_text() == good
    assert rig.available()["digits"] == [1]


def test_a_version_that_broke_the_start_is_taken_out_so_that_the_server_comes_up(rig, tmp_path):
    rig.converge({"digits": one(1)})
    rig.failing.add(("words", 1))
    rig.log = tmp_path / "log"
    models_config.write(
        rig.file,
        ModelsConfig.of(ModelEntry(name, f"{rig.store.root}/{name}", (1,)) for name in ("digits", "words")),
    )

    def supervisor():
        if not rig.server.up:
            rig.server.restart(models_config.read(rig.file))
            if not rig.server.up:
                rig.log.write_text(
                    "Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available: "
                    "{{{name: words version: 1} due to error: NOT_FOUND: no graph}, }\n"
                )

    rig.server.up = False
    supervisor()
    assert not rig.server.up
    rig.while_waiting = supervisor
    rig.converge({"digits": one(1), "words": one(1)})
    assert rig.available()["digits"] == [1]
    assert rig.store.quarantined()[("words", 1)].message == "NOT_FOUND: no graph"


def test_no_server_at_all_is_an_error_with_a_deadline_and_the_file_is_ready(rig):
    rig.server.up = False
    with pytest.raises(ServerUnreachable, match="5 s"):
        rig.converge({"digits": one(1)})
    assert rig.configured() == {"digits": (1,)}


def test_a_server_that_goes_away_late_gets_its_whole_time_to_come_back(rig):
    rig.converge({"digits": one(1), "words": one(1)})
    rig.publish("digits", 2)
    advance = rig.server._advance_loads
    rig.server._advance_loads = lambda: None

    def supervisor():
        if 6 < rig.time < 8:
            rig.server.up = False
        elif not rig.server.up:
            rig.server._advance_loads = advance
            rig.server.restart(models_config.read(rig.file))

    rig.while_waiting = supervisor
    rig.converge({"digits": one(2), "words": one(1)})
    assert rig.available()["digits"] == [2]


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("", {}),
        ("Failed to start server. Error: INVALID_ARGUMENT: Expected model x", {}),
        (
            (
                "Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available: "
                "{{{name: a version: 1} due to error: NOT_FOUND: x}, }\n... Running gRPC ModelServer at 0.0.0.0:1 ...\n"
            ),
            {},
        ),
        (
            (
                "Failed to start server. Error: UNKNOWN: 2 servable(s) did not become available: {"
                "{{name: a version: 1} due to error: NOT_FOUND: no bundle (should have x)\nSpecified file path: /a/1}, "
                "{{name: b version: 2} due to error: OUT_OF_RANGE: y\n\t [[{{node z}}]]}, }\nnext line\n"
            ),
            {
                ("a", 1): "NOT_FOUND: no bundle (should have x)\nSpecified file path: /a/1",
                ("b", 2): "OUT_OF_RANGE: y\n\t [[{{node z}}]]",
            },
        ),
        (
            (
                "old\nFailed to start server. Error: UNKNOWN: 2 servable(s) did not become available: {"
                "{{name: a version: 1} due to error: NOT_FOUND: x, y}, "
                "{{name: b-c version: 20} due to error: INTERNAL: z}, }\n"
            ),
            {("a", 1): "NOT_FOUND: x, y", ("b-c", 20): "INTERNAL: z"},
        ),
    ],
)
def test_the_culprits_of_a_failed_start_are_read_from_the_log(log, expected):
    assert start_failures(log) == expected
