"""`fleet certificate issue|verify`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from fleet.cli.exits import ExitCode, UsageError
from fleet.cli.output import Format, OutputFormat, hint, note, show, table
from fleet.cli.session import session
from fleet.errors import CertificateError, reason_of

app = typer.Typer(help="What an auditor gets, and how to check it.", no_args_is_help=True)


@app.command()
def issue(
    ctx: typer.Context,
    campaign_id: Annotated[str, typer.Argument(metavar="CAMPAIGN")],
    output: Annotated[
        Path | None, typer.Option(help="File to write.", show_default="standard output")
    ] = None,
) -> None:
    """Get the signed certificate (JSON) of a forget that has converged."""
    with session(ctx).client() as client:
        certificate = client.get_certificate(campaign_id)
    if output is None:
        sys.stdout.write(certificate + "\n")
        return
    from reram_fleet.durable import write_atomically

    write_atomically(output, certificate.encode() + b"\n", 0o644)
    note(f"Certificate of {campaign_id} written to {output}.")
    hint(f"fleet certificate verify {output}")


@app.command()
def verify(
    ctx: typer.Context,
    certificate: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False)],
    public_key: Annotated[
        str | None,
        typer.Option(
            metavar="HEX",
            help="The coordinator's command key, 64 hexadecimal digits, from a source that you trust.",
            show_default="asked of the coordinator",
        ),
    ] = None,
    form: Format = OutputFormat.TABLE,
) -> None:
    """Check a certificate line by line; with --public-key, offline. Exit code 1 if a line fails."""
    from fleet.documents import document
    from fleet.trust.audit import verify_certificate

    lines = verify_certificate(_text(certificate), _key(ctx, public_key))
    failed = [line for line in lines if not line.holds]
    items = [{"name": x.name, "holds": x.holds, "expected": x.expected, "got": x.got} for x in lines]
    show(
        form,
        document("CertificateCheck", holds=not failed, lines=items),
        lambda: [
            table(
                f"{certificate.name}: {f'{len(failed)} of {len(lines)} lines fail' if failed else 'holds'}",
                ["", "line", "seen"],
                [("holds" if line.holds else "FAILS", line.name, line.got) for line in lines],
            )
        ],
    )
    if failed:
        raise typer.Exit(ExitCode.FAILED)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CertificateError(
            f"{file} is not a certificate: {reason_of(error)}",
            hint="expected the JSON that `fleet certificate issue` wrote",
        ) from error


def _key(ctx: typer.Context, given: str | None) -> bytes:
    if given is None:
        note("The key is the coordinator's own word: give --public-key to check against one that you trust.")
        with session(ctx).client() as client:
            return client.get_fleet().command_public_key
    try:
        key = bytes.fromhex(given)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise UsageError(f"--public-key takes 64 hexadecimal digits, got {len(given)} characters")
    return key
