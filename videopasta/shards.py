"""A folder of Parquet shards, each there whole or not at all.

A shard is written under a hidden name and renamed; an object store puts it whole. One process writes at a time.
"""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from videopasta import storage
from videopasta.run_file import publish, removed_on_error, writing


class ShardFolder:
    """Shards of one schema, on a local path or any file system of `videopasta.storage`."""

    def __init__(self, uri: str, schema: pa.Schema) -> None:
        """Names the folder; nothing is read or written yet."""
        self._fs, self._folder = storage.resolve(uri)
        self._local = storage.is_local(uri)
        self.schema = schema

    def names(self) -> list[str]:
        """Of the shards, sorted."""
        names = (info.base_name for info in self._list() if info.is_file)
        return sorted(name for name in names if name.endswith(".parquet") and not name.startswith("."))

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows; some columns, or all of the schema."""
        wanted = self.schema if columns is None else pa.schema([self.schema.field(name) for name in columns])
        shards = [self.read_shard(name, wanted.names) for name in self.names()]
        return pa.concat_tables(shards) if shards else wanted.empty_table()

    def read_shard(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of one shard."""
        return pq.read_table(self._path(name), filesystem=self._fs, columns=columns and list(columns))

    def write(self, name: str, table: pa.Table) -> None:
        """Publish a shard, in place of one of the same name.

        Raises:
            UserError: it cannot be written; nothing of it is there then.
        """
        with writing(f"{self._folder}/{name}"):
            self._fs.create_dir(self._folder, recursive=True)
            if self._local:
                hidden = self._path(f".{name}.tmp")
                with removed_on_error(hidden):
                    pq.write_table(table, hidden, filesystem=self._fs, compression="zstd")
                    publish(hidden, self._path(name))
            else:
                # Serialised first and put in one write: a failure in between publishes nothing.
                buffer = pa.BufferOutputStream()
                pq.write_table(table, buffer, compression="zstd")
                with self._fs.open_output_stream(self._path(name)) as stream:
                    stream.write(buffer.getvalue())

    def delete(self, name: str) -> None:
        """Remove a shard."""
        self._fs.delete_file(self._path(name))

    def clean(self) -> None:
        """Remove what killed writes left."""
        for info in self._list():
            if info.base_name.startswith(".") and info.is_file:
                self._fs.delete_file(info.path)

    def _list(self) -> list[pafs.FileInfo]:
        infos: list[pafs.FileInfo] = self._fs.get_file_info(pafs.FileSelector(self._folder, allow_not_found=True))
        return infos

    def _path(self, name: str) -> str:
        return f"{self._folder}/{name}"
