"""Law 1 in the source itself: the calls that stop or destroy guests stand in one file, and the
words that overrule in none.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import backupsvc

ROOT = Path(backupsvc.__file__).parent
# The lab is not the service: it plays PVE, so it must know these words.
FILES = sorted(path for path in ROOT.rglob("*.py") if "lab" not in path.relative_to(ROOT).parts)
KILLING = re.compile(r"status/(stop|shutdown|reset|suspend)|/(vm)?(stop|shutdown|reset)all")
A_GUEST = re.compile(r"/(qemu|lxc)/\{?[^/]*\}?$")
OVERRULING = {"force", "skiplock", "forceStop", "overrule-shutdown", "skip-lock"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def docstrings(tree: ast.AST) -> set[int]:
    """The constants that are documentation."""
    found = set()
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and node.body
        ):
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                found.add(id(first.value))
    return found


def template(node: ast.expr) -> str | None:
    """A string or f-string with ``{}`` for what is filled in; None for other expressions."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values
        )
    return None


def texts(tree: ast.AST) -> Iterator[str]:
    documentation = docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant | ast.JoinedStr) and id(node) not in documentation:
            text = template(node)
            if text is not None:
                yield text


def deletions(tree: ast.AST) -> Iterator[ast.expr]:
    """The first argument of every call of something named ``delete`` with one, be it a client's or
    a helper's.
    """
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "delete"
            and node.args
        ):
            yield node.args[0]


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    return {name_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in FILES}


def test_law_1_b_only_a_replacement_reaches_what_shuts_a_production_guest_down(
    trees: dict[str, ast.Module],
) -> None:
    reaching = {
        name
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "replacing"
    }
    assert reaching == {"operations/replace/pair.py"}
    making = {
        name
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Replacing")
    }
    assert making == {"pve/__init__.py"}
    # each effect of it stands behind one look at both guests and one at who drives
    effects = [
        node
        for node in ast.walk(trees["pve/replacing.py"])
        if isinstance(node, ast.FunctionDef)
        and called_in(node) & {"post", "put", "_change", "_shut_down", "_wish"}
        and node.name != "_change"
    ]
    assert len(effects) == 15
    for node in effects:
        assert called_in(node) & {"_allowed", "_shut_down", "_wish"}, node.name
    # it destroys nothing, and a guest's config is changed by it and by the copies' file alone
    assert not list(deletions(trees["pve/replacing.py"]))
    changing = {
        name
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "put"
        and node.args
        and "/qemu/" in (template(node.args[0]) or "")
    }
    assert changing == {"pve/scratch.py", "pve/replacing.py"}


def called_in(node: ast.AST) -> set[str]:
    return {
        inner.func.attr
        for inner in ast.walk(node)
        if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute)
    }


@pytest.mark.slow
def test_law_1_only_the_scratch_module_and_a_replacement_stop_a_guest_and_the_first_destroys(
    trees: dict[str, ast.Module],
) -> None:
    stopping = {
        name for name, tree in trees.items() if any(KILLING.search(text) for text in texts(tree))
    }
    destroying = {
        name
        for name, tree in trees.items()
        for path in deletions(tree)
        if A_GUEST.search(template(path) or "")
    }
    # the second by exception (b): the two guests of one replacement
    assert stopping == {"pve/scratch.py", "pve/replacing.py"}
    assert destroying == {"pve/scratch.py"}


def test_law_1_every_other_deletion_through_the_api_is_of_an_archive_or_a_task(
    trees: dict[str, ast.Module],
) -> None:
    calls = {
        (name, ast.unparse(path))
        for name, tree in trees.items()
        if name.startswith("pve/")
        for path in deletions(tree)
        if name != "pve/scratch.py"
    }
    assert calls == {("pve/storage.py", "_content(node, volid)"), ("pve/tasks.py", "_path(upid)")}


def test_law_1_only_the_pve_package_holds_a_client(trees: dict[str, ast.Module]) -> None:
    importing = {
        name
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "backupsvc.pve.client"
    }
    assert importing and all(name.startswith("pve/") for name in importing)


@pytest.mark.slow
def test_law_1_the_words_that_overrule_pve_stand_only_where_they_are_refused(
    trees: dict[str, ast.Module],
) -> None:
    found = set()
    for name, tree in trees.items():
        keywords = {
            node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg
        }
        if OVERRULING & (set(texts(tree)) | keywords):
            found.add(name)
    assert found <= {"pve/client.py", "pve/restore.py"}


def test_law_2_no_restore_is_asked_to_start_what_it_restores(trees: dict[str, ast.Module]) -> None:
    keys = {
        (name, key.value)
        for name, tree in trees.items()
        if name.startswith("pve/")
        for node in ast.walk(tree)
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant)
        and key.value in OVERRULING | {"unique", "ha-managed", "live-restore"}
    }
    # what makes a clone another machine is sent for a clone alone, which is never started by us
    assert keys == {("pve/restore.py", "unique")}
    restore = trees["pve/restore.py"]
    sent = [
        str(key.value)
        for node in ast.walk(restore)
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant)
    ]
    assert sorted(sent) == ["archive", "bwlimit", "pool", "storage", "unique", "vmid"]
    asked = {
        (name, ast.unparse(node.value))
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword)
        and node.arg == "unique"
        and not name.startswith("catalog/")
    }
    assert asked == {("operations/restore/steps.py", "run.memory.clone")}
