"""Settings: what a coordinator is started with, and how the CLI finds one.

A setting comes from a flag, else from a `FLEET_*` environment variable, else from the current context of the
configuration file, else from a default. A context names a coordinator: by its state folder when it runs on this machine
(its `serve.json` tells the address of today), or by address and token file.
"""

from __future__ import annotations

import json
import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import platformdirs
from reram_fleet.code_ranges import SPEAKERS, CodeRange
from reram_fleet.processes.durable import write_atomically
from reram_fleet.processes.unix_socket import UNIX, is_unix
from reram_fleet.tasks import TaskPluginError, code_range

from fleet.domain.addresses import WILDCARDS, Advertised
from fleet.errors import FleetError, reason_of

#: Lease of a fleet on one machine: short, so that fail-closed behaviour can be watched.
LOCAL_LEASE_S = 30.0
#: Lease of a fleet in the field: a node out of contact for a day detaches its adapters.
FIELD_LEASE_S = 24 * 3600.0

#: Metrics of a coordinator; on one machine its nodes have the ports that follow, and a Prometheus one of its own
#: (9090 is the one of Debian's service).
METRICS_PORT = 9810
PROMETHEUS_PORT = 9890
LAST_METRICS_PORT = 65_535 - 64

#: A forget goes on without a node that was out of contact for a week.
LOST_AFTER_S = 7 * 24 * 3600.0

#: Chip technologies that nodes know: named here so that a slip is told before anything is started.
PRESETS = ("130nm-neurram", "180nm-1t1r", "22nm")

#: Longer than any device is left alone; what is beyond was mistyped.
LONGEST_LEASE_S = 365 * 24 * 3600.0

#: Written by a coordinator into its state folder when it is ready.
SERVE_FILE = "serve.json"

_APPLICATION = "reram-fleet"
_CONTEXT_KEYS = ("state", "database", "address", "ca", "token_file", "registry")
_TEXTS = ("database", "address")


class ConfigError(FleetError):
    """A setting or the configuration file cannot be used as it is."""


class NoCoordinatorError(ConfigError):
    """Nothing names a coordinator, or the one that is named has not got ready."""


def check_lease(lease_s: float) -> None:
    """Refuse a lease that no node can keep.

    `ConfigError` unless it is longer than 0 seconds and at most `LONGEST_LEASE_S`.
    """
    if not 0 < lease_s <= LONGEST_LEASE_S:
        raise ConfigError(
            f"a lease of {lease_s:g} s: choose more than 0 and at most {LONGEST_LEASE_S:g} seconds (a year)"
        )


def check_task(task: str) -> None:
    """Refuse a task that is not installed, or whose code range cannot be used."""
    try:
        code_range(task)
    except TaskPluginError as error:
        raise ConfigError(str(error)) from error


def check_preset(preset: str) -> None:
    """Refuse a chip technology that is neither built in nor a file."""
    if preset not in PRESETS and not (preset.endswith(".toml") and Path(preset).is_file()):
        raise ConfigError(
            f"there is no preset {preset!r}", hint=f"known: {', '.join(PRESETS)}; or the path of a .toml file"
        )


@dataclass(frozen=True)
class ServeSettings:
    """Settings of a coordinator (`fleet.coordinator.serve.run`)."""

    #: Folder of its keys, tokens and `serve.json`, and of its database unless that is elsewhere.
    state: Path
    #: Address of its database, in which a password may stand; None is SQLite in `state`.
    database: str | None = field(default=None, repr=False)
    #: Address to bind, or `unix:PATH`: every port has TLS, a socket in a folder of its user needs none.
    host: str = "127.0.0.1"
    #: `HOST[:PORT]` under which nodes and clients reach it; None: as it is bound.
    advertise: str | None = None
    #: Its certificate, private key, and the authority that nodes and clients pin (PEM); None makes its own. On a Unix
    #: socket the authority is that of what stands in front.
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_ca: Path | None = None
    #: 0 takes a free one; `serve.json` tells which.
    port: int = 0
    #: Of the proxy through which nodes reach the SuperLink; 0 takes a free one, and keeps it.
    flower_port: int = 0
    metrics_port: int = 0
    #: How long a node out of contact goes on serving adapters.
    lease_s: float = LOCAL_LEASE_S
    #: How long forgets wait for a node out of contact; longer than a lease, so that it serves no more.
    lost_after_s: float = LOST_AFTER_S
    #: Whether there is a learning plane (Flower).
    learning: bool = True
    #: Address of a SuperLink that runs already, and its CA certificate (PEM); None starts an embedded one.
    flower_attach: str | None = None
    flower_ca: Path | None = None
    #: For a SuperLink of another user: folder that its ServerApps read by the same path, and where they call back.
    learning_folder: Path | None = None
    learning_address: str | None = None
    #: What the nodes recognise or generate, and the range of the integers that they send.
    task: str = "speakers"
    codes: CodeRange = SPEAKERS
    #: Raw Ed25519 public key of the caller's registry, which signs enrolment tickets; then fixed.
    registry_key: bytes = b""
    #: How many people one node may contribute.
    tags_per_node: int = 256

    def __post_init__(self) -> None:
        self._check_addresses()
        if self.tags_per_node < 1:
            raise ConfigError(f"tags_per_node is {self.tags_per_node}: a node may contribute 1 person or more")
        for name in ("port", "flower_port", "metrics_port"):
            if not 0 <= getattr(self, name) <= 65535:
                raise ConfigError(f"{name} is {getattr(self, name)}: choose one of 1..65535, or 0 for a free one")
        check_lease(self.lease_s)
        if not self.lease_s < self.lost_after_s < math.inf:
            raise ConfigError(
                f"lost_after_s is {self.lost_after_s:g}: forgets wait for a node longer than its lease of "
                f"{self.lease_s:g} s, and not for ever",
                hint="choose --lost-after-seconds above --lease-seconds",
            )
        if self.flower_attach is not None and not self.learning:
            raise ConfigError("flower_attach names a SuperLink, but the learning plane is off: drop one of them")
        if (self.flower_attach is None) != (self.flower_ca is None):
            raise ConfigError("flower_attach and flower_ca go together: a SuperLink and the CA that vouches for it")
        if self.flower_attach is None and (self.learning_folder is not None or self.learning_address is not None):
            raise ConfigError("learning_folder and learning_address are for a SuperLink that flower_attach names")

    @property
    def socket(self) -> Path | None:
        """Path of its Unix socket; None if it has a port."""
        return Path(self.host.removeprefix(UNIX)).absolute() if is_unix(self.host) else None

    @property
    def bound_host(self) -> str:
        """Address that its other ports are bound to."""
        return "127.0.0.1" if self.socket is not None else self.host.strip("[]")

    @property
    def advertised(self) -> Advertised | None:
        """What `advertise` says."""
        return None if self.advertise is None else Advertised.parse(self.advertise)

    def _check_addresses(self) -> None:
        advertised = self.advertised
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ConfigError("tls_cert and tls_key go together: a certificate and its private key")
        if self.socket is not None:
            if self.tls_cert is not None:
                raise ConfigError(
                    f"{self.host} is a Unix socket, which has no TLS: what stands in front shows the certificate"
                )
            if advertised is not None and (advertised.port is None or self.tls_ca is None):
                raise ConfigError(
                    "behind something in front, nodes need its HOST:PORT (--advertise) and its CA (--tls-ca)"
                )
            if advertised is not None and self.learning:
                raise ConfigError(
                    "nodes reach the SuperLink through this coordinator, not through what stands in front of it",
                    hint="--no-flower, or a port of its own: --host, --tls-cert and --tls-key",
                )
            return
        if self.tls_ca is not None and self.tls_cert is None:
            raise ConfigError("tls_ca is the authority of tls_cert, which is not given")
        if not self.host:
            raise ConfigError("the host is empty", hint="--host takes an address, 0.0.0.0 for all of this machine")
        if advertised is None and self.bound_host in WILDCARDS:
            raise ConfigError(
                f"{self.host} is every address of this machine: under which one do nodes reach it?",
                hint="--advertise HOST says so; the name must be one of its certificate",
            )


@dataclass(frozen=True)
class Context:
    """A named coordinator in the configuration file."""

    state: Path | None = None
    address: str | None = None
    #: Certificate (PEM) of the authority that vouches for it.
    ca: Path | None = None
    token_file: Path | None = None
    registry: Path | None = None
    #: For a coordinator that is started here.
    database: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Config:
    """The configuration file: contexts by name, and which one is used when none is named."""

    current: str | None = None
    contexts: Mapping[str, Context] = field(default_factory=dict)

    def with_context(self, name: str, context: Context) -> Config:
        """Return a copy that has this context and makes it current."""
        return replace(self, current=name, contexts={**self.contexts, name: context})


@dataclass(frozen=True)
class Overrides:
    """Flags given on the command line; None means not given."""

    context: str | None = None
    address: str | None = None
    ca: Path | None = None
    token_file: Path | None = None
    registry: Path | None = None


@dataclass(frozen=True)
class Connection:
    """Address of a coordinator, file of the token that opens it, and of the CA that vouches for it."""

    address: str
    token_file: Path
    #: None for a Unix socket.
    ca_file: Path | None

    @classmethod
    def trusted(cls, address: str, token_file: Path, ca_file: Path | None) -> Connection:
        """Return a connection whose server cannot be anybody; `ConfigError` if there is no CA, and one is needed."""
        if ca_file is None and not is_unix(address):
            # Also what a coordinator from before TLS has left: whoever holds its port now gets no token.
            raise ConfigError(
                f"no CA certificate for the coordinator at {address}: whoever listens there would get the token",
                hint="--ca FILE (or FLEET_CA) names it: `ca.pem` in the coordinator's state folder; "
                "a coordinator of an earlier version has none, start it anew",
            )
        return cls(address, token_file, ca_file)


def config_path(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the configuration file's path: `FLEET_CONFIG`, or the user's configuration folder."""
    if path := environment.get("FLEET_CONFIG"):
        return Path(path)
    return platformdirs.user_config_path(_APPLICATION) / "config.toml"


def default_state() -> Path:
    """Return the folder of the fleet that `fleet up` runs when none is named."""
    return platformdirs.user_state_path(_APPLICATION) / "local"


def default_coordinator_state() -> Path:
    """Return the folder of the coordinator that `fleet serve` runs when none is named."""
    return platformdirs.user_state_path(_APPLICATION) / "coordinator"


def load_config(path: Path) -> Config:
    """Read the configuration file; an absent one is an empty one.

    `ConfigError` if it is not TOML or has a key that nobody reads.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Config()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot read the configuration {path}: {error}") from error
    if unknown := sorted(set(raw) - {"current", "contexts"}):
        raise ConfigError(f"{path}: unknown key {unknown[0]!r}; known are current and contexts")
    contexts = {}
    for name, values in raw.get("contexts", {}).items():
        if unknown := sorted(set(values) - set(_CONTEXT_KEYS)):
            names = ", ".join(_CONTEXT_KEYS)
            raise ConfigError(f"{path}: unknown key {unknown[0]!r} in context {name!r}; known are {names}")
        known: dict[str, Any] = {key: v if key in _TEXTS else _path(v) for key, v in values.items()}
        contexts[name] = Context(**known)
    return Config(current=raw.get("current"), contexts=contexts)


def save_config(path: Path, config: Config) -> None:
    """Write the configuration file (0600), replacing it at once."""
    lines = []
    if config.current is not None:
        lines += [f"current = {_quoted(config.current)}", ""]
    for name, context in sorted(config.contexts.items()):
        lines.append(f"[contexts.{_quoted(name)}]")
        for key in _CONTEXT_KEYS:
            value = getattr(context, key)
            if value is not None:
                lines.append(f"{key} = {_quoted(str(value))}")
        lines.append("")
    write_atomically(path, "\n".join(lines).encode())


def resolve_context(config: Config, overrides: Overrides, environment: Mapping[str, str]) -> Context:
    """Return the settings in force: flags over environment over the chosen context.

    `ConfigError` if a context is named that the configuration does not have.
    """
    name = overrides.context or environment.get("FLEET_CONTEXT") or config.current
    context = Context()
    if name is not None:
        if name not in config.contexts:
            known = ", ".join(sorted(config.contexts)) or "none"
            raise ConfigError(f"there is no context {name!r} in the configuration (it has: {known})")
        context = config.contexts[name]
    address = overrides.address or environment.get("FLEET_ADDRESS")
    token_file = overrides.token_file or _path(environment.get("FLEET_TOKEN_FILE"))
    registry = overrides.registry or _path(environment.get("FLEET_REGISTRY"))
    return Context(
        # An address given by hand beats the one in the context's serve.json.
        state=None if address else context.state,
        address=address or context.address,
        ca=overrides.ca or _path(environment.get("FLEET_CA")) or context.ca,
        token_file=token_file or context.token_file,
        registry=registry or context.registry,
        database=environment.get("FLEET_DATABASE") or context.database,
    )


def connection(context: Context) -> Connection:
    """Return where to connect.

    `NoCoordinatorError` if nothing names a coordinator; `ConfigError` if its token file or its CA is not known.
    """
    address, token_file, ca = context.address, context.token_file, context.ca
    if context.state is not None:
        served = read_serve_file(context.state)
        address, token_file = address or served.address, token_file or served.token_file
        ca = ca or served.ca_file
    if address is None:
        raise NoCoordinatorError(
            "no coordinator is named", hint="start a fleet with `fleet up`, or give --address, --ca and --token-file"
        )
    if token_file is None:
        raise ConfigError(f"no token file for the coordinator at {address}: give --token-file")
    return Connection.trusted(address, token_file, ca)


@dataclass(frozen=True)
class Served:
    """Answer of a running coordinator about itself: `serve.json`."""

    pid: int
    address: str
    metrics_address: str
    token_file: Path
    #: Certificate of the authority that vouches for it; None for a Unix socket.
    ca_file: Path | None
    fleet_id: str


def read_serve_file(state: Path) -> Served:
    """Read `serve.json` from a coordinator's state folder.

    `NoCoordinatorError` if there is none: no coordinator has got ready there; `ConfigError` if it is damaged.
    """
    path = state / SERVE_FILE
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return Served(
            pid=int(raw["pid"]),
            address=str(raw["address"]),
            metrics_address=str(raw["metrics_address"]),
            token_file=state / str(raw["token_file"]),
            # Absent in what an earlier version has left.
            ca_file=state / str(raw["ca_file"]) if raw.get("ca_file") else None,
            fleet_id=str(raw["fleet_id"]),
        )
    except FileNotFoundError:
        raise NoCoordinatorError(f"no coordinator is ready in {state}", hint="start one with `fleet up`") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is not what a coordinator writes: {reason_of(error)}") from error


def _quoted(text: str) -> str:
    # JSON's quoting is TOML's too, but for surrogate pairs: so non-ASCII stays as it is.
    return json.dumps(text, ensure_ascii=False)


def _path(text: str | None) -> Path | None:
    return Path(text).expanduser() if text else None
