"""``python -m tests.reference`` writes docs/reference.md from the code; a test says when the page
is old.

Commands come from the command tree, exit codes from the error tree, settings from their model,
kinds of operations from their plans and handlers, findings from their rules and sentences.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import typer.main
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from backupsvc import errors
from backupsvc.cli.app import build
from backupsvc.cli.driving import INTERRUPTED
from backupsvc.operations.kinds import KINDS
from backupsvc.setting_names import DEEPER, PREFIX
from backupsvc.settings import Settings
from policies.compliance.findings import RULES
from policies.i18n import en
from policies.model import PolicyError
from policies.workflow import Workflow

PAGE = Path(__file__).parents[1] / "docs" / "reference.md"
_TYPES = {
    str: "text",
    SecretStr: "text, kept secret",
    int: "whole number",
    float: "number",
    bool: "0 or 1",
    Path: "path",
    dict: "JSON object",
}
HEAD = """# Reference

Written by `python -m tests.reference` from the code; do not change it by hand. The guides beside it explain what stands here.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD, *commands(), *exit_codes(), *settings(), *operations(), *findings()]
    return "\n".join(parts).rstrip() + "\n"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """The lines of a table, and an empty one."""
    names = list(head)
    yield _row(names)
    yield "|" + "---|" * len(names)
    yield from (_row(row) for row in rows)
    yield ""


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def sentence(text: str | None) -> str:
    """A docstring as plain text: its doubled backticks are single ones in a page."""
    return " ".join(inspect.cleandoc(text or "").replace("``", "`").split())


# --- commands -------------------------------------------------------------------------------------


def commands() -> Iterator[str]:
    """A section a command, with its arguments and options."""
    yield "## Commands\n"
    yield (
        "Ids of operations may be shortened to four letters of their beginning or end. `--help` "
        "says the same as here.\n"
    )
    for words, command in leaves(typer.main.get_command(build()), ()):
        named = [parameter for parameter in command.params if parameter.name != "help"]
        asked = [_argument(one) for one in named if one.param_type_name == "argument"]
        yield f"### {' '.join(words)}\n"
        yield f"`{' '.join(['backupsvc', *words, *asked])}`\n"
        yield f"{sentence(command.help)}\n"
        yield from table(
            ("argument or option", "means"), ((_names(one), _help(one)) for one in named)
        )


def leaves(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command below one, with its words, in the tree's order."""
    for name, below in command.commands.items():
        if hasattr(below, "commands"):
            yield from leaves(below, (*words, name))
        else:
            yield (*words, name), below


def _argument(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper()
    return name if parameter.required or name.startswith("[") else f"[{name}]"


def _names(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{_argument(parameter)}`"
    return ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))


def _help(parameter: Any) -> str:
    plain = isinstance(parameter.default, str | int | float) and not isinstance(
        parameter.default, bool
    )
    said = parameter.help or ""
    return (
        f"{said} Unless given: `{parameter.default}`."
        if plain and parameter.default != ""
        else said
    )


# --- exit codes -----------------------------------------------------------------------------------


def exit_codes() -> Iterator[str]:
    """What each exit code means, and the errors that end with it."""
    yield "## Exit codes\n"
    said = dict(re.findall(r"(\d) ([^;.]+)", build().info.epilog or ""))
    said |= {str(INTERRUPTED): "interrupted by Ctrl-C"}
    rows = (
        (code, meaning, ", ".join(f"`{name}`" for name in _errors(int(code))))
        for code, meaning in said.items()
    )
    yield from table(("code", "means", "errors that end so"), rows)


def _errors(code: int) -> list[str]:
    classes = [
        each
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, errors.BackupsvcError)
    ]
    found = [
        each.__name__
        for each in classes
        if each.exit_code == code and each is not errors.BackupsvcError
    ]
    return [*found, PolicyError.__name__] if code == errors.UsageError.exit_code else found


# --- settings -------------------------------------------------------------------------------------


def settings() -> Iterator[str]:
    """Every variable, group by group."""
    yield "## Settings\n"
    yield f"From the environment. {sentence(Settings.__doc__)}\n"
    groups = {
        name: found for name, field in Settings.model_fields.items() if (found := _group(field))
    }
    plain = {name: field for name, field in Settings.model_fields.items() if name not in groups}
    yield from _variables(Settings, plain, "")
    for name, (model, key) in groups.items():
        yield f"### {PREFIX}{name.upper()}{DEEPER}{f'{key}{DEEPER}' if key else ''}...\n"
        yield f"{sentence(model.__doc__)}{' One a node: `lge-pve02` is `LGE_PVE02`.' if key else ''}\n"
        yield from _variables(
            model, model.model_fields, f"{name.upper()}{DEEPER}{f'{key}{DEEPER}' if key else ''}"
        )


def _group(field: FieldInfo) -> tuple[type[BaseModel], str] | None:
    """A group's model, and NODE if there may be one of it for each node."""
    for each, key in (
        (field.annotation, ""),
        *((inner, "NODE") for inner in get_args(field.annotation)),
    ):
        if isinstance(each, type) and issubclass(each, BaseModel):
            return each, key
    return None


def _variables(
    model: type[BaseModel], fields: Mapping[str, FieldInfo], prefix: str
) -> Iterator[str]:
    said = dict(re.findall(r"^    (\w+): .+?  # (.+)$", inspect.getsource(model), re.MULTILINE))
    rows: list[tuple[str, ...]] = []
    for name, field in fields.items():
        row = (
            f"`{PREFIX}{prefix}{name.upper()}`",
            _type(field),
            _default(field),
            said.get(name, ""),
        )
        rows.append(row if said else row[:-1])
    yield from table(
        ("variable", "value", "default", "means") if said else ("variable", "value", "default"),
        rows,
    )


def _type(field: FieldInfo) -> str:
    annotation = field.annotation
    if str(annotation).startswith("dict"):
        return _TYPES[dict]
    of = [one for one in get_args(annotation) if one is not type(None)] or [annotation]
    return ", ".join(_TYPES[one] if isinstance(one, type) else f"`{one}`" for one in of)


def _default(field: FieldInfo) -> str:
    value = field.default
    empty = value in (None, "", {}, Path()) or isinstance(value, SecretStr)
    return "" if empty else f"`{value}`"


# --- operations -----------------------------------------------------------------------------------


def operations() -> Iterator[str]:
    """Each kind of operation, step by step."""
    yield "## Operations\n"
    yield (
        "Cleanup steps follow whatever happened before. What works for minutes has a queue of its "
        "own.\n"
    )
    for name, kind in KINDS.items():
        yield f"### {name}\n"
        yield from table(("step", "", "does"), _steps(kind.workflow, kind.handlers))


def _steps(
    plan: Workflow, handlers: Mapping[str, Callable[..., Any]]
) -> Iterator[tuple[str, str, str]]:
    for step in (*plan.steps, *plan.cleanup):
        marks = [
            mark
            for mark, holds in (("cleanup", step in plan.cleanup), ("minutes", step in plan.long))
            if holds
        ]
        yield f"`{step}`", ", ".join(marks), sentence(handlers[step].__doc__)


# --- findings -------------------------------------------------------------------------------------


def findings() -> Iterator[str]:
    """Each finding, with every form of it."""
    yield "## Findings\n"
    yield (
        "What is said of each, in braces what is filled in. [findings.md](findings.md) tells when "
        "one goes away.\n"
    )
    rows = (
        (f"`{rule.id}`", rule.severity_of(key.partition(".")[2]), *en.FINDINGS[key])
        for rule in RULES
        for key in forms(rule.id)
    )
    yield from table(("id", "severity", "says", "next action"), rows)


def forms(id: str) -> list[str]:
    """The keys of a finding's sentences."""
    return [key for key in en.FINDINGS if key.partition(".")[0] == id]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
