"""What a repository answers, and what the puller makes of it: never a wrong byte, a reason, and recovery by itself."""

from __future__ import annotations

import pytest
from modelfleet.pull_status import PullState

from tests.support.faulty_proxy import Fault
from tests.support.pull_lab import MIB, complaints, saved_model, versions_of
from tests.support.running_puller import wants

SHARD = r"/o/m/1/variables/variables\.data"
FAILED = {PullState.RETRYING, PullState.REFUSED}


def wait_for_failure(puller, code, model="m"):
    def failed():
        report = puller.report(model)
        return report and report.state in FAILED and report.code == code

    puller.wait(failed)
    report = puller.report(model)
    assert report.message
    return report


@pytest.mark.parametrize(
    "fault",
    [
        Fault(SHARD, corrupt=MIB + 77, times=1),
        Fault(SHARD, truncate=MIB + 77, times=1),
        Fault(SHARD, reset=MIB + 77, times=1),
        Fault(SHARD, reset=-1, times=1),
        Fault(SHARD, hang=MIB + 77, times=1),
        Fault(SHARD, hang=-1, times=1),
        Fault(SHARD, status=503, times=2),
        Fault(SHARD, status=500, times=2),
        Fault(SHARD, status=403, times=1),
        Fault(SHARD, status=404, times=1),
        Fault(r"/o\?", status=503, times=2),
        Fault(r"/o\?", truncate=20, times=1),
        Fault(r"/o\?", reset=-1, times=1),
    ],
    ids=lambda fault: repr({name: value for name, value in vars(fault).items() if value}),
)
def test_a_fault_that_passes_delays_a_model_and_no_more(lab, fault):
    lab.shelf.publish("m", 1, saved_model("m", 3 * MIB))
    lab.shelf.publish("n", 1, saved_model("n"))
    armed = lab.proxy.add(fault)
    with lab.puller(wants("m", "n")) as puller:
        puller.wait_until_complete("m", "n")
    assert armed.hits == fault.times
    assert complaints(lab.store, lab.shelf.versions) == []


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault(SHARD, corrupt=MIB + 77), "DIGEST_MISMATCH"),
        (Fault(SHARD, truncate=0), "UNAVAILABLE"),
        (Fault(SHARD, hang=0), "STALLED"),
        (Fault(SHARD, status=403, body=b"no access for you"), "FORBIDDEN"),
        (Fault(SHARD, status=503), "UNAVAILABLE"),
        (Fault(SHARD, status=429), "UNAVAILABLE"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_fault_that_stays_keeps_a_model_out_with_its_reason_until_it_goes(lab, fault, code):
    lab.shelf.publish("m", 1, saved_model("m", 3 * MIB))
    lab.shelf.publish("n", 1, saved_model("n"))
    armed = lab.proxy.add(fault)
    with lab.puller(wants("m", "n")) as puller:
        puller.wait_until_complete("n")
        wait_for_failure(puller, code)
        puller.wait_for_passes(3)
        assert set(versions_of(lab.store)) == {("n", 1)}
        assert complaints(lab.store, lab.shelf.versions) == []
        lab.proxy.remove(armed)
        puller.wait_until_complete("m", "n")
    assert complaints(lab.store, lab.shelf.versions) == []


@pytest.mark.parametrize(
    "fault",
    [
        Fault("variables.data", corrupt=MIB + 77, times=1),
        Fault("variables.data", truncate=MIB + 77, times=1),
        Fault("variables.data", hang=MIB + 77, times=1),
        Fault("variables.data", status=503, times=2),
        Fault("variables.data", status=403, times=1),
    ],
    ids=lambda fault: repr({name: value for name, value in vars(fault).items() if value}),
)
def test_a_fault_that_passes_delays_a_model_from_s3_and_no_more(s3_lab, fault):
    s3_lab.shelf.publish("m", 1, saved_model("m", 3 * MIB))
    armed = s3_lab.proxy.add(fault)
    with s3_lab.puller(wants("m")) as puller:
        puller.wait_until_complete("m")
    assert armed.hits == fault.times
    assert complaints(s3_lab.store, s3_lab.shelf.versions) == []


@pytest.mark.parametrize("times", [1, 2, None])
def test_a_byte_that_turns_on_the_way_of_a_large_object_costs_it_alone(lab, times):
    size = lab.shelf.publish("m", 1, saved_model("m", 6 * MIB, shards=2))
    armed = lab.proxy.add(Fault(r"data-00000-of-00002", corrupt=MIB + 77, times=times))
    with lab.puller(wants("m"), segment_bytes=MIB, workers=3) as puller:
        if times is None:
            wait_for_failure(puller, "DIGEST_MISMATCH")
            puller.wait_for_passes(2)
            assert versions_of(lab.store) == {}
            lab.proxy.remove(armed)
        puller.wait_until_complete("m")
    assert complaints(lab.store, lab.shelf.versions) == []
    if times:
        assert lab.proxy.body_bytes("/o/m/1/") <= size + times * 3 * MIB


def test_bytes_that_turn_on_their_way_never_reach_another_version(lab):
    old = saved_model("m", 3 * MIB)
    shard = "variables/variables.data-00000-of-00001"
    lab.shelf.publish("m", 1, old)
    with lab.puller(wants("m")) as puller:
        puller.wait_until_complete("m")
    # The second version shares the file, and stays unfinished.
    lab.shelf.publish("m", 2, {**old, "saved_model.pb": b"another graph"})
    graph = lab.proxy.add(Fault("/o/m/2/saved_model.pb", status=503))
    with lab.puller(wants(m=2)) as puller:
        puller.wait(lambda: graph.hits > 3)
    # Nobody knows any more that the first one has the file as well.
    (lab.store / ".receipts/m/1.json").unlink()
    lab.proxy.add(Fault(rf"/o/m/2/{shard}", corrupt=MIB))
    with lab.puller(wants(m=2)) as puller:
        puller.wait(lambda: len(lab.proxy.seen(rf"/o/m/2/{shard}")) > 2)
        puller.wait_for_passes(2)
    assert (lab.store / "m/1" / shard).read_bytes() == old[shard]
    assert complaints(lab.store, lab.shelf.versions) == []


def test_what_arrived_before_a_broken_connection_is_not_read_again(lab):
    size = lab.shelf.publish("m", 1, saved_model("m", 40 * MIB))
    lab.proxy.add(Fault(SHARD, reset=30 * MIB, times=1))
    with lab.puller(wants("m")) as puller:
        puller.wait_until_complete("m")
    assert lab.proxy.body_bytes("/o/m/1/") < size + 4 * MIB


@pytest.mark.parametrize("overwritten", ["saved_model.pb", "variables/variables.data-00000-of-00001"])
def test_an_object_that_changes_in_mid_pull_is_never_mixed_with_the_others(lab, overwritten):
    old = saved_model("m", 3 * MIB)
    lab.shelf.publish("m", 1, old)
    new = {**old, overwritten: saved_model("newer", 3 * MIB)[overwritten]}
    armed = lab.proxy.add(Fault(SHARD, call=lambda: lab.shelf.publish("m", 1, new), times=1))
    with lab.puller(wants("m")) as puller:
        puller.wait_until_complete("m")
    assert armed.hits == 1
    assert complaints(lab.store, {("m", 1): new}) == []


def test_an_upload_that_is_not_complete_yet_is_awaited(lab):
    files = saved_model("m", 2 * MIB, shards=2)
    late = "variables/variables.data-00001-of-00002"
    lab.shelf.publish("m", 1, {path: data for path, data in files.items() if path != late})
    with lab.puller(wants("m")) as puller:
        wait_for_failure(puller, "INCOMPLETE")
        assert versions_of(lab.store) == {}
        lab.shelf.publish("m", 1, files)
        puller.wait_until_complete("m")
    assert complaints(lab.store, lab.shelf.versions) == []


def test_a_model_that_is_not_published_yet_is_awaited(lab):
    lab.shelf.publish("n", 1, saved_model("n"))
    with lab.puller(wants("m", "n")) as puller:
        puller.wait_until_complete("n")
        wait_for_failure(puller, "SOURCE_NOT_FOUND")
        lab.shelf.publish("m", 1, saved_model("m"))
        puller.wait_until_complete("m", "n")


def test_a_server_that_asks_for_patience_gets_it(lab):
    lab.shelf.publish("m", 1, saved_model("m"))
    lab.proxy.add(Fault(SHARD, status=429, headers={"Retry-After": "1"}, times=1))
    with lab.puller(wants("m")) as puller:
        puller.wait_until_complete("m")
    refused, granted = lab.proxy.seen(SHARD)
    assert (refused.status, granted.status // 100) == (429, 2)
    assert 0.95 < granted.at - refused.at < 3


def test_a_server_that_loses_its_models_for_a_moment_costs_nothing(lab):
    lab.shelf.publish("m", 1, saved_model("m"))
    with lab.puller(wants("m")) as puller:
        puller.wait_until_complete("m")
        lost = lab.proxy.add(Fault(status=404, body=b"{}"))
        puller.wait(lambda: puller.puller.status().error)
        assert puller.puller.status().error["code"] == "SOURCE_NOT_FOUND"
        assert complaints(lab.store, lab.shelf.versions) == []
        assert set(versions_of(lab.store)) == {("m", 1)}
        lab.proxy.remove(lost)
        puller.wait(lambda: not puller.puller.status().error)
        puller.wait_until_complete("m")


def test_a_listing_that_is_suddenly_empty_takes_nothing_away(lab):
    lab.shelf.publish("m", 1, saved_model("m"))
    with lab.puller(wants("m")) as puller:
        puller.wait_until_complete("m")
        empty = b'{"kind": "storage#objects"}'
        lab.proxy.add(Fault(r"/o\?", status=200, headers={"Content-Type": "application/json"}, body=empty))
        puller.wait_for_passes(3)
        assert set(versions_of(lab.store)) == {("m", 1)}
    assert complaints(lab.store, lab.shelf.versions) == []


def test_a_manifest_that_cannot_be_read_freezes_what_is_there(lab):
    lab.shelf.publish("m", 1, saved_model("m"))
    lab.shelf.publish("n", 1, saved_model("n"))
    with lab.puller(wants("m")) as puller:
        puller.wait_until_complete("m")
        puller.wanted = '{"models": {"n": '
        puller.wait(lambda: puller.puller.status().error)
        assert puller.puller.status().error["code"] == "INVALID"
        puller.wait_for_passes(2)
        assert set(versions_of(lab.store)) == {("m", 1)}
        assert puller.report("m").state is PullState.COMPLETE
        puller.wanted = wants("m", "n")
        puller.wait_until_complete("m", "n")
        assert not puller.puller.status().error
