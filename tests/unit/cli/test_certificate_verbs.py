"""`fleet certificate issue|verify` against a coordinator that knows one forget."""

import json
from dataclasses import replace

import pytest
from reram_fleet.v1 import operator_pb2 as operator
from reram_fleet.v1.types_pb2 import AUDIT_EVENT_KIND_NODE_RETIRED

from fleet.cli.exits import ExitCode
from fleet.domain.execution import ExecutionState
from fleet.trust.certificate import LIMITS, build_certificate
from fleet.trust.evidence import certified_tree, evidence_from_json, evidence_to_json
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


@pytest.fixture
def issue(cli, forget, certified):
    """Issue the certificate into a file, by the coordinator that knows it; returns the result and the file."""
    cli.operator.certificates[forget.campaign_id] = build_certificate(replace(certified, nodes=()), forget.coordinator)
    (node,) = certified.nodes
    cli.operator.evidence["n1"] = json.dumps(evidence_to_json(node))

    def issue_it(*options):
        output = cli.folder / "issued.json"
        return cli.run("certificate", "issue", forget.campaign_id, "--output", str(output), *options), output

    return issue_it


def test_issuing_and_status_show_the_key_that_verify_takes(cli, forget, issue):
    issued, output = issue()
    key = forget.public_key.hex()
    assert f"fleet certificate verify {output} --public-key {key}" in issued.stderr.replace("\n", "")
    assert key in cli.run("status").stdout
    result = verify(cli, str(output), forget)
    assert result.exit_code == 0
    assert "1 of 1 nodes' checked" in result.stdout


def test_a_large_certificate_is_issued_without_receipts_unless_they_are_asked_for(cli, issue, monkeypatch):
    monkeypatch.setattr("fleet.trust.certificate.SMALL_BYTES", 100)
    small, output = issue()
    assert "Without the nodes' receipts" in small.stderr
    bytes_without = output.stat().st_size
    _, output = issue("--with-receipts")
    assert output.stat().st_size > bytes_without
    _, output = issue("--without-receipts")
    assert output.stat().st_size == bytes_without


def test_a_certificate_without_receipts_is_the_signers_word_until_each_is_shown(cli, forget, issue):
    _, output = issue("--without-receipts")
    alone = verify(cli, str(output), forget)
    assert alone.exit_code == ExitCode.PARTIAL
    assert "ON THE SIGNER'S WORD" in alone.stdout
    assert "0 of 1 nodes' checked" in alone.stdout
    node = evidence_from_json(json.loads(cli.operator.evidence["n1"]))
    bound = replace(node, in_certificate=certified_tree([node.certified]).prove_inclusion(0))
    cli.operator.evidence["n1"] = json.dumps(evidence_to_json(bound))
    proof = cli.folder / "n1.json"
    assert cli.run("certificate", "proof", str(output), "n1", "--output", str(proof)).exit_code == 0
    proved = verify(cli, str(output), forget, "--proof", str(proof))
    assert proved.exit_code == 0
    assert "1 of 1 nodes' checked" in proved.stdout
    document = cli.json(
        *("certificate", "verify", str(output), "--proof", str(proof), "--public-key", forget.public_key.hex())
    )
    assert (document["receipts"], document["certificate"]["counts"]) == ({"checked": 1, "of": 1}, {"verified": 1})


def test_a_proof_that_does_not_fit_its_certificate_is_not_written(cli, forget, issue):
    _, output = issue("--without-receipts")
    proof = cli.folder / "n1.json"
    refused = cli.run("certificate", "proof", str(output), "n1", "--output", str(proof))
    assert refused.exit_code == ExitCode.FAILED
    assert "another receipt by now" in refused.stderr
    assert not proof.exists()
    assert cli.run("certificate", "proof", str(output), "n9").exit_code == ExitCode.NOT_FOUND
