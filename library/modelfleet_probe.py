#!/usr/bin/python
# Copyright: modelfleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ask a served model for a prediction and compare the answer."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: modelfleet_probe
short_description: Send a request to a served model and check the answer
version_added: "0.1.0"
description:
  - Runs one prediction over gRPC, with the types that the model's signature declares, and fails when the answer is
    not as expected, comes
    from another version, or takes too long.
  - Changes nothing. Where no server can be reached in check mode, as on a virgin host, the probe is skipped and
    says so.
options:
  target:
    description:
      - Address of the server's gRPC listener, C(host:port) or C(unix:path).
    type: str
    default: 127.0.0.1:8500
  model:
    description:
      - Name of the model.
    type: str
    required: true
  version:
    description:
      - The version to ask; the newest that is AVAILABLE by default.
    type: int
  label:
    description:
      - The label to ask by.
    type: str
  signature_name:
    description:
      - The signature to run.
    type: str
    default: serving_default
  inputs:
    description:
      - Value of each input by its name, as nested lists.
    type: dict
    required: true
  expect:
    description:
      - Expected value of outputs by name, as nested lists. Outputs that are not named are not compared.
    type: dict
    default: {}
  tolerance:
    description:
      - How far a number may be from the expected one, absolutely.
    type: float
    default: 0.00001
  max_latency_ms:
    description:
      - The longest that the answer may take, in milliseconds.
    type: float
  timeout:
    description:
      - Deadline of the request, in seconds.
    type: float
    default: 10.0
attributes:
  check_mode:
    support: full
    description: Can run in check mode and tell what it would do.
  diff_mode:
    support: none
    description: Shows what changes when asked for it.
    details:
      - Nothing changes.
  idempotent:
    support: full
    description: Changes nothing when run again on an unchanged node.
author:
  - modelfleet contributors (@modelfleet)
"""

EXAMPLES = r"""
- name: Ask the model for half of two, plus two
  modelfleet_probe:
    target: 127.0.0.1:8500
    model: half_plus_two
    label: stable
    inputs:
      x: [2.0]
    expect:
      y: [3.0]
    max_latency_ms: 100
"""

RETURN = r"""
outputs:
  description: The model's answer, value by output name.
  returned: success
  type: dict
  sample: {"y": [3.0]}
model_version:
  description: The version that answered.
  returned: success
  type: int
  sample: 2
latency_ms:
  description: How long the answer took, in milliseconds.
  returned: success
  type: float
  sample: 1.4
"""

from ..module_utils.modelfleet.adapters.tfserving import TFServing
from ..module_utils.modelfleet.errors import MissingDependency, ServerUnreachable
from ..module_utils.modelfleet.probe import Expectation, verify
from ..module_utils.modelfleet_module import Params, Result, Spec, run_module
from ..module_utils.modelfleet_node_module import SERVING_SPEC


def argument_spec() -> Spec:
    """Return the module's arguments."""
    return {
        "target": SERVING_SPEC["target"],
        "model": {"type": "str", "required": True},
        "version": {"type": "int"},
        "label": {"type": "str"},
        "signature_name": {"type": "str", "default": "serving_default"},
        "inputs": {"type": "dict", "required": True},
        "expect": {"type": "dict", "default": {}},
        "tolerance": {"type": "float", "default": 0.00001},
        "max_latency_ms": {"type": "float"},
        "timeout": {"type": "float", "default": 10.0},
    }


def run(params: Params, *, check_mode: bool) -> Result:
    """Ask once and compare."""
    try:
        with TFServing(params["target"], timeout_s=params["timeout"]) as server:
            prediction = server.predict(
                params["model"],
                params["inputs"],
                version=params["version"],
                label=params["label"] or "",
                signature_name=params["signature_name"],
            )
    except (MissingDependency, ServerUnreachable) as error:
        if check_mode:
            return Result(changed=False, values={"skipped": True, "skip_reason": error.one_line()})
        raise
    expectation = Expectation(params["expect"], params["tolerance"], params["max_latency_ms"])
    verify(f"model {params['model']}", prediction, expectation)
    return Result(
        changed=False,
        values={
            "outputs": prediction.outputs,
            "model_version": prediction.version,
            "latency_ms": round(prediction.seconds * 1000, 3),
        },
    )


def main() -> None:
    """Run the module."""
    run_module(argument_spec(), run, mutually_exclusive=[("version", "label")])


if __name__ == "__main__":
    main()
