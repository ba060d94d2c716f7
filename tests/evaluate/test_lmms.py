"""lmms-eval itself, in the environment that `make eval-env` makes: it is a failure not to have it, not a skip."""

import asyncio
import json
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import psutil
import pytest

from tests.conftest import REPOSITORY
from tests.evaluate.answerers import make_questions, oracle, reject_all
from videopasta.config import BenchmarksConfig, EvaluateConfig, load_config
from videopasta.engine import Video, start_engine
from videopasta.errors import UserError
from videopasta.evaluate.asking import ask
from videopasta.evaluate.lmms import profiles, runner, task
from videopasta.evaluate.questions import KINDS, Question
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


def test_a_question_whose_twin_was_cut_off_is_not_handled_or_unhandled():
    """With a limit lmms-eval asks the first documents only."""
    questions = make_questions(num_clips=2)
    plain, *others = (next(one for one in questions if one.kind == kind) for kind in KINDS)
    alone = next(one for one in questions if one.kind != "answerable" and one.query_id != plain.query_id)
    scored = [
        task.process_results(task._document(one), [oracle(one, True)])["plain"]
        for one in (plain, *others)
        if one.query_id == plain.query_id
    ]
    wrong = task.process_results(task._document(alone), ["A"])["plain"]
    assert task.handled(scored) == task.handled([*scored, wrong]) == 100


def test_the_number_of_a_benchmark_is_in_percent_and_of_all_its_parts():
    """MVBench is the mean of its parts, whatever other numbers stand beside."""
    parts = {"mvbench_action_antonym/mvbench_accuracy": 80.0, "mvbench_scene_transition/mvbench_accuracy": 40.0}
    assert profiles.headline("mvbench", parts) == ("mvbench_accuracy", 60.0)
    assert profiles.headline("perceptiontest_val_mc", {"accuracy": 0.5}) == ("accuracy", 50.0)
    assert profiles.headline("vinoground", {f"vinoground_score/{n}": float(n) for n in range(3)})[1] == 2.0
    assert profiles.headline("videomme", {"something": 1.0}) is None


def test_captioning_is_left_out_of_tempcompass():
    """Its grader is OpenAI's API."""
    assert profiles.run_names("tempcompass") == (
        "tempcompass_multi_choice", "tempcompass_yes_no", "tempcompass_caption_matching",
    )  # fmt: skip
    assert profiles.run_names("mvbench") == ("mvbench",)


def write_output(folder: Path, results: dict, samples: dict[str, list[dict]] | None = None) -> None:
    """As lmms-eval leaves it."""
    (folder / "model").mkdir(parents=True)
    (folder / "model/20260101_results.json").write_text(json.dumps({"results": results}))
    for name, rows in (samples or {}).items():
        text = "".join(json.dumps({"doc_id": n, **row}) + "\n" for n, row in enumerate(rows))
        (folder / f"model/20260101_samples_{name}.jsonl").write_text(text)


def test_lists_of_scores_are_read(tmp_path: Path):
    """Vinoground has three in one."""
    write_output(tmp_path, {"vinoground": {"vinoground_score,none": [50.0, 30.0, 20.0], "alias": "vinoground"}})
    metrics, _, _ = runner._read("vinoground", tmp_path)
    assert profiles.headline("vinoground", metrics) == ("vinoground_score/2", 20.0)


def test_answers_that_matched_no_rule_are_told(tmp_path: Path):
    """They are counted, and so is what became of them; a rating that was not given is no score."""
    rows = [
        {"avg_accuracy": {"match_success": ok, "rating": rating}} for ok, rating in ((True, 1), (False, 0), (True, -1))
    ]
    name = "tempcompass_yes_no"
    write_output(tmp_path, {name: {"avg_accuracy,none": 50.0}}, {name: rows})
    _, samples, warnings = runner._read("tempcompass", tmp_path)
    assert samples == {f"{name}/0": 1.0, f"{name}/1": 0.0}
    assert warnings[0].startswith("1 answers matched no rule")


def test_output_without_the_metric_is_a_problem(tmp_path: Path):
    """An empty group is no score."""
    write_output(tmp_path, {"mvbench": {" ": " "}})
    with pytest.raises(ValueError, match="no metric that stands for mvbench"):
        runner._read("mvbench", tmp_path)


@pytest.fixture(scope="module")
def ray_here(ray_folder):
    """A Ray for this process."""
    import ray

    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, _temp_dir=str(ray_folder))
    yield
    ray.shutdown()


def test_a_benchmark_that_cannot_start_is_written_down(ray_here, tmp_path: Path):
    """No interpreter on that machine: a failed result with the reason, which the next run tries again."""
    out = str(tmp_path / "out")
    config = make_benchmarks(python="/nowhere/python")
    runner.run_all(["videomme"], "tiny:random-vl", None, out, config)
    result = runner.read_results(out)["videomme"]
    assert "does not start on this machine" in result.problem
    assert result.metrics == {}


def test_a_task_that_dies_is_written_down(ray_here, tmp_path: Path):
    """An error in the task itself: the same."""
    out = str(tmp_path / "out")
    runner.run_all(["videomme"], "/nowhere/model", None, out, make_benchmarks())
    assert "the task died" in runner.read_results(out)["videomme"].problem


def test_nothing_outlives_the_time_limit(tmp_path: Path):
    """The process and what it started are ended, and the output so far is kept."""
    started = tmp_path / "pid"
    program = f"import subprocess,time; p=subprocess.Popen(['sleep','60']); open('{started}','w').write(str(p.pid)); "
    program += "print('so far', flush=True); time.sleep(60)"
    log, problem = runner._run([sys.executable, "-c", program], 10.0, tmp_path / "log")
    assert problem == "not done after 10 s"
    assert log.strip() == "so far"
    pid = int(started.read_text())
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


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
    result = runner.run_one(task.TASK, "tiny:vl", None, out, config.model_dump(mode="json"))
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
    result = runner.run_one("videomme", "tiny:vl", None, out, make_benchmarks(limit=1).model_dump(mode="json"))
    assert result.problem is not None
    assert result.problem.startswith("lmms-eval ended")
    assert result.metrics == {}
    log = (tmp_path / "out/benchmarks/videomme.log").read_text().strip()
    assert log.splitlines()[-1].strip() in result.problem.splitlines()[0]
    assert json.loads((tmp_path / "out/benchmarks/videomme.failed.json").read_text())["problem"] == result.problem
    assert runner.read_results(out)["videomme"].problem == result.problem
