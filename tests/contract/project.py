"""The project's own files as data, for the contract tests."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

PROJECT = Path(__file__).resolve().parents[2]
LIBRARY = PROJECT / "library"
ENGINE = PROJECT / "module_utils" / "modelfleet"
MODULES = tuple(sorted(path.stem for path in LIBRARY.glob("*.py")))
ROLES = tuple(sorted(path.parent.name for path in (PROJECT / "roles").glob("*/tasks")))
#: Keys of a task that may hold further tasks.
BLOCKS = ("block", "rescue", "always")
#: Keys of a play that hold tasks.
SECTIONS = ("pre_tasks", "tasks", "post_tasks", "handlers")


class Loader(yaml.SafeLoader):
    """Reads Ansible's YAML: !unsafe and !vault are text."""


Loader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))
Loader.add_constructor("!vault", lambda loader, node: loader.construct_scalar(node))


def load_yaml(path):
    return yaml.load(path.read_text(encoding="utf-8"), Loader=Loader)  # noqa: S506  (a SafeLoader)


@cache
def module(name):
    """Return a module of library/ as Ansible would import it."""
    return importlib.import_module(f"ansible.modules.{name}")


@cache
def documentation(name):
    return yaml.safe_load(module(name).DOCUMENTATION)


@cache
def files():
    """Return the path of every file that is or would be committed."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=PROJECT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return tuple(PROJECT / name for name in listing.split("\0") if name and (PROJECT / name).is_file())


@dataclass(frozen=True)
class Import:
    """One import statement's target.

    Attributes:
        level: Number of leading dots.
        name: The dotted name behind them.
        line: Where.
        deferred: Whether it runs only when a function is called, or only for a type checker.
        guarded: Whether an ImportError of it is caught.
    """

    level: int
    name: str
    line: int
    deferred: bool
    guarded: bool

    @property
    def top(self):
        return self.name.split(".")[0]

    @property
    def is_stdlib(self):
        return self.level == 0 and self.top in sys.stdlib_module_names


def imports(path):
    """Return every import of a source file."""
    found = []

    def visit(node, *, deferred, guarded):
        if isinstance(node, ast.ImportFrom):
            found.append(Import(node.level, node.module or "", node.lineno, deferred, guarded))
        elif isinstance(node, ast.Import):
            found.extend(Import(0, alias.name, node.lineno, deferred, guarded) for alias in node.names)
        deferred = deferred or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or is_type_checking(node)
        for name, value in ast.iter_fields(node):
            inside = guarded or (isinstance(node, ast.Try) and name == "body" and catches_import_error(node))
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    visit(child, deferred=deferred, guarded=inside)

    visit(ast.parse(path.read_text(encoding="utf-8"), str(path)), deferred=False, guarded=False)
    return found


def is_type_checking(node):
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def catches_import_error(node):
    return any("ImportError" in ast.unparse(handler.type) for handler in node.handlers if handler.type)


@dataclass(frozen=True)
class Task:
    """A task of a role, a playbook or a scenario, with where it stands."""

    where: str
    body: dict


def tasks_of(path):
    """Return every task of a file of plays or tasks."""
    content = load_yaml(path)
    where = str(path.relative_to(PROJECT))
    found = []

    def walk(items):
        for item in items or ():
            if not isinstance(item, dict):
                continue
            inner = [key for key in (*BLOCKS, *SECTIONS) if isinstance(item.get(key), list)]
            for key in inner:
                walk(item[key])
            if not inner and "hosts" not in item:
                found.append(Task(where, item))

    if isinstance(content, list):
        walk(content)
    return found


@cache
def tasks():
    """Return every task of the project."""
    patterns = ("roles/*/tasks/**/*.yml", "roles/*/handlers/**/*.yml", "playbooks/**/*.yml", "molecule/**/*.yml")
    paths = sorted({path for pattern in patterns for path in PROJECT.glob(pattern)})
    return tuple(task for path in paths for task in tasks_of(path))
