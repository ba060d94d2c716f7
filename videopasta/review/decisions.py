"""What reviewers decided: one SQLite file that only grows, so that nothing is lost, also of two at once.

A decision is never changed: a later one of the same reviewer about the same pair stands in its place, and an undo is a
row that says which decision no longer stands. The database itself refuses to change or delete rows.
"""

import sqlite3
import threading
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from videopasta import storage
from videopasta.errors import UserError
from videopasta.pairs.reviews import FOLDER, REVIEWS, Action
from videopasta.shards import ShardFolder

DATABASE = "decisions.sqlite3"
_APPLICATION_ID = 0x7670_7276  # "vprv", in the file's header
_VERSION = 1
_SCHEMA = f"""
CREATE TABLE decisions (
    decision_id INTEGER PRIMARY KEY AUTOINCREMENT,
    pair_id     TEXT NOT NULL,
    reviewer    TEXT NOT NULL,
    action      TEXT NOT NULL CHECK (action IN ('accept', 'reject', 'swap', 'edit', 'undo')),
    chosen      TEXT,
    rejected    TEXT,
    note        TEXT NOT NULL,
    undoes      INTEGER REFERENCES decisions (decision_id),
    decided_at  TEXT NOT NULL,
    CHECK ((action = 'edit') = (chosen IS NOT NULL AND rejected IS NOT NULL)),
    CHECK ((action = 'undo') = (undoes IS NOT NULL))
);
CREATE INDEX by_pair ON decisions (pair_id, reviewer);
CREATE UNIQUE INDEX undone_once ON decisions (undoes);
CREATE TRIGGER never_changed BEFORE UPDATE ON decisions BEGIN SELECT RAISE (ABORT, 'decisions are never changed'); END;
CREATE TRIGGER never_deleted BEFORE DELETE ON decisions BEGIN SELECT RAISE (ABORT, 'decisions are never deleted'); END;
CREATE VIEW not_undone AS
    SELECT * FROM decisions AS one WHERE action <> 'undo'
    AND NOT EXISTS (SELECT 1 FROM decisions WHERE undoes = one.decision_id);
CREATE VIEW standing AS
    SELECT * FROM not_undone WHERE decision_id IN (SELECT MAX (decision_id) FROM not_undone GROUP BY pair_id, reviewer);
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_VERSION};
"""


@dataclass(frozen=True)
class Decision:
    """One reviewer about one pair."""

    decision_id: int
    """In the order of writing."""
    pair_id: str
    reviewer: str
    action: Action
    chosen: str | None
    """Of an edit; as `rejected`."""
    rejected: str | None
    note: str
    decided_at: str
    """ISO 8601, UTC."""


_FIELDS = ", ".join(Decision.__dataclass_fields__)


class Decisions:
    """The file of one output folder. For several threads; and for several processes, by SQLite's own locks."""

    def __init__(self, path: Path) -> None:
        """Open it, or make it.

        Raises:
            UserError: it is something else, or cannot be written.
        """
        self.path = path
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise UserError(f"{path}: cannot be written ({error}); give another --db") from None
        try:
            self._prepare()
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")  # what a reviewer was told is kept is kept
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise UserError(
                f"{path}: cannot be used for decisions ({error}); move it away, or give another --db"
            ) from None

    def _prepare(self) -> None:
        with closing(self._connection.cursor()) as cursor:
            cursor.execute("BEGIN IMMEDIATE")  # two that open a new file at once: one makes it
            try:
                (application,) = cursor.execute("PRAGMA application_id").fetchone()
                (version,) = cursor.execute("PRAGMA user_version").fetchone()
                (tables,) = cursor.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
                if not tables:
                    for statement in _statements(_SCHEMA):
                        cursor.execute(statement)
                elif application != _APPLICATION_ID:
                    raise sqlite3.DatabaseError("a database of something else")
                elif version != _VERSION:
                    raise sqlite3.DatabaseError(f"schema {version}, this is {_VERSION}")
            except BaseException:
                cursor.execute("ROLLBACK")
                raise
            cursor.execute("COMMIT")

    def decide(
        self, pair_id: str, reviewer: str, action: Action, *, chosen: str | None = None, rejected: str | None = None,
        note: str = "",
    ) -> None:  # fmt: skip
        """Keep a decision; it is on the disk when this returns."""
        self._insert(
            "INSERT INTO decisions (pair_id, reviewer, action, chosen, rejected, note, decided_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            pair_id, reviewer, action, chosen, rejected, note, _now(),
        )  # fmt: skip

    def undo(self, reviewer: str) -> Decision | None:
        """Take the reviewer's last standing decision back, and say which; the one before it on that pair stands again.

        None: there is none left.
        """
        while True:
            rows = self._select("SELECT MAX (decision_id) FROM not_undone WHERE reviewer = ?", reviewer)
            last = rows[0][0]
            if last is None:
                return None
            (undone,) = self._decisions("SELECT {} FROM decisions WHERE decision_id = ?", last)
            try:
                self._insert(
                    "INSERT INTO decisions (pair_id, reviewer, action, note, undoes, decided_at) "
                    "VALUES (?, ?, 'undo', '', ?, ?)",
                    undone.pair_id, reviewer, last, _now(),
                )  # fmt: skip
            except sqlite3.IntegrityError:  # another window of the same reviewer was quicker
                continue
            return undone

    def standing(self, pair_id: str | None = None) -> list[Decision]:
        """The last decision of each reviewer about each pair, or about one; oldest first."""
        if pair_id is None:
            return self._decisions("SELECT {} FROM standing ORDER BY decision_id")
        return self._decisions("SELECT {} FROM standing WHERE pair_id = ? ORDER BY decision_id", pair_id)

    def decided(self) -> set[str]:
        """The pairs about which a decision stands."""
        return {row[0] for row in self._select("SELECT DISTINCT pair_id FROM not_undone")}

    def export(self, out: str) -> int:
        """Write the standing decisions to `OUT/reviews/decisions.parquet`, whole or not at all; how many they are.

        Raises:
            UserError: it cannot be written.
        """
        rows = [asdict(one) | {"decision": one.action} for one in self.standing()]
        ShardFolder(storage.join(out, FOLDER), REVIEWS).write(
            "decisions.parquet", pa.Table.from_pylist(rows, schema=REVIEWS)
        )
        return len(rows)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _insert(self, statement: str, *values: Any) -> None:
        with self._lock:
            self._connection.execute(statement, values)

    def _select(self, statement: str, *values: Any) -> list[Any]:
        with self._lock:
            return self._connection.execute(statement, values).fetchall()

    def _decisions(self, statement: str, *values: Any) -> list[Decision]:
        return [Decision(*row) for row in self._select(statement.format(_FIELDS), *values)]


def _statements(script: str) -> list[str]:
    """Of a script, one by one: `executescript` would end the transaction."""
    found, rest = [], ""
    for line in script.strip().splitlines(keepends=True):
        rest += line
        if sqlite3.complete_statement(rest):
            found.append(rest)
            rest = ""
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat()
