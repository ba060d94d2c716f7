import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.exchange.rows import make_row, write_pairs
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


def test_rejected_rows_are_an_exit_code(tmp_path: Path):
    """What could be written is there; scripts notice that some could not, unless they say that they expect it."""
    rows = [make_row(0), make_row(1, prompt="What does <video> mean?")]
    pairs = write_pairs(rows, tmp_path / "set/pairs/a.parquet").parent
    command = ["export", str(pairs), "--format", "ms-swift", "--set", "validation.share=0"]
    done = CliRunner().invoke(cli.app, [*command, "--out", str(tmp_path / "one")])
    assert done.exit_code == 1
    assert "row 1" in done.output.replace("\n", "")
    assert len((tmp_path / "one/train.jsonl").read_text().splitlines()) == 1
    assert CliRunner().invoke(cli.app, [*command, "--out", str(tmp_path / "two"), "--allow-rejects"]).exit_code == 0


def test_pairs_go_out_come_back_and_are_chosen_anew(tmp_path: Path):
    """Export, import and refilter by their commands, with rewritten paths."""
    pairs = write_pairs([make_row(n) for n in range(6)], tmp_path / "set/pairs/a.parquet").parent
    theirs, back, fewer = (str(tmp_path / name) for name in ("theirs", "back", "fewer"))
    run = CliRunner().invoke
    moved = ["--rewrite", "/videos/=s3://bucket/"]
    assert run(cli.app, ["export", str(pairs), "--format", "trl", "--out", theirs, *moved]).exit_code == 0
    assert json.loads(Path(theirs, "train.jsonl").read_text().splitlines()[0])["videos"] == ["s3://bucket/a.mp4"]
    assert run(cli.app, ["import", theirs, "--out", back]).exit_code == 0
    done = run(cli.app, ["refilter", back, "--out", fewer, "--max-per-clip", "4", "--balance"])
    assert done.exit_code == 0
    assert "over_max_per_clip" in done.output
    assert run(cli.app, ["inspect", fewer]).exit_code == 0
    wrong = run(cli.app, ["export", fewer, "--format", "trl", "--out", theirs + "2", "--rewrite", "/videos/"])
    assert "write OLD=NEW" in str(wrong.exception)
