"""Real guests on real segments: who reaches whom, what a cut cable does, what the probe reaches and
what it does not.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import paramiko
import pytest

from backupsvc import checks
from backupsvc.remote.jump import Jump
from backupsvc.settings import ProbeSettings
from policies.model import CheckResult, CheckSpec, Outcome
from pvelab.vmm.machine import Machine
from pvelab.vmm.probe import Probe, ProbeAccess
from tests.lab.vmm.conftest import Bench, run, up
from tests.waiting import HANGS

pytestmark = pytest.mark.lab

ASKS = "wget -q -O - http://192.168.10.3/"
# where no answer is to come
ZABBIX_PAGE = "timeout 3 wget -q -O - http://192.168.10.3/"


@dataclass
class Site:
    """Two servers in VLAN 10 and one in VLAN 30 of the production bridge; three copies and the
    probe on the isolated one.
    """

    zabbix: Machine
    keycloak: Machine
    docker: Machine
    directory: Machine
    probe: Probe
    access: ProbeAccess
    bench: Bench


@pytest.fixture(scope="module")
def site(bench: Bench) -> Iterator[Site]:
    probe = Probe(bench.images, bench.folder / "probe", bench.networks, bench.accelerator)
    zabbix, keycloak, docker = production = [bench.machine(vmid) for vmid in (103, 106, 110)]
    copies = [
        bench.machine(vmid, copy=copy, bridge="vmbr9")
        for vmid, copy in ((108, 9000), (100, 9001), (102, 9002))
    ]
    for machine in production + copies:
        machine.start()
    access = probe.start()
    for machine in production + copies:
        up(machine)
    yield Site(zabbix, keycloak, docker, copies[2], probe, access, bench)
    probe.stop()


@pytest.fixture
def login(site: Site) -> Iterator[paramiko.SSHClient]:
    client = paramiko.SSHClient()
    kind, blob = site.access.host_key.split()
    client.get_host_keys().add(
        f"[127.0.0.1]:{site.access.port}", kind, paramiko.Ed25519Key(data=base64.b64decode(blob))
    )
    key = paramiko.Ed25519Key.from_private_key_file(str(site.access.key_file))
    access = site.access
    client.connect(
        access.host,
        access.port,
        access.user,
        pkey=key,
        look_for_keys=False,
        allow_agent=False,
        timeout=HANGS,
    )
    with client:
        yield client


def through(login: paramiko.SSHClient, address: str, port: int, say: bytes = b"") -> bytes:
    """What a server answers through the probe."""
    transport = login.get_transport()
    assert transport is not None
    with closing(
        transport.open_channel("direct-tcpip", (address, port), ("127.0.0.1", 0), timeout=15)
    ) as channel:
        channel.settimeout(15)
        channel.sendall(say)
        answer = channel.recv(4096)
        while say and (more := channel.recv(4096)):
            answer += more
        return answer


def checked(site: Site, address: str, kind: str, **options: object) -> CheckResult:
    """What a health check says through the probe; a server that is only just starting is given a
    minute.
    """
    access = site.access
    probe = ProbeSettings(
        host=f"{access.host}:{access.port}",
        user=access.user,
        key_file=access.key_file,
        host_key=access.host_key.strip(),
    )
    end = time.monotonic() + HANGS
    with Jump(probe) as jump:
        while True:
            result = checks.run(
                CheckSpec(kind, kind, options), checks.Target(9000, address, jump.connect)
            )
            if result.outcome is Outcome.PASSED or time.monotonic() > end:
                return result
            time.sleep(0.5)


def test_guests_of_one_vlan_reach_each_other(site: Site) -> None:
    code, page = run(site.keycloak, f"timeout 120 {ASKS}")
    assert (code, "Zabbix: 400 records" in page) == (0, True)


def test_guests_of_two_vlans_do_not_even_when_they_share_a_subnet(site: Site) -> None:
    code, _ = run(site.docker, f"ip address add 192.168.10.77/24 dev eth0; {ZABBIX_PAGE}")
    run(site.docker, "ip address del 192.168.10.77/24 dev eth0")
    assert code != 0


def test_a_copy_on_the_isolated_bridge_answers_through_the_probe_under_its_production_address(
    site: Site, login: paramiko.SSHClient
) -> None:
    page = through(login, "192.168.10.8", 80, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert page.startswith(b"HTTP/1.1 200 OK\r\n")
    assert page.endswith(b"\r\n\r\nDebian-Server answers\n")
    assert through(login, "192.168.10.8", 22).startswith(b"SSH-2.0-dropbear")


@pytest.mark.parametrize("address", ["192.168.10.1", "192.168.20.1", "192.168.30.1"])
def test_a_copy_of_the_firewall_answers_under_each_of_its_addresses(
    site: Site, address: str
) -> None:
    page = checked(site, address, "http", tls=True, contains="pfSense")
    assert page.outcome is Outcome.PASSED and "certificate of CN=PfSense" in page.detail, (
        page.detail
    )


def test_a_copy_of_the_directory_answers_ldap_kerberos_and_dns(
    site: Site, login: paramiko.SSHClient
) -> None:
    found = checked(site, "192.168.10.2", "ldap", base="dc=langeo,dc=lan")
    assert found.outcome is Outcome.PASSED, found.detail
    assert through(login, "192.168.10.2", 88, b"?")
    assert through(login, "192.168.10.2", 53, b"?")
    code, answer = run(site.directory, "nslookup glpi.langeo.lan 192.168.10.2")
    assert code == 0
    assert answer.count("192.168.10.2") == 3


def test_the_probe_does_not_reach_a_guest_of_the_production_bridge(
    site: Site, login: paramiko.SSHClient
) -> None:
    with pytest.raises(paramiko.SSHException):
        through(login, "192.168.10.3", 80, b"GET / HTTP/1.1\r\n\r\n")


def test_no_frame_of_the_copy_is_seen_on_the_production_bridge(
    site: Site, login: paramiko.SSHClient
) -> None:
    production, isolated = (
        site.bench.networks.capture("vmbr0"),
        site.bench.networks.capture("vmbr9"),
    )
    through(login, "192.168.10.8", 80, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    run(site.keycloak, ZABBIX_PAGE)
    assert {"0", "9000"} <= {frame.machine for frame in isolated} <= {"0", "9000", "9001", "9002"}
    assert {frame.machine for frame in production} <= {"103", "106", "110"}
    assert "BC:24:11:00:00:08" in {frame.source for frame in isolated}
    assert "BC:24:11:00:00:08" not in {frame.source for frame in production}


def test_the_probe_reaches_nothing_of_the_host(site: Site, login: paramiko.SSHClient) -> None:
    for host_address in ("10.0.2.2", "127.0.0.1"):
        with pytest.raises(paramiko.SSHException):
            through(login, host_address, site.access.port)


def test_a_cut_link_cuts_and_a_mended_one_mends(site: Site) -> None:
    site.zabbix.set_link(0, False)
    assert run(site.keycloak, ZABBIX_PAGE)[0] != 0
    assert "NO-CARRIER" in run(site.zabbix, "ip link show eth0")[1]
    site.zabbix.set_link(0, True)
    assert (
        run(
            site.keycloak, f"for n in $(seq 40); do {ZABBIX_PAGE} && exit 0; sleep 1; done; exit 1"
        )[0]
        == 0
    )


def test_the_probe_keeps_its_keys_over_a_restart(site: Site) -> None:
    site.probe.stop()
    again = site.probe.start()
    assert (again.host_key, again.key_file) == (site.access.host_key, site.access.key_file)
    site.access = again
