"""Runs that are broken again and again until the same command has nothing left to do, then compared row by row.

A run works on rendered clips and a few broken files, on a cluster of its own, and writes to a small disk of its own.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from tests.chaos.cluster import LocalCluster
from tests.chaos.endpoint import Endpoint
from tests.chaos.faults import ENDS_THE_DRIVER, Fault, Kind, Victims, free_disk, num_shards, plan_faults, wait_for
from videopasta.pairs import PairStore
from videopasta.tiny.render import write_video
from videopasta.tiny.world import scenes

NUM_CLIPS = 60
CLIPS_PER_SHARD = 2
BROKEN = {"zero.mp4": b"", "text.mp4": b"no video\n" * 50}
"""Files that end in quarantine, beside the clips."""
MAX_ATTEMPTS = 20
DEADLINE_S = 300
DISK_MIB = 64
OF_THE_RUN = {"run_id"}
_A_DECODER = """
from videopasta.config import DecodeConfig
from videopasta.video import DecodeWorker
DecodeWorker(DecodeConfig())
"""


@dataclass
class Outcome:
    """What a broken run came to, against the unbroken one."""

    seed: int
    kills: Counter[str] = field(default_factory=Counter)
    """Faults that happened, by kind."""
    attempts: int = 0
    """How often the command was given."""
    lost: int = 0
    """Rows of the unbroken run that are not there."""
    doubled: int = 0
    """Ids that are there more than once."""
    changed: int = 0
    """Rows that are not what they are in the unbroken run, or are not in it; those of the quarantine by file, stage and
    reason."""
    unaccounted: int = 0
    """Videos neither in candidates nor in quarantine, or in both."""
    leftovers: list[str] = field(default_factory=list)
    """Temporary files."""
    unexpected: list[str] = field(default_factory=list)
    """How drivers ended that no fault had ended: what Ray or we should have borne."""
    wrong_codes: list[str] = field(default_factory=list)
    """How drivers ended that a fault had ended, where it is not as promised."""

    @property
    def is_whole(self) -> bool:
        failings = (self.lost, self.doubled, self.changed, self.unaccounted, self.leftovers, self.unexpected)
        return not any((*failings, self.wrong_codes))


class Laboratory:
    """Clips, a configuration, a cluster and an unbroken run: what all broken runs share."""

    def __init__(
        self, folder: Path, cluster: LocalCluster, config: Mapping[str, Any], *, num_clips: int, temporary: str
    ) -> None:
        """Render the clips, and make the unbroken run on `cluster`, below `folder`.

        Args:
            folder: gets all of it.
            cluster: runs it.
            config: of the runs.
            num_clips: in each.
            temporary: pattern of what may not be left in the nodes' temporary folders.
        """
        self.folder, self._cluster, self._temporary = folder, cluster, temporary
        self._videos, self._disk, self._scratch = folder / "videos", folder / "disk", folder / "scratch"
        for one in (self._videos, self._disk, self._scratch):
            one.mkdir()
        for number, scene in enumerate(islice(scenes("train", seed=0), num_clips)):
            write_video(scene, self._videos / f"{number:02d}.mp4")
        for name, content in BROKEN.items():
            (self._videos / name).write_bytes(content)
        self._num_shards = num_clips // CLIPS_PER_SHARD
        self._config = folder / "config.yaml"
        self._config.write_text(yaml.safe_dump(dict(config)))
        driver = self._start(folder / "unbroken")
        output, _ = driver.communicate(timeout=DEADLINE_S)
        if driver.returncode:
            raise RuntimeError(f"the unbroken run failed:\n{output}")
        if left := self._left_on_nodes():
            raise RuntimeError(f"the unbroken run left {left}")
        self._expected = {kind: _rows(folder / "unbroken", kind)[0] for kind in ("candidates", "pairs")}
        self._quarantine = _quarantine(folder / "unbroken")

    def run(self, seed: int, *, per_run: int = 3) -> Outcome:
        """Break a run as the plan of `seed` says, and give its command again until it is done."""
        outcome = Outcome(seed)
        faults = plan_faults(seed, num_shards=self._num_shards, per_run=per_run)
        with small_disk(self._disk):
            out = self._disk / "out"
            while True:
                outcome.attempts += 1
                code, output, ended_by = self._attempt(out, faults, outcome.kills)
                if ended_by is not None and code not in ENDS_THE_DRIVER[ended_by]:
                    outcome.wrong_codes.append(f"{ended_by}, {code}: {output[-2000:]}")
                if code == 0:
                    break
                if ended_by is None:
                    outcome.unexpected.append(f"{code}: {output[-2000:]}")
                if outcome.attempts == MAX_ATTEMPTS:
                    raise RuntimeError(f"run {seed} is not done after {MAX_ATTEMPTS} attempts:\n{output}")
            self._compare(out, outcome)
        return outcome

    def _attempt(self, out: Path, faults: list[Fault], kills: Counter[str]) -> tuple[int, str, Kind | None]:
        """Give the command once; takes the faults that happen, or that can no longer, from `faults`.

        Returns:
            its exit code, what it said, and what ended it.
        """
        dies_at = ended_by = None
        if faults and faults[0].kind == Kind.WRITER:
            # Each shard is two files: every other plan dies between them, having written candidates and half of pairs.
            dies_at = 2 * max(1, faults[0].at_shard - num_shards(out)) - faults[0].choice % 2
        driver = self._start(out, dies_at)
        victims = Victims(self._cluster, out)
        written = 0
        try:
            while faults and dies_at is None and ended_by is None:
                if not wait_for(faults[0], out, driver):
                    break
                fault = faults.pop(0)
                if not victims.strike(fault, driver):
                    continue
                if fault.kind in ENDS_THE_DRIVER:
                    ended_by, written = fault.kind, num_shards(out)
                else:
                    kills[fault.kind] += 1
            output, _ = driver.communicate(timeout=DEADLINE_S)
        finally:
            driver.kill()
            free_disk(out)
        if dies_at is not None:
            ended_by, written = faults.pop(0).kind, num_shards(out)
        if driver.returncode == 0 and num_shards(out) == written:
            ended_by = None  # it came when all was written
        if ended_by is not None:
            kills[ended_by] += 1
        return driver.returncode, output, ended_by

    def _start(self, out: Path, dies_at: int | None = None) -> subprocess.Popen[str]:
        module = ["videopasta.cli"] if dies_at is None else ["tests.chaos.driver", str(dies_at)]
        return subprocess.Popen(
            [sys.executable, "-m", *module, "generate", "--videos", str(self._videos), "--out", str(out),
             "--config", str(self._config)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=os.environ | {"RAY_ADDRESS": self._cluster.address, "TMPDIR": str(self._scratch)},
        )  # fmt: skip

    def _compare(self, out: Path, outcome: Outcome) -> None:
        for kind, expected in self._expected.items():
            rows, doubled = _rows(out, kind)
            outcome.doubled += doubled
            outcome.lost += len(expected.keys() - rows.keys())
            outcome.changed += sum(rows[name] != expected.get(name) for name in rows)
        quarantine = _quarantine(out)
        outcome.doubled += sum(count > 1 for count in quarantine.values())
        outcome.changed += len(quarantine.keys() ^ self._quarantine.keys())
        store = PairStore(str(out))
        seen = Counter(Path(uri).name for uri in _uris(store, "candidates") | _uris(store, "quarantine"))
        seen.update(Path(uri).name for uri in _uris(store, "candidates") & _uris(store, "quarantine"))
        outcome.unaccounted = sum(seen[path.name] != 1 for path in self._videos.iterdir())
        hidden = [path for path in out.rglob(".*") if path.name != ".lock"]
        for folder in {path.parent for path in self._left_on_nodes()}:
            # What a killed one left there, the next one removes.
            subprocess.run([sys.executable, "-c", _A_DECODER], check=True, env=os.environ | {"TMPDIR": str(folder)})
        outcome.leftovers = [str(path) for path in (*hidden, *self._scratch.iterdir(), *self._left_on_nodes())]

    def _left_on_nodes(self) -> list[Path]:
        """What is temporary there once the run's actors are gone."""
        deadline = time.monotonic() + 30
        while self._cluster.processes("ray::", "Actor") and time.monotonic() < deadline:
            time.sleep(0.1)
        return [path for folder in self._cluster.temporary for path in folder.glob(self._temporary)]


def _rows(out: Path, kind: str) -> tuple[dict[str, dict[str, Any]], int]:
    """Committed rows by pair_id, without what names the run, and how many ids are there more than once."""
    rows = PairStore(str(out)).read(kind).to_pylist()
    counts = Counter(row["pair_id"] for row in rows)
    by_id = {row["pair_id"]: {key: value for key, value in row.items() if key not in OF_THE_RUN} for row in rows}
    return by_id, sum(count > 1 for count in counts.values())


def _quarantine(out: Path) -> Counter[tuple[str, str, str]]:
    """Uri, stage and reason of each row."""
    rows = PairStore(str(out)).read("quarantine", ["video_uri", "stage", "reason"]).to_pylist()
    return Counter((row["video_uri"], row["stage"], row["reason"]) for row in rows)


def _uris(store: PairStore, kind: str) -> set[str]:
    return {uri for row in store.read(kind, ["video_uris"]).to_pylist() for uri in row["video_uris"]}


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A disk of `DISK_MIB` at `folder`; needs the right to mount one."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def scripted_config(endpoint: Endpoint) -> dict[str, Any]:
    """Every stage, with two actors each, on the stand-in of `endpoint.py`."""
    model = {"engine": "openai", "model": "stand-in", "base_url": endpoint.base_url, "requests_per_minute": 600_000}
    plan = {"kind": "uniform", "num_frames": 8}
    return {
        "query_model": model | {"pool": _pool(2)},
        "response_model": model | {"pool": _pool(2)},
        "judge_model": model | {"model": "stand-in judge", "pool": _pool(2)},
        "decode_pool": _pool(2, clips_in_flight=1),
        "decode": {"pixels": {"min_pixels": 7056, "max_pixels": 7056}},
        "plans": {
            "query": plan, "preferred": dict.fromkeys(("spatial", "temporal", "cross_frame"), plan),
            "adversarial": {"kind": "fps", "fps": 1, "max_frames": 4},
        },
        "queries": {"per_mode": 1},
        "responses": {"num_adversaries": 2},
        "output": {"clips_per_shard": CLIPS_PER_SHARD, "flush_s": 5},
    }  # fmt: skip


def _pool(size: int, **others: Any) -> dict[str, Any]:
    return {"min_size": size, "max_size": size, "num_cpus": 0.5, "clips_in_flight": 4} | others


@contextmanager
def laboratory(*, num_clips: int = NUM_CLIPS, config: Mapping[str, Any] | None = None) -> Iterator[Laboratory]:
    """A laboratory in a temporary folder, taken down in the end. `config`: of real models, instead of the stand-in."""
    with tempfile.TemporaryDirectory(prefix="vp-", dir="/tmp") as name:
        folder = Path(name)
        with LocalCluster(folder / "cluster") as cluster:
            # vLLM and torch leave files of their own, also where nothing was killed.
            temporary = "*" if config is None else "videopasta-*"
            config = config or scripted_config(Endpoint())
            yield Laboratory(folder, cluster, config, num_clips=num_clips, temporary=temporary)
