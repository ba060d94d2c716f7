"""The commands themselves, as a user runs them: real Ray, the shipped model in real vLLM, real Parquet."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from tests.dpo.trainings import make_config, make_rows, write_rows
from videopasta.config import EvaluateConfig, VllmModel, load_config
from videopasta.errors import UserError
from videopasta.evaluate import preference
from videopasta.evaluate.questions import read_questions
from videopasta.evaluate.run import read_evaluation
from videopasta.evaluate.scores import Cell, scores
from videopasta.tiny.cli import EVALUATE_CONFIG, PROMPT_TEMPLATE

NUM_CLIPS = 5


@pytest.fixture(scope="module")
def videopasta(ray_folder):
    """Runs `videopasta ...` with a Ray of its own; returns its exit code and output."""
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | {"RAY_TMPDIR": str(ray_folder)}

    def run(*arguments: object, until: Path | None = None) -> tuple[int, str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "videopasta.cli", *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
        )  # fmt: skip
        if until is not None:
            kill_when_something_is_in(until, process)
        output, _ = process.communicate(timeout=400)
        return process.returncode, output

    return run


def kill_when_something_is_in(folder: Path, process: subprocess.Popen) -> None:
    """SIGKILL of the driver and all below it, once a shard is committed."""
    deadline = time.monotonic() + 300
    while not list(folder.glob("part-*")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    below = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    for child in below:
        child.kill()


@pytest.fixture(scope="module")
def asked(videopasta, tmp_path_factory):
    """Rendered clips and questions about them."""
    folder = tmp_path_factory.mktemp("asked")
    videopasta("tiny", "clips", folder / "clips", "--num", NUM_CLIPS, "--split", "test", "--seed", 7)
    code, output = videopasta(
        "questions", folder / "clips", "--out", folder / "q", "--per-mode", 1, "--prompt-template", PROMPT_TEMPLATE
    )
    assert code == 0, output
    return folder


@pytest.fixture(scope="module")
def evaluate(videopasta, asked):
    """Evaluates tiny:vl."""

    def run(out: Path, *more: object, until: Path | None = None) -> tuple[int, str]:
        return videopasta(
            "evaluate", "--out", out, "--model", "tiny:vl", "--questions", asked / "q", "--config", EVALUATE_CONFIG,
            *more, until=until,
        )  # fmt: skip

    return run


@pytest.fixture(scope="module")
def once(evaluate, tmp_path_factory):
    """A finished evaluation."""
    out = tmp_path_factory.mktemp("once") / "out"
    code, output = evaluate(out)
    assert code == 0, output
    return out


def rows_by_id(out: Path, *, asked_again: bool = False) -> dict[str, dict]:
    """Rows by question; fails on a question that stands twice in the shards, unless some were to be asked again."""
    shards = pq.read_table(out / "answers").num_rows
    rows = read_evaluation(str(out)).answers
    assert shards == len(rows) or asked_again
    return {row["question_id"]: row for row in rows}


def test_every_question_has_a_row(once, asked):
    """Asked openly where it can be, with its options where it has some, and scored in each way."""
    questions = {one.question_id: one for one in read_questions(str(asked / "q"))}
    rows = rows_by_id(once)
    assert rows.keys() == questions.keys()
    for name, row in rows.items():
        assert (row["open_right"] is not None) == questions[name].is_open
        assert row["choice_right"] is not None
        assert len(row["letter_logprobs"]) == len(questions[name].options)
        assert all(logprob <= 0 for logprob in row["letter_logprobs"])
        assert row["frame_plan"]["indices"]


def test_the_shipped_model_answers_what_is_asked_plainly(once):
    """And goes along with false premises: what preference training is to mend."""
    found = scores(read_evaluation(str(once)).answers)
    assert found[Cell("plain", "all", "open")].value > 0.8
    assert found[Cell("false_premise", "all", "open")].value < 0.2


def test_the_same_model_evaluated_twice_scores_the_same(once, evaluate, tmp_path):
    """Every answer, letter and log-prob."""
    code, output = evaluate(tmp_path / "again")
    assert code == 0, output
    assert rows_by_id(tmp_path / "again") == rows_by_id(once)


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_to_the_same_answers(once, evaluate, tmp_path):
    """SIGKILL after the first shard, and the same command again: no question lost, none asked twice."""
    out = tmp_path / "out"
    more = ("--set", "output.clips_per_shard=1")
    code, _ = evaluate(out, *more, until=out / "answers")
    assert code != 0
    first = {path.name for path in (out / "answers").glob("part-*")}
    assert first
    code, output = evaluate(out, *more)
    assert code == 0, output
    assert rows_by_id(out) == rows_by_id(once)
    assert len(list((out / "answers").glob("part-*"))) == NUM_CLIPS


@pytest.mark.slow
def test_a_video_that_is_gone_is_named_and_asked_about_when_it_is_back(once, evaluate, asked, tmp_path):
    """Its questions have a problem and no score; the same command asks them once it can."""
    clip = asked / "clips/clip_001.mp4"
    out = tmp_path / "out"
    shutil.move(clip, tmp_path / "away.mp4")
    try:
        code, output = evaluate(out)
        assert code == 0, output
        assert "missing" in output
        lost = [row for row in rows_by_id(out).values() if row["problem"]]
        assert {row["video_uri"] for row in lost} == {str(clip)}
        assert all(row["open_right"] is None and row["choice_right"] is None for row in lost)
    finally:
        shutil.move(tmp_path / "away.mp4", clip)
    code, output = evaluate(out)
    assert code == 0, output
    assert rows_by_id(out, asked_again=True) == rows_by_id(once)


def test_another_model_does_not_go_on_in_the_same_folder(once, evaluate):
    """A folder holds one evaluation."""
    code, output = evaluate(once, "--set", "plan.num_frames=16")
    assert code == 2
    assert "plan.num_frames: 32 -> 16" in output


@pytest.mark.slow
def test_open_answers_about_real_videos_are_graded_by_a_model(asked, videopasta, tmp_path):
    """Without truth the grader's verdict stands in the row, or why there is none; without a grader, no score."""
    (tmp_path / "q").mkdir()
    lines = [json.loads(line) | {"truth": None} for line in (asked / "q/questions.jsonl").read_text().splitlines()[:6]]
    (tmp_path / "q/questions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    arguments = ("evaluate", "--model", "tiny:vl", "--questions", tmp_path / "q", "--config", EVALUATE_CONFIG)
    grader = (
        "grader_model={model: tiny:random-judge, dtype: float32, max_model_len: 2048, enforce_eager: true, "
        "pool: {num_cpus: 0.25}}"
    )
    code, output = videopasta(*arguments, "--out", tmp_path / "graded", "--set", grader)
    assert code == 0, output
    graded = [row for row in rows_by_id(tmp_path / "graded").values() if row["open_text"] is not None]
    assert graded
    assert all(row["grader"].startswith("tiny:random-judge@sha256:") for row in graded)
    assert all(isinstance(row["open_right"], bool) or row["open_why"] == "grader_unreadable" for row in graded)
    code, output = videopasta(*arguments, "--out", tmp_path / "alone")
    assert code == 0, output
    alone = [row for row in rows_by_id(tmp_path / "alone").values() if row["open_text"] is not None]
    assert {(row["open_right"], row["open_why"]) for row in alone} == {(None, "no_grader")}
    assert "not graded: no_grader" in " ".join(output.split())


def test_log_probs_of_pairs_are_the_trainers(tmp_path):
    """Those of an evaluation equal the references that a training computes of the same model, whatever the packs."""
    from videopasta.dpo import policy
    from videopasta.dpo.data import select
    from videopasta.dpo.features import FeatureSource
    from videopasta.dpo.preparation import prepare
    from videopasta.dpo.reference import ReferenceStore
    from videopasta.dpo.team import Team
    from videopasta.dpo.vision_cache import VisionCache, tower_hash

    rows = make_rows(tmp_path / "videos", num_clips=4)
    write_rows(rows, tmp_path / "pairs/part-0.parquet")
    trained = make_config(tmp_path)
    video, revision = policy.load_base(trained)
    cache = VisionCache(policy.folder_of(trained), tower_hash(video.model.model.visual), 2**30)
    with FeatureSource(video, cache, trained.decode) as features:
        _, references = prepare(
            select(rows, trained), video, Team.current(use_gpu=False), trained, features=features,
            store=ReferenceStore(str(tmp_path / "pairs"), revision, "float32"),
        )  # fmt: skip
    config = load_config(EvaluateConfig, EVALUATE_CONFIG, ["preference.tokens_per_pack=700"])
    config = config.model_copy(
        update={"model": VllmModel(model=trained.model), "prompt_template": "{prompt}", "decode": trained.decode}
    )
    held = preference.held_out(str(tmp_path / "pairs"), None, config)
    scored = preference.Scorer(preference.scoring_config(config)).score(held.clips, held.adversaries)
    assert len(scored) == len(references) > 0
    for row in scored:
        assert row["problem"] is None
        assert row["logp_chosen"] == pytest.approx(references[row["content"]].chosen, abs=1e-4)
        assert row["logp_rejected"] == pytest.approx(references[row["content"]].rejected, abs=1e-4)


def test_only_videos_that_a_training_held_out_are_unseen(tmp_path):
    """The split of the training itself; of other pairs than it was trained on, the split is not known: refused."""
    from videopasta.config import fingerprint
    from videopasta.dpo.data import digest_rows, select
    from videopasta.run_file import RunFile

    rows = make_rows(tmp_path / "videos", num_clips=10)
    write_rows(rows, tmp_path / "pairs/part-0.parquet")
    trained = make_config(tmp_path)
    RunFile(str(tmp_path / "training"), 1).create({"config": fingerprint(trained), "pairs": digest_rows(rows)})
    config = load_config(EvaluateConfig, EVALUATE_CONFIG)
    held = preference.held_out(str(tmp_path / "pairs"), str(tmp_path / "training"), config)
    expected = {clip.video_sha256 for clip in select(rows, trained).validation}
    assert {clip.video_sha256 for clip in held.clips} == expected != set()
    write_rows(rows[:-3], tmp_path / "fewer/part-0.parquet")
    with pytest.raises(UserError, match="trained on other pairs"):
        preference.held_out(str(tmp_path / "fewer"), str(tmp_path / "training"), config)


def test_scores_of_pairs_go_on_where_they_were(tmp_path):
    """Those that are there are not computed again; a pair by another adversary is another pair."""
    rows = make_rows(tmp_path / "videos", num_clips=3)
    write_rows(rows, tmp_path / "pairs/part-0.parquet")
    held = preference.held_out(str(tmp_path / "pairs"), None, load_config(EvaluateConfig, EVALUATE_CONFIG))
    first = held.clips[0]
    scored = {(pair.pair_id, first.content_of(pair)) for pair in first.pairs}
    left = preference.less(held, scored)
    assert left.num_pairs == held.num_pairs - len(first.pairs)
    assert first.key not in {clip.key for clip in left.clips}


def test_the_report_needs_nothing_beside_it(once, videopasta, tmp_path):
    """Three files; the page has no link to anything, and pictures inside."""
    other = tmp_path / "other"
    shutil.copytree(once, other)
    change_some_answers(other)
    code, output = videopasta("compare", once, other, "--out", tmp_path / "report")
    assert code == 0, output
    page = (tmp_path / "report/report.html").read_text()
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("data:image/jpeg;base64,") == 3
    assert page.count("data:image/png;base64,") == 1
    assert "| plain questions, answered | all | generated answer |" in (tmp_path / "report/report.md").read_text()
    made = json.loads((tmp_path / "report/report.json").read_text())
    assert made["num_compared"] == made["num_questions"] == len(rows_by_id(once))


def change_some_answers(out: Path) -> None:
    """Turn three open answers round, as another model's."""
    (file, *_) = (out / "answers").glob("part-*")
    table = pq.read_table(file)
    rows = table.to_pylist()
    for row in [row for row in rows if row["open_right"] is not None][:3]:
        row["open_right"] = not row["open_right"]
    pq.write_table(type(table).from_pylist(rows, schema=table.schema), file)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "nothing to evaluate"),
        (("--questions", "/nowhere"), "no such file"),
        (("--pairs", "/nowhere"), "nothing stands there"),
        (("--questions", "Q", "--model", "/nowhere"), "model '/nowhere': no config.json"),
        (("--benchmarks", "videomme", "--set", "benchmarks.python=/nowhere/python"), "make eval-env"),
    ],
)
def test_mistakes_are_told_before_a_model_loads(arguments, complaint, asked, videopasta, tmp_path):
    """What, which value, and the fix."""
    given = [asked / "q" if one == "Q" else one for one in arguments]
    code, output = videopasta("evaluate", "--out", tmp_path / "out", *given, "--config", EVALUATE_CONFIG)
    assert code == 2, output
    assert re.search(complaint, output)
    assert "Traceback" not in output
