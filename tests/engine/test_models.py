"""Whether a model can be had is told before anything loads."""

from pathlib import Path

import pytest

from videopasta.engine.models import check_model, revision_of
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
