"""Pairs of others become a folder of pairs; what does not is written down, with its reason."""

import json
import shutil
from pathlib import Path

import pytest

from tests.clips import make_clip
from tests.exchange.rows import make_row, make_seen_row
from videopasta import storage
from videopasta.config import DecodeConfig, ImportConfig, TrainConfig
from videopasta.config.generate import GuardsConfig
from videopasta.config.video import UniformPlan
from videopasta.dpo.data import pair_files, read_pairs, select
from videopasta.errors import UserError
from videopasta.exchange.formats import FORMATS
from videopasta.exchange.importing import import_pairs
from videopasta.pairs import PairStore
from videopasta.video import ClipRequest, clip_id, decode_clip

CONFIG = ImportConfig(plan=UniformPlan(num_frames=4))


def flat(video: str, number: int = 0, **others: object) -> dict:
    row = make_row(number)
    texts = {name: row[name] for name in ("prompt", "chosen", "rejected")}
    return {"video": video, "failure_mode": "spatial", **texts} | others


def write_lines(folder: Path, *rows: object, name: str = "a.jsonl") -> str:
    path = folder / name
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    make_clip(folder / "a.mp4", num_frames=40, width=84, height=56)
    make_clip(folder / "b.mp4", num_frames=50, width=84, height=56)
    return folder


def test_videos_are_looked_at_once_a_clip(clips: Path, tmp_path: Path):
    """Hash, span and plan come from the video, as a generation has them; the set can be trained on."""
    source = write_lines(clips, *(flat("a.mp4", n) for n in range(3)), flat("b.mp4"), flat("a.mp4", 9, end_s=1.0))
    report, rejects = import_pairs(source, str(tmp_path / "out"), CONFIG)
    assert not rejects
    assert (report.num_rows, report.num_pairs, report.num_looked_at) == (5, 5, 3)
    rows = PairStore(str(tmp_path / "out")).read("pairs").to_pylist()
    seen = decode_clip(ClipRequest(str(clips / "a.mp4"), None, None, {"seen": CONFIG.plan}, DecodeConfig()))
    assert rows[0]["video_uri"] == str(clips / "a.mp4")
    assert (rows[0]["clip_id"], rows[0]["video_sha256"]) == (seen.clip_id, seen.video_sha256)
    assert rows[0]["chosen_frame_plan"] == seen.plans["seen"].to_dict()
    assert rows[4]["clip_id"] == clip_id(seen.video_sha256, None, 1.0)
    assert (rows[0]["adversary"], rows[0]["judge_model"]) == ("imported", None)
    chosen = select(read_pairs(pair_files(str(tmp_path / "out"))), TrainConfig())
    assert not chosen.skipped
    assert sum(len(clip.pairs) for clip in (*chosen.train, *chosen.validation)) == 5


def test_rows_that_know_their_video_need_none(tmp_path: Path):
    """A hash and a plan are enough: the set may be read where its videos are not. Ids are those of the content."""
    row = make_row()
    source = write_lines(tmp_path, FORMATS["ms-swift"].write(row, "/gone/a.mp4"))
    report, _ = import_pairs(source, str(tmp_path / "out"), ImportConfig())
    (read,) = PairStore(str(tmp_path / "out")).read("pairs").to_pylist()
    assert report.num_looked_at == 0
    assert (read["pair_id"], read["video_uri"]) == (row["pair_id"], "/gone/a.mp4")


def test_bad_rows_are_rejected_by_line_and_the_others_taken(clips: Path, tmp_path: Path):
    """In rejects.jsonl: where, which value, why, and the fix. The clip of a broken video is in quarantine as well."""
    (clips / "broken.mp4").write_bytes(b"no video")
    source = write_lines(
        clips, flat("a.mp4"), "{", flat("gone.mp4"), flat("broken.mp4"), flat("broken.mp4", 1),
        flat("a.mp4", 2, chosen=""), flat("a.mp4"), flat("a.mp4", 3, video_sha256="0" * 64),
    )  # fmt: skip
    out = tmp_path / "out"
    report, rejects = import_pairs(source, str(out), CONFIG)
    found = [json.loads(line) for line in (out / "rejects.jsonl").read_text().splitlines()]
    assert found == [reject.to_dict() for reject in rejects]
    assert {row["line"]: row["reason"] for row in found} == {
        2: "not_json", 3: "video_missing", 4: "video_not_a_video", 5: "video_not_a_video", 6: "empty_text",
        7: "duplicate", 8: "video_changed",
    }  # fmt: skip
    assert all(row["file"] == source and row["fix"] for row in found)
    assert f"{source}, line 1" in found[5]["fix"]
    store = PairStore(str(out))
    assert store.read("pairs").num_rows == 1
    assert sorted(store.read("quarantine", ["reason"])["reason"].to_pylist()) == ["missing", "not_a_video"]
    run = store.read_run()
    assert run is not None
    assert run["runs"][0]["reject_reasons"] == report.reject_reasons
    assert run["fingerprint"]["import"]["source"] == source


def test_what_the_guards_drop_is_a_candidate_with_its_reason(tmp_path: Path):
    """So that it can be judged anew without reading the file again."""
    rows = [
        make_row(0),
        make_row(1, chosen="Left of it.", rejected="Left of it. Or so."),
        make_row(2, rejected="It lies on the floor, far away from the table, where nobody would look for it at all."),
    ]
    source = write_lines(tmp_path, *(FORMATS["trl"].write(row, "/v/a.mp4") for row in rows))
    report, rejects = import_pairs(source, str(tmp_path / "out"), ImportConfig())
    assert not rejects
    assert report.drop_reasons == {"containment": 1, "length_ratio": 1}
    store = PairStore(str(tmp_path / "out"))
    assert (store.read("candidates").num_rows, store.read("pairs").num_rows) == (3, 1)
    guards = GuardsConfig(max_length_ratio=9, drop_containment=False)
    report, _ = import_pairs(source, str(tmp_path / "loose"), ImportConfig(guards=guards))
    assert report.num_pairs == 3


def test_videos_are_found_by_name_or_id(clips: Path, tmp_path: Path):
    """In a folder, at any depth; a name that stands there twice is not guessed."""
    (clips / "v_1234567890a").mkdir()
    shutil.copy(clips / "a.mp4", clips / "v_1234567890a" / "v_abc.mp4")
    shutil.copy(clips / "b.mp4", clips / "v_1234567890a" / "a.mp4")
    row = flat("b.mp4")
    by_id = {"video_id": "v_abc", **{name: row[name] for name in row if name != "video"}}
    source = write_lines(tmp_path, row, by_id, flat("a.mp4"), flat("elsewhere/c.mp4"))
    _, rejects = import_pairs(source, str(tmp_path / "out"), CONFIG, videos=str(clips))
    assert [reject.reason for reject in rejects] == ["ambiguous_video", "video_missing"]
    uris = PairStore(str(tmp_path / "out")).read("pairs", ["video_uri"])["video_uri"].to_pylist()
    assert uris == [str(clips / "b.mp4"), str(clips / "v_1234567890a" / "v_abc.mp4")]


def test_prefixes_of_videos_are_rewritten(clips: Path, tmp_path: Path):
    """Before they are opened."""
    source = write_lines(tmp_path, flat("/data/set/a.mp4"))
    import_pairs(source, str(tmp_path / "out"), CONFIG, rewrite=(("/data/set", str(clips)),))
    uris = PairStore(str(tmp_path / "out")).read("pairs", ["video_uri"])["video_uri"].to_pylist()
    assert uris == [str(clips / "a.mp4")]


def test_a_file_without_a_pair_leaves_nothing(tmp_path: Path):
    """The first fault is told."""
    source = write_lines(tmp_path, flat("a.mp4", prompt=""))
    with pytest.raises(UserError, match=r"none of 1 rows makes a pair; the first: .*a\.jsonl, line 1: prompt=''"):
        import_pairs(source, str(tmp_path / "out"), CONFIG)
    assert not storage.exists(str(tmp_path / "out/run.json"))


def test_a_folder_with_pairs_is_not_written_to(tmp_path: Path):
    """Neither its own nor another's."""
    source = write_lines(tmp_path, FORMATS["ms-swift"].write(make_row(), "/v/a.mp4"))
    import_pairs(source, str(tmp_path / "out"), CONFIG)
    with pytest.raises(UserError, match="holds what was imported before"):
        import_pairs(source, str(tmp_path / "out"), CONFIG)
    with pytest.raises(UserError, match="another configuration"):
        import_pairs(source, str(tmp_path / "out"), ImportConfig())


def test_remote_folders_take_pairs(tmp_path: Path):
    """As local ones do."""
    source = write_lines(tmp_path, FORMATS["ms-swift"].write(make_row(), "/v/a.mp4"), "{")
    out = f"memory://{tmp_path.name}/out"
    import_pairs(source, out, ImportConfig())
    assert PairStore(out).read("pairs").num_rows == 1
    assert storage.exists(f"{out}/rejects.jsonl")


def test_plans_of_the_file_are_kept_where_the_video_is_looked_at(tmp_path: Path):
    """A plan without a hash: the video must fit it."""
    row = make_seen_row(tmp_path / "a.mp4")
    made = FORMATS["llama-factory"].write(row, row["video_uri"]) | {"video_sha256": None}
    import_pairs(write_lines(tmp_path, made), str(tmp_path / "out"), ImportConfig())
    (read,) = PairStore(str(tmp_path / "out")).read("pairs").to_pylist()
    assert (read["video_sha256"], read["chosen_frame_plan"]) == (row["video_sha256"], row["chosen_frame_plan"])
