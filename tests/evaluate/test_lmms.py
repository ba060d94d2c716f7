"""lmms-eval itself, in the environment that `make eval-env` makes: it is a failure not to have it, not a skip."""

import asyncio
import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.evaluate.answerers import make_questions, oracle, reject_all
from videopasta.config import BenchmarksConfig, EvaluateConfig, load_config
from videopasta.engine import Video, start_engine
from videopasta.errors import UserError
from videopasta.evaluate.asking import ask
from videopasta.evaluate.lmms import profiles, runner, task
from videopasta.evaluate.questions import Question
from videopasta.evaluate.sheets import answer_rows, sheets
from videopasta.evaluate.sources import questions_from
from videopasta.tiny.cli import EVALUATE_CONFIG, PROMPT_TEMPLATE
from videopasta.tiny.truth import write_clips
from videopasta.tiny.world import scenes
from videopasta.video import ClipRequest, DecodeWorker

PYTHON = str(REPOSITORY / ".venv-eval/bin/python")


def make_benchmarks(**changes) -> BenchmarksConfig:
    config = load_config(EvaluateConfig, EVALUATE_CONFIG).benchmarks
    return config.model_copy(update={"python": PYTHON, **changes})


def test_paper_is_its_eight_benchmarks():
    """Spelt out, each once, beside others."""
    assert profiles.expand(("mmmu_val", "paper", "videomme"))[0] == "mmmu_val"
    assert len(profiles.expand(("paper", "videomme"))) == 8


@pytest.mark.parametrize(("profile", "model"), [("paper", "vllm"), ("video", "videopasta_vllm")])
def test_profiles_pin_what_makes_a_score(profile: str, model: str, tmp_path: Path):
    """Frames, pixels, temperature and backend stand in the command, over lmms-eval's defaults."""
    run = profiles.command("videomme", "m", BenchmarksConfig(profile=profile, limit=3), tmp_path, tmp_path)
    text = " ".join(run)
    for part in (f"--model {model} ", "nframes=32", "max_pixels=1605632", "temperature=0", "--limit 3", "model=m"):
        assert part in text


def test_model_args_come_over_the_profiles(tmp_path: Path):
    """And both are recorded."""
    config = BenchmarksConfig(model_args={"nframes": 64, "tensor_parallel_size": 4})
    assert profiles.model_args("m", config)["nframes"] == 64
    assert "tensor_parallel_size=4" in " ".join(profiles.command("mvbench", "m", config, tmp_path, tmp_path))


@pytest.mark.parametrize(("answerer", "wanted"), [(oracle, (100, 100, 100)), (reject_all, (0, 100, 0))])
def test_the_task_scores_as_we_do(answerer, wanted):
    """Plain, adversarial, handled: who rejects everything handles nothing."""
    documents = [task._document(one) for one in make_questions(num_clips=4)]
    scored = []
    for document, one in zip(documents, make_questions(num_clips=4), strict=True):
        scored.append(task.process_results(document, [answerer(one, True)])["plain"])
    assert (task.plain(scored), task.adversarial(scored), task.handled(scored)) == wanted


def test_a_task_needs_local_videos(tmp_path: Path):
    """lmms-eval opens files."""
    remote = [one.model_copy(update={"video_uri": "s3://b/v.mp4"}) for one in make_questions(num_clips=1)]
    with pytest.raises(UserError, match="opens local files"):
        task.write_task(remote, tmp_path)


def our_letters(questions: Sequence[Question], config: EvaluateConfig) -> list[bool]:
    """Whether the letter that the model writes is right, by our own evaluation, in the questions' order."""
    engine, worker = start_engine(config.model, video=True), DecodeWorker(config.decode)

    async def ask_all() -> list[bool]:
        right = []
        for sheet in sheets(questions):
            uri = sheet.questions[0].video_uri
            clip = worker.decode(ClipRequest(uri, None, None, {"seen": config.plan}, config.decode))
            plan = clip.plans["seen"]
            video = Video(clip.frames[plan.key], plan.sampled_fps, f"{clip.video_sha256}-{plan.key}")
            right += [row["choice_right"] for row in answer_rows(await ask(sheet, video, engine, config))]
        return right

    try:
        return asyncio.run(ask_all())
    finally:
        engine.close()
        worker.close()


@pytest.mark.slow
def test_every_benchmark_of_the_paper_is_known_to_lmms_eval():
    """By its own list of tasks; another name is refused with the fix."""
    names = profiles.expand(("paper",))
    assert runner.resolve(names, PYTHON, None) == ()
    with pytest.raises(UserError, match="no_such_benchmark: lmms-eval has no such task"):
        runner.check(["videomme", "no_such_benchmark"], make_benchmarks())


@pytest.mark.slow
def test_lmms_eval_runs_our_questions_on_the_shipped_model(tmp_path: Path):
    """Through lmms-eval and vLLM: its letters are those of our own evaluation, its result says how it was made, and a
    second call makes nothing again.
    """
    write_clips(islice(scenes("test", 3), 6), tmp_path / "clips")
    questions = questions_from(str(tmp_path / "clips"), per_mode=1, seed=0)
    task.write_task(questions, tmp_path / "tasks", PROMPT_TEMPLATE)
    config = make_benchmarks(include_path=str(tmp_path / "tasks"))
    assert runner.resolve((task.TASK,), PYTHON, str(tmp_path / "tasks")) == ()
    out = str(tmp_path / "out")
    result = runner.run_one(task.TASK, "tiny:vl", out, config.model_dump(mode="json"))
    assert result.problem is None, result.problem
    assert set(result.metrics) >= {"plain", "adversarial", "handled"}
    assert result.asked_for["profile"] == "video"
    assert runner.read_results(out)[task.TASK] == result

    ours = our_letters(questions, load_config(EvaluateConfig, EVALUATE_CONFIG))
    theirs = [result.samples[f"{task.TASK}/{n}"] for n in range(len(questions))]
    agreeing = sum(a == bool(b) for a, b in zip(ours, theirs, strict=True))
    # lmms-eval's frames are qwen-vl-utils', by its own rounding: a frame may be a neighbour of ours.
    assert agreeing >= 0.9 * len(ours)


@pytest.mark.slow
def test_a_benchmark_that_crashes_is_named(tmp_path: Path):
    """A dataset that is not to be had: its log is kept, the reason stands in the result, and no score."""
    out = str(tmp_path / "out")
    result = runner.run_one("videomme", "tiny:vl", out, make_benchmarks(limit=1).model_dump(mode="json"))
    assert result.problem is not None
    assert "lmms-eval ended with code" in result.problem
    assert result.metrics == {}
    assert (tmp_path / "out/benchmarks/videomme.log").stat().st_size > 100
    assert json.loads((tmp_path / "out/benchmarks/videomme.failed.json").read_text())["problem"] == result.problem
    assert runner.read_results(out)["videomme"].problem == result.problem
