"""Pairs to order. A job is a folder, and the folder is the only record: what is not there did not happen.

    ROOT/ID/job.json     what was ordered: written first, and the job is taken when it is there
    ROOT/ID/out/         the output folder of `videopasta generate`, which does the work as a process of its own
    ROOT/ID/ended.json   how it ended; without it, the job runs or waits, and a service that starts takes it up again

An order with an idempotency key has its id from the key: the same order again finds the folder.
"""

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeVar

import pyarrow.fs as pafs
import pyarrow.parquet as pq
from pydantic import BaseModel, Field

from videopasta import storage
from videopasta.config import FailureMode, GenerateConfig, ServeConfig, dump_yaml, load_config
from videopasta.config.serve import PairsServiceConfig
from videopasta.errors import UserError
from videopasta.generate.run import check_config
from videopasta.pairs import PairStore, read_statistics
from videopasta.pairs.schema import CANDIDATES
from videopasta.run_file import publish, removed_on_error, writing
from videopasta.serve.chat import Given, Uri
from videopasta.serve.errors import ApiError
from videopasta.video import VideoError, check_source

T = TypeVar("T")
State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
_WORDS = 4000
"""Of a failed run's last output, kept."""
_LAST_WORDS_S = 60.0
"""For a driver to commit what has come out."""
_PAUSE_S = 1.0
"""Between looks at the lock of a folder whose driver is ending."""


class PairOptions(Given):
    """What a client may set over the service's recipe; left out: as the recipe has it."""

    seed: int | None = Field(default=None, ge=0)
    """Another seed makes other pairs of the same videos."""
    failure_modes: tuple[FailureMode, ...] | None = Field(default=None, min_length=1)
    """Which pairs are made."""
    queries_per_mode: int | None = Field(default=None, ge=1, le=50)
    """Queries per failure mode and clip."""
    num_adversaries: int | None = Field(default=None, ge=1, le=10)
    """Adversarial responses per preferred one."""
    min_confidence: float | None = Field(default=None, ge=0, le=1)
    """Of the judge; below it a candidate is dropped."""

    def overrides(self) -> list[str]:
        """As `--set` takes them."""
        keys = {
            "seed": "seed",
            "failure_modes": "failure_modes",
            "queries_per_mode": "queries.per_mode",
            "num_adversaries": "responses.num_adversaries",
            "min_confidence": "judge.min_confidence",
        }
        given = self.model_dump(mode="json", exclude_none=True)
        return [f"{keys[name]}={json.dumps(value)}" for name, value in given.items()]


class PairOrder(Given):
    """The body of `POST /v1/pairs`."""

    videos: tuple[Uri, ...] = Field(min_length=1)
    """Absolute paths or uris, where the service may read."""
    options: PairOptions = PairOptions()


class PairJob(BaseModel):
    """A job, as its folder tells."""

    id: str
    object: Literal["pairs.job"] = "pairs.job"
    status: State
    created_at: int
    num_videos: int
    num_clips_done: int
    """Clips with candidates."""
    num_quarantined: int
    """Clips that could not be used."""
    num_candidates: int
    num_pairs: int
    error: str | None = None
    """The last words of a run that failed."""

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self.status not in ("queued", "running")


@dataclass(frozen=True)
class _Folder:
    """One job's."""

    uri: str

    def read(self, name: str) -> dict[str, Any] | None:
        """A document, or None where there is none."""
        filesystem, path = storage.resolve(storage.join(self.uri, name))
        try:
            with filesystem.open_input_stream(path) as stream:
                value: dict[str, Any] = json.loads(stream.read())
        except FileNotFoundError:
            return None
        return value

    def write(self, name: str, value: Mapping[str, Any]) -> None:
        """A document, there whole or not at all."""
        filesystem, path = storage.resolve(storage.join(self.uri, name))
        local = storage.is_local(self.uri)
        target = f"{path}.tmp" if local else path
        with writing(path), removed_on_error(target):
            filesystem.create_dir(path.rpartition("/")[0], recursive=True)
            with filesystem.open_output_stream(target) as stream:
                stream.write(json.dumps(value, indent=2, ensure_ascii=False).encode())
            if local:
                publish(target, path)

    @property
    def store(self) -> PairStore:
        return PairStore(storage.join(self.uri, "out"))


class PairJobs:
    """The jobs below one root. One of these at a time; made and used in one event loop."""

    def __init__(self, config: ServeConfig, environment: Mapping[str, str]) -> None:
        """Check the recipe.

        Args:
            config: of the service, with `pairs`.
            environment: of the processes that do the work; RAY_ADDRESS says where.

        Raises:
            UserError: the recipe has a mistake.
        """
        assert config.pairs is not None
        self._config: PairsServiceConfig = config.pairs
        self._sources, self._environment = config.decode.sources, dict(environment)
        check_config(self._recipe(PairOptions()))
        self._turns = asyncio.Semaphore(config.pairs.max_running)
        self._ordering, self._ending = asyncio.Lock(), asyncio.Lock()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._running: set[str] = set()
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._stopping: set[str] = set()
        self._asked: set[asyncio.Task[Any]] = set()

    def counts(self) -> dict[str, int]:
        """Jobs that run and that wait."""
        return {"running": len(self._running), "queued": len(self._tasks) - len(self._running)}

    # -- what clients ask --------------------------------------------------------------------------------------

    async def order(self, order: PairOrder, *, client: str, key: str | None) -> PairJob:
        """Take a job, or find the one of this key.

        Raises:
            ApiError: 409, the key has another order; 400 or 403, something in the order; 429, too many wait.
        """
        return await self._to_its_end(self._order(order, client=client, key=key))

    async def _order(self, order: PairOrder, *, client: str, key: str | None) -> PairJob:
        document = order.model_dump(mode="json")
        async with self._ordering:
            job_id = _id_of(client, key)
            known = await asyncio.to_thread(self._folder(job_id).read, "job.json")
            if known is not None:
                if known["order"] != document:
                    raise ApiError(
                        409, "this Idempotency-Key was given with another order; use a new one",
                        code="idempotency_key_reused",
                    )  # fmt: skip
                return await self.look(job_id)
            if self.counts()["queued"] >= self._config.max_waiting:
                raise ApiError(
                    429, f"{self._config.max_waiting} jobs wait; come back when some are done, or cancel some",
                    code="too_many_jobs", retry_after_s=60,
                )  # fmt: skip
            config = await asyncio.to_thread(self._check, order)
            job = {"id": job_id, "created_at": time.time(), "order": document, "config": config.model_dump(mode="json")}
            await asyncio.to_thread(self._folder(job_id).write, "job.json", job)
            self._begin(job_id)
        return await self.look(job_id)

    async def look(self, job_id: str) -> PairJob:
        """The job as it is now.

        Raises:
            ApiError: 404.
        """
        return await asyncio.to_thread(self._look, job_id)

    async def cancel(self, job_id: str) -> PairJob:
        """End the job; what it committed stays. One that is over stays as it is.

        Raises:
            ApiError: 404.
        """
        return await self._to_its_end(self._cancel(job_id))

    async def _cancel(self, job_id: str) -> PairJob:
        job = await self.look(job_id)
        if job.is_over:
            return job
        await self._end(job_id, {"status": "cancelled"})
        await self._stop(job_id)
        return await self.look(job_id)

    async def _to_its_end(self, work: Coroutine[Any, Any, T]) -> T:
        """Also when who waits for it goes away: half of it would leave a job that nobody does or ends."""
        task = asyncio.create_task(work)
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)
        return await asyncio.shield(task)

    async def store_of(self, job_id: str) -> PairStore:
        """The output of a job that is over.

        Raises:
            ApiError: 404, or 409 while more may come.
        """
        job = await self.look(job_id)
        if not job.is_over:
            raise ApiError(409, f"{job_id} is {job.status}; its result is there when it is over", code="not_over")
        return self._folder(job_id).store

    # -- the work ------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take up what an earlier service left, in its order."""
        for job_id in await asyncio.to_thread(self._unended):
            self._begin(job_id)

    async def close(self) -> None:
        """End what runs, for the next service to go on."""
        await asyncio.gather(*(self._stop(job_id) for job_id in list(self._tasks)))

    def _begin(self, job_id: str) -> None:
        task = asyncio.create_task(self._do(job_id))
        self._tasks[job_id] = task

        def forget(_: asyncio.Task[None]) -> None:
            del self._tasks[job_id]
            self._stopping.discard(job_id)

        task.add_done_callback(forget)

    async def _stop(self, job_id: str) -> None:
        task, process = self._tasks.get(job_id), self._processes.get(job_id)
        if task is None:
            return
        if job_id not in self._stopping:  # a second signal would end the last words of the first
            self._stopping.add(job_id)
            if process is None:
                task.cancel()
            else:
                with contextlib.suppress(ProcessLookupError):  # it has just ended
                    process.terminate()  # it commits what has come out
                    try:
                        await asyncio.wait_for(process.wait(), _LAST_WORDS_S)
                    except TimeoutError:
                        process.kill()
        await asyncio.wait([task])

    async def _do(self, job_id: str) -> None:
        async with self._turns:
            self._running.add(job_id)
            try:
                ended = await self._generated(job_id)
                if job_id not in self._stopping:
                    await self._to_its_end(self._end(job_id, ended))
            finally:
                self._running.discard(job_id)

    async def _generated(self, job_id: str) -> dict[str, str]:
        try:
            return await self._generate(job_id)
        except Exception as error:  # nobody waits for the job's task: who asks for the job hears of it
            logging.getLogger(__name__).exception("%s failed", job_id)
            return {"status": "failed", "error": f"{type(error).__name__}: {error}"}

    async def _end(self, job_id: str, ended: Mapping[str, str]) -> None:
        """Note how it ended: the first word counts, of a run that is over and a client who cancels it."""
        async with self._ending:
            folder = self._folder(job_id)
            if await asyncio.to_thread(folder.read, "ended.json") is None:
                await asyncio.to_thread(folder.write, "ended.json", ended)

    async def _generate(self, job_id: str) -> dict[str, str]:
        """Run the command to its end; how it ended."""
        folder = self._folder(job_id)
        job = await asyncio.to_thread(folder.read, "job.json")
        assert job is not None
        config = self._bounded(GenerateConfig.model_validate(job["config"]))
        with tempfile.TemporaryDirectory(prefix="videopasta-pairs-") as name:
            videos, recipe, log = (Path(name) / file for file in ("videos.jsonl", "config.yaml", "log.txt"))
            videos.write_text("".join(f"{json.dumps({'video': uri})}\n" for uri in job["order"]["videos"]))
            recipe.write_text(dump_yaml(config))
            while not await asyncio.to_thread(_is_free, folder.store):
                await asyncio.sleep(_PAUSE_S)
            options = ["--videos", str(videos), "--out", folder.store.uri, "--config", str(recipe)]
            with log.open("w") as stream:
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "videopasta.serve._driver", str(os.getpid()), *options,
                    stdin=asyncio.subprocess.DEVNULL, stdout=stream, stderr=stream, env=self._environment,
                )  # fmt: skip
            self._processes[job_id] = process
            try:
                code = await process.wait()
            finally:
                del self._processes[job_id]
            if code == 0:
                return {"status": "succeeded"}
            words = log.read_text(errors="replace")[-_WORDS:].strip()
            return {"status": "failed", "error": f"exit code {code}: {words}"}

    # -- folders -------------------------------------------------------------------------------------------------

    def _folder(self, job_id: str) -> _Folder:
        return _Folder(storage.join(self._config.root, job_id))

    def _look(self, job_id: str) -> PairJob:
        folder = self._folder(job_id)
        job = folder.read("job.json")
        if job is None:
            raise ApiError(404, f"no job {job_id}", code="job_not_found")
        # In this order: what does not run any more has ended. A cancelled job runs until it has committed its last.
        going: State | None = "running" if job_id in self._running else None
        ended = folder.read("ended.json") or {}
        try:
            statistics = read_statistics(folder.store)
        except FileNotFoundError:  # between listing and reading, the driver took a shard out of the quarantine
            statistics = read_statistics(folder.store)
        return PairJob(
            id=job_id,
            status=going or ended.get("status", "queued"),
            created_at=int(job["created_at"]),
            num_videos=len(job["order"]["videos"]),
            num_clips_done=statistics.num_clips,
            num_quarantined=statistics.num_quarantined,
            num_candidates=statistics.num_candidates,
            num_pairs=statistics.num_pairs,
            error=ended.get("error"),
        )

    def _unended(self) -> list[str]:
        filesystem, path = storage.resolve(self._config.root)
        infos = filesystem.get_file_info(pafs.FileSelector(path, allow_not_found=True))
        jobs = []
        for info in infos:
            folder = self._folder(info.base_name)
            if is_id(info.base_name) and (job := folder.read("job.json")) and folder.read("ended.json") is None:
                jobs.append((job["created_at"], info.base_name))
        return [job_id for _, job_id in sorted(jobs)]

    def _check(self, order: PairOrder) -> GenerateConfig:
        if len(order.videos) > self._config.max_videos:
            raise ApiError(
                400, f"{len(order.videos)} videos; a job has at most {self._config.max_videos}", param="videos"
            )
        for number, uri in enumerate(order.videos):
            if not uri.startswith("/") and "://" not in uri:
                raise ApiError(400, f"videos[{number}]: a relative path; write it absolute", param="videos")
            try:
                check_source(uri, self._sources)
            except VideoError as error:
                raise ApiError(403, f"videos[{number}]: {error.detail}", code=error.reason, param="videos") from None
        try:
            config = self._recipe(order.options)
            check_config(config)
        except UserError as error:
            raise ApiError(400, str(error), param="options") from None
        return config

    def _recipe(self, options: PairOptions) -> GenerateConfig:
        return self._bounded(load_config(GenerateConfig, self._config.recipe, options.overrides()))

    def _bounded(self, config: GenerateConfig) -> GenerateConfig:
        """Videos are read where this service may read, also for a job of an earlier one."""
        decode = config.decode.model_copy(update={"sources": self._sources})
        return config.model_copy(update={"decode": decode})


def is_id(text: str) -> bool:
    """Whether it is the id of a job: also a name of a folder that leads nowhere else."""
    head, _, digits = text.partition("-")
    return head == "pairs" and len(digits) == 24 and set(digits) <= set("0123456789abcdef")


def _id_of(client: str, key: str | None) -> str:
    if key is None:
        return f"pairs-{secrets.token_hex(12)}"
    return f"pairs-{hashlib.sha256(json.dumps([client, key]).encode()).hexdigest()[:24]}"


def _is_free(store: PairStore) -> bool:
    """Whether no driver writes there: the one of a service that was killed may still be ending."""
    try:
        with store.locked():
            return True
    except UserError:
        return False


def json_lines(store: PairStore) -> Iterator[str]:
    """The pairs of a store, a line each."""
    for _, table in store.read_shards("pairs"):
        for row in table.to_pylist():
            yield f"{json.dumps(row, ensure_ascii=False)}\n"


def write_parquet(store: PairStore, file: BinaryIO) -> None:
    """The pairs of a store in one file."""
    with pq.ParquetWriter(file, CANDIDATES, compression="zstd") as writer:
        for _, table in store.read_shards("pairs"):
            writer.write_table(table.cast(CANDIDATES))
