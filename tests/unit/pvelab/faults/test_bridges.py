"""A bridge that gets a way out: PVE's answer, the kernel's, and a guest that does not belong
there.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from pvelab import links
from pvelab.errors import UsageError
from pvelab.faults import effects
from pvelab.kernel import ROUTES, Lab
from pvelab.links import LinkServer
from pvelab.vmm import node_commands
from tests.unit.pvelab.faults.conftest import Break


def row(lab: Lab, node: str) -> dict[str, object]:
    class Asked:
        pass

    call = Asked()
    call.lab, call.node, call.params = lab, node, {}  # type: ignore[attr-defined]
    listed = ROUTES["GET", "/nodes/{node}/network"](call)  # type: ignore[arg-type]
    return next(item for item in listed if item["iface"] == "vmbr9")


def test_a_port_shows_on_its_own_node_alone_until_it_is_cleared(lab: Lab, broken: Break) -> None:
    fault = broken("bridge", node="clovis", do="port", value="eno2")
    assert (row(lab, "clovis")["bridge_ports"], row(lab, "lge-pve02")["bridge_ports"]) == (
        "eno2",
        "",
    )
    assert (links.ports(lab, "clovis", "vmbr9"), links.ports(lab, "lge-pve02", "vmbr9")) == (
        ["eno2"],
        [],
    )
    effects.clear(lab, fault.id)
    assert row(lab, "clovis")["bridge_ports"] == "" and links.ports(lab, "clovis", "vmbr9") == []


def test_an_address_shows_as_pve_writes_it(lab: Lab, broken: Break) -> None:
    broken("bridge", node="clovis", do="address", value="10.9.0.1/24")
    assert {
        "cidr": "10.9.0.1/24",
        "address": "10.9.0.1",
        "netmask": "24",
        "method": "static",
    }.items() <= row(lab, "clovis").items()


def test_a_foreign_guest_is_made_and_goes_with_its_fault(lab: Lab, broken: Break) -> None:
    fault = broken("bridge", node="lge-pve02", do="guest", value="7000")
    made = lab.guests.get(7000)
    assert made and made.node == "lge-pve02" and "bridge=vmbr9" in made.config["net0"]
    effects.clear(lab, fault.id)
    assert lab.guests.get(7000) is None


@pytest.mark.parametrize(
    "options",
    [
        {"do": "door", "value": "x"},
        {"do": "guest", "value": "7"},
        {"do": "guest", "value": "108"},
        {"do": "port", "value": "eno2", "bridge": "vmbr7"},
    ],
)
def test_what_makes_no_sense_is_refused(lab: Lab, broken: Break, options: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        broken("bridge", node="clovis", **options)
    assert lab.faults.all() == []


def test_the_kernel_is_asked_by_the_words_of_iproute2(
    lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = LinkServer(lab, lab.run_dir / "links")
    try:
        place = f"clovis={lab.run_dir / 'links'}"
        assert node_commands.main(tmp_path, "ip -j link show master vmbr0", place) == 0
        assert [item["ifname"] for item in json.loads(capsys.readouterr().out)] == ["eno1"]
        assert node_commands.main(tmp_path, "ip -j link show master vmbr7", place) == 1
        assert capsys.readouterr().err == 'Device "vmbr7" does not exist.\n'
        assert (
            node_commands.main(tmp_path, "ip link set vmbr9 down", place) == node_commands.REFUSED
        )
    finally:
        server.close()
    with pytest.raises(OSError), socket.socket(socket.AF_UNIX) as gone:
        gone.connect(str(lab.run_dir / "links"))
