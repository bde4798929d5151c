"""What a module says of itself is what it does: documentation, arguments, examples, results, a test of its own."""

from __future__ import annotations

import pytest
import yaml

from tests.contract.project import LIBRARY, MODULES, PROJECT, documentation, imports, module

TYPES = {"str", "int", "float", "bool", "list", "dict", "path", "raw", "complex"}
SUPPORT = {"full", "partial", "none", "N/A"}
ATTRIBUTES = ("check_mode", "diff_mode", "idempotent")

each_module = pytest.mark.parametrize("name", MODULES)


def normal(option, inner):
    """Return what a caller can rely on, spelled the same for documentation and argument_spec."""
    return {
        "type": option.get("type", "str"),
        "elements": option.get("elements"),
        "required": bool(option.get("required", False)),
        "default": option.get("default"),
        "choices": list(option.get("choices") or ()),
        "aliases": sorted(option.get("aliases") or ()),
        "options": {name: normal(value, inner) for name, value in (option.get(inner) or {}).items()},
    }


def test_there_are_modules():
    assert len(MODULES) >= 6


@each_module
def test_documented_options_are_the_argument_spec(name):
    documented = documentation(name).get("options") or {}
    specified = module(name).argument_spec()
    assert {key: normal(value, "suboptions") for key, value in documented.items()} == {
        key: normal(value, "options") for key, value in specified.items()
    }


@each_module
def test_every_option_is_described(name):
    undescribed = [key for key, value in (documentation(name).get("options") or {}).items() if not value["description"]]
    assert not undescribed


@each_module
def test_documentation_names_the_module_and_what_it_supports(name):
    said = documentation(name)
    assert said["module"] == name
    assert said["short_description"]
    assert said["description"]
    for attribute in ATTRIBUTES:
        statement = said["attributes"][attribute]
        assert statement["support"] in SUPPORT
        assert statement["support"] != "partial" or statement.get("details"), f"{attribute}: partial, but how?"


@each_module
def test_examples_are_tasks_with_known_options(name):
    examples = yaml.safe_load(module(name).EXAMPLES)
    used = [task[name] for task in examples if name in task]
    assert used, "no example uses the module"
    specified = module(name).argument_spec()
    required = {key for key, value in specified.items() if value.get("required")}
    for options in used:
        assert set(options) <= set(specified)
        assert required <= set(options)


def undocumented(values, path=""):
    for key, value in values.items():
        where = f"{path}{key}"
        if not (value.get("description") and value.get("returned") and value.get("type") in TYPES):
            yield f"{where}: needs description, returned and a known type"
        if value.get("type") == "list" and "elements" not in value:
            yield f"{where}: a list of what?"
        yield from undocumented(value.get("contains") or {}, f"{where}.")


@each_module
def test_results_are_documented(name):
    values = yaml.safe_load(module(name).RETURN)
    assert values
    assert not list(undocumented(values))


@each_module
def test_module_has_a_unit_test(name):
    assert (PROJECT / "tests" / "unit" / "library" / f"test_{name}.py").is_file()


@each_module
def test_module_imports_only_what_ansible_ships_to_a_node(name):
    foreign = [
        found
        for found in imports(LIBRARY / f"{name}.py")
        if not (
            found.is_stdlib
            or (found.level == 0 and found.name.startswith("ansible.module_utils."))
            or (found.level == 2 and found.name.split(".")[0] == "module_utils")
        )
    ]
    assert not foreign


@each_module
def test_module_carries_the_licence_line_that_ansible_asks_for(name):
    head = (LIBRARY / f"{name}.py").read_text(encoding="utf-8").splitlines()[:5]
    assert "# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)" in head
