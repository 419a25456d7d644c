"""A ``pveum`` for the lab: what an administrator pastes into a node's root shell is carried out as
it stands.

Run as ``python pveum.py LAB_DIR SECRETS_FILE WORDS...``; the secrets of tokens that it makes are
added to that file.
"""

from __future__ import annotations

import json
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any


def ask(lab: Path, method: str, path: str, /, **params: Any) -> Any:
    """Ask the lab's API as its root and return the data. Raise HTTPError where it refuses."""
    saved = json.loads((lab / "settings.json").read_text(encoding="utf-8"))["pve"]
    token = json.loads((lab / "root.json").read_text(encoding="utf-8"))["token"]
    query = urllib.parse.urlencode(params)
    url = f"https://{saved['host']}/api2/json{path}" + (
        f"?{query}" if query and method in ("GET", "DELETE") else ""
    )
    body = query.encode() if query and method not in ("GET", "DELETE") else None
    request = urllib.request.Request(
        url, body, {"Authorization": f"PVEAPIToken={token}"}, method=method
    )
    with urllib.request.urlopen(
        request, context=ssl.create_default_context(cafile=saved["ca_file"]), timeout=60
    ) as answer:
        return json.load(answer)["data"]


def _options(words: list[str]) -> tuple[list[str], dict[str, str]]:
    plain, given, rest = [], {}, iter(words)
    for word in rest:
        if word.startswith("--"):
            given[word[2:]] = next(rest)
        else:
            plain.append(word)
    return plain, given


def _carry_out(lab: Path, secrets: Path, words: list[str]) -> str:
    plain, given = _options(words)
    match plain:
        case ["role", "add", name]:
            ask(lab, "POST", "/access/roles", roleid=name, privs=given["privs"].replace(" ", ","))
        case ["role", "modify", name]:
            ask(lab, "PUT", f"/access/roles/{name}", privs=given["privs"].replace(" ", ","))
        case ["user", "add", name]:
            ask(lab, "POST", "/access/users", userid=name)
        case ["user", "token", "add", user, name]:
            made = ask(lab, "POST", f"/access/users/{user}/token/{name}", privsep=given["privsep"])
            known = json.loads(secrets.read_text()) if secrets.exists() else {}
            secrets.write_text(json.dumps(known | {name: made["value"]}))
        case ["acl", "modify", path]:
            ask(lab, "PUT", "/access/acl", path=path, **given)
        case ["acl", "delete", path]:
            ask(lab, "PUT", "/access/acl", path=path, delete=1, **given)
        case ["acl", "list"] if given == {"output-format": "json"}:
            return json.dumps(ask(lab, "GET", "/access/acl"))
        case _:
            raise SystemExit(f"not a pveum command that the tests know: {words}")
    return ""


if __name__ == "__main__":
    try:
        print(_carry_out(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
    except urllib.error.HTTPError as refused:
        sys.exit(str(refused.reason))
