"""Benchmarks by lmms-eval, each a Ray task with its own process: results one file each, kept as they come.

    OUT/benchmarks/TASK.json           what came out, and how it was asked for
    OUT/benchmarks/TASK.failed.json    of a benchmark that failed: why; it is run again the next time
    OUT/benchmarks/TASK.log            the whole output of its process

A result that is there is not made again. Inside a benchmark, lmms-eval's own cache of answers is kept on the machine
that ran it, for as long as that machine lives.
"""

import functools
import hashlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from videopasta import storage
from videopasta.config.evaluate import BenchmarksConfig
from videopasta.engine.models import local_path
from videopasta.errors import UserError
from videopasta.evaluate.lmms import profiles

FOLDER = "benchmarks"
_FAILED = ".failed.json"
_LOG_TAIL = 4000
"""Characters of a failed process's output that are kept in the report; the whole stands in its log."""
_RESOLVE = """
import json, sys
from lmms_eval.tasks import TaskManager
known = set(TaskManager("ERROR", include_path=sys.argv[1] or None).all_tasks)
import lmms_eval
print("RESOLVED" + json.dumps({"unknown": [name for name in sys.argv[2:] if name not in known]}))
"""


@dataclass(frozen=True)
class Result:
    """What came out of one benchmark."""

    task: str
    metrics: dict[str, float]
    """By lmms-eval's names; of a group, its own and its parts' as "part/metric"."""
    samples: dict[str, float]
    """Score of each question that has one, by "task/doc_id": for paired intervals."""
    asked_for: dict[str, Any]
    """Profile, model arguments, limit, version of lmms-eval."""
    seconds: float
    problem: str | None = None
    """Why there are no metrics."""


def check(tasks: Sequence[str], config: BenchmarksConfig) -> None:
    """Whether lmms-eval is there and knows `tasks`; takes some ten seconds.

    Raises:
        UserError: it is not, or does not.
    """
    unknown = resolve(tuple(tasks), config.python, config.include_path)
    if unknown:
        raise UserError(
            f"--benchmarks {','.join(unknown)}: lmms-eval has no such task; `{config.python} -m lmms_eval tasks list` "
            "shows those that it has, benchmarks.include_path adds a folder of others"
        )


@functools.cache
def resolve(tasks: tuple[str, ...], python: str, include_path: str | None) -> tuple[str, ...]:
    """Those of `tasks` that the installed lmms-eval does not know."""
    try:
        done = subprocess.run(
            [python, "-c", _RESOLVE, include_path or "", *tasks], capture_output=True, text=True, timeout=300,
            check=False, env=os.environ | {"HF_HUB_OFFLINE": "1"},
        )  # fmt: skip
    except OSError as error:
        raise UserError(f"benchmarks.python {python}: {error.strerror}; `make eval-env` makes .venv-eval") from None
    marked = [line for line in done.stdout.splitlines() if line.startswith("RESOLVED")]
    if not marked:
        raise UserError(
            f"benchmarks.python {python}: lmms-eval does not start there:\n{done.stderr[-_LOG_TAIL:]}\n"
            "`make eval-env` makes an environment that has it"
        )
    unknown: list[str] = json.loads(marked[-1].removeprefix("RESOLVED"))["unknown"]
    return tuple(unknown)


def stream_results(tasks: Sequence[str], model: str, out: str, config: BenchmarksConfig) -> Iterator[Result]:
    """Run what has no result yet, on the connected Ray cluster; yields all results, those that were there first."""
    import ray

    before = {task: result for task, result in read_results(out).items() if result.problem is None}
    yield from (before[task] for task in tasks if task in before)
    remote = ray.remote(num_cpus=config.num_cpus, num_gpus=config.num_gpus, max_retries=1)(run_one)
    settings = config.model_dump(mode="json")
    waiting = {remote.remote(task, model, out, settings): task for task in tasks if task not in before}
    while waiting:
        (done,), _ = ray.wait(list(waiting))
        task = waiting.pop(done)
        try:
            yield ray.get(done)
        except ray.exceptions.RayError as error:
            yield Result(task, {}, {}, _asked_for(model, config), 0.0, f"the task died: {error}")


def read_results(out: str) -> dict[str, Result]:
    """Results that are there, by task; of one that failed, only where it never succeeded."""
    folder = storage.join(out, FOLDER)
    if storage.kind(folder) != "folder":
        return {}
    found: dict[str, Result] = {}
    for file in sorted(storage.list_files(folder), key=lambda file: not file.uri.endswith(_FAILED)):
        if file.uri.endswith(".json"):
            with storage.open_input(file.uri) as stream:
                result = Result(**json.loads(stream.read()))
            found[result.task] = result
    return found


def run_one(task: str, model: str, out: str, settings: dict[str, Any]) -> Result:
    """Run one benchmark here, and write what comes out."""
    config = BenchmarksConfig.model_validate(settings)
    asked_for, started = _asked_for(model, config), time.monotonic()
    # lmms-eval's cache knows a model by its path alone, whatever weights lie there: one for each output folder.
    name = hashlib.sha256(f"{out} {task}".encode()).hexdigest()[:16]
    cache = Path(tempfile.gettempdir()) / "videopasta-lmms-cache" / name
    with tempfile.TemporaryDirectory(prefix="videopasta-lmms-") as made:
        run = profiles.command(task, local_path(model), config, Path(made), cache)
        log, problem = _run(run, config.timeout_s)
        seconds = time.monotonic() - started
        if problem is None:
            try:
                result = Result(task, *_read(task, Path(made)), asked_for, seconds)
            except (OSError, ValueError, KeyError, LookupError) as error:
                problem = f"lmms-eval ended well, and wrote no result that can be read ({error!r})"
    if problem is not None:
        _write(out, f"{task}.log", log)
        result = Result(task, {}, {}, asked_for, seconds, f"{problem}: {log[-_LOG_TAIL:].strip()}")
    _write(out, f"{task}{_FAILED if problem else '.json'}", json.dumps(asdict(result), indent=1))
    return result


def _asked_for(model: str, config: BenchmarksConfig) -> dict[str, Any]:
    profile = profiles.PROFILES[config.profile]
    return {
        "profile": config.profile, "lmms_model": profile.model, "gen_kwargs": profile.gen_kwargs,
        "model_args": profiles.model_args(model, config), "limit": config.limit,
    }  # fmt: skip


def _run(run: Sequence[str], timeout_s: float) -> tuple[str, str | None]:
    """The process's output, and what went wrong."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTHONPATH", "VIRTUAL_ENV"))
    }
    try:
        done = subprocess.run(
            run, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout_s, check=False,
            env=environment,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        text = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
        return text, f"not done after {timeout_s:g} s"
    return done.stdout, None if done.returncode == 0 else f"lmms-eval ended with code {done.returncode}"


def _read(task: str, folder: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Metrics and samples in lmms-eval's output folder."""
    (file,) = folder.glob("**/*results.json")
    results = json.loads(file.read_text())["results"]
    metrics: dict[str, float] = {}
    for name, found in sorted(results.items(), key=lambda item: item[0] != task):
        prefix = "" if name == task else f"{name}/"
        metrics |= {
            f"{prefix}{metric.removesuffix(',none')}": float(value)
            for metric, value in found.items()
            if isinstance(value, int | float) and "stderr" not in metric
        }
    if not metrics:
        raise ValueError(f"no metric of {task}")
    samples: dict[str, float] = {}
    for path in folder.glob("**/*_samples_*.jsonl"):
        name = path.stem.partition("_samples_")[2]
        for line in path.read_text().splitlines():
            sample = json.loads(line)
            score = _score_of(sample)
            if score is not None:
                samples[f"{name}/{sample['doc_id']}"] = score
    return metrics, samples


def _score_of(sample: Mapping[str, Any]) -> float | None:
    """What a question scored, where lmms-eval's sample tells: a number, or whether prediction and answer agree."""
    for name, value in sample.items():
        if name in ("doc_id", "token_counts"):
            continue
        if isinstance(value, bool | int | float):
            return float(value)
        if isinstance(value, dict):
            if isinstance(value.get("right"), bool):
                return float(value["right"])
            for predicted, answer in (("pred_answer", "answer"), ("parsed_pred", "answer"), ("pred", "answer")):
                if predicted in value and answer in value:
                    return float(str(value[predicted]).strip().lower() == str(value[answer]).strip().lower())
            for score in ("score", "rating", "correct", "exact_match"):
                if isinstance(value.get(score), bool | int | float):
                    return float(value[score])
    return None


def _write(out: str, name: str, text: str) -> None:
    filesystem, folder = storage.resolve(storage.join(out, FOLDER))
    filesystem.create_dir(folder, recursive=True)
    path = f"{folder}/{name}"
    if storage.is_local(out):
        hidden = Path(folder) / f".{name}.tmp"
        hidden.write_text(text)
        hidden.replace(path)
        return
    with filesystem.open_output_stream(path) as stream:
        stream.write(text.encode())
