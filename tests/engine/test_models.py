"""Whether a model can be had is told before anything loads."""

from pathlib import Path

import pytest

from videopasta import storage
from videopasta.engine.models import check_model, local_path, revision_of
from videopasta.errors import UserError


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("tiny:nonsense", "there are vl, judge, random-vl, random-judge"),
        ("/nowhere/at/all", "no config.json"),
        ("nobody/no-such-model-for-videopasta", "not in the cache, and the hub cannot be reached|the hub has none"),
        ("not a name", "the hub has none|cannot be reached"),
    ],
)
def test_model_that_cannot_be_had_is_told_with_the_fix(model: str, message: str):
    """Tiny names, folders and hub ids, online or offline."""
    with pytest.raises(UserError, match=message):
        check_model(model, None)


def test_revision_of_a_folder_follows_its_content(tmp_path: Path):
    """Any weight or configuration byte makes another revision; other files do not."""
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    before = revision_of(str(tmp_path), None, None)
    (tmp_path / "notes.md").write_text("a note")
    assert revision_of(str(tmp_path), None, None) == before
    (tmp_path / "model.safetensors").write_bytes(b"Weights")
    assert revision_of(str(tmp_path), None, None) != before


def put(uri: str, name: str, content: bytes) -> None:
    filesystem, folder = storage.resolve(uri)
    filesystem.create_dir(folder, recursive=True)
    with filesystem.open_output_stream(f"{folder}/{name}") as stream:
        stream.write(content)


def test_remote_checkpoint_is_copied_once_for_what_it_holds(tmp_path: Path):
    """A copy on this machine, the same one while nothing changes there, another one when something does."""
    uri = f"memory://{tmp_path.name}/model"
    put(uri, "config.json", b"{}")
    put(uri, "model.safetensors", b"weights")
    check_model(uri, None)
    first = Path(local_path(uri))
    assert (first / "model.safetensors").read_bytes() == b"weights"
    assert local_path(uri) == str(first)
    put(uri, "model.safetensors", b"other weights")
    assert (Path(local_path(uri)) / "model.safetensors").read_bytes() == b"other weights"


def test_remote_folder_without_a_checkpoint_is_refused(tmp_path: Path):
    """As a local one is."""
    with pytest.raises(UserError, match=r"no config\.json there"):
        check_model(f"memory://{tmp_path.name}/nothing", None)
