"""Files of rows: each row has its place, each fault its line; what is no such file is refused."""

import json
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.chaos.mutants import damage_text
from tests.exchange.rows import make_row, write_pairs
from videopasta import storage
from videopasta.errors import UserError
from videopasta.exchange.files import find_files, read_rows
from videopasta.exchange.parse import read_row
from videopasta.exchange.rejects import RowError

FLAT = {"video": "a.mp4", "prompt": "Where?", "chosen": "Left.", "rejected": "Right.", "category": "spatial"}


def written(folder: Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def test_lines_have_their_numbers(tmp_path: Path):
    """Blank ones count; what is no JSON, or no object, is told by its line."""
    text = "\ufeff" + json.dumps(FLAT) + '\n\n{"video": \n[1]\n' + json.dumps({"a": "\u2028"}, ensure_ascii=False)
    found = list(read_rows(written(tmp_path, "a.jsonl", text)))
    assert [place.line for place, _ in found] == [1, 3, 4, 5]
    assert found[0][1] == FLAT
    assert [row.reason for _, row in found if isinstance(row, RowError)] == ["not_json", "no_object"]


def test_a_list_of_json_is_read(tmp_path: Path):
    """By row; anything but a list is refused."""
    found = list(read_rows(written(tmp_path, "a.json", json.dumps([FLAT, 3]))))
    assert [place.row for place, _ in found] == [0, 1]
    with pytest.raises(UserError, match="holds dict, not a list"):
        list(read_rows(written(tmp_path, "b.json", json.dumps(FLAT))))
    with pytest.raises(UserError, match="not JSON"):
        list(read_rows(written(tmp_path, "c.json", json.dumps(FLAT) + "\n" + json.dumps(FLAT))))


def test_csv_is_read(tmp_path: Path):
    """Cells with line breaks, spaces in the head, rows that do not fit the head, empty cells as none."""
    text = 'video, prompt,chosen\na.mp4,"Where\nis it?",Left.\nb.mp4,x\nc.mp4,a,b,c\nd.mp4,,Left.\n'
    found = list(read_rows(written(tmp_path, "a.csv", text)))
    assert found[0][1] == {"video": "a.mp4", "prompt": "Where\nis it?", "chosen": "Left."}
    assert [row.reason for _, row in found[1:3] if isinstance(row, RowError)] == ["not_csv"] * 2
    assert [place.line for place, _ in found] == [3, 4, 5, 6]
    assert found[3][1] == {"video": "d.mp4", "prompt": None, "chosen": "Left."}


def test_bytes_that_are_no_text_reject_their_row_alone(tmp_path: Path):
    """Latin-1 in one answer."""
    lines = [json.dumps(FLAT), json.dumps(FLAT | {"chosen": "caf\xe9"}, ensure_ascii=False)]
    _, second = list(read_rows(written(tmp_path, "a.jsonl", "\n".join(lines).encode("latin-1"))))
    with pytest.raises(RowError) as error:
        read_row(second[1])
    assert (error.value.reason, error.value.column) == ("not_unicode", "chosen")


def test_parquet_is_read_by_batches(tmp_path: Path):
    """Rows are numbered over all of them."""
    pq.write_table(pa.Table.from_pylist([FLAT | {"n": n} for n in range(600)]), tmp_path / "a.parquet")
    found = list(read_rows(str(tmp_path / "a.parquet")))
    assert [place.row for place, _ in found] == list(range(600))
    assert found[599][1] == FLAT | {"n": 599}


def test_columns_that_are_taken_over_have_our_types(tmp_path: Path):
    """Large strings are cast; what cannot be is refused, with the type that is wanted."""
    folder = write_pairs([make_row()], tmp_path / "pairs/a.parquet")
    table = pq.read_table(folder / "a.parquet")
    pq.write_table(
        table.set_column(table.schema.get_field_index("seed"), "seed", pa.array(["x"])), folder / "a.parquet"
    )
    with pytest.raises(UserError, match="column seed holds string; write it as int64"):
        list(read_rows(str(folder / "a.parquet")))


def test_a_folder_is_its_files(tmp_path: Path):
    """What an export lists where there is one; else all files of rows, but no rejects."""
    for name in ("b.jsonl", "a.csv", "rejects.jsonl", "README.md"):
        written(tmp_path, name, "")
    assert [Path(file).name for file in find_files(str(tmp_path))] == ["a.csv", "b.jsonl"]
    written(tmp_path, "export.json", json.dumps({"files": {"train": ["b.jsonl"]}}))
    assert [Path(file).name for file in find_files(str(tmp_path))] == ["b.jsonl"]
    written(tmp_path, "export.json", "[]")
    with pytest.raises(UserError, match="not what `videopasta export` wrote"):
        find_files(str(tmp_path))


def test_files_on_other_file_systems_are_read(tmp_path: Path):
    """By their uri."""
    folder = f"memory://{tmp_path.name}"
    filesystem, path = storage.resolve(f"{folder}/a.jsonl")
    with filesystem.open_output_stream(path) as stream:
        stream.write(json.dumps(FLAT).encode() + b"\n{\n")
    (file,) = find_files(folder)
    (_, row), (place, fault) = read_rows(file)
    assert row == FLAT
    assert isinstance(fault, RowError)
    assert place.line == 2


@pytest.mark.parametrize(("name", "words"), [("gone.jsonl", "nothing stands there"), ("a.txt", "no file of pairs")])
def test_what_is_no_file_of_pairs_is_refused(tmp_path: Path, name: str, words: str):
    """The path is named, and what would do."""
    written(tmp_path, "a.txt", "text")
    with pytest.raises(UserError, match=words):
        find_files(str(tmp_path / name))


def _sound(folder: Path) -> dict[str, bytes]:
    write_pairs([make_row(n) for n in range(5)], folder / "a.parquet")
    rows = [FLAT | {"prompt": f"Where is {n}?"} for n in range(5)]
    table = "\n".join([",".join(FLAT), *(",".join(row.values()) for row in rows)])
    return {
        "parquet": (folder / "a.parquet").read_bytes(), "jsonl": "\n".join(map(json.dumps, rows)).encode(),
        "json": json.dumps(rows).encode(), "csv": table.encode(),
    }  # fmt: skip


@given(st.sampled_from(["parquet", "jsonl", "json", "csv"]), st.integers(0, 10**6))
@settings(max_examples=300, deadline=None)
def test_any_damaged_file_gives_rows_or_a_clear_error(extension: str, number: int):
    """Never a traceback."""
    with TemporaryDirectory() as folder:
        content = _sound(Path(folder))[extension]
        file = written(Path(folder), f"b.{extension}", damage_text(number, content))
        with suppress(UserError):
            for _, row in read_rows(file):
                with suppress(RowError):
                    if isinstance(row, dict):
                        read_row(row)
