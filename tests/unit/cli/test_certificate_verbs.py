"""`fleet certificate issue|verify` against a coordinator that knows one forget."""

from dataclasses import replace

import pytest
from reram_fleet.v1 import operator_pb2 as operator
from reram_fleet.v1.types_pb2 import AUDIT_EVENT_KIND_NODE_RETIRED

from fleet.cli.exits import ExitCode
from fleet.domain.execution import ExecutionState
from fleet.trust.certificate import LIMITS, build_certificate
from fleet.trust.keys import PrivateKeys
from tests.unit.trust.certified import content, event, given_up
from tests.unit.trust.conftest import FORGOTTEN, ForgottenPerson

ELSEWHERE = {"FLEET_ADDRESS": "127.0.0.1:1"}


@pytest.fixture
def forget() -> ForgottenPerson:
    return ForgottenPerson()


@pytest.fixture
def write(cli, forget):
    """Write a certificate; returns its path."""

    def write_it(whole, key=None):
        path = cli.folder / "certificate.json"
        path.write_text(build_certificate(whole, key or forget.coordinator))
        return str(path)

    return write_it


@pytest.fixture
def certified(cli, forget):
    """Return the content of a certificate whose coordinator answers, and says the same."""
    whole = content(forget)
    cli.operator.fleet.MergeFrom(
        operator.GetFleetResponse(
            fleet_id="f1", command_public_key=forget.public_key, log_size=whole.tree_size, log_root=whole.root_hash
        )
    )
    cli.operator.executions[forget.campaign_id] = [operator.Execution(node_id="n1", state="verified")]
    verdict = operator.Verdict(adapter_kind="subject-adapter", verdict=operator.VERDICT_CLASS_EXACT)
    cli.operator.forgets[forget.campaign_id] = operator.Forget(
        campaign_id=forget.campaign_id,
        state="converged",
        created_at_unix_ms=1_000,
        seconds_to_verify=0.5,
        verdicts=[verdict],
    )
    return whole


def verify(cli, path, forget, *more, **environment):
    return cli.run("certificate", "verify", path, "--public-key", forget.public_key.hex(), *more, **environment)


def test_a_certificate_shows_verdict_people_nodes_and_limits_before_its_checks(cli, forget, certified, write):
    result = verify(cli, write(certified), forget)
    assert result.exit_code == 0
    places = [
        result.stdout.index(text)
        for text in (
            "certificate.json: holds",
            "EXACT: nothing else depends on it",
            FORGOTTEN,
            "1 verified",
            "That no other copy exists",
            "given with --public-key",
            "still converged, says the coordinator",
            "checks hold (--verbose lists them)",
        )
    ]
    assert places == sorted(places)
    assert "command in the log" not in result.stdout
    assert "command in the log" in verify(cli, write(certified), forget, "--verbose").stdout


def test_each_limit_has_a_line_of_its_own(forget, certified, cli, write):
    shown = verify(cli, write(certified), forget).stdout
    assert "\\n" not in shown
    lines = [line.strip() for line in shown.splitlines()]
    assert all(any(line.endswith(limit) for line in lines) for limit in LIMITS)


def test_the_document_has_verdicts_limits_and_who_vouches(cli, forget, certified, write):
    document = cli.json("certificate", "verify", write(certified), "--public-key", forget.public_key.hex())
    assert document["result"] == "holds"
    assert document["certificate"]["verdicts"] == {
        "subject-adapter": {"verdict": "EXACT", "basis": "nothing else depends on it"}
    }
    assert document["certificate"]["subject_tags"] == [FORGOTTEN]
    assert document["certificate"]["nodes"] == {"verified": ["n1"]}
    assert document["certificate"]["limits"]
    assert document["vouched_by"] == {"command_public_key": forget.public_key.hex(), "pinned": True}
    assert document["current"]["asked"]


def test_the_planted_probe_is_not_shown_as_a_person(cli, forget, certified, write):
    probe = "ee" * 16
    marked = replace(certified, subject_tags=(FORGOTTEN, probe), planted_tags=(probe,))
    shown = verify(cli, write(marked), forget)
    assert f"{probe} (nobody's" in shown.stdout


def test_nodes_that_were_given_up_are_listed_with_their_reason(cli, forget, write):
    events = [event(forget, AUDIT_EVENT_KIND_NODE_RETIRED)]
    whole = given_up(content(forget, events=events), ExecutionState.RETIRED)
    shown = verify(cli, write(whole), forget, "--offline").stdout
    assert "certificate.json: holds, EXCEPT 1 node(s)" in shown
    assert "EXCEPT n1" in shown
    assert "retired: fell off a lorry" in shown
    assert "NOTHING WAS VERIFIED ON ANY NODE" in shown


def test_without_a_key_the_coordinator_vouches_for_itself(cli, certified, write):
    result = cli.run("certificate", "verify", write(certified))
    assert result.exit_code == ExitCode.PARTIAL
    assert "NOT VOUCHED FOR" in result.stdout
    assert "holds" not in result.stdout.splitlines()[0]


def test_another_coordinators_certificate_fails_and_none_of_it_is_shown(cli, forget, certified, write):
    result = verify(cli, write(certified, PrivateKeys.drawn()), forget)
    assert result.exit_code == ExitCode.FAILED
    assert "DOES NOT HOLD: 1 of 1 checks fail" in result.stdout
    assert "EXACT" not in result.stdout


def test_a_failing_check_is_shown_without_those_that_hold(cli, forget, certified, write):
    result = verify(cli, write(replace(certified, nodes=certified.nodes * 2)), forget)
    assert result.exit_code == ExitCode.FAILED
    assert "nodes named twice" in result.stdout
    assert "command in the log" not in result.stdout


def test_a_forget_that_re_opened_fails_where_the_coordinator_is_asked(cli, forget, certified, write):
    path = write(certified)
    cli.operator.advance(forget.campaign_id, "erasing", {"n1": "pending"})
    asked = verify(cli, path, forget)
    assert asked.exit_code == ExitCode.FAILED
    assert "re-opened since: erasing, waiting for n1 (pending)" in asked.stdout
    offline = verify(cli, path, forget, "--offline")
    assert offline.exit_code == 0
    assert "not asked (--offline): a re-opening after 1970-01-01 00:00:02+00:00 would not be seen" in offline.stdout


def test_a_coordinator_that_is_away_or_another_is_said_not_to_tell(cli, forget, certified, write):
    path = write(certified)
    away = verify(cli, path, forget, **ELSEWHERE)
    assert away.exit_code == 0
    assert "not told" in away.stdout
    cli.operator.fleet.command_public_key = bytes(32)
    another = verify(cli, path, forget)
    assert another.exit_code == 0
    assert "is another one" in another.stdout


def test_a_key_may_lie_in_a_file_or_in_the_environment(cli, forget, certified, write):
    path = write(certified)
    key_file = cli.folder / "command.pub"
    key_file.write_text(forget.public_key.hex() + "\n")
    assert cli.run("certificate", "verify", path, "--public-key", str(key_file)).exit_code == 0
    assert cli.run("certificate", "verify", path, FLEET_PUBLIC_KEY=forget.public_key.hex()).exit_code == 0


@pytest.mark.parametrize("given", ["abc", "zz" * 32, "absent.pub", "x" * 5000, "/"])
def test_what_is_no_key_is_a_usage_error(cli, certified, write, given):
    result = cli.run("certificate", "verify", write(certified), "--public-key", given)
    assert result.exit_code == ExitCode.USAGE
    assert "64 hexadecimal digits" in result.stderr


def test_offline_wants_a_key(cli, certified, write):
    assert cli.run("certificate", "verify", write(certified), "--offline").exit_code == ExitCode.USAGE


def test_a_binary_file_is_refused_in_words(cli, forget):
    (cli.folder / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    result = verify(cli, str(cli.folder / "photo.jpg"), forget)
    assert result.exit_code == ExitCode.FAILED
    assert "is no certificate" in result.stderr


def test_issuing_and_status_show_the_key_that_verify_takes(cli, forget, certified):
    text = build_certificate(certified, forget.coordinator)
    cli.operator.certificates[forget.campaign_id] = text
    output = cli.folder / "issued.json"
    issued = cli.run("certificate", "issue", forget.campaign_id, "--output", str(output))
    key = forget.public_key.hex()
    assert f"fleet certificate verify {output} --public-key {key}" in issued.stderr.replace("\n", "")
    assert key in cli.run("status").stdout
    assert verify(cli, str(output), forget).exit_code == 0
