"""Rejected rows can be written down, whatever stood in them."""

import json

import pytest

from videopasta.exchange.rejects import Place, Reject, RowError


@pytest.mark.parametrize("value", [b"\xff", "\ud800", float("nan"), {"a": [1]}, "x" * 10_000])
def test_a_reject_is_a_short_line_of_json(value: object):
    """With its place, and for people as a sentence."""
    reject = Reject.of(Place("f.jsonl", line=3), RowError("empty_text", "prompt", value, "mend it"))
    line = json.dumps(reject.to_dict())
    assert len(line) < 300
    assert json.loads(line)["line"] == 3
    assert str(reject).startswith("f.jsonl, line 3: prompt=")
    assert str(reject).endswith("(empty_text); mend it")


def test_rows_without_lines_have_numbers():
    """Of Parquet and lists."""
    assert str(Place("f.parquet", row=0)) == "f.parquet, row 0"
