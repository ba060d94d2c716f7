"""The shipped models: they load everywhere, say the same everywhere, and keep the card's promises."""

import asyncio
import json
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
import torch

from tests.conftest import REPOSITORY
from videopasta.config import GenerateConfig, SamplingConfig, load_config
from videopasta.dpo.rope import use_engine_positions
from videopasta.engine import Request, Video, start_engine
from videopasta.tiny.cli import GENERATE_CONFIG
from videopasta.tiny.learning import lessons
from videopasta.tiny.names import CHECKPOINTS
from videopasta.tiny.questions import questions
from videopasta.tiny.render import write_video
from videopasta.tiny.world import scenes
from videopasta.video import ClipRequest, decode_clip

NUM_CLIPS = 50


def test_both_fit_the_repository():
    """Together the checkpoints take at most 16 MB."""
    assert all((CHECKPOINTS / name / "model.safetensors").is_file() for name in ("vl", "judge"))
    assert sum(file.stat().st_size for file in CHECKPOINTS.rglob("*") if file.is_file()) <= 16_000_000


@pytest.fixture(scope="module")
def settings() -> GenerateConfig:
    return load_config(GenerateConfig, GENERATE_CONFIG, [])


@pytest.fixture(scope="module")
def asked(settings, tmp_path_factory) -> list[tuple[Video, str]]:
    """A question on each of 50 unseen clips, seen through their files."""
    folder = tmp_path_factory.mktemp("clips")
    found = []
    for number, scene in enumerate(islice(scenes("test", seed=3), NUM_CLIPS)):
        write_video(scene, folder / "clip.mp4")
        plan = settings.plans.preferred.spatial
        decoded = decode_clip(ClipRequest(str(folder / "clip.mp4"), None, None, {"dense": plan}, settings.decode))
        seen = decoded.plans["dense"]
        kinds = list(questions(scene).values())
        question = kinds[number % len(kinds)][0]
        video = Video(decoded.frames[seen.key], seen.sampled_fps, f"{number}-{seen.key}")
        found.append((video, lessons.preamble() + question.text()))
    return found


def test_transformers_and_vllm_give_the_same_answers(settings, asked):
    """Greedy answers on 50 clips: vLLM's, as in the pipeline, and transformers' generate with vLLM's positions."""
    engine = start_engine(settings.response_model, video=True)
    sampling = SamplingConfig(temperature=0.0, max_tokens=40)

    async def ask():
        requests = [Request(prompt, sampling, 0, video) for video, prompt in asked]
        return await asyncio.gather(*(engine.generate(request) for request in requests))

    try:
        answers = asyncio.run(ask())
    finally:
        engine.close()
    differing = [
        (answer.text, theirs)
        for answer, (video, _) in zip(answers, asked, strict=True)
        if answer.text != (theirs := generated(video, list(answer.prompt_token_ids)))
    ]
    assert not differing


def generated(video: Video, prompt_ids: list[int]) -> str:
    """What transformers' generate says to the same tokens and frames."""
    from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

    use_engine_positions()
    folder = CHECKPOINTS / "vl"
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(folder)
    vision = processor.video_processor([video.frames], do_sample_frames=False, do_resize=False, return_tensors="pt")
    ids = torch.tensor([prompt_ids])
    written = model.generate(
        ids,
        mm_token_type_ids=(ids == model.config.video_token_id).long() * 2,
        pixel_values_videos=vision["pixel_values_videos"],
        video_grid_thw=vision["video_grid_thw"],
        second_per_grid_ts=torch.tensor([2 / video.sampled_fps]),
        do_sample=False,
        max_new_tokens=40,
    )
    return processor.tokenizer.decode(written[0, len(prompt_ids) :], skip_special_tokens=True).strip()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_pairs_are_right(tmp_path: Path):
    """Of the pairs that the real pipeline keeps of 200 unseen clips 95 % are right or more."""
    result = tmp_path / "truth.json"
    subprocess.run([sys.executable, "benchmarks/truth.py", "--json", str(result)], cwd=REPOSITORY, check=True)
    assert json.loads(result.read_text())["ratio"] >= 0.95


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_demo_runs_from_a_wheel(tmp_path: Path):
    """Built, unpacked elsewhere and run outside the repository, the package has its checkpoints and its demo."""
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(tmp_path), "."],
                   cwd=REPOSITORY, check=True)  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)],
                   check=True)  # fmt: skip
    where = subprocess.run(
        [sys.executable, "-c", "import videopasta; print(videopasta.__file__)"],
        cwd=tmp_path, env=environment(site), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert where.stdout.startswith(str(site))
    demo = subprocess.run(
        [sys.executable, "-m", "videopasta.cli", "demo", "--clips", "6"],
        cwd=tmp_path, env=environment(site), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "truth audit of 6 clips" in demo.stdout


def environment(site: Path) -> dict[str, str]:
    """The installed wheel before the repository's own package."""
    import os

    return os.environ | {"PYTHONPATH": str(site)}
