"""The settings in force as variables: read again, they say the same; secrets stand apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from backupsvc import setting_values
from backupsvc.settings import Settings

SECRET = "1a2b3c4d-secret"
WRITTEN = {
    "BACKUPSVC_PVE__HOST": "pve1:8006,pve2:8006",
    "BACKUPSVC_PVE__TOKEN": f"svc@pve!b1={SECRET}",
    "BACKUPSVC_PVE__CA_FILE": "/etc/pve-ca.pem",
    "BACKUPSVC_PVE__TIMEOUT": "61.0",
    "BACKUPSVC_CATALOG__URL": f"postgresql://u:{SECRET}@db/x",
    "BACKUPSVC_BROKER__URL": f"redis://:{SECRET}@db/0",
    "BACKUPSVC_PROBES__LGE_PVE02__HOST": "10.0.0.2:22",
    "BACKUPSVC_PROBES__LGE_PVE02__KEY_FILE": "/etc/probe-key",
    "BACKUPSVC_SSH__NODES": '{"clovis": "10.0.0.1:22"}',
    "BACKUPSVC_SSH__KEY_FILE": "/etc/ssh-key",
    "BACKUPSVC_SSH__KNOWN_HOSTS": "/etc/known",
    "BACKUPSVC_LOG__LEVEL": "debug",
}


@pytest.fixture
def values(monkeypatch: pytest.MonkeyPatch) -> setting_values.Values:
    for name, value in WRITTEN.items():
        monkeypatch.setenv(name, value)
    return setting_values.of(Settings())


def test_law_7_nothing_secret_is_among_what_may_be_written_down(
    values: setting_values.Values,
) -> None:
    assert values.secret == {"BACKUPSVC_PVE__TOKEN": f"svc@pve!b1={SECRET}"}
    assert SECRET not in str(values.plain) + str(values.files) + str(values.keys)


def test_keys_are_told_from_other_files(values: setting_values.Values) -> None:
    assert values.keys == {
        "BACKUPSVC_SSH__KEY_FILE": Path("/etc/ssh-key"),
        "BACKUPSVC_PROBES__LGE_PVE02__KEY_FILE": Path("/etc/probe-key"),
    }
    assert values.files == {
        "BACKUPSVC_PVE__CA_FILE": Path("/etc/pve-ca.pem"),
        "BACKUPSVC_SSH__KNOWN_HOSTS": Path("/etc/known"),
    }


def test_what_is_written_is_read_again_as_it_was(
    values: setting_values.Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a catalog and a broker are those of a machine
    assert set(values.plain) == {
        "BACKUPSVC_PVE__HOST",
        "BACKUPSVC_PVE__TIMEOUT",
        "BACKUPSVC_PROBES__LGE_PVE02__HOST",
        "BACKUPSVC_SSH__NODES",
    }
    before = Settings()
    for name in WRITTEN:
        monkeypatch.delenv(name)
    everything = values.plain | values.secret
    everything |= {name: str(path) for name, path in {**values.files, **values.keys}.items()}
    for name, value in everything.items():
        monkeypatch.setenv(name, value)
    after = Settings()
    assert (after.pve, after.ssh, after.probes) == (before.pve, before.ssh, before.probes)


def test_what_nobody_set_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    found = setting_values.of(Settings())
    assert (found.plain, found.secret, found.files, found.keys) == ({}, {}, {}, {})
