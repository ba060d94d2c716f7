"""The output folder: shards committed whole, and read back as the only record of what is done.

A shard is there whole or not at all (`shards.py`). The shard of the same name in `pairs/` holds the accepted rows of
the one in `candidates/` and is derived from it, so a crash between the two is mended by deriving it again. A
quarantine row is dropped once its clip has candidates. One driver writes at a time.

    candidates/part-RUN-00000.parquet  ─derived→  pairs/part-RUN-00000.parquet
    quarantine/part-RUN-00000.parquet
    run.json
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa

from videopasta import storage
from videopasta.errors import UserError
from videopasta.generate.work import Work
from videopasta.pairs.schema import CANDIDATES, QUARANTINE, SCHEMA_VERSION, candidate_rows, quarantine_row
from videopasta.run_file import RunFile
from videopasta.shards import ShardFolder
from videopasta.video import ManifestEntry, clip_id

Span = tuple[str, float | None, float | None]


class Seen(NamedTuple):
    """A video as it was when its clips were committed."""

    video_sha256: str
    size_bytes: int | None
    shard: str
    """The shard that holds them. Names of shards are in the order of their runs."""


@dataclass(frozen=True)
class Ledger:
    """What the committed shards account for."""

    clip_ids: frozenset[str] = frozenset()
    """Clips with candidates."""
    contents: dict[str, Seen] = field(default_factory=dict)
    """Video uri to how it was last seen."""
    quarantined: frozenset[Span] = frozenset()
    """Uri and requested span of the clips in quarantine."""

    def has_candidates(self, entry: ManifestEntry, *, since: str | None = None) -> bool:
        """Whether a name of the entry was seen with its size, or after the shard `since`, and is done."""
        for uri in entry.uris:
            seen = self.contents.get(uri)
            if seen is None:
                continue
            same = entry.size_bytes is None or entry.size_bytes == seen.size_bytes
            later = since is not None and seen.shard > since
            span_id = clip_id(seen.video_sha256, entry.start_s, entry.end_s)
            if (same or later) and span_id in self.clip_ids:
                return True
        return False

    def is_quarantined(self, entry: ManifestEntry) -> bool:
        """Whether one of the entry's names is in quarantine with its span."""
        return any((uri, entry.start_s, entry.end_s) in self.quarantined for uri in entry.uris)

    def missing(self, entries: Iterable[ManifestEntry], *, retry_quarantined: bool) -> list[ManifestEntry]:
        """The entries still to do."""
        return [
            entry
            for entry in entries
            if not self.has_candidates(entry) and (retry_quarantined or not self.is_quarantined(entry))
        ]


class PairStore:
    """The output folder of one run, on a local path or any file system of `videopasta.storage`."""

    def __init__(self, out: str) -> None:
        self.uri = out.rstrip("/")
        self._folders = {
            kind: ShardFolder(storage.join(self.uri, kind), schema)
            for kind, schema in (("candidates", CANDIDATES), ("pairs", CANDIDATES), ("quarantine", QUARANTINE))
        }
        self._run_file = RunFile(self.uri, SCHEMA_VERSION)

    # -- opening -------------------------------------------------------------------------------------------

    def locked(self) -> AbstractContextManager[None]:
        """See `RunFile.locked`."""
        return self._run_file.locked()

    def open(self, fingerprint: dict[str, Any]) -> None:
        """Start or continue: record what the output depends on, and mend what a crash left.

        Raises:
            UserError: as `check`.
        """
        if self.check(fingerprint):
            self.reconcile()
        else:
            self._run_file.create(fingerprint)

    def check(self, fingerprint: dict[str, Any]) -> bool:
        """See `RunFile.check`."""
        return self._run_file.check(fingerprint)

    def read_run(self) -> dict[str, Any] | None:
        """See `RunFile.read`."""
        return self._run_file.read()

    def require_run(self) -> dict[str, Any]:
        """The same, of a folder that must hold pairs.

        Raises:
            UserError: nothing made it, or another version did.
        """
        run = self.read_run()
        if run is None:
            raise UserError(
                f"{self.uri}: no run.json, so nothing that generate, import or refilter made; check the path"
            )
        if run["schema_version"] != SCHEMA_VERSION:
            raise UserError(
                f"{self.uri}: written as schema {run['schema_version']}, this is {SCHEMA_VERSION}; make it anew"
            )
        return run

    def record_run(self, summary: dict[str, Any]) -> None:
        """See `RunFile.record`."""
        self._run_file.record(summary)

    # -- reading -------------------------------------------------------------------------------------------

    def read(self, kind: str, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows of `candidates`, `pairs` or `quarantine`."""
        return self._folders[kind].read(columns)

    def read_shards(self, kind: str, columns: Sequence[str] | None = None) -> Iterator[tuple[str, pa.Table]]:
        """The same shard by shard, with their names."""
        for name in self._folders[kind].names():
            yield name, self.read_shard(kind, name, columns)

    def read_shard(self, kind: str, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of one shard."""
        return self._folders[kind].read_shard(name, columns)

    def ledger(self) -> Ledger:
        """What is done, read from the committed shards."""
        columns = ["clip_id", "video_uris", "video_sha256", "video_size_bytes"]
        clip_ids: set[str] = set()
        contents: dict[str, Seen] = {}
        for name, table in self.read_shards("candidates", columns):
            for row in table.to_pylist():
                if row["clip_id"] not in clip_ids:
                    clip_ids.add(row["clip_id"])
                    seen = Seen(row["video_sha256"], row["video_size_bytes"], name)
                    contents |= dict.fromkeys(row["video_uris"], seen)
        rows = self.read("quarantine", ["video_uris", "start_s", "end_s"]).to_pylist()
        quarantined = frozenset((uri, row["start_s"], row["end_s"]) for row in rows for uri in row["video_uris"])
        return Ledger(frozenset(clip_ids), contents, quarantined)

    # -- writing -------------------------------------------------------------------------------------------

    def commit(self, works: Sequence[Work], *, run_id: str, number: int, prompt_hashes: dict[str, str]) -> None:
        """Write the finished and the failed clips of `works` as shard `number` of this run."""
        name = f"part-{run_id}-{number:05d}.parquet"
        rows = [
            row
            for work in works
            if not work.failure
            for row in candidate_rows(work, run_id=run_id, prompt_hashes=prompt_hashes)
        ]
        failed = [quarantine_row(work, run_id=run_id) for work in works if work.failure]
        if rows:
            self.write("candidates", name, pa.Table.from_pylist(rows, schema=CANDIDATES))
        if failed:
            self.write("quarantine", name, pa.Table.from_pylist(failed, schema=QUARANTINE))

    def write(self, kind: str, name: str, table: pa.Table) -> None:
        """Commit a shard of `candidates`, with the one of `pairs` that is derived from it, or of `quarantine`."""
        self._folders[kind].write(name, table)
        if kind == "candidates":
            self._folders["pairs"].write(name, table.filter(table["accepted"]))

    def reconcile(self) -> None:
        """Bring what is derived in line with what is committed; safe to repeat, and after any crash."""
        for folder in self._folders.values():
            folder.clean()
        candidates, pairs = self._folders["candidates"], self._folders["pairs"]
        derived = set(pairs.names())
        for name in candidates.names():
            if name not in derived:
                table = candidates.read_shard(name)
                pairs.write(name, table.filter(table["accepted"]))
        self._prune_quarantine()

    def _prune_quarantine(self) -> None:
        """Drop rows whose clip has candidates, as it was or mended since; keep each other clip's newest."""
        quarantine = self._folders["quarantine"]
        if not (names := quarantine.names()):
            return
        ledger = self.ledger()
        seen: set[Span] = set()
        for name in reversed(names):
            table = quarantine.read_shard(name)
            keep = []
            for row in table.select(["video_uris", "video_size_bytes", "start_s", "end_s"]).to_pylist():
                entry = ManifestEntry(
                    uris=tuple(row["video_uris"]),
                    start_s=row["start_s"],
                    end_s=row["end_s"],
                    size_bytes=row["video_size_bytes"],
                )
                span = (entry.uris[0], entry.start_s, entry.end_s)
                keep.append(span not in seen and not ledger.has_candidates(entry, since=name))
                seen.add(span)
            if not any(keep):
                quarantine.delete(name)
            elif not all(keep):
                quarantine.write(name, table.filter(pa.array(keep)))
