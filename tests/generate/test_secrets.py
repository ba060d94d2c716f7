"""A real run with a key: it reaches the endpoint and nothing else."""

import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clips import make_clip
from tests.test_credentials import SECRET, tactless_endpoint  # noqa: F401 - a fixture
from videopasta.config import GenerateConfig, OpenAIModel, dump_yaml
from videopasta.config.models import EnginePoolConfig, PoolConfig
from videopasta.pairs import PairStore


def holding(folder: Path, secret: str) -> list[str]:
    """Files below `folder` that hold the secret."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return [str(path) for path in files if secret.encode() in path.read_bytes()]


@pytest.mark.parametrize(("status", "by"), [(400, "file"), (401, "variable")])
def test_no_secret_is_written_by_a_run(tactless_endpoint, ray_folder: Path, tmp_path: Path, status: int, by: str):  # noqa: F811
    """Neither the key nor Ray's token: not in OUT, not on the screen, not in Ray's logs, whether the run ends well."""
    handler, base_url = tactless_endpoint
    handler.status = status
    (tmp_path / "videos").mkdir()
    make_clip(tmp_path / "videos/clip.mp4")
    (tmp_path / "key").write_text(SECRET)
    key = {"api_key_file": str(tmp_path / "key")} if by == "file" else {"api_key_env": "MY_KEY"}
    pool = EnginePoolConfig(num_cpus=0.1)
    model = OpenAIModel(model="m", base_url=base_url, max_retries=0, pool=pool, **key)
    config = GenerateConfig(
        query_model=model, response_model=model, judge_model=(model,), decode_pool=PoolConfig(num_cpus=0.5)
    )
    (tmp_path / "config.yaml").write_text(dump_yaml(config))
    out, token = tmp_path / "out", secrets.token_hex(32)
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment |= {"RAY_TMPDIR": str(ray_folder), "RAY_AUTH_TOKEN": token, "MY_KEY": SECRET}
    done = subprocess.run(
        [sys.executable, "-m", "videopasta.cli", "generate", "--videos", str(tmp_path / "videos"), "--out", str(out),
         "--config", str(tmp_path / "config.yaml")],
        capture_output=True, text=True, timeout=300, env=environment, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert handler.keys[-1] == SECRET
    if status == 400:
        assert done.returncode == 0, said
        (row,) = PairStore(str(out)).read("quarantine").to_pylist()
        assert "may not" in row["detail"]
    else:
        assert done.returncode != 0
        assert "may not" in said
    for secret in (SECRET, token):
        assert secret not in said
        assert holding(out, secret) == holding(ray_folder, secret) == []
    assert len(list(ray_folder.rglob("*.log"))) > 5
