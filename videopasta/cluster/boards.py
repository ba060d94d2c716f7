"""The four Grafana boards: what each panel asks Prometheus, and what to make of the answer. Pure.

    generation   is it running, how fast, what holds it up, what failed
    judge        which candidates become pairs, and how sure the judges are
    training     does the model learn what the pairs say, and how fast
    cost         what the machines cost, and what a pair costs

`to_grafana` makes the JSON that Grafana provisions. Every expression is about the runs chosen in `$run`; what Ray and
vLLM show by themselves is found by the dataset's name, which begins with the run's, or by the worker of one of the
run's engines.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

SCHEMA_VERSION = 39
"""Of Grafana 10.4 and 11; later ones read it."""
_WIDTH = 24
_RUN = 'run="$run"'
# Ray Data's name of a run's dataset begins with the run's own.
_DATASET = 'dataset=~"$run.*"'


@dataclass(frozen=True)
class Query:
    """One expression, and the name of what it answers."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """One picture."""

    title: str
    unit: str
    """Grafana's id of it."""
    text: str
    """What is normal, and what to do if it is not."""
    queries: tuple[Query, ...]
    kind: Literal["timeseries", "stat"] = "timeseries"
    stacked: bool = False
    from_zero: bool = True
    up_to: float | None = None
    """Upper end of the axis."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height on the grid."""
        return (4, 4) if self.kind == "stat" else (8, 8)


@dataclass(frozen=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Board:
    """One page."""

    uid: str
    title: str
    text: str
    runs: str
    """The metric whose label `run` lists the runs."""
    rows: tuple[Row, ...]

    @property
    def panels(self) -> tuple[Panel, ...]:
        return tuple(panel for row in self.rows for panel in row.panels)


def stat(title: str, unit: str, text: str, expr: str) -> Panel:
    """One number."""
    return Panel(title, unit, text, (Query(expr),), "stat")


def graph(title: str, unit: str, text: str, *queries: tuple[str, str], **more: Any) -> Panel:
    """Lines over time; `queries` are expressions with their legends."""
    return Panel(title, unit, text, tuple(Query(*one) for one in queries), **more)


def gauge(metric: str, by: str = "", how: str = "max", *, only: str = "") -> str:
    """A gauge of ours."""
    return f"{how}{_by(by)}(ray_videopasta_{metric}{{{_RUN}{only}}})"


def rate(metric: str, by: str = "", *, only: str = "") -> str:
    """Growth per second of a counter of ours."""
    return grown(f"{metric}_total", by, only=only)


def grown(series: str, by: str = "", *, only: str = "") -> str:
    """Growth per second of a counter's or histogram's series."""
    return f"sum{_by(by)}(rate(ray_videopasta_{series}{{{_RUN}{only}}}[$__rate_interval]))"


def total(metric: str, by: str = "") -> str:
    """A counter of ours as it stands: `increase` would lose its first value."""
    return f"sum{_by(by)}(ray_videopasta_{metric}_total{{{_RUN}}})"


def so_far(metric: str) -> str:
    """A counter that begins with its first count: before that, 0 is the truth."""
    return f"{total(metric)} or vector(0)"


def _by(labels: str) -> str:
    return f" by ({labels}) " if labels else ""


def share(part: str, whole: str) -> str:
    """`part` may have no series yet: that is none of the whole."""
    return f"({part} or 0 * {whole}) / {whole}"


def by_pool(metric: str) -> str:
    """What Ray Data counts of the run's actor pools."""
    return f"sum by (operator) (ray_data_{metric}{{{_DATASET}}})"


def of_engines(expr: str, by: str = "roles", how: str = "sum") -> str:
    """`expr` of vLLM, of the run's engines alone, by what they do."""
    engines = gauge("engine_clips_in_flight", "WorkerId, roles")
    return f"{how} by ({by}) ({expr} * on (WorkerId) group_left (roles) ({engines} >= bool 0))"


GENERATION = Board(
    "videopasta-generation",
    "videopasta: generation",
    "Is the run alive, how fast is it, what holds it up, and what failed?",
    "generate_run_active",
    (
        Row(
            "Now",
            (
                stat(
                    "Runs at work", "none",
                    "1 while a run works. 0 or nothing before its clips are done: its driver ended; read its job's "
                    "log, and run the same command again.",
                    gauge("generate_run_active", "", "sum"),
                ),
                stat(
                    "Clips left", "none",
                    "Falls to 0. If it stands still for minutes while engines are loaded, look at the queues below.",
                    gauge("generate_clips_left", "", "sum"),
                ),
                stat(
                    "Time left", "s",
                    "By the pace of the last 100 clips. Grows while nothing comes out.",
                    gauge("generate_eta_seconds"),
                ),
                stat(
                    "Clips done", "none",
                    "Clips that got candidates, of all runs chosen.",
                    so_far("generate_clips_done"),
                ),
                stat(
                    "Pairs", "none",
                    "Accepted candidates so far. None after some clips: see the judge's board.",
                    so_far("generate_pairs"),
                ),
                stat(
                    "Shards", "none",
                    "Files committed. What is in them survives anything; a run that writes none loses a crash's work.",
                    so_far("generate_shards"),
                ),
            ),
        ),
        Row(
            "Throughput",
            (
                graph(
                    "Clips per minute", "none",
                    "Steady once models are loaded, and grows with nodes. A fall to 0 with clips left is a stall.",
                    ("60 * " + rate("generate_clips_done"), "done"),
                    ("60 * " + rate("generate_clips_quarantined") + " or vector(0)", "quarantined"),
                ),
                graph(
                    "Pairs by failure mode", "none",
                    "The three rise together. A flat one: its queries are not written, or its candidates are dropped; "
                    "see the judge's board.",
                    (total("generate_pairs", "failure_mode"), "{{failure_mode}}"),
                    stacked=True,
                ),
                graph(
                    "Tokens per second", "none",
                    "Prompt tokens (video included) outnumber answers by far. Falls with the clips: engines wait for "
                    "decoding. Falls alone: look at the engines.",
                    (rate("generate_tokens", "role, kind", only=',kind!="cached"'), "{{role}} {{kind}}"),
                ),
                graph(
                    "Prompt tokens from the cache", "percentunit",
                    "High for query and response, whose prompts share a video: it is encoded once. If it falls, the "
                    "KV cache is too small for clips_in_flight; lower that, or give the cache more memory.",
                    (
                        share(
                            rate("generate_tokens", "role", only=',kind="cached"'),
                            rate("generate_tokens", "role", only=',kind="prompt"'),
                        ),
                        "{{role}}",
                    ),
                    up_to=1,
                ),
                graph(
                    "Requests per second", "none",
                    "By role, in fixed proportions. A role that stops is where clips wait.",
                    (rate("generate_requests", "role"), "{{role}}"),
                ),
                graph(
                    "Clips quarantined", "none",
                    "No data: none. A few bad files are normal. Many of one reason: a wrong mount, a dead endpoint, a "
                    "too small deadline. Mend it, then run with --retry-quarantined.",
                    (total("generate_clips_quarantined", "stage, reason"), "{{stage}}: {{reason}}"),
                    stacked=True,
                ),
            ),
        ),
        Row(
            "Where a clip's time goes",
            (
                graph(
                    "Mean seconds in a stage", "s",
                    "Waiting inside an engine included, as clips share it. The longest stage needs the next GPU.",
                    (
                        rate("generate_stage_seconds", "stage") + " / " + grown("generate_clip_seconds_count", "stage"),
                        "{{stage}}",
                    ),
                ),
                graph(
                    "Slow clips: 95th percentile", "s",
                    "Two or three times the mean. Far more: some clips are much longer, or an engine starts again.",
                    (
                        "histogram_quantile(0.95, " + grown("generate_clip_seconds_bucket", "le, stage") + ")",
                        "{{stage}}",
                    ),
                ),
                graph(
                    "Clips waiting, by pool", "none",
                    "A full queue before one pool and an empty one behind it: that pool is too small. Empty before all "
                    "engines: decoding is; raise decode_pool.max_size.",
                    (
                        by_pool("obj_store_mem_internal_inqueue_blocks")
                        + " + "
                        + by_pool("num_external_inqueue_blocks"),
                        "{{operator}}",
                    ),
                ),
                graph(
                    "Clips at work, by pool", "none",
                    "Near actors times clips_in_flight in the busiest pool.",
                    (by_pool("num_tasks_running"), "{{operator}}"),
                ),
                graph(
                    "Actors alive, by pool", "none",
                    "Between min_size and max_size. Fewer than min_size for long: the cluster has no room; see the "
                    "autoscaler's log.",
                    (by_pool("num_alive_actors"), "{{operator}}"),
                ),
                graph(
                    "Frames waiting in memory", "bytes",
                    "Flat, whatever the number of clips. Near the nodes' object store: set object_store_gib.",
                    (by_pool("current_bytes"), "{{operator}}"),
                    stacked=True,
                ),
            ),
        ),
        Row(
            "Engines",
            (
                graph(
                    "Clips in an engine", "none",
                    "Near clips_in_flight times engines. 1 for long: a clip that ended an engine is done alone.",
                    (gauge("engine_clips_in_flight", "roles", "sum"), "{{roles}}"),
                ),
                graph(
                    "Memory of an engine's processes", "bytes",
                    "The largest engine; flat after loading. A steady climb is a leak: set pool.recycle_above_gib.",
                    (gauge("engine_memory_bytes", "roles"), "{{roles}}"),
                ),
                graph(
                    "Engines started", "none",
                    "One for each actor. `again`: in the place of one that ended; its log in Ray's folder says why. "
                    "Often it is memory: lower clips_in_flight.",
                    (gauge("engine_starts_total", "roles, again", "sum"), "{{roles}}, again: {{again}}"),
                ),
                graph(
                    "KV cache in use", "percentunit",
                    "High and below 1. At 1 requests wait, and cached videos are thrown out.",
                    (of_engines("ray_vllm_kv_cache_usage_perc", how="max"), "{{roles}}"),
                    up_to=1,
                ),
                graph(
                    "Requests in vLLM", "none",
                    "Running near max_num_seqs, few waiting. Many waiting: lower clips_in_flight, or add engines.",
                    (of_engines("ray_vllm_num_requests_running"), "{{roles}} running"),
                    (of_engines("ray_vllm_num_requests_waiting"), "{{roles}} waiting"),
                ),
                graph(
                    "Seconds of a request: 95th percentile", "s",
                    "Steady. Grows with the requests that wait.",
                    (
                        "histogram_quantile(0.95, "
                        + of_engines("rate(ray_vllm_e2e_request_latency_seconds_bucket[$__rate_interval])", "le, roles")
                        + ")",
                        "{{roles}}",
                    ),
                ),
            ),
        ),
        Row(
            "Machines",
            (
                graph(
                    "CPU of the nodes", "percent",
                    "Of all nodes. At 100 with idle GPUs: decoding takes the CPUs from the engines; use CPU nodes.",
                    ("max(ray_node_cpu_utilization)", "busiest"), ("avg(ray_node_cpu_utilization)", "mean"),
                    up_to=100,
                ),
                graph(
                    "Memory of the nodes", "percentunit",
                    "Below 0.9. Above 0.95 Ray ends tasks: lower clips_in_flight or the decode pool.",
                    ("max(ray_node_mem_used / ray_node_mem_total)", "fullest"), up_to=1,
                ),
                graph(
                    "Disk of the nodes", "percent",
                    "Below 90. A full one stops the run: what is committed stays; make room and run again.",
                    ("max(ray_node_disk_utilization_percentage)", "fullest"), up_to=100,
                ),
            ),
        ),
    ),
)  # fmt: skip

JUDGE = Board(
    "videopasta-judge",
    "videopasta: judge",
    "Which candidates become pairs, why the others do not, and how sure the judges are.",
    "generate_run_active",
    (
        Row(
            "So far",
            (
                stat("Candidates", "none", "Queries with two answers.", so_far("generate_candidates")),
                stat("Pairs", "none", "Those that passed guards and judges.", so_far("generate_pairs")),
                stat(
                    "Accepted", "percentunit",
                    "Steady over a run. Under a twentieth: see the reasons below. Near 1: perhaps the judge says "
                    "yes to everything; read some pairs (`videopasta inspect`).",
                    share(total("generate_pairs"), total("generate_candidates")),
                ),
                stat(
                    "Agreement", "percentunit",
                    "Share of votes on the verdict's side. Near 0.5: the judge guesses; take a larger one.",
                    total("generate_agreement") + " / " + total("generate_verdicts"),
                ),
                stat(
                    "Confidence", "percentunit",
                    "As judges state it; only its changes say something.",
                    total("generate_confidence") + " / " + total("generate_verdicts"),
                ),
                stat(
                    "Unreadable votes", "percentunit",
                    "Near 0. More: the judge's answers are cut; raise judge.sampling.max_tokens.",
                    share(total("generate_unreadable_votes"), total("generate_votes")),
                ),
            ),
        ),
        Row(
            "What becomes of candidates",
            (
                graph(
                    "Accepted, of late", "percentunit",
                    "Steady. A fall: another kind of videos, or a model that broke; compare with the reasons.",
                    (
                        share(rate("generate_pairs", "failure_mode"), rate("generate_candidates", "failure_mode")),
                        "{{failure_mode}}",
                    ),
                    up_to=1,
                ),
                graph(
                    "Candidates dropped, by reason", "none",
                    "judge_...: by the judges. Others are guards (docs/method.md). One that dominates names the "
                    "setting to look at; filters can be set anew without a GPU, as dropped candidates are kept.",
                    (total("generate_dropped", "reason"), "{{reason}}"),
                    stacked=True,
                ),
                graph(
                    "Candidates, by failure mode", "none",
                    "Equal. One that lags: its queries cannot be read or are alike; see queries.per_mode.",
                    (total("generate_candidates", "failure_mode"), "{{failure_mode}}"),
                ),
            ),
        ),
        Row(
            "How sure the judges are",
            (
                graph(
                    "Agreement, of late", "percentunit",
                    "Steady, and alike in all modes. A low one: its question is hard for this judge.",
                    (
                        rate("generate_agreement", "failure_mode") + " / " + rate("generate_verdicts", "failure_mode"),
                        "{{failure_mode}}",
                    ),
                    up_to=1,
                ),
                graph(
                    "Confidence, of late", "percentunit",
                    "Steady. A jump without a change of settings: another model answers.",
                    (
                        rate("generate_confidence", "failure_mode") + " / " + rate("generate_verdicts", "failure_mode"),
                        "{{failure_mode}}",
                    ),
                    up_to=1,
                ),
                graph(
                    "Noes, by question", "percentunit",
                    "Share of verdicts. preferred_ok high: the response model errs, not the adversary. genuine high: "
                    "the adversarial answer is right; try other adversaries.",
                    (
                        total("generate_noes", "question")
                        + " / on () group_left () "
                        + total("generate_verdicts"),
                        "{{question}}",
                    ),
                    up_to=1,
                ),
            ),
        ),
    ),
)  # fmt: skip

TRAINING = Board(
    "videopasta-training",
    "videopasta: training",
    "Does the model learn what the pairs say, and how fast?",
    "train_run_active",
    (
        Row(
            "Now",
            (
                stat(
                    "Trainings at work", "none",
                    "1 while steps are done. Nothing while models load and videos are looked at.",
                    gauge("train_run_active", "", "sum"),
                ),
                stat("Steps left", "none", "Falls to 0; then the best checkpoint is exported.",
                     gauge("train_steps_left", "", "sum")),
                stat("Time left", "s", "By the pace of the last 100 steps.", gauge("train_eta_seconds")),
                stat("Epoch", "none", "How often each pair was seen.", gauge("train_epoch")),
                stat(
                    "Unseen pairs ranked right", "percentunit",
                    "Rises from 0.5 and flattens. Stays: the pairs teach nothing; look at some. Falls: it learns by "
                    "heart; stop earlier.",
                    gauge("train_validation_reward_accuracy", only=',failure_mode="all"'),
                ),
                stat("Pairs trained on", "none", "Counted again in each epoch.", so_far("train_pairs")),
            ),
        ),
        Row(
            "What is learned",
            (
                graph(
                    "Loss", "none",
                    "Falls, noisily. Rises for long: lower optimizer.lr.",
                    (gauge("train_loss"), "loss"),
                    (gauge("train_nll"), "nll"),
                ),
                graph(
                    "Reward margin, by failure mode", "none",
                    "Rises from 0 in all modes. One that stays: its pairs contradict each other or are too few; see "
                    "loss.mode_weights.",
                    (gauge("train_reward_margin", "failure_mode"), "{{failure_mode}}"), from_zero=False,
                ),
                graph(
                    "Pairs ranked right, by failure mode", "percentunit",
                    "Rises from 0.5 towards 1. Under 0.5 for long: chosen and rejected are mixed up.",
                    (gauge("train_reward_accuracy", "failure_mode"), "{{failure_mode}}"), up_to=1,
                ),
                graph(
                    "Rewards", "none",
                    "Chosen stays near 0 or rises, rejected falls. Both fall: the known failure of DPO; raise "
                    "loss.rpo_alpha.",
                    (gauge("train_reward_chosen"), "chosen"),
                    (gauge("train_reward_rejected"), "rejected"), from_zero=False,
                ),
                graph(
                    "Log-probs of answers", "none",
                    "As the rewards, before the reference is taken away: chosen must not sink.",
                    (gauge("train_logp_chosen"), "chosen"),
                    (gauge("train_logp_rejected"), "rejected"), from_zero=False,
                ),
                graph(
                    "Unseen pairs ranked right, by failure mode", "percentunit",
                    "Follows the trained ones from below; the gap is what was learned by heart.",
                    (gauge("train_validation_reward_accuracy", "failure_mode"), "{{failure_mode}}"),
                    up_to=1,
                ),
                graph(
                    "Length of the gradient", "none",
                    "Under optimizer.max_grad_norm most of the time. Spikes with a rising loss: lower optimizer.lr.",
                    (gauge("train_grad_norm"), ""),
                ),
                graph(
                    "Learning rate", "none",
                    "Warms up, then half a cosine to 0.",
                    (gauge("train_learning_rate"), ""),
                ),
                graph(
                    "Unseen reward margin, by failure mode", "none",
                    "Rises with the trained one. Falls while that rises: it learns by heart; stop earlier.",
                    (gauge("train_validation_reward_margin", "failure_mode"), "{{failure_mode}}"),
                    from_zero=False,
                ),
            ),
        ),
        Row(
            "How fast",
            (
                graph(
                    "Pairs per second", "none",
                    "Steady. Falls with `data` or `vision` in the seconds beside it: the features' cache is too small; "
                    "raise vision_cache.max_gib.",
                    (gauge("train_pairs_per_s"), "step"),
                    (rate("train_pairs"), "clock"),
                ),
                graph(
                    "Seconds of a step", "s",
                    "Nearly all of it `language`. Much `data` or `vision`: clips are decoded or encoded again.",
                    *((gauge(f"train_{part}_s"), part) for part in ("language", "vision", "data")),
                    (rate("train_seconds") + " / " + rate("train_steps"), "mean of all"),
                ),
                graph(
                    "Use of the GPUs' arithmetic (MFU)", "percentunit",
                    "Steady. Low: raise tokens_per_pack until memory is full, and look at the seconds beside it. "
                    "Without a GPU, or on one whose peak is not known, there is none.",
                    (gauge("train_mfu"), ""), up_to=1,
                ),
                graph(
                    "Tokens per second", "none",
                    "Of packed sequences, over all workers.",
                    (gauge("train_tokens_per_s"), "step"),
                    (rate("train_tokens"), "clock"),
                ),
                graph(
                    "Tokens saved by sharing the video", "percentunit",
                    "Of a pass for each answer. Grows with pairs per clip: under 0.5 at one pair, under 0.95 at ten.",
                    (gauge("train_tokens_saved"), ""), up_to=1,
                ),
                graph(
                    "Time in steps", "percentunit",
                    "Share of the clock; the rest is validation and checkpoints. Under 0.8: raise "
                    "checkpoints.every_steps.",
                    (rate("train_seconds"), ""), up_to=1,
                ),
            ),
        ),
    ),
)  # fmt: skip

COST = Board(
    "videopasta-cost",
    "videopasta: cost",
    "What the cluster costs while a run works, and what a pair costs.",
    "cluster_gpus",
    (
        Row(
            "So far",
            (
                stat(
                    "Cost", "currencyUSD",
                    "Of all nodes since the run began, list prices; disks and traffic are not in it.",
                    total("cluster_cost_usd"),
                ),
                stat("USD per hour", "currencyUSD", "Now.", gauge("cluster_usd_per_hour", "", "sum")),
                stat(
                    "Cost to finish", "currencyUSD",
                    "Time left times the price of an hour now. 0 when all clips and steps are done.",
                    gauge("cluster_usd_per_hour", how="sum")
                    + f" * ({gauge('generate_eta_seconds')} or {gauge('train_eta_seconds')}) / 3600",
                ),
                stat(
                    "USD per 1000 pairs", "currencyUSD",
                    "Falls at first, as loading models costs too, then steady. Rises: few pairs are accepted; see the "
                    "judge's board.",
                    f"1000 * {total('cluster_cost_usd')} / {total('generate_pairs')}",
                ),
                stat("GPU hours", "none", "Busy or not, since the run began; 0 without GPUs.",
                     total("cluster_gpu_hours") + " or 0 * " + total("cluster_node_hours")),
                stat(
                    "Nodes without a price", "none",
                    "0. More: the cost leaves them out; give them the label instance-type of a type that the package "
                    "knows.",
                    gauge("cluster_unpriced_nodes"),
                ),
            ),
        ),
        Row(
            "Machines",
            (
                graph(
                    "Nodes", "none",
                    "Grows with work, falls to the head when idle. Spot nodes that vanish come back; many of them: "
                    "add instance types.",
                    (gauge("cluster_nodes", "instance_type, market"), "{{instance_type}} {{market}}"),
                    stacked=True,
                ),
                graph(
                    "USD per hour", "currencyUSD",
                    "Follows the nodes. Stays up when nothing works: lower idle_timeout_minutes.",
                    (gauge("cluster_usd_per_hour", "instance_type, market"), "{{instance_type}} {{market}}"),
                    stacked=True,
                ),
                graph(
                    "Cost so far, by market", "currencyUSD",
                    "Mostly spot, which is safe here: what a lost node had in flight is done again.",
                    (total("cluster_cost_usd", "market"), "{{market}}"),
                    stacked=True,
                ),
            ),
        ),
        Row(
            "What the GPUs do",
            (
                graph(
                    "GPUs", "none",
                    "Reserved near all. Many not reserved for long: pools are smaller than the cluster; raise "
                    "max_size, or lower max_workers.",
                    (gauge("cluster_gpus"), "there"),
                    ('sum(ray_resources{Name="GPU",State="USED"})', "reserved"),
                ),
                graph(
                    "GPU at work", "percent",
                    "Mean of all GPUs, high while engines have clips. Low with clips waiting: raise "
                    "clips_in_flight. Low without: decoding is too slow, or the cluster too large.",
                    ("avg(ray_node_gpus_utilization)", "mean"), ("min(ray_node_gpus_utilization)", "idlest"),
                    up_to=100,
                ),
                graph(
                    "GPU memory in use", "percentunit",
                    "vLLM takes gpu_memory_utilization of it at once; trainings grow with tokens_per_pack.",
                    ("avg(ray_node_gram_used / (ray_node_gram_used + ray_node_gram_available))", "mean"), up_to=1,
                ),
            ),
        ),
    ),
)  # fmt: skip

BOARDS = (GENERATION, JUDGE, TRAINING, COST)


def to_grafana(board: Board) -> dict[str, Any]:
    """The board as Grafana's JSON model."""
    return {
        "uid": board.uid,
        "title": board.title,
        "description": board.text,
        "tags": ["videopasta"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "links": [{"type": "dashboards", "title": "videopasta", "tags": ["videopasta"], "keepTime": True}],
        "templating": {"list": _variables(board)},
        "panels": list(_panels(board)),
    }


def _variables(board: Board) -> list[dict[str, Any]]:
    source = {"name": "datasource", "type": "datasource", "query": "prometheus", "hide": 2, "refresh": 1}
    asked = f"label_values({board.runs}, run)"
    run = {
        "name": "run",
        "label": "Run",
        "type": "query",
        "datasource": _SOURCE,
        "definition": asked,
        "query": {"query": asked, "refId": "run"},
        "refresh": 2,  # with the time range: a run that ended is there too
        "sort": 2,  # newest first, as names begin with the time
        "multi": False,
        "includeAll": False,
    }
    return [source, run]


_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def _panels(board: Board) -> Iterator[dict[str, Any]]:
    number, y = 0, 0
    for row in board.rows:
        number += 1
        yield {
            "id": number, "type": "row", "title": row.title, "collapsed": False, "panels": [],
            "gridPos": {"x": 0, "y": y, "w": _WIDTH, "h": 1},
        }  # fmt: skip
        x, y = 0, y + 1
        for panel in row.panels:
            width, height = panel.size
            if x + width > _WIDTH:
                x, y = 0, y + height
            number += 1
            yield _panel(panel) | {"id": number, "gridPos": {"x": x, "y": y, "w": width, "h": height}}
            x += width
        y += row.panels[-1].size[1]


def _panel(panel: Panel) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit}
    options: dict[str, Any] = {}
    if panel.from_zero:
        defaults["min"] = 0
    if panel.up_to is not None:
        defaults["max"] = panel.up_to
    if panel.kind == "stat":
        options = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "graphMode": "area"}
    else:
        defaults["custom"] = {
            "lineWidth": 1,
            "fillOpacity": 30 if panel.stacked else 0,
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
            "showPoints": "auto",
        }
        options = {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {"refId": chr(ord("A") + n), "datasource": _SOURCE, "expr": query.expr, "legendFormat": query.legend}
            for n, query in enumerate(panel.queries)
        ],
    }
