"""Log-probs under the reference model, computed once and kept beside the pairs.

    PAIRS/reference/KEY/part-*.parquet      content, chosen, rejected

KEY is a hash of the model's weights and tokenizer and of the type of the computation, `content` one of the video, the
frame plan and the texts (`Clip.content_of`): nothing is ever stale, only absent. Parts are written whole under names
of their own; a pair that stands twice has the same numbers twice.
"""

import hashlib
import uuid
from collections.abc import Mapping
from typing import NamedTuple

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from videopasta import storage
from videopasta.dpo.data import REFERENCES

_SCHEMA = pa.schema(
    [pa.field("content", pa.string()), pa.field("chosen", pa.float32()), pa.field("rejected", pa.float32())]
)
_VERSION = 1
"""Of how tokens and positions are made; another one makes other log-probs of the same pairs."""


class Logps(NamedTuple):
    """Of a pair's two answers, natural logarithms summed over their tokens."""

    chosen: float
    rejected: float


class ReferenceStore:
    """The log-probs of one reference model, in one folder; several processes may add to it."""

    def __init__(self, pairs_uri: str, model: str, dtype: str) -> None:
        """Name the folder; nothing is read or written yet.

        Args:
            pairs_uri: the pairs' folder.
            model: what identifies its weights, its tokenizer and its chat template.
            dtype: of the computation.
        """
        key = hashlib.sha256(f"{_VERSION} {model} {dtype}".encode()).hexdigest()[:16]
        self._fs, self._folder = storage.resolve(storage.join(pairs_uri, REFERENCES, key))

    def read(self) -> dict[str, Logps]:
        """All of them, by content."""
        found = self._fs.get_file_info(pafs.FileSelector(self._folder, allow_not_found=True))
        logps: dict[str, Logps] = {}
        for info in found:
            if info.base_name.startswith("part-"):
                columns = pq.read_table(info.path, filesystem=self._fs).to_pydict()
                rows = zip(columns["content"], columns["chosen"], columns["rejected"], strict=True)
                logps |= {content: Logps(chosen, rejected) for content, chosen, rejected in rows}
        return logps

    def add(self, logps: Mapping[str, Logps]) -> None:
        """Write some more."""
        if not logps:
            return
        self._fs.create_dir(self._folder, recursive=True)
        rows = [{"content": content, **one._asdict()} for content, one in logps.items()]
        buffer = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), buffer, compression="zstd")
        name = f"part-{uuid.uuid4().hex}.parquet"
        # Hidden until it is whole; an object store puts it whole anyhow.
        with self._fs.open_output_stream(f"{self._folder}/.{name}") as stream:
            stream.write(buffer.getvalue())
        self._fs.move(f"{self._folder}/.{name}", f"{self._folder}/{name}")
