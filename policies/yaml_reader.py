"""Read YAML with its line numbers: each value knows where it stands and says what is allowed there
when it is wrong.

Values are read as the text that was written: ``21:00`` stays a time and ``no`` a name, which YAML's
own types would spoil.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TypeVar

import yaml

from policies import amounts
from policies.model import PolicyError

T = TypeVar("T")
D = TypeVar("D")


def read(text: str, source: str) -> Value:
    """Given a YAML text, return its root. Raise PolicyError, with the line, if it is not one YAML
    document or is empty.
    """
    try:
        # nodes and not objects: only they know their line, and what was really written
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join(filter(None, [error.context, error.problem]))
        raise PolicyError(
            f"this is not YAML: {problem}", source, mark.line + 1 if mark else None
        ) from None
    except (yaml.YAMLError, RecursionError) as error:
        # a nesting of thousands of brackets ends in RecursionError
        raise PolicyError(f"this is not YAML: {str(error).splitlines()[0]}", source, 1) from None
    if node is None:
        raise PolicyError(
            "the policy is empty; allowed: a mapping with at least `site: NAME`", source, 1
        )
    return Value(node, "the policy", source)


@dataclass(frozen=True, slots=True)
class Value:
    """A YAML node. ``path`` is its name for the reader, such as ``jobs.nightly.keep``."""

    node: yaml.Node
    path: str
    source: str

    @property
    def line(self) -> int:
        """The 1-based line on which the value begins."""
        return int(self.node.start_mark.line) + 1

    @property
    def is_null(self) -> bool:
        """Whether nothing, or ``null``, is written here."""
        return self.node.tag == "tag:yaml.org,2002:null"

    @property
    def is_mapping(self) -> bool:
        """Whether keys with values are written here."""
        return isinstance(self.node, yaml.MappingNode)

    @property
    def is_list(self) -> bool:
        """Whether a list is written here."""
        return isinstance(self.node, yaml.SequenceNode)

    def wrong(self, what: str, allowed: str) -> PolicyError:
        """Given what is wrong and what is allowed, return the error to raise."""
        return PolicyError(f"{self.path}: {what}; allowed: {allowed}", self.source, self.line)

    def text(self, allowed: str = "text") -> str:
        """Return the value as written, not empty. Raise PolicyError if it is a list, a mapping or
        nothing.
        """
        if (
            not isinstance(self.node, yaml.ScalarNode)
            or self.is_null
            or not self.node.value.strip()
        ):
            kind = (
                "nothing"
                if isinstance(self.node, yaml.ScalarNode)
                else "a list"
                if self.is_list
                else "a mapping"
            )
            raise self.wrong(f"{kind} is written here", allowed)
        return str(self.node.value)

    def matching(self, pattern: str, allowed: str) -> str:
        """Return the value if it matches the whole pattern. Raise PolicyError if not."""
        text = self.text(allowed)
        if not re.fullmatch(pattern, text):
            raise self.wrong(f"{text!r}", allowed)
        return text

    def choice(self, choices: Collection[str]) -> str:
        """Return the value if it is one of the choices. Raise PolicyError, suggesting the nearest,
        if not.
        """
        text = self.text(", ".join(choices))
        if text not in choices:
            raise self.wrong(f"{text!r} is unknown{_nearest(text, choices)}", ", ".join(choices))
        return text

    def integer(self, least: int, most: int, unit: str = "") -> int:
        """Return a whole number from ``least`` to ``most``. Raise PolicyError if it is none."""
        allowed = f"a whole number from {least} to {most}{' ' * bool(unit)}{unit}"
        text = self.text(allowed)
        # int() also takes blanks, underscores and other scripts' digits
        if not re.fullmatch(r"-?[0-9]{1,15}", text):
            raise self.wrong(f"{text!r} is not a whole number", allowed)
        if not least <= int(text) <= most:
            raise self.wrong(f"{text} is out of range", allowed)
        return int(text)

    def boolean(self) -> bool:
        """Return whether true is written here. Raise PolicyError if neither true nor false is."""
        # the words of PyYAML, to which y and n are text
        text = self.text("true or false").lower()
        if text not in ("true", "yes", "on", "false", "no", "off"):
            raise self.wrong(f"{text!r} is neither true nor false", "true or false")
        return text in ("true", "yes", "on")

    def duration(self) -> int:
        """Return a duration such as ``90s``, ``15m``, ``1h30m``, ``7d`` or ``2w`` in seconds. Raise
        PolicyError if it is none.
        """
        allowed = "a number with a unit (s, m, h, d, w), such as 90s, 15m, 24h, 7d"
        text = self.text(allowed)
        seconds = amounts.seconds(text)
        if seconds is None or not 0 < seconds <= 100 * 366 * amounts.UNITS["d"]:
            raise self.wrong(f"{text!r} is not a duration", allowed)
        return seconds

    def checked(self, read: Callable[[str], T], allowed: str = "") -> T:
        """Return what ``read`` makes of the value. Raise its PolicyError with this file and line,
        on one line of text.
        """
        try:
            return read(self.text())
        except PolicyError as error:
            sentence = ", ".join(error.message.rstrip(".").splitlines())
            what = f"{self.path}: {sentence}{'; allowed: ' * bool(allowed)}{allowed}"
            raise PolicyError(what, self.source, self.line) from None

    def items(self, allowed: str) -> list[Value]:
        """Return the values of a list. Raise PolicyError if it is none."""
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.wrong("this is not a list", allowed)
        return [
            Value(node, f"{self.path}[{number}]", self.source)
            for number, node in enumerate(self.node.value, 1)
        ]

    def entries(self, allowed: str) -> dict[str, tuple[Value, Value]]:
        """Return a mapping's entries, key text -> (key, value). Raise PolicyError if it is none or
        names a key twice.
        """
        if not isinstance(self.node, yaml.MappingNode):
            raise self.wrong("this is not a mapping", allowed)
        found: dict[str, tuple[Value, Value]] = {}
        for key_node, node in self.node.value:
            key = Value(key_node, self.path, self.source)
            name = key.text("a plain key")
            # PyYAML itself lets the later of two win, in silence
            if name in found:
                raise key.wrong(
                    f"the key {name!r} is written twice, first in line {found[name][0].line}",
                    "each key once",
                )
            path = name if self.path == "the policy" else f"{self.path}.{name}"
            found[name] = (Value(key_node, path, self.source), Value(node, path, self.source))
        return found

    def section(self, *keys: str) -> Section:
        """Return a mapping of which only ``keys`` are allowed. Raise PolicyError, suggesting the
        nearest, for any other key.
        """
        entries = self.entries(f"a mapping of {', '.join(keys)}")
        for name, (key, _) in entries.items():
            if name not in keys:
                raise key.wrong(
                    f"the key {name!r} is unknown{_nearest(name, keys)}", ", ".join(keys)
                )
        return Section(self, {name: value for name, (_, value) in entries.items()})


@dataclass(frozen=True, slots=True)
class Section:
    """A mapping whose keys are known to be allowed."""

    value: Value
    entries: Mapping[str, Value]

    def get(self, key: str) -> Value | None:
        """Return the key's value, or None if nothing is written there."""
        value = self.entries.get(key)
        return None if value is None or value.is_null else value

    def take(self, key: str, read: Callable[[Value], T], default: D) -> T | D:
        """Return what ``read`` makes of the key's value, or the default if nothing is written
        there.
        """
        value = self.get(key)
        return default if value is None else read(value)

    def need(self, key: str, allowed: str) -> Value:
        """Return the key's value. Raise PolicyError if nothing is written there."""
        value = self.get(key)
        if value is None:
            raise self.value.wrong(f"the key {key!r} is missing", f"{key}: {allowed}")
        return value


def _nearest(word: str, words: Collection[str]) -> str:
    close = get_close_matches(word.replace("_", "-").lower(), words, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
