"""The role that ``doctor --role`` prints is enough for the whole path of the demonstration, and
every privilege of it is needed.

What is printed is pasted into a root shell with a ``pveum`` of the lab, for a user and tokens that
did not exist before.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from backupsvc.bootstrap import Service, open_service
from backupsvc.cli.backup import run_job
from backupsvc.cli.restore_test import run_tests
from backupsvc.doctor import checks as health
from backupsvc.errors import BackupsvcError
from backupsvc.inventory import accepting, listing
from backupsvc.operations.prune.deciding import preview
from backupsvc.operations.prune.opening import open_prune
from backupsvc.operations.prune.result import prune_outcome
from backupsvc.operations.restore.planning import open_restore, plan_restore
from backupsvc.operations.restore.result import restore_outcome
from backupsvc.report import facts
from backupsvc.settings import CatalogSettings, PveSettings, Settings
from policies import role
from policies.site import load_policy
from tests.catalogs import new_catalog
from tests.commands import Shell
from tests.integration.root_shell import NODE, Root, printed

pytestmark = pytest.mark.slow

VMID = 104
POLICY = """
site: least
timezone: Europe/Paris
scratch: {{vmids: 9000-9009, bridge: vmbr9, storage: local-lvm, memory: 64, settle: 1s{pool}}}
jobs:
  nightly: {{storage: local, guests: [104], keep: keep-last=1, bandwidth: 900000}}
prune: {{max-share: 100%}}
guests:
  104: {{network: isolated}}
"""
# with the pool there is no second token, whose rights on /vms the user would hold anyway
RESTORE = {"without pool": ("vmbr0",), "with pool": ()}
POLICIES = {
    "without pool": POLICY.format(pool=""),
    "with pool": POLICY.format(pool=", pool: scratch"),
}


def tidy(root: Root) -> None:
    """Put the cluster back: no copy left, and the guest as its first archive holds it."""
    for vmid in [vmid for vmid in root.guests() if vmid >= 9000]:
        root.destroy(vmid)
    config = root("GET", f"/nodes/{NODE}/qemu/{VMID}/config") if VMID in root.guests() else {}
    if "scsi0" not in config:
        if config or VMID in root.guests():
            root.destroy(VMID)
        rows = root("GET", f"/nodes/{NODE}/storage/local/content", content="backup", vmid=VMID)
        root.task(
            "POST", f"/nodes/{NODE}/qemu", vmid=VMID, archive=max(row["volid"] for row in rows)
        )


@pytest.fixture(scope="module")
def root(site: Shell) -> Root:
    """A lab whose guest has an ISO in its drive, one archive of it, and a pool for copies."""
    admin = Root(site.state)
    iso = (
        site.state
        / "lab"
        / "nodes"
        / NODE
        / "var"
        / "lib"
        / "vz"
        / "template"
        / "iso"
        / "tools.iso"
    )
    iso.parent.mkdir(parents=True, exist_ok=True)
    iso.write_bytes(b"iso")
    admin("PUT", f"/nodes/{NODE}/qemu/{VMID}/config", ide2="local:iso/tools.iso,media=cdrom")
    admin("POST", "/pools", poolid="scratch")
    admin.task("POST", f"/nodes/{NODE}/vzdump", vmid=VMID, storage="local", compress="zstd")
    return admin


@pytest.fixture(scope="module", params=list(POLICIES))
def granted(
    request: pytest.FixtureRequest, root: Root, tmp_path_factory: pytest.TempPathFactory
) -> Root:
    """The printed role, for a policy with a pool for copies and for one without."""
    place = tmp_path_factory.mktemp("role")
    (place / "policy.yaml").write_text(POLICIES[request.param])
    root.gone()
    assert root.paste(printed(place / "policy.yaml", RESTORE[request.param])) == ""
    root.policy = place / "policy.yaml"
    return root


@pytest.fixture
def service(granted: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """The service with the fresh tokens and an empty catalog; the cluster is put back
    afterwards.
    """
    monkeypatch.setenv("BACKUPSVC_STATE_DIR", str(tmp_path))
    saved = json.loads((granted.state / "lab" / "settings.json").read_text(encoding="utf-8"))["pve"]
    tokens = {name: f"{role.USER}!{name}={secret}" for name, secret in granted.secrets.items()}
    pve = PveSettings(
        host=saved["host"],
        ca_file=saved["ca_file"],
        token=SecretStr(tokens["service"]),
        restore_token=SecretStr(tokens["restore"]) if "restore" in tokens else None,
    )
    settings = Settings(
        pve=pve,
        catalog=CatalogSettings(url=new_catalog(tmp_path)),
        state_dir=tmp_path,
        policy=granted.policy,
        simulated=True,
    )
    with open_service(settings) as opened:
        yield opened
    tidy(granted)


def gaps(service: Service) -> list[str]:
    """What ``pra status`` could not find out."""
    found = facts.collect(service.pve, service.catalog, service.policy, service.clock)
    missing = [f"gap {gap.kind}: {gap.reason}" for gap in found.gaps]
    blind = [f"guest {guest.vmid} not seen" for guest in found.guests if guest.guest is None]
    return (
        missing
        + blind
        + [f"no figures of {node.name}" for node in found.nodes if not node.max_memory]
    )


def back_up(service: Service) -> list[str]:
    """A backup, and the listing of archives."""
    result = run_job(service, service.policy.jobs[0], [], lambda event: None)
    failed = [str(guest["error"]) for guest in result["guests"] if guest["status"] == "failed"]
    failed += [
        f"thawed: {seen['why']}"
        for guest in result["guests"]
        if (seen := guest["file_systems"]) and seen["state"] == "unknown"
    ]
    return failed or ([] if listing.observe(service) else ["no archive is listed"])


def pruned(service: Service) -> list[str]:
    """A prune dry run, and a real one that removes an archive; the archives are older than the
    catalog, so they are accepted.
    """
    accepting.sync(service, accept=True)
    if not any(item.mark == "remove" for item in preview(service)):
        return ["nothing to prune"]
    result = prune_outcome(service.engine.drive_one(open_prune(service)))
    return [result["error"]["message"]] if result["error"] else []


def proven(service: Service) -> list[str]:
    """A restore test whose copy is stripped, boots, answers and is gone again."""
    (result,), _ = run_tests(service, [VMID], lambda event: None)
    if result["error"]:
        return [result["error"]["message"]]
    bad = [
        f"check {check['name']}: {check['detail']}"
        for check in result["checks"]
        if check["outcome"] != "passed"
    ]
    return bad + (
        []
        if any("ide2" in sentence for sentence in result["isolation"]["stripped"])
        else ["the ISO was not taken out"]
    )


def brought_back(service: Service, root: Root) -> list[str]:
    """The guest is deleted, and restored onto its production bridge by the restore token."""
    root.destroy(VMID)
    planned = plan_restore(service, VMID, at=None, volid=None, node=None, storage=None)
    result = restore_outcome(service.engine.drive_one(open_restore(service, VMID, planned)))
    return [] if result["started"] else [str(result["error"])]


def whole_path(service: Service, root: Root) -> list[str]:
    """What went wrong at the first step that did not go well."""
    steps: list[Callable[[Service], list[str]]] = [gaps, back_up, pruned, proven]
    if service.settings.pve.restore_token:
        steps.append(lambda opened: brought_back(opened, root))
    try:
        return next((wrong for step in steps if (wrong := step(service))), [])
    except BackupsvcError as error:
        return [error.message]


def test_the_printed_role_is_enough_for_the_whole_path(service: Service, granted: Root) -> None:
    assert whole_path(service, granted) == []


def test_doctor_finds_nothing_missing_with_the_printed_role(service: Service) -> None:
    lines = health.examine(service)
    assert [line for line in lines if line.status == health.FAILED] == []
    good = {line.name for line in lines if line.status == health.OK}
    assert {"token", "storages", "isolated bridge"} <= good
    assert ("restore token" in good) == bool(service.settings.pve.restore_token)


def cases() -> list[Any]:
    """Policy, holder, path and privilege: all of the role without a pool, and what stands elsewhere
    with one.
    """
    found = []
    for name, text in POLICIES.items():
        policy = load_policy(text, name)
        restoring = (
            role.restoring(policy, bridges=RESTORE[name], disks=["local-lvm"])
            if RESTORE[name]
            else ()
        )
        for holder in role.holders(role.everyday(policy), restoring):
            rights = [(path, priv) for path, privs in holder.grants.items() for priv in privs]
            chosen = [
                right
                for right in rights
                if not policy.scratch.pool or right[0].startswith("/pool/")
            ]
            found += [
                pytest.param(
                    name, holder.name, *right, id=f"{name} {holder.name} {' '.join(right)}"
                )
                for right in chosen
            ]
    return found


@pytest.mark.parametrize(
    ("granted", "holder", "path", "privilege"), cases(), indirect=["granted"], scope="module"
)
def test_without_any_one_privilege_something_fails(
    service: Service, granted: Root, holder: str, path: str, privilege: str
) -> None:
    kind = "tokens" if "!" in holder else "users"
    rows = [
        row for row in granted("GET", "/access/acl") if (row["ugid"], row["path"]) == (holder, path)
    ]
    held = {priv for row in rows for priv in granted("GET", f"/access/roles/{row['roleid']}")}
    granted("POST", "/access/roles", roleid="Less", privs=",".join(held - {privilege}))
    granted("PUT", "/access/acl", path=path, roles="Less", **{kind: holder})
    for row in rows:
        granted("PUT", "/access/acl", path=path, roles=row["roleid"], delete=1, **{kind: holder})
    try:
        assert privilege in held
        assert whole_path(service, granted) != []
    finally:
        for row in rows:
            granted("PUT", "/access/acl", path=path, roles=row["roleid"], **{kind: holder})
        granted("DELETE", "/access/roles/Less")
