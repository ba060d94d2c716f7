"""A run for a cluster behind a token: clips, and a configuration (by default of the stand-in of tests/chaos)."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from tests.chaos.endpoint import Endpoint
from tests.chaos.runs import scripted_config
from videopasta.tiny.truth import write_clips
from videopasta.tiny.world import scenes

TOKEN = "7" * 64
SECURED = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
"""Environment of a head, and of who uses it."""


def write_run(
    folder: Path,
    *,
    num_clips: int,
    pools: Mapping[str, Mapping[str, Any]],
    config: Mapping[str, Any] | None = None,
    **settings: Any,
) -> None:
    """Put `num_clips` clips and a configuration into `folder`.

    Args:
        folder: is there.
        num_clips: of the embedded world.
        pools: by `decode`, `query`, `response` and `judge`.
        config: to begin with; the stand-in's by default.
        settings: over the configuration's others.
    """
    write_clips(islice(scenes("train", seed=1), num_clips), folder / "videos")
    made = dict(config or scripted_config(Endpoint())) | settings
    for name, pool in pools.items():
        if name == "decode":
            made["decode_pool"] = dict(pool)
        else:
            made[f"{name}_model"] = made[f"{name}_model"] | {"pool": dict(pool)}
    (folder / "config.yaml").write_text(yaml.safe_dump(made))


def generate_words(folder: Path, out: Path) -> list[str]:
    """Options of `videopasta generate` for what `write_run` wrote."""
    return ["--videos", str(folder / "videos"), "--out", str(out), "--config", str(folder / "config.yaml")]
