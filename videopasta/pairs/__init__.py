"""The store: what is committed is the ledger.

`OUT/candidates` (everything judged or dropped, with why), `OUT/pairs` (the accepted ones, for trainers),
`OUT/quarantine` (clips that could not be processed, with what replays them), `OUT/run.json` (configuration
and summaries).
"""

from videopasta.pairs.identity import pair_id
from videopasta.pairs.schema import CANDIDATES, QUARANTINE, SCHEMA_VERSION
from videopasta.pairs.statistics import Statistics, read_statistics
from videopasta.pairs.store import Ledger, PairStore

__all__ = [
    "CANDIDATES",
    "QUARANTINE",
    "SCHEMA_VERSION",
    "Ledger",
    "PairStore",
    "Statistics",
    "pair_id",
    "read_statistics",
]
