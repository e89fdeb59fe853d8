"""`fleet certificate issue|proof|verify`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType

from fleet.cli.exits import ExitCode, UsageError
from fleet.cli.output import Format, OutputFormat, clock, facts, hint, note, show, table
from fleet.cli.session import session
from fleet.documents import document
from fleet.errors import FleetError, NotFoundError

if TYPE_CHECKING:
    from fleet.client import FleetClient
    from fleet.trust.certificate import Certificate
    from fleet.trust.checks import CheckLine

app = typer.Typer(help="What an auditor gets, and how to check it.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False)]
NodeId = Annotated[str, typer.Argument(metavar="NODE")]
Output = Annotated[Path | None, typer.Option(help="File to write.", show_default="standard output")]

#: Results of a check.
HOLDS, FAILS, UNVOUCHED, UNPROVED = "holds", "fails", "unvouched", "unproved"
#: Longest file that may hold a public key.
_KEY_FILE_BYTES = 4096


@app.command()
def issue(
    ctx: typer.Context,
    campaign_id: Annotated[str, typer.Argument(metavar="CAMPAIGN")],
    output: Output = None,
    with_receipts: Annotated[
        bool | None,
        typer.Option(
            "--with-receipts/--without-receipts",
            help="Whether every node's receipt stands beside what is signed.",
            show_default="with them, up to 1 MB",
        ),
    ] = None,
) -> None:
    """Get the signed certificate (JSON) of a forget that has converged, and the key to check it with."""
    from fleet.trust.certificate import has_evidence

    with session(ctx).client() as client:
        certificate = client.get_certificate(campaign_id, with_receipts=with_receipts)
        public_key = client.get_fleet().command_public_key.hex()
    _write(certificate, output, f"Certificate of {campaign_id}")
    if not has_evidence(certificate):
        note("Without the nodes' receipts: --with-receipts adds all, `fleet certificate proof` shows one.")
    note(f"Public key, for the auditor to get by another way than the certificate: {public_key}")
    hint(f"fleet certificate verify {output or 'FILE'} --public-key {public_key}")


def _write(text: str, output: Path | None, what: str) -> None:
    if output is None:
        sys.stdout.write(text + "\n")
        return
    from reram_fleet.processes.durable import write_atomically

    write_atomically(output, text.encode() + b"\n", 0o644)
    note(f"{what} written to {output}.")


@app.command()
def proof(ctx: typer.Context, certificate: File, node_id: NodeId, output: Output = None) -> None:
    """Get one node's receipt (JSON), with the proofs that a certificate binds it and that it is in the log."""
    from fleet.trust.audit import bound_line
    from fleet.trust.certificate import read_certificate, read_file, read_proof

    text = read_file(certificate)
    with session(ctx).client() as client:
        signed, content = read_certificate(text, client.get_fleet().command_public_key)
        if not signed.holds:
            raise FleetError(f"{certificate} is not a certificate of the coordinator at {client.address}: {signed}")
        found = client.get_proof(content.campaign_id, content.tree_size, node_id)
    (node,) = read_proof(found)
    if not (line := bound_line(content, node)).holds:
        said = f"what the coordinator has of {node_id} is another receipt by now: {line}"
        raise FleetError(said, hint=f"fleet certificate issue {content.campaign_id}")
    _write(found, output, f"Proof of {node_id}")
    hint(f"fleet certificate verify {certificate} --proof {output or 'FILE'} --public-key KEY")


@app.command()
def verify(
    ctx: typer.Context,
    certificate: File,
    proofs: Annotated[
        list[Path] | None,
        typer.Option(
            "--proof",
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="A node's receipt, of `fleet certificate proof`.",
        ),
    ] = None,
    public_key: Annotated[
        str | None,
        typer.Option(
            metavar="HEX|FILE",
            envvar="FLEET_PUBLIC_KEY",
            help="The coordinator's command key, from a source that you trust: 64 hexadecimal digits, or a "
            "file with them. `fleet status` and `fleet certificate issue` show it.",
            show_default="asked of the coordinator, which then vouches for itself",
        ),
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Do not ask the coordinator whether the forget has re-opened since.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="List the checks that hold, too.")] = False,
    form: Format = OutputFormat.TABLE,
) -> None:
    """Check a certificate: verdicts and limits, then what fails.

    Exit code 0: it holds under the key that was given, and, if the coordinator could be asked, the forget is
    converged still. 1: a check fails. 8: all checks hold, but no key was given, so that the coordinator
    vouches for itself, as an impostor would; or not all receipts are there, so that it is its word alone
    that the others hold.
    """
    from fleet.trust.audit import receipts_there, verify_certificate
    from fleet.trust.certificate import read_certificate, read_file, read_proof

    pinned = None if public_key is None else read_key("--public-key", public_key, "`fleet status`")
    if offline and pinned is None:
        raise UsageError("--offline takes the key from you", hint="give --public-key HEX or FILE")
    text = read_file(certificate)
    key = pinned or _coordinators_key(ctx)
    shown = [node for path in proofs or () for node in read_proof(read_file(path))]
    lines = verify_certificate(text, key, shown)
    signed, content = read_certificate(text, key)
    there, needed = receipts_there(content, shown)
    current = _Current("not asked: the certificate is not this coordinator's")
    if signed.holds:
        current = _current(ctx, content, key, offline=offline)
        lines += current.lines
    result = FAILS
    if all(line.holds for line in lines):
        result = UNVOUCHED if not pinned else HOLDS if there >= needed else UNPROVED
    check: dict[str, Any] = {
        "result": result,
        "holds": result == HOLDS,
        "certificate": _certificate_document(content) if signed.holds else None,
        "receipts": {"checked": there, "of": needed},
        "vouched_by": {"command_public_key": key.hex(), "pinned": pinned is not None},
        "current": {"asked": current.asked, "detail": current.detail},
        "lines": [asdict(line) for line in sorted(lines, key=lambda line: line.holds)],
    }
    show(
        form,
        document("CertificateCheck", **check),
        lambda: _check_renderables(certificate.name, check, verbose=verbose),
    )
    if result == FAILS:
        raise typer.Exit(ExitCode.FAILED)
    if result == UNVOUCHED:
        note("The coordinator vouches for itself: give --public-key from a source that you trust.")
        raise typer.Exit(ExitCode.PARTIAL)
    if result == UNPROVED:
        note(
            "That the other receipts hold is the signer's word: give each with --proof, or all (issue --with-receipts)."
        )
        raise typer.Exit(ExitCode.PARTIAL)


@dataclass(frozen=True)
class _Current:
    """Outcome of asking the coordinator about a certificate's forget, in words and in lines."""

    detail: str
    asked: bool = False
    lines: tuple[CheckLine, ...] = ()


def _current(ctx: typer.Context, content: Certificate, key: bytes, *, offline: bool) -> _Current:
    from fleet.trust.freshness import current_lines, moment

    unseen = f"a re-opening after {moment(content.issued_at_ms)} would not be seen"
    if offline:
        return _Current(f"not asked (--offline): {unseen}")
    try:
        with session(ctx).client() as client:
            fleet = client.get_fleet()
            if (fleet.fleet_id, fleet.command_public_key) != (content.fleet_id, key):
                return _Current(f"not told: the coordinator at {client.address} is another one; {unseen}")
            lines = tuple(current_lines(content, fleet, _forget(client, content.campaign_id)))
    except FleetError as error:
        return _Current(f"not told: {error}; {unseen}")
    failed = "; ".join(str(line) for line in lines if not line.holds)
    return _Current(failed or f"still converged, says the coordinator at {client.address}", True, lines)


def _forget(client: FleetClient, campaign_id: str) -> Any:
    try:
        return client.get_forget(campaign_id)
    except NotFoundError:
        return None


def _coordinators_key(ctx: typer.Context) -> bytes:
    try:
        with session(ctx).client() as client:
            key = client.get_fleet().command_public_key
    except FleetError as error:
        error.hint = "give --public-key HEX or FILE: then no coordinator is needed"
        raise
    if len(key) != 32:
        raise FleetError(f"the coordinator at {client.address} says that its command key has {len(key)} bytes")
    return bytes(key)


def read_key(option: str, given: str, shown_by: str) -> bytes:
    """Return the raw public key that an option gives as hexadecimal digits, or as a file with them."""
    try:
        key = bytes.fromhex(given)
    except ValueError:
        try:
            with Path(given).open("rb") as file:
                key = bytes.fromhex(file.read(_KEY_FILE_BYTES).decode("ascii").strip())
        except (OSError, ValueError):
            key = b""
    if len(key) != 32:
        raise UsageError(
            f"{option} takes 64 hexadecimal digits or a file with them, not {given[:80]!r}",
            hint=f"{shown_by} shows the key",
        )
    return key


def _certificate_document(content: Certificate) -> dict[str, Any]:
    """Return what a certificate says: verdicts, for whom, on how many nodes, and what it does not say.

    Nodes are listed by state if all their receipts are in the file.
    """
    nodes: dict[str, list[str]] = {}
    for node in content.nodes:
        nodes.setdefault(node.state.value, []).append(node.node_id)
    counts = {state.value: count for state, count in content.summary.counts.items()}
    return {
        "verdicts": {v.adapter_kind: {"verdict": v.verdict, "basis": v.basis} for v in content.verdicts},
        "subject_tags": [tag for tag in content.subject_tags if tag not in content.planted_tags],
        "planted_tags": list(content.planted_tags),
        "excepted": [
            {"node_id": node.node_id, "state": node.state.value, "reason": node.reason}
            for node in content.summary.excepted
        ],
        "joined": [node.node_id for node in content.summary.exceptions if node.joined],
        "counts": counts,
        "nodes": nodes,
        "limits": list(content.limits),
        "fleet_id": content.fleet_id,
        "campaign_id": content.campaign_id,
        "generation": content.generation,
        "converged_at_unix_ms": content.converged_at_ms,
        "issued_at_unix_ms": content.issued_at_ms,
        "log": {"tree_size": content.tree_size, "root_hash": content.root_hash.hex()},
    }


def _check_renderables(name: str, check: dict[str, Any], *, verbose: bool) -> Iterable[RenderableType]:
    """Yield the view of a check that `fleet certificate verify` made."""
    failed = [line for line in check["lines"] if not line["holds"]]
    vouched, current = check["vouched_by"], check["current"]
    said = check["certificate"]
    headline = {
        HOLDS: "holds",
        FAILS: f"DOES NOT HOLD: {len(failed)} of {len(check['lines'])} checks fail",
        UNVOUCHED: "NOT VOUCHED FOR: it agrees with the key that the coordinator itself says is its own",
        UNPROVED: "holds as far as it goes: ON THE SIGNER'S WORD for nodes whose receipts are not here",
    }[check["result"]]
    receipts = check["receipts"]
    if said is not None and said["excepted"]:
        headline += f", EXCEPT {len(said['excepted'])} node(s)"
    trust = "given with --public-key" if vouched["pinned"] else "VOUCHED FOR BY THE COORDINATOR ITSELF"
    yield facts(
        f"{name}: {headline}",
        {
            **({} if said is None else _said(said)),
            "receipts": f"{receipts['checked']} of {receipts['of']} nodes' checked",
            "signed with": f"{vouched['command_public_key']} ({trust})",
            "now": current["detail"],
        },
    )
    if failed:
        yield table(
            "Checks that fail",
            ["check", "expected", "seen"],
            [(line["name"], line["expected"], line["got"]) for line in failed],
        )
    holding = [line for line in check["lines"] if line["holds"]]
    if verbose and holding:
        yield table("Checks that hold", ["check", "seen"], [(x["name"], x["got"]) for x in holding])
    elif holding:
        yield f"{len(holding)} checks hold (--verbose lists them)."


def _said(said: dict[str, Any]) -> dict[str, object]:
    return {
        **{f"verdict {kind}": f"{v['verdict']}: {v['basis']}" for kind, v in said["verdicts"].items()},
        **{
            f"EXCEPT {node['node_id']}": f"{node['state']}: {node['reason'] or 'no reason given'}"
            for node in said["excepted"]
        },
        "for": ", ".join(said["subject_tags"]),
        "planted probe": ", ".join(f"{tag} (nobody's: planted to see it go)" for tag in said["planted_tags"]),
        "nodes": _nodes(said["counts"]),
        **({"joined meanwhile": ", ".join(said["joined"])} if said["joined"] else {}),
        "forget": f"{said['campaign_id']}, generation {said['generation']} of fleet {said['fleet_id']}",
        "converged": clock(said["converged_at_unix_ms"]),
        "issued": clock(said["issued_at_unix_ms"]),
        "limits": tuple(said["limits"]),
    }


def _nodes(counts: dict[str, int]) -> str:
    listed = ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in sorted(counts.items()))
    if not {"verified", "not_affected"} & counts.keys():
        return f"{listed or 'none'}: NOTHING WAS VERIFIED ON ANY NODE"
    return listed
