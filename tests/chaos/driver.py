"""The command `videopasta`, whose process ends itself by SIGKILL in the middle of writing its n-th Parquet file.

python -m tests.chaos.driver N generate --videos ... --out ...
"""

import os
import signal
import sys

import pyarrow as pa
import pyarrow.parquet as pq

from videopasta import shards
from videopasta.cli import main


def _die_in_write(number: int) -> None:
    """Let the `number`-th file end after its first half."""
    count = 0

    def write_table(table: pa.Table, path: str, **options: object) -> None:
        nonlocal count
        count += 1
        pq.write_table(table, path, **options)
        if count == number:
            os.truncate(path, os.path.getsize(path) // 2)  # noqa: PTH202
            os.kill(os.getpid(), signal.SIGKILL)

    class Parquet:
        read_table = staticmethod(pq.read_table)

    Parquet.write_table = staticmethod(write_table)  # type: ignore[attr-defined]
    shards.pq = Parquet  # type: ignore[assignment]


if __name__ == "__main__":
    _die_in_write(int(sys.argv.pop(1)))
    sys.argv[0] = "videopasta"
    main()
