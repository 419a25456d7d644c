"""A container restored with ``pool=`` is a member of it until it is destroyed; the right on the
pool is enough.
"""

from __future__ import annotations

from pvelab import seed
from pvelab.kernel import Lab
from tests.unit.pvelab.guests.conftest import Api

LXC = "/nodes/clovis/lxc"


def test_a_restored_container_joins_its_pool_and_leaves_it_when_it_is_destroyed(
    api: Api, lab: Lab
) -> None:
    params = {
        "vmid": 9000,
        "ostemplate": api.dump(200),
        "restore": 1,
        "storage": "local-lvm",
        "pool": "copies",
    }
    missing = (403, "Permission check failed (pool 'copies' does not exist)")
    assert api.refused("POST", LXC, **params) == missing
    api("POST", "/pools", poolid="copies")
    assert api.task("POST", LXC, **params)[0] == "OK"
    assert [row["vmid"] for row in api("GET", "/pools/copies")["members"]] == [9000]
    assert api.task("DELETE", f"{LXC}/9000")[0] == "OK"
    assert lab.access.pools["copies"]["vms"] == []


def test_the_right_on_the_pool_is_enough_to_create_there(api: Api, lab: Lab) -> None:
    volid = api.dump(200)
    api("POST", "/pools", poolid="copies")
    lab.access.roles["BackupsvcVms"].remove("VM.Allocate")
    lab.access.roles["Creator"] = ["VM.Allocate"]
    for kind, ugid in (("user", "backupsvc@pve"), ("token", seed.SERVICE_TOKEN)):
        lab.access.acl.append(
            {
                "path": "/pool/copies",
                "type": kind,
                "ugid": ugid,
                "roleid": "Creator",
                "propagate": 1,
            }
        )
    service = api.with_token(seed.SERVICE_TOKEN)
    params = {
        "vmid": 9000,
        "ostemplate": volid,
        "restore": 1,
        "storage": "local-lvm",
        "net0": "name=eth0,bridge=vmbr9",
    }
    assert service.refused("POST", LXC, **params) == (403, "Permission check failed")
    assert service.task("POST", LXC, **params, pool="copies")[0] == "OK"
