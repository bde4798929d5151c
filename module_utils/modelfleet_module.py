# Copyright: modelfleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The one file that knows AnsibleModule: shared argument blocks, the run of a module, errors, diff."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ansible.module_utils.basic import AnsibleModule

from .modelfleet.errors import ModelfleetError

Params = Mapping[str, Any]
Spec = dict[str, dict[str, Any]]

#: The node's directory of models and the lock that every change of it takes.
STORE_SPEC: Spec = {
    "store": {"type": "path", "required": True},
    "lock_timeout": {"type": "int", "default": 60},
}


@dataclass(frozen=True)
class Result:
    """What a module tells Ansible.

    Attributes:
        changed: Whether the node was changed, or would be.
        values: The module's own return values.
        before: Text of what was there; shown in diff mode.
        after: Text of what is there now.
        failure: Set when the module did its work and must nevertheless fail.
        warnings: What a person should know although nothing failed, one line each.
    """

    changed: bool
    values: Mapping[str, Any] = field(default_factory=dict)
    before: str | None = None
    after: str | None = None
    failure: str | None = None
    warnings: tuple[str, ...] = ()


class Action(Protocol):
    """What a module does."""

    def __call__(self, params: Params, /, *, check_mode: bool) -> Result:
        """Act on the parameters, or only look in check mode.

        Raises:
            ModelfleetError: it cannot be done.
        """


def run_module(spec: Spec, action: Action, **constraints: list[Any]) -> None:
    """Run a module: parse its arguments, act, report; every expected failure becomes one line.

    Args:
        spec: The argument_spec.
        action: The module's own part.
        constraints: ``required_if`` and its like, passed on to AnsibleModule.
    """
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True, **constraints)
    try:
        result = action(module.params, check_mode=module.check_mode)
    except ModelfleetError as error:
        module.fail_json(msg=error.one_line(), error=error.as_dict())
    except OSError as error:
        # A full disk or a lost permission can strike anywhere; the file's name is all that a person needs.
        module.fail_json(
            msg=f"{error.filename or 'file system'}: {error.strerror or error}", exception=traceback.format_exc()
        )
    for warning in result.warnings:
        module.warn(warning)
    values: dict[str, Any] = {"changed": result.changed, **result.values}
    if result.before is not None and result.after is not None:
        values["diff"] = {"before": result.before, "after": result.after}
    if result.failure is not None:
        module.fail_json(msg=result.failure, **values)
    module.exit_json(**values)
