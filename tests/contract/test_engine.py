"""The engine travels with every module to nodes we know little about: what it may import, and with which Python."""

from __future__ import annotations

import ast
import json
import subprocess
import sys

import pytest

from tests.contract.project import ENGINE, LIBRARY, PROJECT, imports

ENGINE_FILES = sorted(ENGINE.rglob("*.py"))
SHIPPED = [*sorted(LIBRARY.glob("*.py")), *sorted((PROJECT / "module_utils").rglob("*.py"))]
FLOOR = (3, 9)
#: Names of the standard library that appeared after the floor, by module; those that tempt most.
TOO_NEW = {
    "dataclasses": {"KW_ONLY"},
    "datetime": {"UTC"},
    "enum": {"StrEnum", "ReprEnum"},
    "itertools": {"pairwise", "batched"},
    "types": {"NoneType", "UnionType", "EllipsisType"},
    "typing": {
        *("TypeAlias", "ParamSpec", "Concatenate", "TypeGuard", "Self", "Never", "assert_never", "assert_type"),
        *("LiteralString", "NotRequired", "Required", "Unpack", "TypeVarTuple", "dataclass_transform", "override"),
    },
}
TOO_NEW_MODULES = {"tomllib"}
#: Parameters that appeared after the floor, by the function's last name.
TOO_NEW_PARAMETERS = {"dataclass": {"slots", "kw_only", "match_args", "weakref_slot"}, "zip": {"strict"}}


def by_path(path):
    return str(path.relative_to(PROJECT))


each_engine_file = pytest.mark.parametrize("path", ENGINE_FILES, ids=by_path)
each_shipped_file = pytest.mark.parametrize("path", SHIPPED, ids=by_path)


@each_engine_file
def test_engine_imports_itself_relatively_and_others_only_in_adapters(path):
    depth = len(path.relative_to(ENGINE).parts)
    for found in imports(path):
        where = f"line {found.line}: {found.name}"
        if found.level:
            assert found.level <= depth, f"{where} climbs out of the engine"
        elif not found.is_stdlib:
            assert path.is_relative_to(ENGINE / "adapters"), f"{where} is third-party outside of adapters/"
            assert found.deferred or found.guarded, f"{where} must not be needed to import this file"


def test_engine_imports_with_the_standard_library_alone():
    script = f"""
import importlib, json, pkgutil, sys
sys.path.insert(0, {str(ENGINE.parent)!r})
import modelfleet
for found in pkgutil.walk_packages(modelfleet.__path__, "modelfleet."):
    importlib.import_module(found.name)
tops = {{name.split(".")[0] for name in sys.modules}}
print(json.dumps(sorted(tops - set(sys.stdlib_module_names) - {{"modelfleet", "__main__"}})))
"""
    result = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == []


@pytest.mark.parametrize("path", sorted((PROJECT / "module_utils").rglob("__init__.py")), ids=by_path)
def test_packages_are_empty_because_every_module_carries_them(path):
    assert not path.read_text(encoding="utf-8").strip()


def test_every_folder_of_the_engine_is_a_package():
    assert all((path.parent / "__init__.py").is_file() for path in ENGINE_FILES)


def newer_than_floor(tree):
    """Yield what a Python of the floor does not know though it can parse it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in TOO_NEW:
            yield from (f"{node.module}.{alias.name}" for alias in node.names if alias.name in TOO_NEW[node.module])
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.attr in TOO_NEW.get(node.value.id, ()):
                yield f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in TOO_NEW_MODULES)
        elif isinstance(node, ast.Call):
            function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            given = {keyword.arg for keyword in node.keywords}
            yield from (f"{function}({name}=)" for name in sorted(given & TOO_NEW_PARAMETERS.get(function, set())))


@each_shipped_file
def test_shipped_code_runs_on_the_oldest_supported_python(path):
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=FLOOR)
    future = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    assert path.name == "__init__.py" or "annotations" in {alias.name for node in future for alias in node.names}
    assert not list(newer_than_floor(tree))


def test_too_new_code_is_seen():
    source = (
        "from typing import Self\nimport enum\nimport tomllib\nenum.StrEnum\n@dataclass(slots=True)\nclass A: ...\n"
    )
    assert sorted(newer_than_floor(ast.parse(source))) == [
        "dataclass(slots=)",
        "enum.StrEnum",
        "tomllib",
        "typing.Self",
    ]
    with pytest.raises(SyntaxError):
        ast.parse("match x:\n  case 1: pass\n", feature_version=FLOOR)
