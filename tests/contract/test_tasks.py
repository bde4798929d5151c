"""Every task that calls one of our modules calls it as the module wants to be called."""

from __future__ import annotations

from ansible.playbook.task import Task as AnsibleTask

from tests.contract.project import MODULES, module, tasks

KEYWORDS = set(AnsibleTask.fattributes) | {"local_action"}


def calls():
    """Yield each call of our modules: where, the module's name, its arguments."""
    for task in tasks():
        for key, value in task.body.items():
            name = key.removeprefix("ansible.legacy.")
            if name.startswith("modelfleet_") and key not in KEYWORDS:
                yield f"{task.where}: {task.body.get('name', key)}", name, value


def mistakes(options, specified, where):
    """Yield what is wrong with given options."""
    if not isinstance(options, dict):
        yield f"{where}: options must be spelled out, not {options!r}"
        return
    names = {alias: key for key, value in specified.items() for alias in (key, *value.get("aliases", ()))}
    yield from (f"{where}: unknown option {key}" for key in options if key not in names)
    given = {names[key]: value for key, value in options.items() if key in names}
    for key, value in specified.items():
        if value.get("required") and key not in given:
            yield f"{where}: required option {key} is missing"
        chosen = given.get(key)
        if "choices" in value and isinstance(chosen, str) and "{{" not in chosen and chosen not in value["choices"]:
            yield f"{where}: {key} cannot be {chosen}"
        for element in chosen if isinstance(chosen, list) and "options" in value else ():
            if isinstance(element, dict):
                yield from mistakes(element, value["options"], f"{where}: {key}")


def test_tasks_name_modules_that_exist():
    assert len(list(calls())) >= 5
    assert {name for _, name, _ in calls()} <= set(MODULES)


def test_tasks_give_the_options_that_modules_take():
    found = [
        mistake
        for where, name, options in calls()
        if name in MODULES
        for mistake in mistakes(options, module(name).argument_spec(), where)
    ]
    assert not found


def test_mistakes_are_seen():
    specified = {
        "store": {"type": "path", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"]},
        "pending": {"type": "list", "elements": "dict", "options": {"model": {"type": "str", "required": True}}},
    }
    assert list(mistakes({"state": "gone", "shop": 1, "pending": [{}]}, specified, "here")) == [
        "here: unknown option shop",
        "here: required option store is missing",
        "here: state cannot be gone",
        "here: pending: required option model is missing",
    ]
    assert not list(mistakes({"store": "/x", "state": "{{ state }}"}, specified, "here"))
