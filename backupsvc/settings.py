"""How to reach things: read from the environment, else from what ``backupsvc lab up`` saved.

What is *wanted* stands in the policy; what it takes to *reach* the cluster, the catalog, the nodes
and the probe stands here.
"""

from __future__ import annotations

import json
import os
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    JsonConfigSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from backupsvc import setting_names
from backupsvc.errors import UsageError


def state_dir() -> Path:
    """Return the directory that holds the service's own files: BACKUPSVC_STATE_DIR, else the user's
    XDG state home.
    """
    if chosen := os.environ.get("BACKUPSVC_STATE_DIR"):
        return Path(chosen)
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "backupsvc"


def lab_settings_file() -> Path:
    """Return where ``backupsvc lab up`` saves what points the service at the lab."""
    return state_dir() / "lab" / "settings.json"


def lab_policy() -> Path:
    """Return the policy of the site that the lab stands for; the lab itself knows no policies."""
    return Path(str(files("policies").joinpath("sites", "langeo.yaml")))


def lab_hosts() -> list[str]:
    """Return host:port of each node of the lab that was last brought up, the first node's first;
    nothing if there is none.
    """
    try:
        saved = json.loads(lab_settings_file().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    # a lab of thousands of guests has one address for all its nodes
    return list(dict.fromkeys([str(saved["pve"]["host"]), *saved.get("api", {}).values()]))


class _Group(BaseModel):
    """Settings that belong together. A name that is none of them is refused, wherever it is
    written.
    """

    model_config = ConfigDict(extra="forbid")


class PveSettings(_Group):
    """The cluster's API. ``token`` is user@realm!name=secret.

    ``host`` is host:port, of several nodes separated by commas: the first that answers is asked.
    ``fingerprint`` is that of its certificate, or one a host in the same order. ``restore_token``
    (optional) is used only by ``backupsvc restore``: it may use production bridges, so that the
    everyday token need not (law 2's second wall). ``timeout`` in seconds, for one call.
    """

    host: str = ""
    token: SecretStr = SecretStr("")
    restore_token: SecretStr | None = None
    ca_file: Path | None = None
    fingerprint: str | None = None
    timeout: float = 60


class CatalogSettings(_Group):
    """The catalog's database, as an SQLAlchemy URL; empty means SQLite in the state directory.

    ``patience`` in seconds: for how long a catalog that is locked or down is waited for (10 at most
    for one that has not yet answered this process).
    """

    url: str = ""
    patience: float = Field(default=120, ge=0)


class ProbeSettings(_Group):
    """The SSH host with a foot on the isolated bridge. ``host`` is host:port, ``host_key`` a
    known_hosts key.

    ``node`` is where its bridge is, for the single probe alone: a bridge without ports ends at its
    node. ``vmid`` is the probe's
    own, where it is a guest of the cluster: it may have a NIC on the isolated bridge.
    """

    host: str = ""
    node: str = ""
    vmid: int | None = None
    user: str = "root"
    key_file: Path | None = None
    host_key: str | None = None


class BrokerSettings(_Group):
    """The Redis that carries hints between beat and workers, as a URL; the command line needs
    none.
    """

    url: str = "redis://127.0.0.1:6379/0"


class LogSettings(_Group):
    """What beat, the workers and their supervisor write, and how: ``text`` is key=value, ``json``
    one object a line.
    """

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class SshSettings(_Group):
    """SSH to the nodes, to read archives: node name -> host:port. Without it only archives of our
    own making are proven.

    ``target_keys``: name of a copy target of kind ``sftp`` -> its key file; ``key_file`` for those
    that are not named.
    """

    nodes: dict[str, str] = {}
    user: str = "root"
    key_file: Path | None = None
    known_hosts: Path | None = None
    target_keys: dict[str, Path] = {}


class _LabSettings(JsonConfigSettingsSource):
    """What the lab saved, with all its nodes as hosts, and with its site's policy where it names
    none.
    """

    def __call__(self) -> dict[str, Any]:
        found = super().__call__()
        if hosts := lab_hosts():
            found["pve"] = found["pve"] | {"host": ",".join(hosts)}
            found.setdefault("policy", str(lab_policy()))
        return found


class Settings(BaseSettings):
    """Everything that the service needs in order to reach its surroundings."""

    model_config = SettingsConfigDict(
        env_prefix="BACKUPSVC_", env_nested_delimiter="__", extra="ignore", frozen=True
    )

    pve: PveSettings = PveSettings()
    catalog: CatalogSettings = CatalogSettings()
    probe: ProbeSettings = ProbeSettings()
    probes: dict[str, ProbeSettings] = {}
    ssh: SshSettings = SshSettings()
    # where `ha drill` reaches an ADDRESS:PORT (or an ADDRESS) of a guest that is not reached as it is
    outside: dict[str, str] = {}
    broker: BrokerSettings = BrokerSettings()
    log: LogSettings = LogSettings()
    state_dir: Path = Path()
    policy: Path | None = None
    tick: float = Field(default=30.0, gt=0)  # seconds between two looks of beat at what is due
    listen: str = "127.0.0.1:8470"  # where the /healthz of `backupsvc serve` answers
    guest_network: bool = True  # whether guests answer this machine at their production addresses
    lab: bool = False
    simulated: bool = False

    @field_validator("probes", mode="before")
    @classmethod
    def _one_name_a_node(cls, found: Any) -> Any:
        """A variable's name has neither dashes nor small letters: LGE_PVE02 is lge-pve02, and what
        is said of it last counts.
        """
        if not isinstance(found, dict):
            return found
        joined: dict[str, Any] = {}
        for name, probe in found.items():
            known = joined.get(node_key(name))
            joined[node_key(name)] = (
                {**known, **probe} if isinstance(known, dict) and isinstance(probe, dict) else probe
            )
        return joined

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment first; then the lab's saved settings, unless the environment names another
        cluster.
        """
        # what the lab saved holds its token, which no other cluster is to see
        named = (os.environ.get("BACKUPSVC_PVE__HOST") or "").replace(" ", "")
        if "BACKUPSVC_PVE__HOST" in os.environ and not set(named.split(",")) <= set(lab_hosts()):
            return (init_settings, env_settings)
        return (
            init_settings,
            env_settings,
            _LabSettings(settings_cls, json_file=lab_settings_file()),
        )

    def probe_at(self, node: str, unnamed: str | None) -> tuple[str, ProbeSettings] | None:
        """Given a node, return its probe with what its variables begin with, None where it has
        none.

        ``unnamed`` is the node at which a single probe counts that does not say where it is; None:
        at no node.
        """
        if (found := self.probes.get(node_key(node))) and found.host:
            return f"BACKUPSVC_PROBES__{node_key(node).upper()}", found
        if self.probe.host and node_key(self.probe.node or unnamed or "") == node_key(node):
            return "BACKUPSVC_PROBE", self.probe
        return None

    @property
    def probe_vmids(self) -> frozenset[int]:
        """The VMIDs of the probes that are guests of the cluster."""
        every = [self.probe, *getattr(self, "probes", {}).values()]
        return frozenset(probe.vmid for probe in every if probe.vmid is not None)

    @property
    def secrets(self) -> frozenset[str]:
        """The secrets that these settings hold, to be struck out of whatever is written (law 7)."""
        tokens = [
            token.get_secret_value().rpartition("=")[2]
            for token in (self.pve.token, self.pve.restore_token)
            if token
        ]
        # as it stands in the URL, and as a driver may print it
        words = [urlsplit(url).password or "" for url in (self.broker.url, self.catalog.url)]
        return frozenset(word for word in (*tokens, *words, *map(unquote, words)) if word)

    @property
    def catalog_url(self) -> str:
        """The catalog's URL with its default filled in."""
        return self.catalog.url or f"sqlite:///{self.state_dir / 'catalog.db'}"


def node_key(name: str) -> str:
    """Given a node's name, as PVE or as a variable has it, return what both have in common."""
    return name.lower().replace("-", "_")


def load_settings(**overrides: Any) -> Settings:
    """Return the settings in force. Raise UsageError, naming the variable, if we have none of that
    name or its value is no good.

    Variables whose names begin with BACKUPSVC_ are all meant for us: a misspelt one would be
    ignored in silence.
    """
    if strange := setting_names.unknown(Settings, os.environ):
        raise _no_such(strange[0])
    try:
        return Settings(**{"state_dir": state_dir(), **overrides})
    except ValidationError as error:
        # without the input: it may be a secret (law 7)
        first = error.errors(include_input=False)[0]
        name = setting_names.PREFIX + "__".join(str(part).upper() for part in first["loc"])
        if first["type"] == "extra_forbidden":  # in a variable's JSON, or in what the lab saved
            raise _no_such(name) from None
        raise UsageError(f"{name}: {first['msg']}", "correct the variable, or unset it") from None


def _no_such(name: str) -> UsageError:
    return UsageError(
        f"{name} is no setting of this service",
        f"is {setting_names.nearest(Settings, name)} meant? correct the name, or unset it",
    )
