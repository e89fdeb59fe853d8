from __future__ import annotations

import errno
import json
import os

import pytest
from google.protobuf import json_format
from reram_fleet.crypto.signing import open_envelope
from reram_fleet.crypto.tickets import read_ticket
from reram_fleet.v1.operator_pb2 import EnrollNodeResponse
from reram_fleet.v1.types_pb2 import EnrolmentTicket, NodeIdentity

from fleet.documents import API_VERSION


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["status"], "FleetStatus"),
        (["node", "list"], "NodeList"),
        (["node", "show", "node-1"], "Node"),
        (["learn", "list"], "LearningJobList"),
        (["forget", "list"], "ForgetList"),
        (["energy", "report"], "EnergyReport"),
        (["registry", "list"], "EnrolmentList"),
    ],
)
def test_every_reading_verb_prints_versioned_json_alone_on_stdout(cli, arguments, kind):
    document = cli.json(*arguments)
    assert (document["api_version"], document["kind"]) == (API_VERSION, kind)


@pytest.mark.parametrize("arguments", [["status"], ["node", "list"], ["node", "show", "node-1"], ["energy", "report"]])
def test_tables_show_the_nodes_without_colour_when_piped(cli, arguments):
    result = cli.run(*arguments, NO_COLOR="1")
    assert result.exit_code == 0
    assert "node-1" in result.stdout
    assert "\x1b" not in result.stdout


def test_a_node_out_of_contact_is_never_shown_as_serving(cli):
    cli.operator.nodes["node-2"].connected = False
    for arguments in (["status"], ["node", "list"], ["node", "show", "node-2"]):
        assert "unknown, last said serving" in cli.run(*arguments).stdout
    assert "1 serving" in cli.run("status").stdout
    nodes = {node["node_id"]: node for node in cli.json("status")["nodes"]}
    assert [nodes[n]["serve_state"] for n in sorted(nodes)] == ["serving", "unknown"]
    assert nodes["node-2"]["last_serve_state"] == "serving"


def test_energy_is_reported_by_phase_with_its_model(cli):
    report = cli.json("energy", "report")
    assert report["totals"]["program"] == {"energy_j": 0.012, "seconds": 3.0, "bytes": 0, "cell_writes": 900}
    assert report["energy_model"] == {"name": "180nm-1t1r", "version": "1"}
    assert [node["node_id"] for node in report["nodes"]] == ["node-1", "node-2"]


def test_unknown_node_and_job_are_exit_3(cli):
    assert cli.run("node", "show", "node-9").exit_code == 3
    assert cli.run("learn", "show", "job-9").exit_code == 3


def test_wrong_token_is_exit_5_and_the_token_is_not_repeated(cli):
    (cli.folder / "operator.token").write_text("hunter2\n")
    result = cli.run("status")
    assert result.exit_code == 5
    assert "hunter2" not in result.stderr + result.stdout


def test_missing_token_file_is_exit_5(cli):
    assert cli.run("status", FLEET_TOKEN_FILE=str(cli.folder / "none")).exit_code == 5


def test_coordinator_that_is_down_is_exit_6_without_a_traceback(cli):
    result = cli.run("--address", "127.0.0.1:1", "status")
    assert result.exit_code == 6
    assert "127.0.0.1:1" in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_unknown_verb_and_bad_option_are_exit_2(cli):
    assert cli.run("forget", "everything").exit_code == 2
    assert cli.run("learn", "start", "--rounds", "0").exit_code == 2
    assert cli.run("learn", "start", "--lora", "unlearn").exit_code == 2


def test_context_that_does_not_exist_is_exit_2(cli):
    assert cli.run("--context", "elsewhere", "status").exit_code == 2


def test_node_enroll_prints_what_edge_node_join_reads(cli):
    identity = cli.folder / "identity.json"
    identity.write_text(json_format.MessageToJson(NodeIdentity(node_id="node-3")))
    result = cli.run("node", "enroll", str(identity))
    assert result.exit_code == 0
    enrolment = json_format.Parse(result.stdout, EnrollNodeResponse())
    assert (enrolment.created, enrolment.flower_node_id) == (True, 2**63 + 5)
    again = json_format.Parse(cli.run("node", "enroll", str(identity)).stdout, EnrollNodeResponse())
    assert not again.created


def test_node_enroll_of_something_else_is_exit_2(cli):
    path = cli.folder / "identity.json"
    path.write_text("not an identity")
    assert cli.run("node", "enroll", str(path)).exit_code == 2


def test_learn_start_waits_until_the_job_has_succeeded(cli):
    job = cli.json("learn", "start", "--lora", "shared", "--rounds", "2", "--wait")
    assert (job["state"], job["type"], job["rounds"]) == ("succeeded", "train.lora", 2)


def test_learn_start_with_the_same_request_id_starts_nothing_twice(cli):
    first = cli.json("learn", "start", "--lora", "shared", "--request-id", "r-1")
    second = cli.json("learn", "start", "--lora", "shared", "--request-id", "r-1")
    assert (first["job_id"], first["created"], second["created"]) == (second["job_id"], True, False)


def test_failed_job_is_exit_1_with_its_reason(cli):
    cli.operator.next_job_states = ["queued", "failed"]
    result = cli.run("learn", "start", "--lora", "shared", "--wait")
    assert result.exit_code == 1
    assert "quorum not reached" in result.stderr


def test_job_that_takes_too_long_is_exit_7(cli):
    cli.operator.next_job_states = ["running"]
    assert cli.run("learn", "start", "--lora", "shared", "--wait", "--timeout", "0.2").exit_code == 7


def opened_ticket(cli, text):
    key = cli.registry.key().public_key().public_bytes_raw()
    return open_envelope(read_ticket(text), EnrolmentTicket, key)


def test_registry_enrol_prints_a_ticket_alone(cli):
    result = cli.run("registry", "enroll", "s04", "--node", "node-2", "--node", "node-1")
    ticket = opened_ticket(cli, result.stdout)
    assert [ticket.subject_tag] == cli.registry.active_tags("s04")
    assert list(ticket.node_ids) == ["node-1", "node-2"]
    assert ticket.fleet_id == cli.json("status")["fleet"]["fleet_id"]
    (item,) = cli.json("registry", "list")["items"]
    assert (item["person"], item["state"]) == ("s04", "active")


def test_registry_enrol_needs_a_node_and_writes_nothing_without(cli):
    assert cli.run("registry", "enroll", "s04").exit_code == 2
    assert cli.run("registry", "enroll", "s04", "--node", "no node").exit_code == 2
    assert not cli.registry.people()


def test_enrolment_gets_another_ticket_and_keeps_its_tag(cli):
    first = cli.json("registry", "enroll", "s04", "--node", "node-1")
    again = cli.json("registry", "enroll", "s04", "--node", "node-3", "--tag", first["tag"])
    assert again["tag"] == first["tag"]
    assert opened_ticket(cli, again["ticket"]).subject_tag == first["tag"]
    assert cli.run("registry", "enroll", "s05", "--node", "node-3", "--tag", first["tag"]).exit_code != 0


def test_registry_key_is_never_made_anew(cli):
    public = cli.run("registry", "key").stdout.strip()
    assert cli.run("registry", "key").stdout.strip() == public
    cli.registry.key_path.unlink()
    lost = cli.run("registry", "enroll", "s04", "--node", "node-1")
    assert lost.exit_code != 0
    assert "is missing" in lost.stderr
    assert not cli.registry.people()
    assert not cli.registry.key_path.exists()


def test_flags_beat_the_environment_and_contexts_find_a_restarted_coordinator(cli):
    state = cli.folder / "coordinator"
    state.mkdir()
    (state / "serve.json").write_text(
        json.dumps(
            {
                "pid": 1,
                "address": cli.address,
                "metrics_address": "127.0.0.1:1",
                "token_file": str(cli.folder / "operator.token"),
                "fleet_id": "fleet-test",
            }
        )
    )
    (cli.folder / "config.toml").write_text(f'current = "here"\n[contexts.here]\nstate = "{state}"\n')
    assert cli.run("status", FLEET_ADDRESS="", FLEET_TOKEN_FILE="").exit_code == 0
    assert cli.run("status", FLEET_ADDRESS="127.0.0.1:1").exit_code == 6
    assert cli.run("--address", cli.address, "status", FLEET_ADDRESS="127.0.0.1:1").exit_code == 0


def test_registry_says_which_file_it_shows(cli):
    result = cli.run("registry", "list")
    assert f"From {cli.registry.path}, which does not exist yet." in result.stderr
    assert "--registry" in result.stderr
    cli.run("registry", "enroll", "-", "--node", "node-1", stdin="s04\n")
    assert cli.registry.active_tags("s04")
    assert f"From {cli.registry.path}." in cli.run("registry", "list").stderr


def test_registry_that_cannot_be_written_is_a_plain_error(cli):
    (cli.folder / "file").write_text("no folder")
    registry = ["--registry", str(cli.folder / "file" / "registry.json")]
    result = cli.run(*registry, "registry", "enroll", "s04", "--node", "node-1")
    assert result.exit_code == 1
    assert "cannot write the registry" in result.stderr
    assert result.stdout == ""
    assert isinstance(result.exception, SystemExit)


def test_registry_on_a_full_disk_is_a_plain_error_and_stays_as_it_was(cli, monkeypatch):
    tag = cli.enrol("s04")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    result = cli.run("registry", "enroll", "s07", "--node", "node-1")
    monkeypatch.undo()
    assert result.exit_code == 1
    assert "No space left on device; nothing was changed" in result.stderr
    assert isinstance(result.exception, SystemExit)
    assert {name: [e.tag for e in all_of] for name, all_of in cli.registry.people().items()} == {"s04": [tag]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x89PNG\x00\xff\xfe", "it is no text"),
        (b"{}", "it has no payload"),
        (b"[]", "another kind"),
        (b'{"payload": 1, "signatures": 3}', "another kind"),
    ],
    ids=["binary", "empty", "list", "numbers"],
)
def test_what_is_no_certificate_is_told_in_words(cli, content, said):
    path = cli.folder / "certificate.json"
    path.write_bytes(content)
    result = cli.run("certificate", "verify", str(path), "--public-key", "ab" * 32)
    assert result.exit_code == 1
    assert said in result.stderr
    assert "Error(" not in result.stderr
    assert isinstance(result.exception, SystemExit)


def test_version_is_shown(cli):
    assert cli.run("--version").stdout.startswith("fleet 0.")


@pytest.mark.parametrize("arguments", [[], ["forget"], ["forget", "create"], ["up"], ["registry", "enroll"]])
def test_help_has_a_short_name_everywhere(cli, arguments):
    assert "Usage: fleet" in cli.run(*arguments, "-h").stdout


@pytest.mark.parametrize("arguments", [["forgt"], ["chpi"], ["forget", "creat"], ["chip", "reprot"]])
def test_a_slip_is_met_with_one_suggestion(cli, arguments):
    result = cli.run(*arguments, COLUMNS="200")
    assert result.exit_code == 2
    assert result.stderr.count("Did you mean") == 1


def test_times_have_a_zone(cli):
    tag = cli.enrol("s07")
    cli.run("forget", "create", "--tag", tag, "--yes")
    assert "2023-11-14 22:13:20 UTC" in cli.run("forget", "list").stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["up", "--lease-seconds", "nan"],
        ["up", "--lease-seconds", "1e300"],
        ["up", "--task", "nope"],
        ["up", "--preset", "nope"],
        ["up", "--timeout", "nan"],
        ["up", "--state", ""],
        ["down", "--state", ""],
        ["serve", "--state", ""],
        ["demo", "--task", "nope"],
        ["demo", "--preset", "nope"],
        ["demo", "--timeout", "inf"],
        ["learn", "start", "--timeout", "nan"],
        ["forget", "watch", "c", "--timeout", "nan"],
    ],
    ids=" ".join,
)
def test_settings_that_mean_nothing_are_exit_2_before_anything_is_made(cli, arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    state = ["--state", str(tmp_path / "fleet")] if arguments[0] == "up" and "--state" not in arguments else []
    result = cli.run(*arguments, *state)
    assert result.exit_code == 2, result.stderr
    assert isinstance(result.exception, SystemExit)
    assert sorted(tmp_path.iterdir()) == before


HOSTILE = "\x1b[31m[bold]node\x9b2J\u202egnp\n[/bold]"


def test_text_of_a_node_neither_steers_the_terminal_nor_styles_it(cli):
    node = cli.operator.nodes["node-2"]
    node.held_reason = node.software_version = node.energy_model.version = HOSTILE
    tag = cli.enrol("s07")
    cli.run("forget", "create", "--tag", tag, "--yes")
    cli.operator.executions["campaign-1"][0].detail = HOSTILE
    cli.operator.forgets["campaign-1"].verdicts[0].basis = HOSTILE
    for arguments in (
        ["status"],
        ["node", "list"],
        ["node", "show", "node-2"],
        ["forget", "show", "campaign-1"],
        ["energy", "report"],
    ):
        shown = cli.run(*arguments, NO_COLOR="1").stdout
        assert not {"\x1b", "\x9b", "\u202e"} & set(shown), arguments
        if arguments != ["energy", "report"]:
            assert "\\x1b[31m[bold]node\\x9b2J\\u202egnp\\n[/bold]" in shown.replace("\n", ""), arguments
        document = cli.run(*arguments, "-o", "json").stdout
        assert not {"\x1b", "\x9b", "\u202e"} & set(document)
        json.loads(document)
    assert cli.json("node", "show", "node-2")["held_reason"] == HOSTILE


def test_error_of_a_coordinator_does_not_steer_the_terminal(cli):
    result = cli.run("node", "show", HOSTILE)
    assert result.exit_code == 3
    assert not {"\x1b", "\x9b", "\u202e"} & set(result.stderr)
