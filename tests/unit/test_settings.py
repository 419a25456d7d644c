"""Settings come from the environment, and from the lab only when nothing names another cluster."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backupsvc.errors import UsageError
from backupsvc.settings import load_settings

LAB = {
    "lab": True,
    "pve": {"host": "127.0.0.1:41301", "token": "a@pve!lab=secret"},
    "probe": {"host": "127.0.0.1:2222"},
    "policy": "/langeo.yaml",
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory in which a lab has saved its settings."""
    monkeypatch.setenv("BACKUPSVC_STATE_DIR", str(tmp_path))
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "settings.json").write_text(json.dumps(LAB))
    return tmp_path


def test_the_lab_is_found_when_nothing_else_is_set() -> None:
    settings = load_settings()
    assert (settings.pve.host, settings.probe.host, settings.lab) == (
        "127.0.0.1:41301",
        "127.0.0.1:2222",
        True,
    )


def test_a_cluster_named_in_the_environment_leaves_the_lab_out_altogether(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BACKUPSVC_PVE__HOST", "pve:8006")
    settings = load_settings()
    assert (
        settings.pve.host,
        settings.pve.token.get_secret_value(),
        settings.probe.host,
        settings.lab,
    ) == (
        "pve:8006",
        "",
        "",
        False,
    )


def test_naming_the_lab_itself_keeps_what_else_leads_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKUPSVC_PVE__HOST", "127.0.0.1:41301")
    monkeypatch.setenv("BACKUPSVC_PVE__TOKEN", "b@pve!mine=other")
    settings = load_settings()
    assert (settings.pve.token.get_secret_value(), settings.probe.host) == (
        "b@pve!mine=other",
        "127.0.0.1:2222",
    )


def test_one_variable_overrides_one_setting_of_the_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKUPSVC_POLICY", "/own.yaml")
    settings = load_settings()
    assert (settings.policy, settings.pve.host) == (Path("/own.yaml"), "127.0.0.1:41301")


def test_without_a_lab_there_is_no_cluster_and_the_catalog_lies_in_the_state_directory(
    home: Path,
) -> None:
    (home / "lab" / "settings.json").unlink()
    settings = load_settings()
    assert settings.pve.host == ""
    assert settings.catalog_url == f"sqlite:///{home / 'catalog.db'}"


def test_a_wrong_value_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKUPSVC_PVE__TIMEOUT", "soon")
    with pytest.raises(UsageError, match="BACKUPSVC_PVE__TIMEOUT"):
        load_settings()


def test_law_7_settings_do_not_show_their_secrets() -> None:
    assert "secret" not in repr(load_settings())


def test_every_node_of_the_lab_is_a_host(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = {"clovis": "127.0.0.1:41301", "lge-pve02": "127.0.0.1:41302"}
    (home / "lab" / "settings.json").write_text(json.dumps(LAB | {"api": nodes}))
    assert load_settings().pve.host == "127.0.0.1:41301,127.0.0.1:41302"
    for host in ("127.0.0.1:41302", "127.0.0.1:41302, 127.0.0.1:41301"):
        monkeypatch.setenv("BACKUPSVC_PVE__HOST", host)
        assert (load_settings().pve.host, load_settings().lab) == (host, True)
    monkeypatch.setenv("BACKUPSVC_PVE__HOST", "127.0.0.1:41302,pve:8006")
    assert not load_settings().lab


def probe_of(node: str, unnamed: str | None = None) -> tuple[str, str] | None:
    found = load_settings().probe_at(node, unnamed)
    return (found[0], found[1].host) if found else None


def test_each_node_has_its_own_probe_named_as_variables_can_be(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probes = {
        "clovis": {"host": "127.0.0.1:1", "user": "lab"},
        "lge-pve02": {"host": "127.0.0.1:2", "user": "lab"},
    }
    (home / "lab" / "settings.json").write_text(
        json.dumps({key: LAB[key] for key in ("lab", "pve")} | {"probes": probes})
    )
    assert probe_of("lge-pve02") == ("BACKUPSVC_PROBES__LGE_PVE02", "127.0.0.1:2")
    monkeypatch.setenv("BACKUPSVC_PROBES__LGE_PVE02__HOST", "probe2:22")
    monkeypatch.setenv("BACKUPSVC_PROBES__LGE_PVE02__VMID", "902")
    assert (probe_of("lge-pve02"), probe_of("LGE-PVE02")) == (
        ("BACKUPSVC_PROBES__LGE_PVE02", "probe2:22"),
    ) * 2
    found = load_settings().probe_at("lge-pve02", None)
    assert found is not None
    assert (found[1].user, found[1].vmid) == ("lab", 902)
    assert (probe_of("clovis"), probe_of("third")) == (
        ("BACKUPSVC_PROBES__CLOVIS", "127.0.0.1:1"),
        None,
    )
    monkeypatch.setenv("BACKUPSVC_PROBES__CLOVIS__HOST", "")
    assert probe_of("clovis") is None


def test_a_single_probe_counts_where_it_says_it_is_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert (probe_of("clovis"), probe_of("clovis", "clovis")) == (
        None,
        ("BACKUPSVC_PROBE", "127.0.0.1:2222"),
    )
    assert probe_of("lge-pve02", "clovis") is None
    monkeypatch.setenv("BACKUPSVC_PROBE__NODE", "LGE_PVE02")
    assert (probe_of("lge-pve02", "clovis"), probe_of("clovis", "clovis")) == (
        ("BACKUPSVC_PROBE", "127.0.0.1:2222"),
        None,
    )


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("BACKUPSVC_PVE__HSOT", "BACKUPSVC_PVE__HOST"),
        ("BACKUPSVC_PVE_HOST", "BACKUPSVC_PVE__HOST"),
        ("BACKUPSVC_POLCY", "BACKUPSVC_POLICY"),
        ("BACKUPSVC_PROBES__LGE_PVE02__HOTS", "BACKUPSVC_PROBES__LGE_PVE02__HOST"),
        ("BACKUPSVC_PROBES__HOST__HOST__HOST", "BACKUPSVC_PROBES__HOST__HOST"),
        ("BACKUPSVC_TICK__SECONDS", "BACKUPSVC_TICK"),
        ("backupsvc_pve__tokn", "BACKUPSVC_PVE__TOKEN"),
        ("BACKUPSVC_", "BACKUPSVC_LAB"),
        ("BACKUPSVC_SSH__NODES__A__B", "BACKUPSVC_SSH__NODES"),
    ],
)
def test_law_7_an_unknown_variable_is_refused_with_the_nearest_right_one_and_never_with_its_value(
    name: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "s3cret-value")
    with pytest.raises(UsageError) as refused:
        load_settings()
    assert name in refused.value.message and f"is {meant} meant?" in refused.value.hint
    assert "s3cret" not in refused.value.message + refused.value.hint


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BACKUPSVC_PVE", '{"hsot": "s3cret"}'),
        ("BACKUPSVC_PROBES", '{"clovis": {"hots": "s3cret"}}'),
    ],
)
def test_an_unknown_name_inside_a_variables_json_is_refused_too(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="is no setting of this service") as refused:
        load_settings()
    assert "s3cret" not in refused.value.message + refused.value.hint


def test_an_unknown_name_in_what_the_lab_saved_is_refused_too(home: Path) -> None:
    (home / "lab" / "settings.json").write_text(
        json.dumps(LAB | {"pve": {"host": "127.0.0.1:1", "tokn": "s3cret"}})
    )
    with pytest.raises(UsageError, match="BACKUPSVC_PVE__TOKN"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BACKUPSVC_SSH__NODES__CLOVIS", "10.0.0.1:22"),
        ("BACKUPSVC_SSH__NODES", '{"clovis": "10.0.0.1:22"}'),
        ("backupsvc_pve__timeout", "5"),
        ("BACKUPSVC_PROBES__LGE_PVE02__HOST_KEY", "ssh-ed25519 AAAA"),
        ("BACKUPSVC_POLICY_FILE", "./policy.yaml"),
        ("_BACKUPSVC_COMPLETE", "bash_complete"),
    ],
)
def test_every_way_to_write_a_setting_is_still_taken(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    load_settings()
