"""Rows of files that somebody wrote: JSON lines, a JSON list, CSV or Parquet, local or remote.

Out: each row with its place, or what is wrong with it. A file that is no such file at all is the user's to mend.
"""

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from videopasta import storage
from videopasta.credentials import refuse_credentials
from videopasta.errors import UserError
from videopasta.exchange.rejects import FILE_NAME as REJECTS
from videopasta.exchange.rejects import Place, RowError
from videopasta.pairs.schema import CANDIDATES

EXTENSIONS = ("jsonl", "json", "csv", "parquet")
MANIFEST = "export.json"
"""What an export says of itself, written last."""
_ROWS_PER_BATCH = 256
PROVENANCE = (
    "video_uris", "video_size_bytes", "video_info", "query_index", "verdict", "votes", "unreadable_votes",
    "description", "query_model", "response_model", "judge_model", "prompt_hashes", "seed",
)  # fmt: skip
"""Columns that are taken over as they are, from Parquet alone: they have a type there."""
Found = tuple[Place, dict[str, Any] | RowError]


def find_files(uri: str) -> list[str]:
    """The files of rows at `uri`: a file, or a folder with some, as `videopasta export` leaves it or otherwise.

    Raises:
        UserError: there are none.
    """
    refuse_credentials(uri, "the file to import")
    kind = storage.kind(uri)
    if kind == "missing":
        raise UserError(f"{uri}: nothing stands there; check the path")
    if kind == "file":
        files = [uri]
    elif storage.exists(manifest := storage.join(uri, MANIFEST)):
        files = [storage.join(uri, name) for name in _names_in(manifest)]
    else:
        files = [file.uri for file in storage.list_files(uri) if _extension(file.uri) in EXTENSIONS]
        files = [file for file in files if not file.endswith(f"/{REJECTS}")]
    if not files or any(_extension(file) not in EXTENSIONS for file in files):
        raise UserError(f"{uri}: no file of pairs; give a .jsonl, .json, .csv or .parquet, or a folder with some")
    return files


def read_rows(uri: str) -> Iterator[Found]:
    """The rows of one file, and what stands where a row should.

    Raises:
        UserError: it cannot be read, or is not what its name says.
    """
    if _extension(uri) == "parquet":
        yield from _read_parquet(uri)
        return
    readers = {"jsonl": _read_jsonl, "json": _read_json, "csv": _read_csv}
    try:
        with storage.open_input(uri) as stream:
            yield from readers[_extension(uri)](uri, stream)
    except OSError as error:
        raise UserError(f"{uri}: cannot be read ({error.strerror or error}); make the file readable") from error


def _names_in(manifest: str) -> list[str]:
    try:
        with storage.open_input(manifest) as stream:
            names = json.loads(stream.read())["files"]
        return [name for names_of_split in names.values() for name in names_of_split]
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{manifest}: not what `videopasta export` wrote ({error}); give the files themselves"
        ) from error


def _extension(uri: str) -> str:
    return uri.rpartition("/")[2].rpartition(".")[2].lower()


def _text(line: bytes) -> str:
    """UTF-8; other bytes are kept apart, so that the row is rejected by the column in which they stand."""
    return line.decode("utf-8-sig", "surrogateescape")


def _read_jsonl(uri: str, stream: Any) -> Iterator[Found]:
    # By newline alone: U+2028 and its like may stand in a text. Arrow's streams have no readline.
    for number, line in enumerate(io.BufferedReader(stream) if not hasattr(stream, "peek") else stream, 1):
        if not line.strip():
            continue
        place = Place(uri, line=number)
        try:
            row = json.loads(_text(line))
        except (ValueError, RecursionError) as error:
            yield place, RowError("not_json", None, _text(line.strip()), f"write one JSON object a line ({error})")
            continue
        yield place, _row(row)


def _read_json(uri: str, stream: Any) -> Iterator[Found]:
    try:
        rows = json.loads(_text(stream.read()))
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{uri}: not JSON ({error}); write a list of objects, or one object a line as .jsonl"
        ) from error
    if not isinstance(rows, list):
        raise UserError(f"{uri}: holds {type(rows).__name__}, not a list; write a list of objects, one a pair")
    for number, row in enumerate(rows):
        yield Place(uri, row=number), _row(row)


def _read_csv(uri: str, stream: Any) -> Iterator[Found]:
    reader = csv.DictReader(io.StringIO(_text(stream.read()), newline=""), skipinitialspace=True)
    try:
        for row in reader:
            place = Place(uri, line=reader.line_num)
            if None in row or None in row.values():
                cells = [cell for cell in row.values() if cell is not None]
                yield place, RowError("not_csv", None, cells, f"the head has {len(reader.fieldnames or ())} cells")
                continue
            yield place, {name.strip(): cell if cell.strip() else None for name, cell in row.items()}
    except csv.Error as error:
        raise UserError(f"{uri}, line {reader.line_num}: not CSV ({error}); quote the cell") from error


def _row(row: Any) -> dict[str, Any] | RowError:
    return row if isinstance(row, dict) else RowError("no_object", None, row, "write an object a pair")


def _read_parquet(uri: str) -> Iterator[Found]:
    filesystem, path = storage.resolve(uri)
    number = 0
    try:
        with filesystem.open_input_file(path) as stream:
            for batch in pq.ParquetFile(stream).iter_batches(_ROWS_PER_BATCH):
                for row in typed(uri, pa.Table.from_batches([batch])).to_pylist():
                    yield Place(uri, row=number), row
                    number += 1
    except (pa.ArrowException, OSError, UnicodeDecodeError, ValueError) as error:
        raise UserError(f"{uri}, row {number}: damaged, or not Parquet ({error}); write it anew") from error


def typed(uri: str, table: pa.Table) -> pa.Table:
    """With the columns of `PROVENANCE` as the store has them.

    Raises:
        UserError: one of the file's has another type.
    """
    for name in PROVENANCE:
        if table.column_names.count(name) != 1:
            continue
        kind = CANDIDATES.field(name).type
        try:
            column = table[name].cast(kind)
        except (pa.ArrowException, ValueError) as error:
            raise UserError(
                f"{uri}: column {name} holds {table.schema.field(name).type}; write it as {kind}, or leave it out"
            ) from error
        table = table.set_column(table.schema.get_field_index(name), name, column)
    return table
