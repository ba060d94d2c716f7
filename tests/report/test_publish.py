import os
import subprocess
import sys
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCard

from tests.report.hub import Hub
from tests.review.folders import make_folder
from videopasta.config import ExportConfig
from videopasta.errors import UserError
from videopasta.pairs import PairStore
from videopasta.report.card import make_card
from videopasta.report.page import read_report
from videopasta.report.publish import files_in, prepare

TOKEN = "hf_stand_in"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    return make_folder(tmp_path_factory.mktemp("publish"), num_clips=4)


@pytest.fixture
def hub():
    started = Hub(TOKEN)
    yield started
    started.close()


def publish(folder: str, out: Path, hub: Hub, *more: str, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "videopasta.cli",
        "publish",
        folder,
        "--repo",
        "me/pasta",
        "--out",
        str(out),
        *more,
    ]
    environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_TOKEN": token, "HF_HUB_OFFLINE": "0"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def test_what_was_prepared_is_what_the_hub_gets(folder: str, tmp_path: Path, hub: Hub):
    """Byte for byte, in one private dataset; our own notes stay here."""
    done = publish(folder, tmp_path / "out", hub, "--videos", "embed", "--license", "cc-by-4.0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [tuple(one.get(k) for k in ("type", "organization", "name", "visibility")) for one in hub.created] == [
        ("dataset", "me", "pasta", "private")
    ]
    assert hub.files == {name: (tmp_path / "out" / name).read_bytes() for name, _ in files_in(tmp_path / "out")}
    assert "README.md" in hub.files
    assert "export.json" not in hub.files
    assert f"{hub.url}/datasets/me/pasta" in done.stdout


def test_a_dry_run_uploads_nothing(folder: str, tmp_path: Path, hub: Hub):
    """The files are there to be looked at."""
    done = publish(folder, tmp_path / "out", hub, "--videos", "embed", "--dry-run")
    assert done.returncode == 0
    assert hub.created == []
    assert hub.files == {}
    assert (tmp_path / "out/README.md").exists()


def test_a_hub_that_refuses_is_told(folder: str, tmp_path: Path, hub: Hub):
    """With what to do, without a traceback."""
    done = publish(folder, tmp_path / "out", hub, "--videos", "embed", token="wrong")
    assert done.returncode == 2
    assert "HF_TOKEN" in done.stderr
    assert "Traceback" not in done.stderr
    assert hub.files == {}


def test_a_public_dataset_gets_nothing_unless_that_is_asked_for(folder: str, tmp_path: Path, hub: Hub):
    """One that was there before keeps who may read it."""
    hub.is_public = True
    done = publish(folder, tmp_path / "1", hub, "--videos", "embed")
    assert done.returncode == 2
    assert "everybody can read it" in done.stderr
    assert hub.files == {}
    assert publish(folder, tmp_path / "2", hub, "--videos", "embed", "--public").returncode == 0
    assert hub.files != {}


def test_datasets_opens_what_was_prepared(folder: str, tmp_path: Path):
    """By the card alone: its splits hold all pairs, and the videos are those that they were made from."""
    prepare(folder, tmp_path / "out", ExportConfig(videos="embed"), name="pasta")
    splits = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    pairs = PairStore(folder).read("pairs")
    ids = [pair_id for split in splits.values() for pair_id in split["pair_id"]]
    assert sorted(ids) == sorted(pairs["pair_id"].to_pylist())


def test_the_card_is_one_that_the_hub_takes(folder: str, tmp_path: Path):
    """Its header is read back by the hub's own library; its numbers are the set's."""
    prepare(
        folder,
        tmp_path / "out",
        ExportConfig(videos="embed"),
        name="pasta",
        license_="cc-by-4.0",
        source_license="the owners'",
    )
    card = DatasetCard.load(tmp_path / "out/README.md")
    assert (card.data.license, card.data.pretty_name, card.data.size_categories) == ("cc-by-4.0", "pasta", ["n<1K"])
    assert card.text.startswith("\n# pasta")
    for text in (
        "12 preference pairs about 4 clips of 4 videos",
        "| spatial | 8 | 4 | 50.0 % |",
        "Videos: the owners'.",
    ):
        assert text in card.text


def test_paths_of_this_machine_are_not_published(folder: str, tmp_path: Path):
    """Refused as links; gone where the videos are in the rows; where others find them after --rewrite."""
    with pytest.raises(UserError, match="a path of this machine"):
        prepare(folder, tmp_path / "1", ExportConfig(videos="link"), name="pasta")
    videos = str(Path(folder).parent)
    prepare(folder, tmp_path / "2", ExportConfig(videos="embed"), name="pasta")
    prepare(
        folder, tmp_path / "3", ExportConfig(videos="link"), name="pasta", rewrite=((videos, "s3://bucket/videos"),)
    )
    for out, expected in ((tmp_path / "2", "0.mp4"), (tmp_path / "3", "s3://bucket/videos/0.mp4")):
        for name, _ in files_in(out):
            assert videos.encode() not in (out / name).read_bytes(), name
        uris = [uri for file in out.rglob("*.parquet") for uri in pq.read_table(file)["video_uri"].to_pylist()]
        assert expected in uris


def test_models_of_this_machine_are_not_named_by_their_paths(tmp_path: Path):
    """Refused; after --rewrite neither rows nor card hold them."""
    folder = make_folder(tmp_path, num_clips=2)
    for file in Path(folder).glob("*/*.parquet"):
        table = pq.read_table(file)
        rows = [row | {"judge_model": {"name": "/home/me/judge+/home/me/second", "revision": "r"}}
                for row in table.to_pylist()]  # fmt: skip
        pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), file)
    with pytest.raises(UserError, match=r"/home/me/judge.*as the name of a model"):
        prepare(folder, tmp_path / "1", ExportConfig(videos="embed"), name="pasta")
    prepare(folder, tmp_path / "2", ExportConfig(videos="embed"), name="pasta", rewrite=(("/home/me/", "me/"),))
    for name, _ in files_in(tmp_path / "2"):
        assert b"/home/me" not in (tmp_path / "2" / name).read_bytes(), name
    assert "`me/judge+me/second@r`" in (tmp_path / "2/README.md").read_text()


def test_the_card_of_imported_pairs_claims_no_method(tmp_path: Path):
    """Nobody knows how they were made, nor in what language."""
    folder = make_folder(tmp_path, num_clips=1)
    unknown = dict.fromkeys(("query_model", "response_model", "judge_model", "verdict", "votes"))
    for file in Path(folder).glob("candidates/*.parquet"):
        table = pq.read_table(file)
        pq.write_table(pa.Table.from_pylist([row | unknown for row in table.to_pylist()], schema=table.schema), file)
    card = make_card(read_report(folder))
    assert "4 of 4 candidates were imported: how they were made is not known." in card
    for claim in ("by the method of", "language:", "a model's", "The judge read"):
        assert claim not in card
