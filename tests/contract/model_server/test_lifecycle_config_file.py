"""The poll of the configuration file."""

from __future__ import annotations

import logging

import pytest
from modelfleet.adapters.protos import message
from modelfleet_services.model_server.lifecycle import ConfigFilePoller
from modelfleet_services.model_server.rpc_status import Code, StatusError

from tests.support.lifecycle_lab import eventually


class File:
    """Stands for the file: what it holds, and how often it was read."""

    def __init__(self, config):
        self.config = config
        self.reads = 0

    def read(self):
        self.reads += 1
        if isinstance(self.config, StatusError):
            raise self.config
        return self.config


@pytest.fixture
def lab(make_lab):
    lab = make_lab(num_load_threads=1)
    lab.lay("m", 1)
    lab.lay("other", 1)
    lab.start(lab.model("m"))
    return lab


@pytest.fixture
def polled(lab):
    """Poll a file that lists model m."""
    file = File(lab.config(lab.model("m")))
    poller = ConfigFilePoller(file.read, lab.core, interval_s=0.05, log=lab.log)
    poller.start()
    yield file
    lab.core.stop()
    assert poller.stop()


def test_the_file_is_read_at_once_and_again_at_every_interval(polled):
    eventually(lambda: polled.reads >= 3, "three reads")


def test_a_changed_file_is_applied(lab, polled):
    polled.config = lab.config(lab.model("m"), lab.model("other"))
    lab.until_serving("other", 1)


def test_the_poll_undoes_a_reload_by_rpc_although_the_file_did_not_change(lab, polled):
    lab.reload(lab.model("m"), lab.model("other"))
    lab.until_state("other", 1, "END")


def test_an_unreadable_file_is_only_logged(lab, polled, caplog):
    with caplog.at_level(logging.ERROR):
        polled.config = StatusError(Code.INVALID_ARGUMENT, "Invalid protobuf file: '/x/models.config'")
        text = "Failed to read ModelServerConfig file: Invalid protobuf file: '/x/models.config'"
        eventually(lambda: text in caplog.messages, "the error in the log")
    assert lab.served("m") == 1


def test_an_emptied_file_unloads_nothing(lab, polled, caplog):
    with caplog.at_level(logging.ERROR):
        polled.config = message("tensorflow.serving.ModelServerConfig")()
        text = (
            "PollFilesystemAndReloadConfig failed to ReloadConfig: Cannot transition to requested config. It is only "
            "legal to transition from one ModelConfigList to another."
        )
        eventually(lambda: text in caplog.messages, "the error in the log")
    assert lab.served("m") == 1


def test_a_waiting_reload_of_the_poll_blocks_reloads_by_rpc(lab, polled):
    (lab.root / "empty").mkdir()
    polled.config = lab.config(lab.model("m"), lab.model("empty"))
    eventually(lambda: (lab.core.holds_config_lock() or 0) > 0.1, "a held lock")
    reload = lab.reload_in_background(lab.model("m"))
    assert not reload.done
    lab.lay("empty", 1)
    reload.result()
