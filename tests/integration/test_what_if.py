"""``what-if`` on a lab with modelled guests: before a node is lost, and after it really was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.commands import Answer, Shell
from tests.integration.administrator import disable_pve_job
from tests.integration.conftest import LANGEO

pytestmark = pytest.mark.slow
NODE, ELSEWHERE = "clovis", "lge-pve02"
COPIED = (105, 108)


@pytest.fixture
def policy(site: Shell, tmp_path: Path) -> Iterator[Path]:
    """The reference policy with copies on the other node, two guests backed up and copied there,
    and the cluster's configuration kept.
    """
    disable_pve_job(site.state)
    written = tmp_path / "policy.yaml"
    there = site.state / "lab" / "nodes" / ELSEWHERE / "var" / "lib" / "vz" / "dump"
    target = {"kind": "pve-storage", "node": ELSEWHERE, "storage": "local", "path": str(there)}
    copies = json.dumps({"pve02": target | {"allow-root": True}})
    text = LANGEO.read_text(encoding="utf-8").replace(
        'schedule: "21:00"', 'schedule: "2038-01-01 21:00"'
    )
    written.write_text(f"{text}\ncopies: {copies}\n", encoding="utf-8")
    for vmid in COPIED:
        for words in (("backup", "run"), ("copy", "run")):
            answer = site(*words, "--vmid", vmid, BACKUPSVC_POLICY=str(written))
            assert answer.code == 0, answer.out + answer.err
    assert site("catalog", "config", "keep", BACKUPSVC_POLICY=str(written)).code == 0
    yield written
    site("lab", "fault", "clear")


def guests(answer: Answer) -> dict[int, Any]:
    return {one["vmid"]: one for one in answer.json["guests"]}


def test_what_is_said_before_the_node_dies_is_what_is_said_once_it_is_dead(
    site: Shell, policy: Path
) -> None:
    def ask(*words: str) -> Answer:
        return site("what-if", *words, "--json", BACKUPSVC_POLICY=str(policy))

    before = ask("--node", NODE)
    assert before.code == 1, before.out + before.err  # 100 and 102 are critical, and have no copy
    found = guests(before)
    assert len(found) == 11
    assert {vmid for vmid, one in found.items() if one["source"]["kind"] != "none"} == set(COPIED)
    for vmid in COPIED:
        assert found[vmid]["source"]["node"] == ELSEWHERE and found[vmid]["target"] == ELSEWHERE
        assert found[vmid]["recoverable"] is True, found[vmid]
        # the lab's guests are modelled here: nothing proves anything (law 5)
        assert not found[vmid]["source"]["proven"]
    assert before.json["quorum"]["quorate"] is None and "QDevice" in before.json["quorum"]["said"]
    assert site("lab", "fault", "node-death", NODE).code == 0
    after = ask("--node", NODE)
    assert after.code == 1, after.out + after.err
    now = guests(after)
    for vmid in COPIED:
        same = ("recoverable", "target", "tier")
        assert {key: now[vmid][key] for key in same} == {key: found[vmid][key] for key in same}
        assert now[vmid]["source"]["volid"] == found[vmid]["source"]["volid"]
    assert any("kept at" in one for one in after.json["unseen"])


def test_as_text_the_loss_of_the_site_leaves_what_lies_outside(site: Shell, policy: Path) -> None:
    answer = site("what-if", "--site", BACKUPSVC_POLICY=str(policy))
    assert answer.code == 1 and "nothing is left" in answer.out
    assert "0 of 11 guests would come back" in answer.out, answer.out
    assert "quorum: no node is left that answers" in answer.out


def test_what_would_be_lost_must_be_named_and_be_there(site: Shell, policy: Path) -> None:
    for words, said in (((), "nothing is named"), (("--node", "clovsi"), "no node clovsi")):
        answer = site("what-if", *words, BACKUPSVC_POLICY=str(policy))
        assert answer.code == 2 and said in answer.err
