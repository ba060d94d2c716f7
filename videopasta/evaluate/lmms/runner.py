"""Benchmarks by lmms-eval, each a Ray task with its own process: results one file each, kept as they come.

    OUT/benchmarks/TASK.json           what came out, and how it was asked for
    OUT/benchmarks/TASK.failed.json    of a benchmark that failed: why; it is run again the next time
    OUT/benchmarks/TASK.log            and the whole output of its process

A result that is there is not made again. Inside a benchmark, lmms-eval's own cache of answers is kept on the machine
that ran it, for as long as that machine lives.
"""

import contextlib
import ctypes
import functools
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
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
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_RESOLVE = """
import json, sys
from lmms_eval.tasks import TaskManager
known = set(TaskManager("ERROR", include_path=sys.argv[1] or None).all_tasks)
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
    """Profile, model arguments and limit."""
    seconds: float
    problem: str | None = None
    """Why there are no metrics: in one line, then the end of the log."""
    warnings: tuple[str, ...] = ()
    """What a reader of the metrics should know."""


def check(tasks: Sequence[str], config: BenchmarksConfig) -> None:
    """Whether lmms-eval is there and knows `tasks`; takes some ten seconds.

    Raises:
        UserError: it is not, or does not.
    """
    names = tuple(name for task in tasks for name in profiles.run_names(task))
    unknown = resolve(names, config.python, config.include_path)
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
            check=False, env=_environment() | {"HF_HUB_OFFLINE": "1"},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise UserError(f"benchmarks.python {python}: lmms-eval did not list its tasks within 300 s") from None
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


def run_all(tasks: Sequence[str], model: str, weights: str | None, out: str, config: BenchmarksConfig) -> None:
    """Run benchmarks on the connected Ray cluster; what comes out is written as it comes, also that one died.

    Args:
        tasks: names in lmms-eval, or of the paper's benchmarks.
        model: as in the configuration.
        weights: what tells it from another model at the same place.
        out: the evaluation's output folder.
        config: how lmms-eval is run.
    """
    import ray

    remote = ray.remote(num_cpus=config.num_cpus, num_gpus=config.num_gpus, max_retries=1)(run_one)
    settings = config.model_dump(mode="json")
    waiting = {remote.remote(task, model, weights, out, settings): task for task in tasks}
    while waiting:
        (done,), _ = ray.wait(list(waiting))
        task = waiting.pop(done)
        try:
            ray.get(done)
        except ray.exceptions.RayError as error:
            text = str(error).strip()
            problem = f"the task died: {text.splitlines()[-1] if text else type(error).__name__}"
            _write_result(out, Result(task, {}, {}, _asked_for(model, config), 0.0, problem), text)


def read_results(out: str) -> dict[str, Result]:
    """Results that are there, by task; of one that failed, only where it never succeeded."""
    folder = storage.join(out, FOLDER)
    if storage.kind(folder) != "folder":
        return {}
    found: dict[str, Result] = {}
    for file in sorted(storage.list_files(folder), key=lambda file: not file.uri.endswith(_FAILED)):
        if file.uri.endswith(".json"):
            with storage.open_input(file.uri) as stream:
                value = json.loads(stream.read())
                result = Result(**value | {"warnings": tuple(value["warnings"])})
            found[result.task] = result
    return found


def run_one(task: str, model: str, weights: str | None, out: str, settings: dict[str, Any]) -> Result:
    """Run one benchmark here, and write what comes out. See `run_all`."""
    config = BenchmarksConfig.model_validate(settings)
    asked_for, started = _asked_for(model, config), time.monotonic()
    # lmms-eval's cache knows a model by its path alone, whatever weights lie there.
    key = hashlib.sha256(json.dumps([out, task, weights]).encode()).hexdigest()[:16]
    cache = Path(tempfile.gettempdir()) / "videopasta-lmms-cache" / key
    with tempfile.TemporaryDirectory(prefix="videopasta-lmms-") as made:
        run = profiles.command(task, local_path(model), config, Path(made), cache)
        log, problem = _run(run, config.timeout_s, Path(made) / "log.txt", config.num_gpus)
        result = Result(task, {}, {}, asked_for, time.monotonic() - started)
        if problem is None:
            try:
                metrics, samples, warnings = _read(task, Path(made))
                result = replace(result, metrics=metrics, samples=samples, warnings=warnings)
                shutil.rmtree(cache, ignore_errors=True)
            except (OSError, ValueError, LookupError) as error:
                problem = f"lmms-eval ended and wrote no result that can be read ({error})"
        if problem is not None:
            last = next((line for line in reversed(log.splitlines()) if line.strip()), "")
            result = replace(result, problem=f"{problem}: {last.strip()}\n{log[-_LOG_TAIL:].strip()}")
    _write_result(out, result, log)
    return result


def _write_result(out: str, result: Result, log: str) -> None:
    if result.problem is not None:
        _write(out, f"{result.task}.log", log)
    name = f"{result.task}{_FAILED if result.problem else '.json'}"
    _write(out, name, json.dumps(asdict(result), indent=1))


def _asked_for(model: str, config: BenchmarksConfig) -> dict[str, Any]:
    profile = profiles.PROFILES[config.profile]
    return {
        "profile": config.profile, "lmms_model": profile.model, "gen_kwargs": profile.gen_kwargs,
        "model_args": profiles.model_args(model, config), "limit": config.limit,
    }  # fmt: skip


def _environment(num_gpus: float = 0) -> dict[str, str]:
    """Ours without what belongs to this environment; TempCompass's task wants to know where the hub's files are.

    Without a GPU vLLM stays in one process, which loads much sooner, and takes little memory (engine/vllm.py).
    """
    ours = ("RAY_", "PYTHONPATH", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    wanted = {"HF_HOME": str(Path("~/.cache/huggingface").expanduser()), "VLLM_NO_USAGE_STATS": "1"}
    if not num_gpus:
        wanted |= {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    return wanted | kept


def _run(run: Sequence[str], timeout_s: float, log: Path, num_gpus: float = 0) -> tuple[str, str | None]:
    """The process's output, and what went wrong. Nothing of it outlives this call, however it ends."""
    problem = None
    with log.open("wb") as stream:
        try:
            process = subprocess.Popen(
                run, stdout=stream, stderr=subprocess.STDOUT, env=_environment(num_gpus), start_new_session=True,
                preexec_fn=_die_with_parent,
            )  # fmt: skip
        except OSError as error:
            return "", f"{run[0]} does not start on this machine ({error.strerror}); `make eval-env` makes .venv-eval"
        try:
            code = process.wait(timeout_s)
            problem = f"lmms-eval ended with code {code}" if code else None
        except subprocess.TimeoutExpired:
            problem = f"not done after {timeout_s:g} s"
        finally:
            # Its engine has processes of its own, which would keep the GPU.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return _COLOUR.sub("", log.read_text(errors="replace")), problem


def _die_with_parent() -> None:
    """A worker that Ray kills takes lmms-eval along (Linux's PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _read(task: str, folder: Path) -> tuple[dict[str, float], dict[str, float], tuple[str, ...]]:
    """Metrics, samples and warnings in lmms-eval's output folder."""
    files = list(folder.glob("**/*results.json"))
    if len(files) != 1:  # lmms-eval ends well after some of its own errors
        raise ValueError(f"{len(files)} files of results")
    results = json.loads(files[0].read_text())["results"]
    metrics: dict[str, float] = {}
    for name, found in sorted(results.items(), key=lambda item: item[0] != task):
        for metric, value in found.items():
            if "stderr" in metric:
                continue
            full = f"{'' if name == task else f'{name}/'}{metric.removesuffix(',none')}"
            values = {f"{full}/{n}": one for n, one in enumerate(value)} if isinstance(value, list) else {full: value}
            metrics |= {key: float(one) for key, one in values.items() if isinstance(one, int | float)}
    if profiles.headline(task, metrics) is None:
        raise ValueError(f"no metric that stands for {task} among {', '.join(metrics) or 'none'}")
    samples: dict[str, float] = {}
    unmatched = 0
    for path in folder.glob("**/*_samples_*.jsonl"):
        name = path.stem.partition("_samples_")[2]
        for line in path.read_text().splitlines():
            sample = json.loads(line)
            unmatched += '"match_success": false' in line
            if (score := _score_of(sample)) is not None:
                samples[f"{name}/{sample['doc_id']}"] = score
    asks = "OpenAI's API was asked about them" if "OPENAI_API_KEY" in os.environ else (
        "lmms-eval asks OpenAI's API about them and, without OPENAI_API_KEY, counts them as wrong"
    )  # fmt: skip
    return metrics, samples, (f"{unmatched} answers matched no rule of the benchmark; {asks}",) if unmatched else ()


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
                if isinstance(value.get(score), bool | int | float) and value[score] >= 0:  # -1: not rated
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
