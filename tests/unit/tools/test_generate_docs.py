from __future__ import annotations

import pytest

from tools import generate_docs

DOCUMENTATION = {
    "module": "modelfleet_x",
    "short_description": "Do x",
    "description": ["Does O(state) with C(a|b)."],
    "attributes": {"check_mode": {"support": "partial", "details": "Only V(x)."}},
    "options": {
        "state": {"description": "Which.", "choices": ["on", "off"], "default": "on"},
        "items": {
            "description": ["One.", "Two | three."],
            "type": "list",
            "elements": "dict",
            "suboptions": {"name": {"description": "Its name.", "required": True}},
        },
    },
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("O(state)", "`state`"),
        ("see RV(modelfleet_pull#module:desired)", "see `desired`"),
        ("M(modelfleet_pull)", "[`modelfleet_pull`](#modelfleet_pull)"),
        ("B(now) I(then) V(1) E(HOME)", "**now** *then* `1` `$HOME`"),
        ("L(docs, https://example.org)", "[docs](https://example.org)"),
        ("TWO(3) stays", "TWO(3) stays"),
    ],
)
def test_markup(text, expected):
    assert generate_docs.prose(text) == expected


def test_module_page_shows_options_results_and_example():
    returns = {"all": {"description": "All.", "returned": "always", "type": "list", "elements": "str"}}
    page = "\n".join(generate_docs.module_page(DOCUMENTATION, "---\n- modelfleet_x:\n", returns))
    assert "## modelfleet_x\n" in page
    assert "- Does `state` with `a|b`." in page
    assert "Support: check mode partial." in page
    assert "- check mode: Only `x`." in page
    assert "| `state` | str | `on` | Which.<br>One of `on`, `off`. |" in page
    assert "| `items` | list of dict |  | One.<br>Two \\| three. |" in page
    assert "| `items.name` | str | **required** | Its name. |" in page
    assert "| `all` | list of str | always | All. |" in page
    assert "```yaml\n- modelfleet_x:\n```" in page


def test_role_page_shows_every_entry_point():
    specification = {
        "argument_specs": {
            "main": {
                "short_description": "Lay it",
                "options": {"x_ports": {"type": "list", "elements": "int", "default": [1, 2], "description": "Ports."}},
            },
            "remove": {"short_description": "Remove it"},
        }
    }
    page = "\n".join(generate_docs.role_page("x", specification))
    assert "| `x_ports` | list of int | `[1, 2]` | Ports. |" in page
    assert "### x: tasks_from remove" in page


def test_check_tells_and_writes_nothing(tmp_path, monkeypatch, capsys):
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(generate_docs, "PROJECT", tmp_path)
    assert generate_docs.main(["--check"]) == 1
    assert not list((tmp_path / "docs").iterdir())
    assert generate_docs.main([]) == 0
    assert generate_docs.main(["--check"]) == 0
    assert "docs/modules.md: is not current; run make docs" in capsys.readouterr().err
