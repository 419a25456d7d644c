"""Replays a recorded scene against the lab: the same requests in the same order, each answer
compared with the real one.

What the real server made up (UPIDs, archive names by time, digests, ids of jobs, process ids,
secrets) is learnt from the pairs of answers and translated in later requests. Compared are: status;
reason phrase; envelope; of a refusal every text; of data its shape and types, and of what comes
from inside a guest every word; of a task its exit status and its log's lines in order, numbers,
names and times aside.
"""

from __future__ import annotations

import difflib
import fnmatch
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from pvelab import seed
from pvelab.app import dispatch
from pvelab.wire import Reply, Request
from tests.unit.pvelab.conformance.world import World
from tests.unit.pvelab.guests.recorded import shape
from tests.waiting import HANGS

HERE = Path(__file__).parent
RECORDED = HERE.parents[2] / "golden" / "recorded_real"
SCENES = sorted(path.stem for path in RECORDED.glob("*.json"))
_UPID = re.compile(r"UPID:[\w-]+:[0-9A-F]{8}:[0-9A-F]{8,9}:[0-9A-F]{8}:\w+:[^:\s/\"]*:[^:\s\"]+:")
_ARCHIVE = re.compile(r"vzdump-qemu-\d+-\d{4}_\d\d_\d\d-\d\d_\d\d_\d\d")
_DIGEST = re.compile(r"[0-9a-f]{40}")
# what programs and files inside a guest have to say is compared word for word
_INSIDE = re.compile("/agent/(exec-status|file-read)$")
_LEARNT = {
    "": _UPID,
    "upid": _UPID,
    "digest": _DIGEST,
    "id": re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}"),
}
ORPHAN = "its task was started by an exchange that the recorder dropped, or before the scene began"
# how many archives a prune removes depends on what lay there
_COUNTED = "INFO: removing backup "
# what differs on purpose, with its reason
TOLERATED = tuple(row["difference"] for row in json.loads((HERE / "tolerated.json").read_text()))


@dataclass(frozen=True)
class Exchange:
    """One recorded exchange. ``label`` is its number, with ``#2`` when the recorder used that
    number before.
    """

    scene: str
    label: str
    raw: dict[str, Any]

    @property
    def method(self) -> str:
        return str(self.raw["request"]["method"])

    @property
    def path(self) -> str:
        """The decoded path behind the formatter."""
        return "/" + unquote("/".join(self.raw["request"]["path"].split("/")[3:]))

    @property
    def body(self) -> str:
        return str(self.raw["request"]["body"] or "")

    @property
    def data(self) -> Any:
        return self.raw["response"].get("json", {}).get("data")


def exchanges(scene: str) -> list[Exchange]:
    """Return a scene's exchanges in order, without the notes of the recorder that are not HTTP."""
    seen: Counter[int] = Counter()
    found = []
    for entry in json.loads((RECORDED / f"{scene}.json").read_text()):
        if "request" in entry:
            seen[entry["n"]] += 1
            again = f"#{seen[entry['n']]}" if seen[entry["n"]] > 1 else ""
            found.append(Exchange(scene, f"{entry['n']}{again}", entry))
    return found


class LeftOut:
    """The table of what is not replayed, each entry with its reason (``left_out.json``)."""

    def __init__(self) -> None:
        self.rules: list[dict[str, Any]] = json.loads((HERE / "left_out.json").read_text())

    def reason(self, exchange: Exchange) -> str | None:
        """Return why an exchange is left out, None if it is replayed."""
        return next(
            (str(rule["reason"]) for rule in self.rules if self.covers(rule, exchange)), None
        )

    @staticmethod
    def covers(rule: dict[str, Any], exchange: Exchange) -> bool:
        if not fnmatch.fnmatch(exchange.scene, rule.get("file", "*")):
            return False
        if "n" in rule:
            return any(_within(exchange.label, span) for span in rule["n"])
        if exchange.raw["response"]["status"] in rule.get("but", ()):
            return False
        return fnmatch.fnmatchcase(f"{exchange.method} {exchange.path}", rule["call"])


def _within(label: str, span: str) -> bool:
    if "-" not in span:
        return label == span
    first, last = span.split("-")
    return "#" not in label and int(first) <= int(label) <= int(last)


@dataclass
class Replay:
    """One scene's replay: ``differences`` are what was found, by exchange."""

    world: World
    scene: str
    replayed: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)
    known: dict[str, str] = field(default_factory=dict)
    tasks: dict[str, str] = field(default_factory=dict)

    def run(self, left_out: LeftOut) -> Replay:
        """Replay the whole scene."""
        for exchange in exchanges(self.scene):
            self.world.set_clock(exchange.raw["at"])
            self.world.prepare(exchange.label)
            if reason := left_out.reason(exchange) or self._orphaned(exchange):
                self.left_out[reason] += 1
                self._note_task(exchange, reason)
                self.world.carry_out(exchange.method, exchange.path, exchange.body)
            else:
                self._replay(exchange)
            self.world.settle(exchange.label)
        return self

    def _replay(self, exchange: Exchange) -> None:
        self.replayed += 1
        self._note_task(exchange, "")
        where = f"{self.scene} {exchange.label} {exchange.method} {exchange.path}"
        found = [
            f"{where}: {difference}"
            for difference in self._compare(exchange, self._answer(exchange))
        ]
        self.differences += [
            line for line in found if not any(re.search(known, line) for known in TOLERATED)
        ]

    def _note_task(self, exchange: Exchange, reason: str) -> None:
        """Remember who started a task: what is asked of it later is left out when its start was."""
        started = (
            exchange.data["upid"]
            if exchange.path.endswith("/vncproxy") and exchange.data
            else exchange.data
        )
        if isinstance(started, str) and _UPID.fullmatch(started):
            self.tasks[started] = reason

    def _orphaned(self, exchange: Exchange) -> str | None:
        found = _UPID.search(exchange.path)
        if (
            not found
            or self.world.knows_task(found[0])
            or "unable to open file" in str(exchange.data)
        ):
            return None
        return self.tasks.get(
            found[0],
            ORPHAN if exchange.raw["response"]["status"] == 200 and exchange.data else None,
        )

    def _answer(self, exchange: Exchange) -> Reply:
        """Send the request; a task that was over when the real server was asked must be over here,
        too.
        """
        if (upid := _UPID.search(exchange.path)) and _was_over(exchange):
            self.world.lab.tasks.wait(self.known.get(upid[0], upid[0]), HANGS)
        return dispatch(self.world.lab, self.request(exchange))

    def request(self, exchange: Exchange) -> Request:
        """Return the recorded request in the lab's words."""
        sent = exchange.raw["request"]
        headers = {
            name.lower(): value for name, value in sent["headers"].items()
        } | self._credentials(exchange)
        body = self._translate(self._unshortened(exchange))
        if body.startswith("(chunked) "):
            body, headers["transfer-encoding"] = body.removeprefix("(chunked) "), "chunked"
        if "REDACTED" in body:
            password = (
                self.world.ticket()[0]
                if "renew" in exchange.raw["note"]
                else seed.root_password(self.world.lab)
            )
            body = body.replace("REDACTED", quote(password))
        if body and int(headers.get("content-length", 0)) < 512 * 1024:
            headers["content-length"] = str(len(body.encode()))
        return Request(
            sent["method"],
            self._translate(sent["path"]),
            self._translate(sent["query"]),
            headers,
            body.encode(),
        )

    def _credentials(self, exchange: Exchange) -> dict[str, str]:
        auth, headers = str(exchange.raw["auth"]), exchange.raw["request"]["headers"]
        found = {}
        if auth.startswith("ticket"):
            ticket, csrf = self.world.ticket()
            found["cookie"] = f"PVEAuthCookie={quote(ticket, safe='')}"
            if headers.get("CSRFPreventionToken") == "REDACTED":
                found["csrfpreventiontoken"] = csrf
        elif (
            headers.get("Authorization", "").endswith("=REDACTED")
            and "wrong secret" not in exchange.raw["note"]
        ):
            name = re.split("[= ]", headers["Authorization"])[1]
            found["authorization"] = headers["Authorization"].replace(
                "REDACTED", self.world.secret(name)
            )
        return found

    @staticmethod
    def _unshortened(exchange: Exchange) -> str:
        """The recorder shortened two bodies."""
        return re.sub(
            r"xxx… \((\d+)(?: bytes)?\)",
            lambda found: "x" * min(int(found[1]), 70_000),
            exchange.body,
        )

    def _translate(self, text: str) -> str:
        for theirs, ours in self.known.items():
            text = text.replace(theirs, ours).replace(quote(theirs, safe=""), quote(ours, safe=""))
        return text

    def _compare(self, exchange: Exchange, reply: Reply) -> Iterator[str]:
        seen = exchange.raw["response"]
        if (reply.status, self._plain(reply.reason).rstrip()) != (
            seen["status"],
            self._plain(seen["reason"], theirs=True),
        ):
            yield (
                f"answers {reply.status} {reply.reason!r} instead of {seen['status']} "
                f"{seen['reason']!r}"
            )
            return
        if "json" not in seen:
            yield from self._compare_text(seen.get("text", ""), reply.body.decode("latin-1"))
            return
        answer, expected = json.loads(reply.body), seen["json"]
        if "data" in answer and answer["data"] is not None:
            self._learn(expected.get("data"), answer["data"])
        for name in sorted((answer.keys() | expected.keys()) - {"data", "total", "changes"}):
            ours, theirs = (
                self._plain(json.dumps(answer.get(name))),
                self._plain(json.dumps(expected.get(name)), theirs=True),
            )
            if ours != theirs:
                yield f"{name} is {ours} instead of {theirs}"
        if ("total" in answer) != ("total" in expected):
            yield f"total: {answer.get('total')} instead of {expected.get('total')}"
        yield from self._compare_data(exchange, expected.get("data"), answer.get("data"))

    def _compare_data(self, exchange: Exchange, expected: Any, answer: Any) -> Iterator[str]:
        if (
            _UPID.search(exchange.path)
            and exchange.path.endswith("/log")
            and isinstance(expected, list)
        ):
            yield from self._compare_log(exchange, expected, answer)
        elif (
            _UPID.search(exchange.path)
            and exchange.path.endswith("/status")
            and isinstance(expected, dict)
        ):
            yield from self._compare_status(expected, answer)
        elif (
            _INSIDE.search(exchange.path)
            and isinstance(expected, dict)
            and expected.keys() == answer.keys()
        ):
            for name in (name for name in expected if expected[name] != answer[name]):
                yield f"data.{name} is {answer[name]!r} instead of {expected[name]!r}"
        else:
            yield from unlike(expected, answer, "data")

    def _compare_log(
        self, exchange: Exchange, expected: list[dict[str, Any]], answer: list[dict[str, Any]]
    ) -> Iterator[str]:
        if expected and answer:
            yield from unlike(expected[0], answer[0], "line")
        self._learn_lines(expected, answer)
        if not _was_over(exchange):
            return
        here = str(self.world.lab.nodes["pve"].dir)
        texts = [row["t"] for row in expected], [row["t"].replace(here, "") for row in answer]
        theirs, ours = (
            shape([line for line in lines if not line.startswith(_COUNTED)]) for lines in texts
        )
        if theirs != ours:
            yield "log differs:\n" + "\n".join(
                f"      {line}" for line in difflib.ndiff(theirs, ours) if line[0] in "+-"
            )

    @staticmethod
    def _compare_status(expected: dict[str, Any], answer: dict[str, Any]) -> Iterator[str]:
        theirs, ours = expected.get("exitstatus"), answer.get("exitstatus")
        if expected["status"] == "stopped" and shape([str(theirs)]) != shape([str(ours)]):
            yield f"exit status is {ours!r} instead of {theirs!r}"
        over = {"exitstatus", "status"}
        before, now = (
            {name: value for name, value in row.items() if name not in over}
            for row in (expected, answer)
        )
        yield from unlike(before, now, "status")

    def _compare_text(self, expected: str, answer: str) -> Iterator[str]:
        if "\n" not in expected.strip() and self._plain(expected, theirs=True) != self._plain(
            answer
        ):
            yield f"body is {answer!r} instead of {expected!r}"

    def _plain(self, text: str, *, theirs: bool = False) -> str:
        """Without what no two servers have in common: ids and names by time, addresses of Perl's
        memory, paths of this lab.
        """
        text = (
            self._translate(text)
            if theirs
            else text.replace(str(self.world.lab.nodes["pve"].dir), "")
        )
        text = re.sub(r"\(0x[0-9a-f]+\)", "(0x0)", _UPID.sub("UPID", text))
        return re.sub(r"\b\d{4,}\b", "N", re.sub(r" line \d+\.?", " line N", text))

    def _learn(self, theirs: Any, ours: Any, key: str = "") -> None:
        if isinstance(theirs, dict) and isinstance(ours, dict):
            for name in theirs.keys() & ours.keys():
                self._learn(theirs[name], ours[name], name)
        elif isinstance(theirs, str) and isinstance(ours, str) and theirs != ours:
            pattern = _LEARNT.get(key)
            if pattern and pattern.fullmatch(theirs) and pattern.fullmatch(ours):
                self.known[theirs] = ours
        elif isinstance(theirs, list) and isinstance(ours, list):
            self._learn_rows(theirs, ours)
        elif key == "pid" and isinstance(theirs, int) and isinstance(ours, int):
            self.known[f"pid={theirs}"] = f"pid={ours}"

    def _learn_rows(self, theirs: list[Any], ours: list[Any]) -> None:
        """Rows that differ in their id only are the same job."""
        for row in theirs:
            if isinstance(row, dict) and _LEARNT["id"].fullmatch(str(row.get("id"))):
                same = [other for other in ours if _nameless(other) == _nameless(row)]
                if len(same) == 1:
                    self._learn(row, same[0])

    def _learn_lines(self, expected: list[dict[str, Any]], answer: list[dict[str, Any]]) -> None:
        names = [
            [_ARCHIVE.search(row["t"]) for row in rows if "creating vzdump archive" in row["t"]]
            for rows in (expected, answer)
        ]
        for theirs, ours in zip(*names, strict=False):
            if theirs and ours and theirs[0] != ours[0]:
                self.known[theirs[0]] = ours[0]


def _was_over(exchange: Exchange) -> bool:
    """Say whether the task that is asked about had ended on the real server."""
    data = exchange.data
    if isinstance(data, dict):
        return data.get("status") == "stopped"
    if isinstance(data, list) and data and "t" in data[-1]:
        return "limit=0" in exchange.raw["request"]["query"] and str(
            exchange.raw["note"]
        ).startswith("full log")
    return False


def _nameless(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ("id", "next-run", "digest")}


def unlike(expected: Any, answer: Any, where: str) -> Iterator[str]:
    """Yield where an answer's shape or types differ from the recorded one's."""
    if _kind(expected) != _kind(answer):
        yield (
            f"{where} is {_kind(answer)} ({str(answer)[:60]}) instead of {_kind(expected)} "
            f"({str(expected)[:60]})"
        )
    elif isinstance(expected, dict):
        yield from _unlike_maps(expected, answer, where)
    elif isinstance(expected, list):
        yield from _unlike_lists(expected, answer, where)


def _unlike_maps(expected: dict[str, Any], answer: dict[str, Any], where: str) -> Iterator[str]:
    for name in sorted(expected.keys() - answer.keys()):
        yield f"{where}.{name} is missing ({str(expected[name])[:60]})"
    for name in sorted(answer.keys() - expected.keys()):
        yield f"{where}.{name} is too many ({str(answer[name])[:60]})"
    for name in sorted(expected.keys() & answer.keys()):
        yield from unlike(expected[name], answer[name], f"{where}.{name}")


def _unlike_lists(expected: list[Any], answer: list[Any], where: str) -> Iterator[str]:
    """Every row must look like one of the recorded rows."""
    if bool(expected) != bool(answer):
        yield f"{where} has {len(answer)} rows instead of {len(expected)}"
        return
    for row in answer:
        found = [list(unlike(theirs, row, f"{where}[]")) for theirs in expected]
        if all(found):
            yield from min(found, key=len)
            return


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    return {int: "number", float: "number", str: "string", list: "array", dict: "object"}[
        type(value)
    ]
