"""A role's defaults are what its argument_specs promise: the same variables with the same values."""

from __future__ import annotations

import re

import pytest
from modelfleet_services.puller.flags import FLAGS

from tests.contract.project import PROJECT, ROLES, load_yaml

each_role = pytest.mark.parametrize("role", ROLES)


def defaults_of(role):
    path = PROJECT / "roles" / role / "defaults" / "main.yml"
    return (load_yaml(path) or {}) if path.is_file() else {}


def options_of(role):
    specification = load_yaml(PROJECT / "roles" / role / "meta" / "argument_specs.yml")
    return {
        name: option
        for entry in specification["argument_specs"].values()
        for name, option in (entry.get("options") or {}).items()
    }


def test_there_are_roles():
    assert len(ROLES) >= 4


@each_role
def test_every_default_is_specified_with_its_value(role):
    promised = {name: option["default"] for name, option in options_of(role).items() if "default" in option}
    assert defaults_of(role) == promised


@each_role
def test_a_required_option_has_no_default(role):
    both = [name for name, option in options_of(role).items() if option.get("required") and "default" in option]
    assert not both


@each_role
def test_options_are_described_and_carry_the_role_s_name(role):
    for name, option in options_of(role).items():
        assert name.startswith(f"{role}_")
        assert option["description"]
        assert option["type"]


@each_role
def test_defaults_are_commented_for_the_reader(role):
    path = PROJECT / "roles" / role / "defaults" / "main.yml"
    text = path.read_text(encoding="utf-8").removeprefix("---\n") if path.is_file() else ""
    bare = [part for part in re.split(r"\n{2,}", text.strip()) if part and not part.startswith("#")]
    assert not bare, "say above each group of variables what it is for"


def test_the_puller_takes_the_flags_that_its_role_gives():
    known = {flag.name.removeprefix("--"): flag for flags in FLAGS.values() for flag in flags}
    variables = load_yaml(PROJECT / "roles" / "remote_model_puller" / "vars" / "main.yml")
    given, switches = variables["__remote_model_puller_flags"], variables["__remote_model_puller_switches"]
    assert set(given) | set(switches) <= set(known)
    assert {name for name in (*given, *switches) if not known[name].metavar} == set(switches)
