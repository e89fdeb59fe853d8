"""Certificate of a coordinator: made once, renewed in time, taken from elsewhere, and never another authority."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.config import ServeSettings
from fleet.coordinator.folder import CoordinatorFolder
from fleet.coordinator.tls import ServerTls, check
from fleet.errors import InvalidInputError
from fleet.trust.tls import Authority, TlsError, check_server, names_of
from tests.tls import issued


def opened(state: Path, **settings: object) -> ServerTls:
    return ServerTls.open(ServeSettings(state=state, **settings), CoordinatorFolder(state))


def names(tls: ServerTls) -> set[str]:
    return set(names_of(tls.files.certificate()))


def test_a_coordinator_makes_its_own_once(tmp_path: Path) -> None:
    first = opened(tmp_path)
    before = first.files.certificate()
    second = opened(tmp_path)

    assert names(first) == {"localhost", "127.0.0.1", "::1"}
    assert (second.ca_pem, second.files.certificate()) == (first.ca_pem, before)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"host": "192.0.2.1"}, "192.0.2.1"),
        ({"host": "fleet.example"}, "fleet.example"),
        ({"host": "0.0.0.0", "advertise": "fleet.example:9000"}, "fleet.example"),
        ({"host": "::", "advertise": "[2001:db8::1]"}, "2001:db8::1"),
    ],
)
def test_it_is_for_the_name_that_clients_use_and_made_anew_for_another(tmp_path: Path, settings, name) -> None:
    before = opened(tmp_path)
    after = opened(tmp_path, **settings)

    assert names(after) == {"localhost", "127.0.0.1", "::1", name}
    check_server(after.files, before.ca_pem, name)


@pytest.mark.parametrize(("days", "renewed"), [(100, True), (130, False)])
def test_it_is_renewed_when_a_third_of_its_time_is_left(tmp_path: Path, days: int, renewed: bool, monkeypatch) -> None:
    tls = opened(tmp_path)
    before = tls.files.certificate()
    ends = before.not_valid_after_utc
    monkeypatch.setattr("fleet.coordinator.tls.datetime", _Clock(ends, days))
    tls.renew()

    assert (tls.files.certificate() != before) is renewed
    check_server(tls.files, tls.ca_pem, "127.0.0.1")


class _Clock:
    """Stands so many days before a moment."""

    def __init__(self, ends, days: int) -> None:
        import datetime

        self.datetime, self.UTC, self._now = self, datetime.UTC, ends - datetime.timedelta(days=days)

    def now(self, zone: object) -> object:
        return self._now


@pytest.mark.parametrize("lost", ["server.pem", "server.key"])
def test_a_file_that_is_lost_is_made_anew_by_the_same_authority(tmp_path: Path, lost: str) -> None:
    ca_pem = opened(tmp_path).ca_pem
    (tmp_path / "tls" / lost).unlink()
    again = opened(tmp_path)

    assert again.ca_pem == ca_pem
    check_server(again.files, ca_pem, "localhost")


def test_an_authority_that_lost_its_key_is_not_made_anew(tmp_path: Path) -> None:
    opened(tmp_path)
    (tmp_path / "tls" / "ca.pem").unlink()
    with pytest.raises(TlsError, match=r"ca\.pem"):
        opened(tmp_path)
    assert not (tmp_path / "tls" / "ca.pem").exists()


def test_a_given_certificate_is_served_with_the_authority_of_its_chain(tmp_path: Path) -> None:
    files, authority = issued(tmp_path, ["fleet.example"])
    settings = {"host": "fleet.example", "tls_cert": files.certificate_path, "tls_key": files.key_path}
    tls = opened(tmp_path / "state", **settings)

    assert (tls.files, tls.ca_pem) == (files, authority.pem)
    assert not (tmp_path / "state").exists()
    tls.renew()
    assert tls.files.certificate() == files.certificate()


def test_a_given_one_that_clients_would_refuse_is_named_before_anything_is_made(tmp_path: Path) -> None:
    files, _ = issued(tmp_path, ["fleet.example"])
    stranger = tmp_path / "stranger.pem"
    stranger.write_bytes(Authority.new("another").pem)
    given = {"state": tmp_path / "state", "tls_cert": files.certificate_path, "tls_key": files.key_path}
    with pytest.raises(TlsError, match=r"127\.0\.0\.1"):
        check(ServeSettings(**given))
    with pytest.raises(TlsError, match="clients would refuse"):
        check(ServeSettings(host="fleet.example", tls_ca=stranger, **given))
    files.key_path.chmod(0o644)
    with pytest.raises(TlsError, match="0644"):
        check(ServeSettings(host="fleet.example", **given))


@pytest.mark.parametrize("host", ["a b", "x:y", "fleet.example/"])
def test_a_host_that_no_certificate_can_name_is_refused(tmp_path: Path, host: str) -> None:
    with pytest.raises(InvalidInputError, match="neither a DNS name nor an IP address"):
        check(ServeSettings(state=tmp_path, host=host))


def test_a_replaced_certificate_is_taken_up_and_a_useless_one_is_not(tmp_path: Path, caplog) -> None:
    tls = opened(tmp_path)
    tls.credentials()
    changed = tls._changed
    assert changed() is None
    Authority.load(tmp_path / "tls").issue(tls.files, "tests", ["127.0.0.1"])
    assert changed() is not None
    assert changed() is None
    Authority.new("another").issue(tls.files, "tests", ["127.0.0.1"])
    assert changed() is None
    assert "not taken up" in caplog.text
