"""What a service says before it starts; that it starts is in `test_service.py`."""

import socket

import pytest

from tests.serve.chats import TOKEN, make_config
from videopasta.errors import UserError
from videopasta.serve import server


def test_without_a_token_nothing_starts(monkeypatch: pytest.MonkeyPatch):
    """Neither Ray nor the model."""
    monkeypatch.delenv("VIDEOPASTA_SERVE_TOKEN", raising=False)
    with pytest.raises(UserError, match="nobody would be let in"):
        server.run(make_config(), print)


def test_a_model_that_is_not_there_is_told_of_at_once(monkeypatch: pytest.MonkeyPatch):
    """Before a replica tries, and tries again."""
    monkeypatch.setenv("VIDEOPASTA_SERVE_TOKEN", TOKEN)
    with pytest.raises(UserError, match=r"no config\.json"):
        server.run(make_config(model={"model": "/nothing/here"}), print)


def test_a_port_that_is_taken_is_told_of():
    """With the setting that mends it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"http\.port={port}: .* set another port"):
            server._check_free(make_config(http={"port": port}).http)
