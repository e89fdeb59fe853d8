from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from reram_fleet.processes.addresses import is_loopback

from fleet.config import (
    PRESETS,
    Config,
    ConfigError,
    Context,
    NoCoordinatorError,
    Overrides,
    ServeSettings,
    connection,
    load_config,
    read_serve_file,
    resolve_context,
    save_config,
)
from fleet.errors import ConflictError
from fleet.local.fleet import LocalSettings


def test_saved_contexts_are_read_back_as_they_were(tmp_path):
    path = tmp_path / "fleet" / "config.toml"
    config = Config(
        current='odd "name" ü',
        contexts={
            'odd "name" ü': Context(state=Path("/a b/\\c"), registry=Path("/r")),
            "far": Context(address="10.0.0.1:7443", ca=Path("/ca.pem"), token_file=Path("/t")),
            "here": Context(state=Path("/s"), database="postgresql://fleet@db/fleet"),
        },
    )
    save_config(path, config)
    assert load_config(path) == config
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_absent_configuration_is_an_empty_one(tmp_path):
    assert load_config(tmp_path / "none.toml") == Config()


@pytest.mark.parametrize(
    "text", ["current = ", "colour = 1", "[contexts.a]\nadress = 'typo'"], ids=["no TOML", "key", "context key"]
)
def test_unknown_keys_and_bad_syntax_are_errors(tmp_path, text):
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"config\.toml"):
        load_config(path)


def test_flags_beat_environment_beats_context():
    config = Config("c", {"c": Context(address="c:1", token_file=Path("/c"))})
    environment = {"FLEET_ADDRESS": "e:1", "FLEET_CA": "/e"}
    assert resolve_context(config, Overrides(), {}).address == "c:1"
    assert resolve_context(config, Overrides(), environment).address == "e:1"
    found = resolve_context(config, Overrides(address="f:1"), environment)
    assert (found.address, found.token_file, found.ca) == ("f:1", Path("/c"), Path("/e"))
    assert resolve_context(config, Overrides(ca=Path("/f")), environment).ca == Path("/f")


def test_the_database_is_a_setting_like_the_others_and_is_not_shown():
    config = Config("c", {"c": Context(database="postgresql://fleet:hunter2@c/fleet")})
    found = resolve_context(config, Overrides(), {})
    assert found.database == "postgresql://fleet:hunter2@c/fleet"
    assert "hunter2" not in f"{found} {ServeSettings(state=Path('/s'), database=found.database)}"
    assert resolve_context(config, Overrides(), {"FLEET_DATABASE": "sqlite:////e"}).database == "sqlite:////e"


def test_nothing_named_tells_how_to_start():
    with pytest.raises(NoCoordinatorError) as caught:
        connection(Context())
    assert "fleet up" in caught.value.hint


def test_context_of_a_coordinator_that_never_got_ready(tmp_path):
    with pytest.raises(NoCoordinatorError):
        connection(Context(state=tmp_path))


def test_damaged_serve_file_is_named(tmp_path):
    (tmp_path / "serve.json").write_text(json.dumps({"pid": 1}))
    with pytest.raises(ConfigError, match="address"):
        read_serve_file(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [{"port": 70000}, {"metrics_port": -1}, {"lease_s": 0.0}, {"flower_attach": "h:1"}, {"flower_ca": Path("c")}],
)
def test_coordinator_settings_that_cannot_work_are_refused(tmp_path, wrong):
    with pytest.raises(ConfigError):
        ServeSettings(state=tmp_path, **wrong)


def test_presets_that_settings_allow_are_those_that_nodes_know():
    # A heavy import, for this test alone.
    from hwmodel import preset_names

    assert set(PRESETS) == set(preset_names())


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_loopback_addresses_are_bound_as_they_are(tmp_path, host):
    settings = ServeSettings(state=tmp_path, host=host)
    assert (settings.bound_host, settings.socket) == (host.strip("[]"), None)
    assert is_loopback(host)


def test_what_an_earlier_coordinator_has_left_leads_to_no_connection(tmp_path):
    served = {"pid": 1, "address": "127.0.0.1:1", "metrics_address": "", "token_file": "t", "fleet_id": "f"}
    (tmp_path / "serve.json").write_text(json.dumps(served))
    with pytest.raises(ConfigError, match="no CA certificate"):
        connection(Context(state=tmp_path))
    (tmp_path / "serve.json").write_text(json.dumps(served | {"ca_file": "ca.pem"}))
    assert connection(Context(state=tmp_path)).ca_file == tmp_path / "ca.pem"


def test_an_address_without_an_authority_is_refused_unless_it_is_a_socket():
    with pytest.raises(ConfigError, match="no CA certificate"):
        connection(Context(address="c:1", token_file=Path("/t")))
    assert connection(Context(address="unix:/s", token_file=Path("/t"))).ca_file is None


@pytest.mark.parametrize("lease_s", [float("nan"), float("inf"), 1e300, -1.0])
def test_a_lease_that_is_no_time_is_refused(tmp_path, lease_s):
    with pytest.raises(ConfigError, match="lease"):
        ServeSettings(state=tmp_path, lease_s=lease_s)
    with pytest.raises(ConfigError, match="lease"):
        LocalSettings(state=tmp_path, lease_s=lease_s)


def test_a_folder_keeps_the_chips_that_it_began_with(tmp_path):
    first = LocalSettings(state=tmp_path)
    first.check_folder()
    first.note_folder()
    LocalSettings(state=tmp_path, nodes=1, lease_s=5.0).check_folder()
    for other in ({"preset": "22nm"}, {"task": "images"}, {"fleet_seed": 7}):
        with pytest.raises(ConflictError, match="--task speakers --preset 180nm-1t1r --fleet-seed 1"):
            LocalSettings(state=tmp_path, **other).check_folder()
