"""The lab answers as a real server did: scenes of recorded_real whose answers do not depend on that
server's state.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pvelab.app import dispatch
from pvelab.kernel import Lab
from pvelab.seed import ROOT_TOKEN, token
from pvelab.wire import Request

_RECORDED = Path(__file__).parents[3] / "golden" / "recorded_real"
_SCENES = {
    "01_auth": [
        1,
        2,
        3,
        4,
        5,
        6,
        7,
        8,
        14,
        15,
        16,
        17,
        19,
        24,
        *range(28, 41),
        43,
        44,
        46,
        47,
        48,
        49,
        50,
        52,
        *range(53, 59),
    ],
    "01b_encoding": [*range(30, 40), 44, 54],
    "02_inventory": [18, 30, 31, 42, 43, 47, 48, 50],
    "07_tasks": [9, 13, 16, 19, 22, 26, 28, 29, 30, 43, 44, *range(48, 62)],
    "08_prune": [12, 14, 15, 19, 31, 61, 62],
    "09_jobs_coverage": [
        11,
        13,
        27,
        28,
        29,
        30,
        31,
        34,
        35,
        *range(38, 43),
        46,
        48,
        49,
        50,
        53,
        62,
    ],
    "10_permissions": [1, 2, 20],
    "11_ha": [1, 2, 7, 8, 9, 10, 11, 12, 13, 14, 15, 29, 38, 40, 41, 42, 56],
    "04_vzdump_errors": [143, 154, 155, 156, 157, 158, 159, 160, 161, 162, 167, 182, 183],
    "05_restore_ok": [41, 42, 43, 44, 45, 130, 131, 133, 134, 145],
}
_JOB = "langeo-test"  # the recorded job's id


def _exchanges() -> list[Any]:
    found = []
    for scene, numbers in _SCENES.items():
        by_number = {
            e["n"]: e
            for e in json.loads((_RECORDED / f"{scene}.json").read_text())
            if "request" in e
        }
        found += [pytest.param(by_number[n], id=f"{scene}-{n}") for n in numbers if n in by_number]
    return found


def _request(lab: Lab, recorded: dict[str, Any]) -> Request:
    sent = recorded["request"]
    headers = {name.lower(): value for name, value in sent["headers"].items()}
    if headers.get(
        "authorization"
    ) == "PVEAPIToken=root@pam!lab=REDACTED" and "wrong secret" not in recorded.get("note", ""):
        headers["authorization"] = f"PVEAPIToken={token(lab, ROOT_TOKEN)}"
    path = (
        sent["path"]
        .replace("/nodes/pve", "/nodes/clovis")
        .replace("/9040/", "/100/")
        .replace("/9001/", "/100/")
    )
    body = sent["body"] or ""
    if recorded.get("note") == "body over 512 KiB":
        headers["content-length"] = "524312"
    return Request(
        sent["method"], path.replace(":pve:", ":clovis:"), sent["query"], headers, body.encode()
    )


@pytest.mark.parametrize("recorded", _exchanges())
def test_the_lab_answers_as_the_real_server_did(lab: Lab, recorded: dict[str, Any]) -> None:
    lab.jobs.entries[_JOB] = {"vmid": "100", "schedule": "21:00", "enabled": 1}
    reply = dispatch(lab, _request(lab, recorded))
    seen = recorded["response"]
    expected_reason = (
        seen["reason"].replace("pve/qemu", "clovis/qemu").replace("/nodes/pve", "/nodes/clovis")
    )
    assert (reply.status, reply.reason) == (seen["status"], expected_reason)
    if "json" in seen:
        answer, expected = (
            json.loads(reply.body),
            json.loads(json.dumps(seen["json"]).replace("/nodes/pve", "/nodes/clovis")),
        )
        assert {k: v for k, v in answer.items() if k != "data"} == {
            k: v for k, v in expected.items() if k != "data"
        }
        if seen["status"] != 200 or recorded["request"]["query"]:
            assert answer["data"] == expected["data"]
    else:
        assert reply.body.decode() == seen.get("text", "")
