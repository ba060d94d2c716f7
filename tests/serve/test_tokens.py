from pathlib import Path

import pytest

from tests.serve.chats import OTHER_TOKEN, TOKEN
from videopasta.config.serve import AuthConfig
from videopasta.errors import UserError
from videopasta.serve.tokens import Tokens, read_tokens


def test_each_token_is_a_client_and_nothing_else_is():
    """Two names that do not tell the tokens; other words, schemes and no header are nobody."""
    tokens = Tokens([TOKEN, OTHER_TOKEN])
    names = [tokens.client_of(f"Bearer {token}") for token in (TOKEN, OTHER_TOKEN)]
    assert None not in names
    assert len(set(names)) == 2
    assert tokens.client_of(f"bearer {TOKEN}") == names[0]
    for header in (None, "", TOKEN, "Bearer", "Bearer ", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \udcff"):
        assert tokens.client_of(header) is None


def test_tokens_come_from_a_file_or_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A line each, comments left out; the variable where no file is named."""
    file = tmp_path / "tokens"
    file.write_text(f"# ours\n{TOKEN} # ann\n\n{OTHER_TOKEN}\n")
    tokens = read_tokens(AuthConfig(token_file=str(file)))
    assert tokens.client_of(f"Bearer {TOKEN}")
    assert tokens.client_of(f"Bearer {OTHER_TOKEN}")
    monkeypatch.setenv("OURS", f"{TOKEN}\n")
    assert read_tokens(AuthConfig(token_env="OURS")).client_of(f"Bearer {TOKEN}")


def test_no_token_is_no_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Neither without one nor with one that can be guessed; what it was is not repeated."""
    monkeypatch.delenv("VIDEOPASTA_SERVE_TOKEN", raising=False)
    with pytest.raises(UserError, match=r"VIDEOPASTA_SERVE_TOKEN .* nobody would be let in"):
        read_tokens(AuthConfig())
    with pytest.raises(UserError, match="No such file"):
        read_tokens(AuthConfig(token_file=str(tmp_path / "none")))
    monkeypatch.setenv("VIDEOPASTA_SERVE_TOKEN", "hunter2")
    with pytest.raises(UserError, match="fewer than 16 characters") as caught:
        read_tokens(AuthConfig())
    assert "hunter2" not in str(caught.value)
