"""`fleet pki init|issue|show`: an authority for a fleet's servers, and their certificates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from reram_fleet.processes.command_line import folder
from rich.console import RenderableType

from fleet.cli.output import Format, OutputFormat, clock, facts, hint, note, show
from fleet.documents import Document, document
from fleet.errors import ConflictError, InvalidInputError

if TYPE_CHECKING:
    from cryptography import x509

app = typer.Typer(help="TLS certificates of a fleet's servers, by an authority of your own.", no_args_is_help=True)

AuthorityFolder = Annotated[Path, typer.Argument(metavar="DIR", parser=folder, help="Folder of the authority.")]


@app.command()
def init(
    authority: AuthorityFolder,
    name: Annotated[str, typer.Option(help="What the authority is called.")] = "reram-fleet",
    form: Format = OutputFormat.TABLE,
) -> None:
    """Make an authority (ECDSA P-256, for ten years) in a folder that is not there yet."""
    from fleet.trust.tls import Authority

    made = Authority.create(authority, name)
    _show(form, "Authority", [made.certificate], {"key": authority / "ca.key", "certificate": authority / "ca.pem"})
    note(f"{authority}/ca.pem is for all who connect: `fleet --ca`, Prometheus. Nodes get it when they are enrolled.")
    note(f"Whoever has {authority}/ca.key can pass for every server: keep it off the machines that serve.")
    hint(f"fleet pki issue {authority} NAME --name HOST")


@app.command()
def issue(
    authority: AuthorityFolder,
    name: Annotated[str, typer.Argument(help="What the files are called.")],
    host: Annotated[
        list[str] | None,
        typer.Option(
            "--name",
            metavar="DNS|IP",
            help="What clients connect to; once for each.",
            show_default="the name of the files",
        ),
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long it holds.")] = 365,
    form: Format = OutputFormat.TABLE,
) -> None:
    """Issue a server's certificate, and a key that is new; files that are there already stay."""
    from fleet.trust.tls import Authority, ServerFiles, check_server

    if name != Path(name).name or name in ("", "ca") or name.startswith("."):
        raise InvalidInputError(f"{name!r} cannot be the name of files beside ca.pem")
    issuer, files = Authority.load(authority), ServerFiles.of(authority, name)
    for path in (files.certificate_path, files.key_path):
        if path.exists():
            raise ConflictError(f"{path} exists already", hint="keys are never written over: move it away")
    hosts = host or [name]
    issuer.issue(files, name, hosts, days=days)
    # What an authority whose time is over, or a clock that is wrong, would make of it.
    check_server(files, issuer.pem, hosts[0])
    made = {"certificate": files.certificate_path, "key": files.key_path}
    _show(form, "ServerCertificate", [files.certificate()], made)
    hint(f"fleet serve --advertise {hosts[0]} --tls-cert {files.certificate_path} --tls-key {files.key_path}")


@app.command("show")
def show_file(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Certificates (PEM).")],
    form: Format = OutputFormat.TABLE,
) -> None:
    """Show for whom the certificates in a file are, until when, and their fingerprints."""
    from fleet.trust.tls import read_certificates

    _show(form, "Certificates", read_certificates(file), {})


def _show(form: OutputFormat, kind: str, certificates: Sequence[x509.Certificate], files: Mapping[str, Path]) -> None:
    items = [_document(each) for each in certificates]
    paths = {name: str(path) for name, path in files.items()}

    def tables() -> Iterable[RenderableType]:
        return [
            facts(
                item["subject"],
                {
                    "for": tuple(item["names"]) or "servers that it vouches for",
                    "vouched for by": item["issuer"],
                    "from": clock(item["not_before_unix_ms"]),
                    "until": clock(item["not_after_unix_ms"]),
                    "SHA-256": item["fingerprint"],
                    **paths,
                },
            )
            for item in items
        ]

    show(form, document(kind, files=paths, certificates=items), tables)


def _document(certificate: x509.Certificate) -> Document:
    from cryptography.hazmat.primitives.hashes import SHA256

    from fleet.trust.tls import names_of

    return {
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "names": names_of(certificate),
        "not_before_unix_ms": int(certificate.not_valid_before_utc.timestamp() * 1000),
        "not_after_unix_ms": int(certificate.not_valid_after_utc.timestamp() * 1000),
        "fingerprint": certificate.fingerprint(SHA256()).hex(":").upper(),
    }
