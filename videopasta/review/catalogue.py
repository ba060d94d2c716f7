"""The candidates of an output folder: what the queue needs of all of them, and everything of the one that is shown."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from videopasta.errors import UserError
from videopasta.pairs.store import PairStore
from videopasta.review.queue import Entry

_COLUMNS = ("pair_id", "failure_mode", "adversary", "accepted", "drop_reason", "verdict")
_NUM_SHARDS = 4  # kept in memory, for who pages back and forth


class Catalogue:
    """Read once: candidates that a run commits later are there after a restart."""

    def __init__(self, out: str) -> None:
        """Read the light columns.

        Raises:
            UserError: `out` is no folder of pairs, or holds no candidates.
        """
        store = PairStore(out)
        store.require_run()
        self.entries: dict[str, Entry] = {}
        self._places: dict[str, tuple[str, int]] = {}
        for name, table in store.read_shards("candidates", _COLUMNS):
            for number, row in enumerate(table.to_pylist()):
                verdict = row.pop("verdict") or {}
                entry = Entry(**row, confidence=verdict.get("confidence"), agreement=verdict.get("agreement"))
                self.entries[entry.pair_id] = entry
                self._places[entry.pair_id] = name, number
        if not self.entries:
            raise UserError(f"{out}: no candidates yet; run `videopasta generate` first")
        self._shard = lru_cache(maxsize=_NUM_SHARDS)(lambda name: store.read_shard("candidates", name))

    def row(self, pair_id: str) -> Mapping[str, Any]:
        """All columns of a candidate."""
        name, number = self._places[pair_id]
        (row,) = self._shard(name).slice(number, 1).to_pylist()
        return dict(row)
