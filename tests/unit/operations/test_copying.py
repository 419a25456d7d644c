"""``restore-test --dry-run`` and the test plan alike: what was shown is what is sent (number
20).
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backupsvc.cli import restore_test as command
from backupsvc.errors import BackupsvcError, LawRefused, NoRoom
from backupsvc.operations import build_engine
from backupsvc.operations.restore_test import copying
from backupsvc.operations.restore_test.memory import recall
from backupsvc.operations.restore_test.opening import open_test
from backupsvc.settings import ProbeSettings, SshSettings
from policies.model import Policy
from policies.pve import guest_config
from policies.site import load_policy
from tests.fakes.clock import SteppingClock
from tests.fakes.cluster import Guest, VirtualCluster, connect
from tests.fakes.made import config_of
from tests.unit.operations.worlds import World, world

START = 1_773_122_400.0
POLICY = """
site: dry
timezone: UTC
scratch: {{vmids: 9000-9001, storage: local, settle: 0s{scratch}}}
jobs: {{nightly: {{storage: local}}}}
guests: {{101: {{memory: 256{guest}}}}}
"""


def policy(scratch: str = "", guest: str = "") -> Policy:
    return load_policy(POLICY.format(scratch=scratch, guest=guest), "dry.yaml")


@pytest.fixture
def site(tmp_path: Path, sqlite_url: str) -> Any:
    made: Any = world(sqlite_url)
    made.clock = SteppingClock(START)
    made.policy, made.probe, made.settings = (
        policy(),
        (lambda node: None),
        SimpleNamespace(probe=ProbeSettings(), ssh=SshSettings()),
    )
    yield made
    made.catalog.close()


def cluster_of(
    site: World, monkeypatch: pytest.MonkeyPatch, **config: str
) -> tuple[VirtualCluster, str, list[dict[str, Any]]]:
    """A cluster with an archive of 101, whose config has these lines besides; the restore calls
    that it gets.
    """
    cluster = VirtualCluster(site.clock, ("n1", "n2"), {101: Guest("n1", config_of(101))})
    held = config_of(101) | config
    volid = cluster.add_archive("n1", 101, int(START) - 3600, config=held)
    sent: list[dict[str, Any]] = []

    site.pve = connect(cluster, site.policy.scratch)
    start = site.pve.restore.start

    def begin(node: str, vmid: int, archive: str, **asked: Any) -> str:
        sent.append({"node": node, "vmid": vmid, "archive": archive, **asked})
        return str(start(node, vmid, archive, **asked))

    monkeypatch.setattr(site.pve.restore, "start", begin)
    return cluster, volid, sent


def planned(site: World) -> dict[str, Any]:
    from backupsvc.operations.choosing import choose

    return copying.preview(site, 101, choose(site, 101))


CASES = [
    ("", "", {}),
    (", bridge: vmbr9", ", network: isolated", {}),
    (
        ", bridge: vmbr9, memory: 128",
        ", network: isolated",
        {"onboot": "1", "tags": "prod", "rng0": "source=/dev/urandom"},
    ),
    (
        ", memory: 4096, node: n1",
        "",
        {"ide2": "local:iso/debian.iso,media=cdrom", "protection": "1", "startup": "order=1"},
    ),
]


@pytest.mark.parametrize(("scratch", "guest", "config"), CASES)
def test_what_the_dry_run_shows_is_what_the_run_sends(
    site: World, monkeypatch: pytest.MonkeyPatch, scratch: str, guest: str, config: dict[str, str]
) -> None:
    site.policy = policy(scratch, guest)
    _, volid, sent = cluster_of(site, monkeypatch, **config)
    shown = planned(site)
    assert shown["refused"] is None and sent == [], "a dry run makes nothing"
    engine = build_engine(site)
    site.engine = engine
    ended = engine.drive_one(open_test(site, 101))
    (call,) = sent
    place = shown["scratch"]
    assert (call["node"], call["vmid"], call["storage"], call["archive"]) == (
        place["node"],
        place["vmid"],
        place["storage"],
        volid,
    )
    marked = {
        key: value.replace(copying.PREVIEW, ended.id) for key, value in shown["overrides"].items()
    }
    assert call["overrides"] == marked
    nic = guest_config.parse_nic(call["overrides"]["net0"])
    assert nic.bridge == (shown["bridge"] or "vmbr0")
    assert int(call["overrides"].get("memory", 512)) == shown["memory"]
    assert set(shown["changes"]) | set(shown["stripped"]) == set(recall(ended).isolation.stripped)


def test_a_dry_run_takes_no_vmid_and_passes_over_those_that_are_leased(
    site: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster_of(site, monkeypatch)
    assert planned(site)["scratch"]["vmid"] == planned(site)["scratch"]["vmid"] == 9000
    assert site.catalog.leases.holders() == {}
    site.pve.cluster.vmid_free = lambda vmid: vmid != 9000
    assert planned(site)["scratch"]["vmid"] == 9001


@pytest.mark.parametrize(
    ("config", "says", "kind"),
    [
        (
            {"cicustom": "user=local:snippets/user.yml"},
            "cicustom: the cloud-init drive is made from snippet files",
            LawRefused,
        ),
        ({"args": "-S"}, "args: raw QEMU arguments", LawRefused),
        ({"net1": "bridge=vmbr0"}, "names no model", LawRefused),
        ({"scsi1": "local:101/vm-101-disk-1.raw,size=900T"}, "no place for a copy", NoRoom),
    ],
)
def test_law_2_what_the_run_refuses_the_dry_run_refuses_with_the_same_words(
    site: World,
    monkeypatch: pytest.MonkeyPatch,
    config: dict[str, str],
    says: str,
    kind: type[BackupsvcError],
) -> None:
    cluster, _, sent = cluster_of(site, monkeypatch, **config)
    shown = planned(site)
    assert says in shown["refused"]["message"]
    engine = build_engine(site)
    site.engine = engine
    error = engine.drive_one(open_test(site, 101)).book.error
    assert error and (error.step, error.kind) == ("reserve", kind.kind)
    assert {"message": error.message, "hint": error.hint, "exit_code": error.exit_code} == shown[
        "refused"
    ]
    assert sent == [] and cluster.calls["POST restore"] == 0


def test_the_dry_run_is_told_in_words_and_ends_with_the_code_of_the_run(
    site: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    site.policy = policy(", bridge: vmbr9", ", network: isolated, settle: 5s")
    cluster_of(site, monkeypatch, onboot="1")
    assert command._preview(site, [101], None, None, False) == 0
    out = capsys.readouterr().out
    assert (
        "into VMID 9000 on n1, storage local, with 256 MiB, network isolated, bridge vmbr9"
        in " ".join(out.split())
    )
    assert "net0: bridge vmbr0 became vmbr9" in out and "live on for 5 s" in out
    cluster_of(site, monkeypatch, args="-S")
    assert command._preview(site, [101], None, None, False) == 4
    assert "args: raw QEMU arguments" in capsys.readouterr().err
