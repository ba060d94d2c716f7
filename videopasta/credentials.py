"""Secrets are named (an environment variable, a file), read where they are used, and never part of a uri.

What a run is told is written down: uris in rows, in run.json and in logs, settings in run.json. So a uri with a secret
in it is refused before anything is written, and the refusal does not repeat it.
"""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from videopasta.errors import UserError

if TYPE_CHECKING:
    from videopasta.config import OpenAIModel

# A colon in the authority that no port follows: also where a slash in the password ends the authority too early.
_USER_AND_PASSWORD = re.compile(r"://[^/?#\[\]]*(?<!:):(?!:|\d*(?:[/?#]|$))")
# Presigned URLs of S3, Google and Azure, pyarrow's and fsspec's options, and what APIs call their keys.
_SECRET_OPTION = re.compile(
    r"[?&]((?:[\w%-]*(?:signature|credential|secret|token|passw|api_?key|access_?key)[\w%-]*)|sig|key)=", re.IGNORECASE
)
_NO_KEY = "none"
"""Sent to endpoints that ask for none: the client insists on something."""


def credential_in(uri: str) -> str | None:
    """What in a uri is a secret, without its value; None where nothing is."""
    if "://" not in uri:
        return None
    if _USER_AND_PASSWORD.search(uri):
        return "user:password@"
    option = _SECRET_OPTION.search(uri)
    return f"{option[1]}=" if option else None


def refuse_credentials(uri: str, where: str) -> None:
    """Let no uri with a secret in it go further.

    Args:
        uri: what was given.
        where: what it was given as, for the message.

    Raises:
        UserError: it holds one.
    """
    found = credential_in(uri)
    if found:
        raise UserError(
            f"{where}: the uri holds a secret ({found}), and uris are written to rows, run.json and logs; give the "
            "plain uri, and the key by the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, "
            "GOOGLE_APPLICATION_CREDENTIALS, ...) or the machine's role"
        )


def endpoint_key(model: "OpenAIModel") -> SecretStr:
    """The key of an endpoint, from its file or its environment variable; "none" where neither is set.

    Raises:
        UserError: the file cannot be read, or is empty.
    """
    if model.api_key_file is None:
        return SecretStr(os.environ.get(model.api_key_env) or _NO_KEY)
    try:
        key = Path(model.api_key_file).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise UserError(f"model {model.model!r}: api_key_file {model.api_key_file}: {reason}") from None
    if not key:
        raise UserError(f"model {model.model!r}: api_key_file {model.api_key_file} is empty; write the key into it")
    return SecretStr(key)


def without(secret: SecretStr, text: str) -> str:
    """`text` with the secret blotted out: endpoints repeat keys in their errors."""
    value = secret.get_secret_value()
    return text if value == _NO_KEY else text.replace(value, str(secret))
