"""A lab of which every free text is hostile: names, notes, descriptions, comments, the agent's
words, task logs and error texts.

Run it as the lab's own server (``python -m tests.integration.hostile_lab --dir D --hypervisor
simulated``): its answers differ.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from typing import Any

from pvelab import app, server
from pvelab.kernel import Lab
from pvelab.wire import Reply, Request

STYLE = "\x1b[35;45m"  # magenta on magenta: no output of ours has it
FORGED = "guest 666 is proven"
BAD = f"{STYLE}\x1b]0;owned\x07\x9b2J\u202egpj\u2066\u200b\u00ad\x7f\x08\r[red]x[/red]:skull:\n{FORGED}"
REASON = "\x1b[35;45m\x9b31m[red]\x85"  # what an HTTP reason phrase can carry
FREE = frozenset({"name", "notes", "description", "comment", "pretty-name", "version-id"})


def poison(value: Any, key: str = "") -> Any:
    """Given an answer's data, return it with every free text made hostile; the names of nodes are
    none.
    """
    if isinstance(value, list):
        return [poison(item) for item in value]
    if isinstance(value, dict):
        if set(value) == {"n", "t"}:
            return value | {
                "t": value["t"] + BAD
                if re.search(r"VM Name|ERROR|TASK|status", value["t"])
                else value["t"]
            }
        plain = value.get("type") in ("node", "cluster")
        return {
            name: item if plain and name == "name" else poison(item, name)
            for name, item in value.items()
        }
    return value + BAD if isinstance(value, str) and key in FREE else value


def poison_config(text: str) -> str:
    """Given a config file's text, return it with a hostile description and name."""
    return f"#{BAD}\n" + re.sub(r"(?m)^(name: .*)$", lambda line: line[1] + STYLE, text)


def _hostile(lab: Lab, request: Request) -> Reply:
    reply = _honest(lab, request)
    if reply.status >= 400:
        return replace(reply, reason=reply.reason + REASON)
    if not reply.body or not request.path.startswith("/api2/"):
        return reply
    answer = json.loads(reply.body)
    data = answer.get("data")
    answer["data"] = (
        poison_config(data) if request.path.endswith("/extractconfig") else poison(data)
    )
    return replace(reply, body=json.dumps(answer).encode())


_honest = app.dispatch

if __name__ == "__main__":
    app.dispatch = _hostile
    sys.exit(server.main())
