"""From a NIC's configuration to the machine's network card: tag, trunks, cable."""

from __future__ import annotations

import pytest

from pvelab.kernel import Lab, TaskDied
from pvelab.vmm.spec import Nic
from tests.unit.pvelab.guests.conftest import HOME, Api

MAC = "BC:24:11:00:00:04"


@pytest.mark.parametrize(
    ("options", "nic"),
    [
        ("bridge=vmbr0", Nic(0, MAC, "vmbr0")),
        ("bridge=vmbr9", Nic(0, MAC, "vmbr9", node="clovis")),
        ("bridge=vmbr0,tag=10,link_down=1", Nic(0, MAC, "vmbr0", 10, link_up=False)),
        ("bridge=vmbr0,trunks=2;10-12", Nic(0, MAC, "vmbr0", trunks=frozenset({2, 10, 11, 12}))),
    ],
)
def test_a_machines_card_is_what_its_config_says(
    api: Api, lab: Lab, options: str, nic: Nic
) -> None:
    api("PUT", f"{HOME}/qemu/104/config", net0=f"virtio={MAC},{options}")
    api.start(104)
    assert lab.machines[104].spec.nics == (nic,)


def test_trunks_that_are_none_keep_a_guest_from_starting(api: Api, lab: Lab) -> None:
    vm = lab.guests.need("clovis", 104)
    vm.config["net0"] = f"virtio={MAC},bridge=vmbr0,trunks=all"
    lab.guests.save(vm)
    with pytest.raises(TaskDied, match="invalid trunks 'all'"):
        api.start(104)
