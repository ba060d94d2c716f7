import sys

import pytest

from videopasta import cli, config


def test_ctrl_c_says_how_to_continue(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Typer turns it into an exit code before anyone else sees it."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(config, "load_config", interrupted)
    monkeypatch.setattr(sys, "argv", ["videopasta", "generate", "--videos", "v", "--out", "o"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 130
    assert "run the same command to continue" in capsys.readouterr().err


def test_submit_without_a_command_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Before Ray is asked for anything."""
    monkeypatch.setattr(sys, "argv", ["videopasta", "submit", "--no-wait"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert "no command to submit" in capsys.readouterr().err
