"""Exports: nothing is lost on the way and back, no video stands on both sides, no frame is another."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from datasets import Video, load_dataset

from tests.clips import make_clip
from tests.exchange.rows import lines, make_row, make_seen_row, rows_of, write_pairs
from videopasta import storage
from videopasta.config import ExportConfig, ImportConfig, TrainConfig
from videopasta.config.train import ValidationConfig
from videopasta.dpo.data import pair_files, read_pairs, select
from videopasta.errors import UserError
from videopasta.exchange.exporting import export
from videopasta.exchange.formats import FORMATS
from videopasta.exchange.importing import import_pairs

ALL = ExportConfig(validation=ValidationConfig(share=0))


@pytest.mark.parametrize("name", list(FORMATS))
def test_import_of_an_export_is_what_it_was(pairs: str, tmp_path: Path, name):
    """Every column that the format carries, of every pair; what it does not carry comes from the videos."""
    report, rejects = export(pairs, str(tmp_path / "theirs"), name, ALL)
    assert not rejects
    assert report.rows == {"train": 5}
    config = ImportConfig(failure_mode="spatial", plan={"num_frames": 4})
    _, rejects = import_pairs(str(tmp_path / "theirs"), str(tmp_path / "back"), config)
    assert not rejects
    carried = set(FORMATS[name].carries)
    key = "pair_id" if "pair_id" in carried else "prompt"
    before, after = ({row[key]: row for row in rows_of(folder).values()} for folder in (pairs, str(tmp_path / "back")))
    assert before.keys() == after.keys()
    for same, row in before.items():
        assert {name: after[same][name] for name in carried} == {name: row[name] for name in carried}
        assert after[same]["chosen_frame_plan"] == row["chosen_frame_plan"]


@pytest.mark.parametrize("name", [name for name, form in FORMATS.items() if form.takes_frames])
def test_import_of_frames_is_what_it_was(pairs: str, tmp_path: Path, name):
    """The pairs still name their videos, not the images."""
    export(pairs, str(tmp_path / "theirs"), name, ALL.model_copy(update={"frames": "png"}))
    import_pairs(str(tmp_path / "theirs"), str(tmp_path / "back"), ImportConfig())
    assert rows_of(str(tmp_path / "back")).keys() == rows_of(pairs).keys()
    assert {row["video_uri"] for row in rows_of(str(tmp_path / "back")).values()} == {
        row["video_uri"] for row in rows_of(pairs).values()
    }


def test_datasets_opens_the_pairs_and_the_export(pairs: str, tmp_path: Path):
    """By load_dataset: our own shards; links; embedded videos, as videos."""
    cache = str(tmp_path / "cache")
    own = load_dataset("parquet", data_files=f"{pairs}/pairs/*.parquet", split="train", cache_dir=cache)
    assert len(own) == 5
    assert own[0]["prompt_hashes"] == [{"file": "judge.j2", "hash": "0123"}]
    for videos in ("link", "embed"):
        export(pairs, str(tmp_path / videos), "hf", ALL.model_copy(update={"videos": videos}))
    linked = load_dataset(str(tmp_path / "link"), cache_dir=cache)["train"]
    assert linked[0]["video"] == {"bytes": None, "path": str(tmp_path / "a.mp4")}
    embedded = load_dataset(str(tmp_path / "embed"), cache_dir=cache)["train"]
    assert isinstance(embedded.features["video"], Video)
    shown = embedded.cast_column("video", Video(decode=False))
    assert shown[0]["video"]["bytes"] == (tmp_path / "a.mp4").read_bytes()
    assert shown[4]["chosen"] == own[4]["chosen"]


def test_datasets_opens_json_exports_among_images(pairs: str, tmp_path: Path):
    """The card's head keeps it from taking the folder for one of images, and says which column has them."""
    export(pairs, str(tmp_path / "out"), "trl", ALL.model_copy(update={"frames": "png"}))
    data = load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert len(data["train"]) == 5
    images = data["train"][0]["images"]
    assert [image.size for image in images] == 4 * [(data["train"][0]["chosen_frame_plan"]["width"], images[0].height)]
    assert data["train"].column_names == list(lines(tmp_path / "out/train.jsonl")[0])


def test_equal_videos_are_embedded_once_a_row_group(tmp_path: Path):
    """A clip has up to ninety pairs."""
    path = tmp_path / "a.mp4"
    make_clip(path, num_frames=200, width=192, height=96)
    rows = [make_seen_row(path, n) for n in range(60)]
    pairs = write_pairs(rows, tmp_path / "set/pairs/a.parquet").parent
    export(str(pairs), str(tmp_path / "out"), "hf", ALL.model_copy(update={"videos": "embed"}))
    (file,) = (tmp_path / "out/data").iterdir()
    assert pq.read_metadata(file).num_rows == 60
    assert file.stat().st_size < 2 * path.stat().st_size + 100_000


def test_embedded_videos_come_back_as_files(pairs: str, tmp_path: Path):
    """With their bytes, where no video is."""
    export(pairs, str(tmp_path / "theirs"), "hf", ALL.model_copy(update={"videos": "embed"}))
    content = (tmp_path / "a.mp4").read_bytes()
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).unlink()
    import_pairs(str(tmp_path / "theirs"), str(tmp_path / "back"), ImportConfig())
    back = rows_of(str(tmp_path / "back"))
    assert back.keys() == rows_of(pairs).keys()
    uri = min((row["pair_id"] in rows_of(pairs), row["prompt"], row["video_uri"]) for row in back.values())[2]
    assert Path(uri).parent == tmp_path / "back/videos"
    assert Path(uri).read_bytes() == content


def test_videos_are_held_out_as_a_training_holds_them_out(tmp_path: Path):
    """All pairs of a video on one side, the same ones at any order of rows; few change sides with new videos."""
    rows = [make_row(n, video=f"{n // 3:x}") for n in range(48)]
    one = write_pairs(rows, tmp_path / "one/pairs/a.parquet").parent
    other = write_pairs(rows[::-1], tmp_path / "other/pairs/a.parquet").parent
    config = ExportConfig(validation=ValidationConfig(share=0.25), seed=3)
    sides = []
    for pairs, out in ((one, "o1"), (other, "o2")):
        report, _ = export(str(pairs), str(tmp_path / out), "ms-swift", config)
        assert report.videos == {"train": 12, "validation": 4}
        sides.append({split: {row["video_sha256"] for row in lines(tmp_path / out / f"{split}.jsonl")}
                      for split in ("train", "validation")})  # fmt: skip
    assert sides[0] == sides[1]
    assert not sides[0]["train"] & sides[0]["validation"]
    trained = select(read_pairs(pair_files(str(one))), TrainConfig(validation=ValidationConfig(share=0.25), seed=3))
    assert {clip.video_sha256 for clip in trained.validation} == sides[0]["validation"]


def test_rows_that_cannot_be_said_are_rejected(tmp_path: Path):
    """By row, with the column; a format that nobody trains on takes what trainers would misread."""
    rows = [
        make_row(0), make_row(1, prompt="What does <video> mean?"), make_row(2, clip_id="other", end_s=1.0),
        make_row(3, chosen=" "), make_row(4, rejected=make_row(4)["chosen"]), make_row(0),
        make_row(5, chosen_frame_plan=None, pair_id="p"),
    ]  # fmt: skip
    pairs = str(write_pairs(rows, tmp_path / "set/pairs/a.parquet").parent)
    _, rejects = export(pairs, str(tmp_path / "swift"), "ms-swift", ALL)
    assert {reject.place.row: reject.reason for reject in rejects} == {
        1: "placeholder", 2: "span", 3: "empty_text", 4: "equal_answers", 5: "duplicate", 6: "no_frame_plan",
    }  # fmt: skip
    assert all(reject.fix for reject in rejects)
    report, _ = export(pairs, str(tmp_path / "hf"), "hf", ALL)
    assert report.rows == {"train": 3}


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("hf", {"frames": "png"}, "hf has no lists of images; use trl, ms-swift, llama-factory"),
        ("flat", {"frames": "png"}, "flat has no lists"),
        ("trl", {"videos": "embed"}, "use copy, or --format hf"),
        ("trl", {"videos": "copy", "frames": "png"}, "leave one out"),
    ],
)
def test_what_a_format_cannot_do_is_refused(pairs: str, tmp_path: Path, name, changes, words):
    """With what would do; nothing is written."""
    with pytest.raises(UserError, match=words):
        export(pairs, str(tmp_path / "out"), name, ALL.model_copy(update=changes))
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_not_empty_is_refused(pairs: str, tmp_path: Path):
    """Two exports would mix."""
    export(pairs, str(tmp_path / "out"), "flat", ALL)
    with pytest.raises(UserError, match="not empty"):
        export(pairs, str(tmp_path / "out"), "flat", ALL)


def test_no_row_left_is_an_error(tmp_path: Path):
    """The first fault is told."""
    pairs = str(write_pairs([make_row(chosen="")], tmp_path / "set/pairs/a.parquet").parent)
    with pytest.raises(UserError, match=r"none of 1 pairs could be written as trl; the first: .*row 0"):
        export(pairs, str(tmp_path / "out"), "trl", ALL)


def test_remote_folders_are_written_and_read(pairs: str, tmp_path: Path):
    """Pairs there, export there, frames there."""
    remote = f"memory://{tmp_path.name}"
    _, path = storage.resolve(f"{remote}/pairs")
    filesystem, _ = storage.resolve(f"{remote}/x")
    filesystem.create_dir(path)
    with filesystem.open_output_stream(f"{path}/a.parquet") as stream:
        stream.write((Path(pairs) / "pairs/a.parquet").read_bytes())
    for name, changes in (("ms-swift", {"frames": "png"}), ("hf", {"videos": "embed"})):
        report, rejects = export(f"{remote}/pairs", f"{remote}/{name}", name, ALL.model_copy(update=changes))
        assert not rejects
        assert report.rows == {"train": 5}
        import_pairs(f"{remote}/{name}", f"{remote}/back-{name}", ImportConfig())
        assert rows_of(f"{remote}/back-{name}").keys() == rows_of(pairs).keys()
