"""What stands for a video in an export: the very frames, the very file, or a reason why not."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.clips import make_clip
from tests.exchange.rows import lines, rows_of
from videopasta.config import DecodeConfig, ExportConfig, ImportConfig, SourcesConfig
from videopasta.config.train import ValidationConfig
from videopasta.errors import UserError
from videopasta.exchange.exporting import export
from videopasta.exchange.importing import import_pairs
from videopasta.video import ClipRequest, FramePlan, decode_clip

ALL = ExportConfig(validation=ValidationConfig(share=0))


def test_png_frames_are_the_pixels_of_the_plan(pairs: str, tmp_path: Path):
    """In order, once a clip and plan, whatever the number of its pairs."""
    report, _ = export(pairs, str(tmp_path / "out"), "ms-swift", ALL.model_copy(update={"frames": "png"}))
    assert report.num_media_files == 8
    for row in lines(tmp_path / "out/train.jsonl"):
        plan = FramePlan.from_dict(row["chosen_frame_plan"])
        request = ClipRequest(row["video_uri"], None, None, {"seen": plan}, DecodeConfig())
        shown = np.stack([np.asarray(Image.open(path)) for path in row["videos"][0]])
        np.testing.assert_array_equal(shown, decode_clip(request).frames[plan.key])


def test_jpeg_frames_are_near_the_pixels_of_the_plan(pairs: str, tmp_path: Path):
    """Closer with a higher quality."""
    errors = []
    for quality in (60, 100):
        config = ALL.model_copy(update={"frames": "jpeg", "jpeg_quality": quality})
        export(pairs, str(tmp_path / f"q{quality}"), "llama-factory", config)
        row = lines(tmp_path / f"q{quality}/train.jsonl")[0]
        plan = FramePlan.from_dict(row["chosen_frame_plan"])
        clip = decode_clip(ClipRequest(row["video_uri"], None, None, {"seen": plan}, DecodeConfig()))
        shown = np.stack([np.asarray(Image.open(path)) for path in row["videos"][0]]).astype(int)
        errors.append(np.abs(shown - clip.frames[plan.key]).mean())
    assert errors[1] < errors[0] < 20
    assert errors[1] < 2


@pytest.mark.parametrize(
    ("name", "changes"), [("trl", {"frames": "png"}), ("flat", {"videos": "copy"}), ("hf", {"videos": "embed"})]
)
def test_a_video_that_changed_is_not_exported(pairs: str, tmp_path: Path, name, changes):
    """All its rows are rejected, with the reason; those of the other video are written, and nothing else is left."""
    make_clip(tmp_path / "b.mp4", num_frames=48, width=84, height=56)
    out = tmp_path / "out"
    report, rejects = export(pairs, str(out), name, ALL.model_copy(update=changes))
    assert {reject.reason for reject in rejects} <= {"video_changed", "video_plan_mismatch"}
    assert [reject.place.row for reject in rejects] == [3, 4]
    assert report.rows == {"train": 3}
    assert len(lines(out / "rejects.jsonl")) == 2
    if "videos" in changes and name == "flat":
        assert len(list((out / "videos").iterdir())) == 1


def test_a_missing_video_is_linked_and_not_copied(pairs: str, tmp_path: Path):
    """A link is not opened."""
    (tmp_path / "b.mp4").unlink()
    assert not export(pairs, str(tmp_path / "linked"), "flat", ALL)[1]
    _, rejects = export(pairs, str(tmp_path / "copied"), "flat", ALL.model_copy(update={"videos": "copy"}))
    assert {reject.reason for reject in rejects} == {"video_missing"}


def test_copies_are_whole_and_once_a_video(pairs: str, tmp_path: Path):
    """And paths can be made relative, so that the folder can be moved."""
    out = tmp_path / "out"
    export(
        pairs, str(out), "llama-factory", ALL.model_copy(update={"videos": "copy"}), rewrite=((f"{tmp_path}/out/", ""),)
    )
    shown = {row["videos"][0] for row in lines(out / "train.jsonl")}
    assert sorted((out / path).read_bytes() for path in shown) == sorted(
        (tmp_path / name).read_bytes() for name in ("a.mp4", "b.mp4")
    )
    moved = tmp_path / "elsewhere"
    shutil.move(out, moved)
    import_pairs(str(moved), str(tmp_path / "back"), ImportConfig())
    uris = {row["video_uri"] for row in rows_of(str(tmp_path / "back")).values()}
    assert uris == {str(moved / path) for path in shown}


@pytest.mark.parametrize(("name", "changes"), [("ms-swift", {"frames": "png"}), ("flat", {"videos": "copy"})])
def test_videos_elsewhere_are_not_opened(pairs: str, tmp_path: Path, name, changes):
    """Rows of pairs come from elsewhere, and name anything."""
    decode = DecodeConfig(sources=SourcesConfig(roots=(str(tmp_path / "videos"),)))
    with pytest.raises(UserError, match="video_not_allowed"):
        export(pairs, str(tmp_path / "out"), name, ALL.model_copy(update=changes | {"decode": decode}))
