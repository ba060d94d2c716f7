"""The command itself, as a user runs it: real Ray, real vLLM with random weights, real Parquet."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow.parquet as pq
import pytest

from tests.bad_videos import make_bad_videos, silent_server
from tests.conftest import REPOSITORY
from videopasta.pairs import PairStore
from videopasta.tiny.render import write_video
from videopasta.tiny.world import scenes

CONFIG = str(REPOSITORY / "configs/ci_random.yaml")
# Fewer queries: the tests here are about rows, not about their number.
SMALL = ["--set", "queries.per_mode=1", "--set", "output.clips_per_shard=2"]
NOT_OF_THE_RUN = {"run_id"}


@pytest.fixture(scope="module")
def command(ray_folder):
    """Starts `videopasta ...` with a Ray of its own."""
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | {"RAY_TMPDIR": str(ray_folder)}

    def start(*arguments: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "videopasta.cli", *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, preexec_fn=_heed_ctrl_c,
            process_group=0,
        )  # fmt: skip

    return start


def _heed_ctrl_c() -> None:
    """A shell's background job ignores SIGINT, and so would what it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture(scope="module")
def videopasta(command):
    """Runs `videopasta ...` to its end; returns its exit code and output."""

    def run(*arguments: object) -> tuple[int, str]:
        process = command(*arguments)
        output, _ = process.communicate(timeout=400)
        return process.returncode, output

    return run


def rows_by_id(out: Path, kind: str = "candidates") -> dict[str, dict]:
    """Committed rows by pair_id, without what names the run; fails on an id that stands twice."""
    rows = PairStore(str(out)).read(kind).to_pylist()
    by_id = {row["pair_id"]: {k: v for k, v in row.items() if k not in NOT_OF_THE_RUN} for row in rows}
    assert len(by_id) == len(rows)
    return by_id


@pytest.fixture(scope="module")
def real_run(real_clips, videopasta, tmp_path_factory):
    """A finished run on the real clips."""
    out = tmp_path_factory.mktemp("real") / "out"
    code, output = videopasta("generate", "--videos", real_clips, "--out", out, "--config", CONFIG)
    assert code == 0, output
    return out, output


def test_every_real_clip_is_in_candidates_or_quarantine(real_clips, real_run):
    """Each video file is accounted for exactly once; the healthy ones have candidates in all three modes."""
    out, _ = real_run
    store = PairStore(str(out))
    modes: dict[str, set[str]] = {}
    for row in store.read("candidates").to_pylist():
        modes.setdefault(Path(row["video_uri"]).name, set()).add(row["failure_mode"])
    quarantine = {Path(row["video_uri"]).name: row["reason"] for row in store.read("quarantine").to_pylist()}
    files = {path.name for path in real_clips.iterdir() if path.suffix in {".mp4", ".mkv", ".mov"}}
    assert set(modes) | set(quarantine) == files
    assert not set(modes) & set(quarantine)
    assert quarantine == {"unordered.mov": "too_short", "video_90.mov": "too_short"}
    assert all(found == {"spatial", "temporal", "cross_frame"} for found in modes.values())


def test_rows_explain_themselves(real_run):
    """Every candidate tells its frames, models, prompts and fate; pairs are the accepted candidates."""
    out, _ = real_run
    rows = rows_by_id(out)
    for row in rows.values():
        assert row["accepted"] == (row["drop_reason"] is None)
        assert row["response_model"]["name"] == "tiny:random-vl"
        assert row["response_model"]["revision"].startswith("sha256:")
        assert "judge.j2" in {one["file"] for one in row["prompt_hashes"]}
        for name in ("chosen_frame_plan", "rejected_frame_plan"):
            plan = row[name]
            assert len(plan["indices"]) == len(plan["timestamps_s"]) >= 2
            assert len(plan["indices"]) % 2 == 0
            assert plan["backend"] == "pyav"
        assert len(row["rejected_frame_plan"]["indices"]) <= len(row["chosen_frame_plan"]["indices"])
    pairs = rows_by_id(out, "pairs")
    assert pairs == {pair_id: row for pair_id, row in rows.items() if row["accepted"]}
    assert pairs


def test_run_json_has_the_summary(real_run):
    """Acceptance, reasons, tokens, cache rate and seconds stand in run.json and on the screen."""
    out, output = real_run
    (summary,) = json.loads((out / "run.json").read_text())["runs"]
    assert summary["finished"]
    assert summary["num_clips"] + sum(summary["quarantine_reasons"].values()) == summary["num_entries"] == 10
    assert set(summary["tokens"]) == {"query", "response", "judge.0"}
    assert 0 < summary["cache_hit_rate"] < 1
    assert min(summary["least_video_cached"].values()) >= 0.9
    assert set(summary["seconds"]) == {"decode", "query", "response", "judge.0"}
    assert "too_short" in output


def test_a_second_run_is_a_no_op(real_clips, real_run, videopasta):
    """The same command again starts no Ray and touches no file."""
    out, _ = real_run
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}
    code, output = videopasta("generate", "--videos", real_clips, "--out", out, "--config", CONFIG)
    assert code == 0
    assert "Nothing to do" in output
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")} == before


def test_another_configuration_is_refused_with_the_difference(real_clips, real_run, videopasta):
    """What would make other rows is refused in the same folder, naming key, old and new value."""
    out, _ = real_run
    code, output = videopasta(
        "generate", "--videos", real_clips, "--out", out, "--config", CONFIG, "--set", "queries.per_mode=7"
    )
    assert code == 2
    assert "queries.per_mode: 3 -> 7" in output


def test_inspect_counts_and_samples(real_run, videopasta):
    """`inspect` shows the counts of the store and a pair."""
    out, _ = real_run
    code, output = videopasta("inspect", out)
    assert code == 0
    assert str(len(rows_by_id(out))) in output
    assert "chosen" in output


def test_dry_run_loads_and_writes_nothing(real_clips, videopasta, tmp_path):
    """--dry-run shows the resolved configuration and the pools, and leaves no folder."""
    code, output = videopasta(
        "generate", "--videos", real_clips, "--out", tmp_path / "o", "--config", CONFIG, "--dry-run"
    )
    assert code == 0
    assert "10 to do" in output
    assert "query + response" in output
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "plans.query.num_frames=31"], "num_frames=31"),
        (["--set", "responses.num_adversaries=9"], "responses.num_adversaries = 9"),
        (["--set", "query_model.model=tiny:nonsense"], "tiny:nonsense"),
        (["--videos", "/nowhere"], "/nowhere"),
        (["--config", "/nowhere.yaml"], "/nowhere.yaml"),
    ],
)
def test_bad_configuration_is_one_message_before_any_model(real_clips, videopasta, tmp_path, arguments, message):
    """A mistake ends in exit code 2 and a message with the value, no traceback, and no Ray."""
    given = {"--videos": str(real_clips), "--out": str(tmp_path / "o"), "--config": CONFIG}
    if arguments[0] in given:
        given[arguments[0]] = arguments[1]
        arguments = []
    started = [part for pair in given.items() for part in pair]
    code, output = videopasta("generate", *started, *arguments)
    assert code == 2
    assert message in output
    assert "Traceback" not in output


def test_bad_videos_are_quarantined_with_reasons(videopasta, tmp_path):
    """Every kind of bad input becomes a row with its reason; duplicates become one clip; the run exits 0."""
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    bad = make_bad_videos(videos)
    listing = tmp_path / "list.jsonl"
    entries = [{"video": uri} for uri in bad.values()]
    good = tmp_path / "good.mp4"
    write_video(next(scenes("train", seed=0)), good)
    entries += [{"video": str(good)}, {"video": str(good), "start": 3.0, "end": 1.0}]
    with silent_server() as hangs:
        listing.write_text("".join(json.dumps(entry) + "\n" for entry in [*entries, {"video": hangs}]))
        code, output = videopasta(
            "generate",
            "--videos",
            listing,
            "--out",
            out,
            "--config",
            CONFIG,
            *SMALL,
            *("--set", "decode.deadline_s=5"),
            *("--set", "decode.sources.schemes=[file, http]"),
            *("--set", f"decode.sources.hosts=['{urlsplit(hangs).netloc}']"),
        )
    assert code == 0, output
    store = PairStore(str(out))
    quarantine = store.read("quarantine").to_pylist()
    seen = Counter(uri for row in quarantine for uri in row["video_uris"])
    clips = {row["clip_id"]: row["video_uris"] for row in store.read("candidates").to_pylist()}
    seen.update(uri for uris in clips.values() for uri in uris)
    expected = Counter(store_uri for store_uri in map(str, _uris(listing)))
    assert seen == expected
    assert all(row["reason"] and row["detail"] for row in quarantine)
    reasons = {row["reason"] for row in quarantine}
    assert reasons >= {
        "missing", "empty_file", "truncated", "corrupt",
        "not_a_video", "no_video_stream", "too_short", "too_long", "bad_span", "deadline",
    }  # fmt: skip
    assert "quarantine" in output


def _uris(listing: Path) -> list[str]:
    from videopasta.video import load_manifest

    return [uri for entry in load_manifest(str(listing)) for uri in entry.uris]


@pytest.fixture(scope="module")
def five_clips(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("five")
    for number, scene in enumerate(islice(scenes("train", seed=0), 5)):
        write_video(scene, folder / f"{number}.mp4")
    return folder


@pytest.fixture(scope="module")
def uninterrupted(five_clips, videopasta, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "out"
    code, output = videopasta("generate", "--videos", five_clips, "--out", out, "--config", CONFIG, *SMALL)
    assert code == 0, output
    return out


def wait_for_a_shard(out: Path, process: subprocess.Popen[str]) -> None:
    for _ in range(1200):
        if process.poll() is not None:
            raise AssertionError(f"the run ended before it could be stopped:\n{process.communicate()[0]}")
        if any(out.glob("candidates/part-*.parquet")):
            return
        time.sleep(0.05)
    raise AssertionError("no shard was committed in a minute")


# One clip at a time, each committed at once, so that there is a middle of the run to be killed in.
SLOWLY = ["--set", "output.clips_per_shard=1", "--set", "query_model.pool.clips_in_flight=1",
          "--set", "response_model.pool.clips_in_flight=1"]  # fmt: skip


@pytest.mark.parametrize(
    ("kill", "code"),
    [(signal.SIGKILL, -signal.SIGKILL), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)],
)
def test_a_stopped_run_continues_to_the_same_rows(five_clips, uninterrupted, command, videopasta, tmp_path, kill, code):
    """Kill -9 or Ctrl-C of the driver in mid-run, then the same command: the rows of an uninterrupted run."""
    out = tmp_path / "out"
    arguments = ["generate", "--videos", five_clips, "--out", out, "--config", CONFIG, *SMALL, *SLOWLY]
    process = command(*arguments)
    wait_for_a_shard(out, process)
    stop = os.killpg if kill == signal.SIGINT else os.kill  # a terminal's Ctrl-C reaches all of the group
    stop(process.pid, kill)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == code, output
    for path in out.glob("*/part-*.parquet"):
        pq.read_table(path)
    committed = PairStore(str(out)).ledger().clip_ids
    assert 1 <= len(committed) < 5
    code, output = videopasta(*arguments)
    assert code == 0, output
    assert rows_by_id(out) == rows_by_id(uninterrupted)
    assert rows_by_id(out, "pairs") == rows_by_id(uninterrupted, "pairs")


@pytest.mark.slow
def test_quarantined_clips_are_retried_on_request(videopasta, tmp_path, five_clips):
    """A clip that was missing and is there now leaves the quarantine with --retry-quarantined, not before."""
    videos = tmp_path / "videos.txt"
    late = tmp_path / "late.mp4"
    videos.write_text(f"{late}\n")
    out = tmp_path / "out"
    arguments = ["generate", "--videos", videos, "--out", out, "--config", CONFIG, *SMALL]
    assert videopasta(*arguments)[0] == 0
    assert PairStore(str(out)).read("quarantine")["reason"].to_pylist() == ["missing"]
    shutil.copy(five_clips / "0.mp4", late)
    assert "Nothing to do" in videopasta(*arguments)[1]
    code, output = videopasta(*arguments, "--retry-quarantined")
    assert code == 0, output
    assert PairStore(str(out)).read("quarantine").num_rows == 0
    assert rows_by_id(out)
