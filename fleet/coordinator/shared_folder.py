"""Folder that a coordinator shares with the ServerApps of an attached SuperLink, which run under another user."""

from __future__ import annotations

import stat
from pathlib import Path

from reram_fleet.crypto import bearer

from fleet.config import ConfigError

_EVERYBODY = stat.S_IROTH | stat.S_IWOTH


class SharedFolder:
    """Files that ServerApps open by the same path as the coordinator: of its keys and database they get neither."""

    def __init__(self, root: Path) -> None:
        #: Bearer token of LearningService, in place of the one among the coordinator's keys.
        self.token_path = root / "learning.token"
        #: Certificate of the authority that vouches for the coordinator (PEM).
        self.ca_path = root / "ca.pem"

    def read_token(self, ca_pem: bytes) -> str:
        """Return the token; `ConfigError` if ServerApps could not use what is here, or everybody could.

        `ca_pem` is the authority that vouches for this coordinator.
        """
        try:
            mode, content = self.token_path.stat().st_mode, self.token_path.read_bytes()
            shared_ca = self.ca_path.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"cannot read {error.filename}: {error.strerror}",
                hint="--learning-folder holds learning.token and ca.pem, for this user and the SuperLink's",
            ) from error
        if mode & _EVERYBODY:
            raise ConfigError(
                f"{self.token_path} has mode {stat.S_IMODE(mode):04o}: everybody may read it",
                hint=f"chmod 640 {self.token_path}, with a group of the coordinator's user and the SuperLink's",
            )
        if shared_ca.strip() != ca_pem.strip():
            raise ConfigError(
                f"{self.ca_path} does not vouch for this coordinator's certificate",
                hint="copy the authority's ca.pem there: the last certificate of --tls-cert, or --tls-ca",
            )
        try:
            return bearer.check_token(content)
        except bearer.TokenError as error:
            raise ConfigError(f"{self.token_path} opens nothing: {error}") from error
