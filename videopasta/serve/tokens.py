"""Who may ask. Tokens are read from a file or an environment variable, and kept as hashes."""

import hashlib
import hmac
import os
from collections.abc import Iterable
from pathlib import Path

from videopasta.config.serve import AuthConfig
from videopasta.errors import UserError

_MIN_CHARS = 16
_FIX = "python3 -c 'import secrets; print(secrets.token_urlsafe(32))' makes one"


class Tokens:
    """Those that are let in."""

    def __init__(self, tokens: Iterable[str]) -> None:
        self._digests = tuple(_digest(token) for token in tokens)

    def client_of(self, authorization: str | None) -> str | None:
        """A name for whose token a header `Authorization` has, which does not tell the token; None: nobody's.

        Every token is compared, each in constant time.
        """
        scheme, _, given = (authorization or "").partition(" ")
        digest = _digest(given.strip())
        equal = [hmac.compare_digest(digest, one) for one in self._digests]
        return digest.hex()[:16] if scheme.lower() == "bearer" and any(equal) else None


def read_tokens(auth: AuthConfig) -> Tokens:
    """The tokens that `auth` names.

    Raises:
        UserError: there is none, or one is so short that it could be guessed.
    """
    if auth.token_file is not None:
        where = f"auth.token_file {auth.token_file}"
        try:
            lines = Path(auth.token_file).expanduser().read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not text"
            raise UserError(f"{where}: {reason}; {_FIX}") from None
        tokens = [token for line in lines if (token := line.partition("#")[0].strip())]
    else:
        where = f"the environment variable {auth.token_env} (auth.token_env)"
        tokens = [token] if (token := os.environ.get(auth.token_env, "").strip()) else []
    if not tokens:
        raise UserError(f"{where} has no token, and nobody would be let in; {_FIX}")
    if any(len(token) < _MIN_CHARS for token in tokens):
        raise UserError(f"{where} has a token of fewer than {_MIN_CHARS} characters, which can be guessed; {_FIX}")
    return Tokens(tokens)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogateescape")).digest()
