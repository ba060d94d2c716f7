import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.works import make_candidate, make_entry, make_failed, make_finished
from videopasta import storage
from videopasta.config import GenerateConfig, fingerprint
from videopasta.errors import UserError
from videopasta.generate.work import Work, already_committed
from videopasta.pairs import CANDIDATES, QUARANTINE, SCHEMA_VERSION, PairStore
from videopasta.video import ManifestEntry

FINGERPRINT = {"config": {"seed": 0, "modes": ("spatial", "temporal")}, "prompts": {"judge.j2": "0123"}}
FIRST_RUN, SECOND_RUN, THIRD_RUN = "20260101T000000-aa", "20260102T000000-bb", "20260103T000000-cc"


@pytest.fixture(params=["local", "memory"])
def out(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder that does not exist yet: on disk, and on a file system that only fsspec knows."""
    return str(tmp_path / "out") if request.param == "local" else f"memory://{tmp_path.name}/out"


def make_store(out: str) -> PairStore:
    store = PairStore(out)
    store.open(FINGERPRINT)
    return store


def clip(name: str, *, content: str | None = None, size_bytes: int | None = 100, start_s: float | None = None) -> Work:
    """A finished clip of /v/NAME.mp4: one pair, one dropped candidate."""
    entry = make_entry(uris=(f"/v/{name}.mp4",), size_bytes=size_bytes, start_s=start_s)
    return make_finished(content=content or name, entry=entry)


def failed(name: str, *, size_bytes: int | None = 100, reason: str = "corrupt") -> Work:
    return make_failed(entry=make_entry(uris=(f"/v/{name}.mp4",), size_bytes=size_bytes), reason=reason)


def commit(store: PairStore, *works: Work, run_id: str = FIRST_RUN, number: int = 0) -> None:
    store.commit(works, run_id=run_id, number=number, prompt_hashes={"judge.j2": "0123"})


def missing(out: str, *entries: ManifestEntry, retry: bool = False) -> list[ManifestEntry]:
    """As a new process sees it."""
    return PairStore(out).ledger().missing(entries, retry_quarantined=retry)


def files(out: str, kind: str) -> list[str]:
    return [file.uri.rpartition("/")[2] for file in storage.list_files(f"{out}/{kind}")]


def delete(out: str, kind: str) -> None:
    """Lose the shards of one kind, as a crash before they were written would."""
    filesystem, path = storage.resolve(f"{out}/{kind}")
    filesystem.delete_dir_contents(path)


def column(store: PairStore, kind: str, name: str) -> list[object]:
    return store.read(kind, [name])[name].to_pylist()


def test_folder_that_does_not_exist_is_empty(out: str):
    """Looking at it writes nothing."""
    store = PairStore(out)
    assert store.read_run() is None
    assert store.read("pairs").schema.equals(CANDIDATES)
    assert store.read("quarantine").schema.equals(QUARANTINE)
    assert missing(out, make_entry()) == [make_entry()]
    assert not storage.exists(out)


def test_committed_clips_are_read_back(out: str):
    """Every candidate in `candidates`, the accepted ones in `pairs`, failures in `quarantine`."""
    store = make_store(out)
    commit(store, clip("a"), failed("b"))
    commit(store, clip("c"), number=1)
    assert column(store, "candidates", "video_uri") == ["/v/a.mp4"] * 2 + ["/v/c.mp4"] * 2
    assert column(store, "candidates", "accepted") == [True, False] * 2
    assert column(store, "pairs", "video_uri") == ["/v/a.mp4", "/v/c.mp4"]
    assert column(store, "quarantine", "reason") == ["corrupt"]
    assert store.read("pairs").schema.equals(CANDIDATES)


def test_pairs_are_the_accepted_rows_whole(out: str):
    """Same columns, same values."""
    store = make_store(out)
    commit(store, clip("a"), clip("b"))
    candidates = store.read("candidates")
    assert store.read("pairs").equals(candidates.filter(candidates["accepted"]))


def test_nothing_to_commit_writes_nothing(out: str):
    """No empty shards of clips, or of failures, that are not there."""
    store = make_store(out)
    commit(store)
    commit(store, clip("a"), number=1)
    commit(store, failed("b"), number=2)
    assert files(out, "candidates") == [f"part-{FIRST_RUN}-00001.parquet"]
    assert files(out, "quarantine") == [f"part-{FIRST_RUN}-00002.parquet"]


def test_clip_without_pairs_is_done(out: str):
    """All its candidates were dropped: it is not asked again."""
    work = make_finished(candidates=(make_candidate(drop_reason="identical", votes=()),))
    commit(make_store(out), work)
    assert len(PairStore(out).read("pairs")) == 0
    assert missing(out, work.entry) == []


def test_missing_is_the_manifest_less_what_is_committed(out: str):
    """Done and quarantined clips are left out, in the manifest's order."""
    commit(make_store(out), clip("a"), failed("b"))
    entries = [make_entry(uris=(f"/v/{name}.mp4",)) for name in "dbca"]
    assert missing(out, *entries) == [entries[0], entries[2]]
    assert missing(out, *entries, retry=True) == entries[:3]


def test_resume_at_any_point_gives_the_same_pairs(tmp_path: Path):
    """However often a run is killed between shards, each pair is there once."""
    works = [clip(name) for name in "abcde"]
    by_entry = {work.entry: work for work in works}
    whole = make_store(str(tmp_path / "whole"))
    commit(whole, *works)
    expected = sorted(map(str, column(whole, "pairs", "pair_id")))
    for cut in range(len(works) + 1):
        out = str(tmp_path / f"cut{cut}")
        commit(make_store(out), *works[:cut])
        for number, entry in enumerate(missing(out, *by_entry)):
            commit(make_store(out), by_entry[entry], run_id=SECOND_RUN, number=number)
        assert sorted(map(str, column(PairStore(out), "pairs", "pair_id"))) == expected


def test_shard_committed_twice_is_there_once(out: str):
    """A name is written whole or not at all; the second time replaces the first."""
    store = make_store(out)
    commit(store, clip("a"))
    commit(store, clip("a"))
    assert len(store.read("pairs")) == 1


def test_other_span_of_a_done_video_is_missing(out: str):
    """A clip is a span, not a file."""
    commit(make_store(out), clip("a", start_s=1.0))
    done = make_entry(uris=("/v/a.mp4",), start_s=1.0)
    other = make_entry(uris=("/v/a.mp4",), start_s=1.5)
    assert missing(out, done, other) == [other]


def test_file_whose_size_changed_is_not_done(out: str):
    """It has other content; where the size is not known, the name counts."""
    commit(make_store(out), clip("a", size_bytes=100))
    changed, unknown = (make_entry(uris=("/v/a.mp4",), size_bytes=size) for size in (101, None))
    assert missing(out, changed, unknown) == [changed]


def test_any_name_of_the_content_counts(out: str):
    """A copy listed first does not start the clip again."""
    commit(make_store(out), clip("a"))
    assert missing(out, make_entry(uris=("/v/copy.mp4", "/v/a.mp4"))) == []
    assert missing(out, make_entry(uris=("/v/copy.mp4",))) != []


def test_content_under_another_name_is_not_written_twice(out: str):
    """It is kept as a duplicate in quarantine, and not tried again."""
    store = make_store(out)
    commit(store, clip("a", content="x"))
    copy = already_committed(clip("copy", content="x"))
    commit(store, copy, number=1)
    store.reconcile()
    assert len(store.read("candidates")) == 2
    assert column(store, "quarantine", "reason") == ["duplicate"]
    assert missing(out, copy.entry) == []


def test_quarantined_span_is_retried_only_when_asked(out: str):
    """Another span of the same broken file is tried by itself."""
    commit(make_store(out), failed("a"))
    whole, part = make_entry(uris=("/v/a.mp4",)), make_entry(uris=("/v/a.mp4",), end_s=1.0)
    assert missing(out, whole, part) == [part]
    assert missing(out, whole, part, retry=True) == [whole, part]


def test_retried_clip_that_succeeds_leaves_quarantine(out: str):
    """Others in its shard stay."""
    commit(make_store(out), failed("a"), failed("b"))
    commit(make_store(out), clip("a"), run_id=SECOND_RUN)
    store = make_store(out)
    assert column(store, "quarantine", "video_uri") == ["/v/b.mp4"]
    assert store.read("quarantine").schema.equals(QUARANTINE)


def test_emptied_quarantine_shard_is_removed(out: str):
    """No files without rows."""
    commit(make_store(out), failed("a"))
    commit(make_store(out), clip("a"), run_id=SECOND_RUN)
    make_store(out)
    assert files(out, "quarantine") == []


def test_mended_file_leaves_quarantine_though_its_size_changed(out: str):
    """A truncated upload that was repeated is no broken clip any more."""
    commit(make_store(out), failed("a", size_bytes=60))
    commit(make_store(out), clip("a", size_bytes=100), run_id=SECOND_RUN)
    store = make_store(out)
    assert len(store.read("quarantine")) == 0


def test_file_that_broke_later_stays_in_quarantine(out: str):
    """Its old content has candidates, its new one does not: it is not tried at every run."""
    commit(make_store(out), clip("a", size_bytes=100))
    broken = failed("a", size_bytes=60)
    commit(make_store(out), broken, run_id=SECOND_RUN)
    store = make_store(out)
    assert column(store, "quarantine", "video_size_bytes") == [60]
    assert missing(out, broken.entry) == []


def test_clip_that_fails_again_has_its_newest_row_alone(out: str):
    """Three runs, one row: that of the last."""
    for run_id, reason in ((FIRST_RUN, "timeout"), (SECOND_RUN, "corrupt"), (THIRD_RUN, "too_short")):
        commit(make_store(out), failed("a", reason=reason), run_id=run_id)
    store = make_store(out)
    assert column(store, "quarantine", "reason") == ["too_short"]
    assert column(store, "quarantine", "run_id") == [THIRD_RUN]


def test_crash_before_pairs_were_written_is_mended(out: str):
    """They are derived again from the candidates, the same to the byte of every value."""
    store = make_store(out)
    commit(store, clip("a"), clip("b"))
    before = store.read("pairs")
    delete(out, "pairs")
    assert len(store.read("pairs")) == 0
    store = make_store(out)
    assert store.read("pairs").equals(before)
    assert files(out, "pairs") == files(out, "candidates")


def test_crash_before_quarantine_was_written_is_mended(out: str):
    """Its clips are missing, so the next run meets them again."""
    commit(make_store(out), clip("a"), failed("b"))
    delete(out, "quarantine")
    assert missing(out, clip("a").entry, failed("b").entry) == [failed("b").entry]


def test_reconcile_changes_nothing_that_is_in_order(out: str):
    """It can run at every start and end."""
    store = make_store(out)
    commit(store, clip("a"), failed("b"))
    before = {kind: store.read(kind) for kind in ("candidates", "pairs", "quarantine")}
    store.reconcile()
    store.reconcile()
    assert all(store.read(kind).equals(table) for kind, table in before.items())


@pytest.mark.parametrize("kind", ["candidates", "pairs", "quarantine"])
def test_leftover_of_a_killed_write_is_ignored_and_removed(kind: str, tmp_path: Path):
    """Half a shard has a hidden name; it is no shard, and the next start takes it away."""
    out = str(tmp_path / "out")
    store = make_store(out)
    commit(store, clip("a"), failed("b"))
    left = tmp_path / "out" / kind / ".part-x-00000.parquet.tmp"
    left.write_bytes(b"PAR1 half a shar")
    rows = len(store.read(kind))
    assert len(make_store(out).read(kind)) == rows
    assert not left.exists()


def test_only_whole_shards_are_visible(tmp_path: Path):
    """After a commit no temporary file is left."""
    commit(make_store(str(tmp_path / "out")), clip("a"), failed("b"))
    assert not list(tmp_path.rglob(".part*"))
    assert not list(tmp_path.rglob(".run.json*"))


def test_same_fingerprint_continues(out: str):
    """Tuples become lists in run.json and are still the same."""
    commit(make_store(out), clip("a"))
    assert len(make_store(out).read("pairs")) == 1
    assert PairStore(out).read_run() == {
        "schema_version": SCHEMA_VERSION,
        "fingerprint": json.loads(json.dumps(FINGERPRINT)),
        "runs": [],
    }


def test_changed_fingerprint_is_refused_with_the_difference(out: str):
    """And nothing is touched: rows of two configurations never mix."""
    commit(make_store(out), clip("a"))
    before = PairStore(out).read_run()
    changed = {"config": {"seed": 1, "modes": ["spatial", "temporal"]}, "prompts": {"judge.j2": "4567"}}
    with pytest.raises(UserError) as error:
        PairStore(out).open(changed)
    assert "config.seed: 0 -> 1" in str(error.value)
    assert "prompts.judge.j2: '0123' -> '4567'" in str(error.value)
    assert "modes" not in str(error.value)
    assert PairStore(out).read_run() == before


def test_real_fingerprint_is_compared_to_the_key(tmp_path: Path):
    """A user sees the configuration's own keys."""
    store = PairStore(str(tmp_path / "out"))
    store.open({"config": fingerprint(GenerateConfig())})
    store.open({"config": fingerprint(GenerateConfig())})
    with pytest.raises(UserError, match=r"config\.guards\.drop_refusals: True -> False"):
        store.open({"config": fingerprint(GenerateConfig.model_validate({"guards": {"drop_refusals": False}}))})


def test_foreign_folder_is_refused(tmp_path: Path):
    """Someone's videos are not filled with shards; files stay as they are."""
    (tmp_path / "video.mp4").write_bytes(b"")
    with pytest.raises(UserError, match=r"not empty and not ours"):
        PairStore(str(tmp_path)).open(FINGERPRINT)
    assert [path.name for path in tmp_path.iterdir()] == ["video.mp4"]


@pytest.mark.parametrize("text", ["{}", "[]", "3", "not json", "", '{"schema_version": 1}'])
def test_foreign_run_json_is_refused(text: str, tmp_path: Path):
    """Other programs have a run.json too."""
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(UserError, match=r"run\.json is not ours"):
        PairStore(str(tmp_path)).open(FINGERPRINT)


def test_folder_of_another_schema_is_refused(tmp_path: Path):
    """Columns would not agree."""
    (tmp_path / "run.json").write_text(json.dumps({"schema_version": 99, "fingerprint": {}, "runs": []}))
    with pytest.raises(UserError, match="written as schema 99"):
        PairStore(str(tmp_path)).open(FINGERPRINT)


def test_driver_killed_before_its_first_run_json_does_not_block_the_folder(tmp_path: Path):
    """The lock and a half-written run.json are ours."""
    (tmp_path / ".lock").touch()
    (tmp_path / ".run.json.tmp").write_text('{"schema_ver')
    make_store(str(tmp_path))


def test_second_driver_is_refused(tmp_path: Path):
    """While the first holds the folder; not before, not after, and not elsewhere."""
    first, second = PairStore(str(tmp_path / "out")), PairStore(str(tmp_path / "out"))
    with first.locked():
        with pytest.raises(UserError, match="another run is writing there"), second.locked():
            pass
        with PairStore(str(tmp_path / "other")).locked():
            pass
    with second.locked():
        second.open(FINGERPRINT)


def test_lock_dies_with_its_process(tmp_path: Path):
    """A killed driver leaves nothing to clean up by hand."""
    code = "import sys; from videopasta.pairs import PairStore; from pathlib import Path\n"
    code += "with PairStore(sys.argv[1]).locked(): print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="another run"), PairStore(str(tmp_path)).locked():
            pass
        driver.kill()
        driver.wait()
        with PairStore(str(tmp_path)).locked():
            pass


def test_lock_is_free_after_an_error(tmp_path: Path):
    """Whatever ended the run."""
    store = PairStore(str(tmp_path))
    with pytest.raises(ZeroDivisionError), store.locked():
        raise ZeroDivisionError
    with store.locked():
        pass


def test_runs_are_recorded_once_each(out: str):
    """A summary of the same run replaces the one before."""
    store = make_store(out)
    store.record_run({"run_id": "r1", "num_pairs": 1})
    store.record_run({"run_id": "r2", "num_pairs": 5})
    store.record_run({"run_id": "r1", "num_pairs": 2})
    run = store.read_run()
    assert run is not None
    assert run["runs"] == [{"run_id": "r2", "num_pairs": 5}, {"run_id": "r1", "num_pairs": 2}]


def test_run_json_that_vanished_is_not_made_up(out: str):
    """Without its fingerprint the folder's rows cannot be trusted."""
    with pytest.raises(RuntimeError, match=r"run\.json is gone"):
        PairStore(out).record_run({"run_id": "r1"})


def test_columns_can_be_chosen(out: str):
    """In the order asked for, from no shards as from many."""
    store = make_store(out)
    names = ["drop_reason", "clip_id"]
    assert store.read("candidates", names).column_names == names
    commit(store, clip("a"))
    commit(store, clip("b"), number=1)
    assert store.read("candidates", names).schema.equals(pa.schema([CANDIDATES.field(name) for name in names]))


def test_folder_named_like_a_partition_adds_no_column(tmp_path: Path):
    """`runs/seed=1/` is a name people give; Parquet readers take it for a column."""
    out = str(tmp_path / "seed=1" / "out")
    store = make_store(out)
    commit(store, clip("a"), failed("b"))
    delete(out, "pairs")
    store.reconcile()
    assert store.read("pairs").schema.equals(CANDIDATES)
    assert storage.list_files(out) != []
    filesystem, path = storage.resolve(f"{out}/pairs")
    assert pq.read_schema(f"{path}/{files(out, 'pairs')[0]}", filesystem=filesystem).equals(CANDIDATES)


def test_trailing_slash_and_file_uri_name_the_same_folder(tmp_path: Path):
    """As shells complete it, and as tools write it."""
    commit(make_store(f"{tmp_path}/out/"), clip("a"))
    assert len(PairStore(f"file://{tmp_path}/out").read("pairs")) == 1
