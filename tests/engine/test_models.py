"""Whether a model can be had is told before anything loads."""

from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from videopasta import storage
from videopasta.config import EvaluateConfig, GenerateConfig, OpenAIModel, TrainConfig, VllmModel, load_config
from videopasta.config.serve import ServeConfig
from videopasta.engine.models import check_model, local_path, remote_code_warnings, revision_of
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


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth", "model.pt"])
def test_weights_that_are_a_pickle_are_refused(tmp_path: Path, name: str):
    """In a local and in a remote folder, before anything loads; beside safetensors they are left alone."""
    for uri in (str(tmp_path / "model"), f"memory://{tmp_path.name}/pickled"):
        put(uri, "config.json", b"{}")
        put(uri, name, b"\x80\x04.")
        with pytest.raises(UserError, match=rf"its weights are a pickle \(.*{name}\)"):
            check_model(uri, None)
        with pytest.raises(UserError, match="its weights are a pickle"):
            local_path(uri)
        put(uri, "model.safetensors", b"")
        check_model(uri, None)


def test_models_with_code_of_their_own_are_named():
    """Once each, and whether the code can change."""
    plain, loose = VllmModel(model="plain"), VllmModel(model="o/loose", trust_remote_code=True)
    pinned = VllmModel(model="o/pinned", revision="abc", trust_remote_code=True)
    lines = list(remote_code_warnings([plain, loose, pinned, loose, OpenAIModel(model="remote")]))
    assert [line.split()[1] for line in lines] == ["o/loose", "o/pinned"]
    assert ["no revision is pinned" in line for line in lines] == [True, False]


def test_shipped_configurations_trust_the_code_of_one_model_alone():
    """The paper's query writer, which needs it."""
    kinds = {"dpo": TrainConfig, "evaluate": EvaluateConfig, "serve": ServeConfig}
    trusted = set()
    for file in (None, *sorted((REPOSITORY / "configs").glob("*.yaml"))):
        config = load_config(kinds.get(file.name.partition("_")[0] if file else "", GenerateConfig), file)
        if isinstance(config, GenerateConfig):
            models = [config.query_model, config.response_model, *config.judge_model]
        else:
            models = [] if isinstance(config, TrainConfig) else [config.model]  # a training has no such setting
        trusted |= {one.model for one in models if isinstance(one, VllmModel) and one.trust_remote_code}
    assert trusted == {"OpenGVLab/InternVL2_5-38B"}
