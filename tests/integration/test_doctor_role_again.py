"""``doctor --role`` run again: a role means the same in every run, and user and tokens hold what
the last one asked for.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from policies import role
from policies.site import load_policy
from tests.commands import Shell
from tests.integration.root_shell import Root, printed

pytestmark = pytest.mark.slow

POLICY = """
site: least
timezone: Europe/Paris
scratch: {{vmids: 9000-9009, bridge: vmbr9, storage: local-lvm, memory: 64{pool}}}
jobs:
  nightly: {{storage: local, guests: [104], bandwidth: 900000}}
"""
POLICIES = {
    "without pool": POLICY.format(pool=""),
    "with pool": POLICY.format(pool=", pool: scratch"),
}


def test_run_again_with_other_options_it_gives_what_this_run_asks_for_and_nothing_more(
    site: Shell, tmp_path: Path
) -> None:
    """Every run is compared with its own needs, ACL by ACL; the tokens keep their secrets."""
    root = Root(site.state)
    files = {name: tmp_path / f"{name.replace(' ', '-')}.yaml" for name in POLICIES}
    for name, text in POLICIES.items():
        files[name].write_text(text)
    root.gone()
    runs: list[tuple[str, tuple[str, ...], list[str]]] = [
        ("without pool", ("vmbr0",), []),
        ("with pool", (), ["local"]),
        ("without pool", ("vmbr1", "vmbr2"), ["local"]),
        ("with pool", ("vmbr0",), []),
    ]
    secrets: dict[str, str] = {}
    for name, bridges, pruned in runs:
        complained = root.paste(
            printed(files[name], bridges, *(word for one in pruned for word in ("--prunes", one)))
        )
        assert "already exists" in complained or not secrets, complained
        policy = load_policy(files[name].read_text(), name)
        restoring = role.restoring(policy, bridges=bridges, disks=["local-lvm"]) if bridges else ()
        asked = role.holders(role.everyday(policy, pruning=pruned), restoring)
        wanted = {
            holder.name: {path: set(privs) for path, privs in holder.grants.items()}
            for holder in asked
        }
        assert root.granted() == wanted, (name, bridges, pruned)
        assert secrets.items() <= root.secrets.items()
        secrets = dict(root.secrets)
    root.gone()


def test_a_role_that_somebody_changed_is_set_to_what_its_name_says(
    site: Shell, tmp_path: Path
) -> None:
    root = Root(site.state)
    (tmp_path / "policy.yaml").write_text(POLICIES["without pool"])
    root.gone()
    root(
        "POST",
        "/access/roles",
        roleid=role.role_name(["SDN.Use"]),
        privs="SDN.Use,VM.Allocate,Sys.Modify",
    )
    root.paste(printed(tmp_path / "policy.yaml", ()))
    assert root.granted()[f"{role.USER}!service"]["/sdn/zones/localnetwork/vmbr9"] == {"SDN.Use"}
    root.gone()
