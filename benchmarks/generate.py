"""Does the pipeline keep its engine busy, and what is it worth to keep a clip's requests together?

    python benchmarks/generate.py --json benchmarks/results/generate.json

One engine (a random Qwen2.5-VL of 10 M parameters, float32) plays all roles on generated clips of 1,936 video
tokens. Three ways to answer the same requests, in one run, taking turns:

    pipeline   `videopasta generate`'s Ray Data graph: decoding, all stages, one row per clip
    bare       the engine alone: all requests known at once, in order, frames decoded beforehand
    exploded   the engine alone: the same requests, one row each, in random order over the clips

The KV cache holds 12,000 tokens, five clips of the 16: on a GPU it holds a few per cent of a data set, so this is
kind to `exploded`. Tokens are prompt + answer tokens
as the engine counts them. The pipeline's time runs from its first request to its last answer: loading is not in it,
decoding and Ray are. `ratio` = pipeline's tokens/s over bare's; `ratio_exploded` = over exploded's.
"""

import asyncio
import logging
import os
import random
import statistics
import tempfile
import time
from itertools import islice
from pathlib import Path

from _common import arguments, machine, write_json

from videopasta.config import GenerateConfig
from videopasta.engine import Answer, Engine, Request, start_engine
from videopasta.generate.pipeline import plan_stages, play_roles, stream_works, views
from videopasta.generate.work import Work
from videopasta.prompts import PromptSet, load_prompts
from videopasta.tiny.random_models import make_vl
from videopasta.tiny.render import write_video
from videopasta.tiny.world import scenes
from videopasta.video import ClipRequest, ManifestEntry, decode_clip

SIDE = 308  # pixels: 16 frame pairs of 11 x 11 tokens
# 6 layers of 6 key and 6 value heads of 32 numbers of 4 bytes: 9,216 bytes a token.
MODEL = {"hidden_size": 384, "num_layers": 6}
KV_CACHE_GIB = 12_000 * 9_216 / 2**30
ROLES = ("query", "response", "judge.0")


def config(model_folder: Path) -> GenerateConfig:
    """All roles on one model, hence one engine."""
    model = {
        "model": str(model_folder),
        "dtype": "float32",
        "max_model_len": 4096,
        "max_num_seqs": 4,
        "enforce_eager": True,
        "kv_cache_gib": KV_CACHE_GIB,
        "pool": {"num_cpus": 0.5, "clips_in_flight": 2},
    }
    dense = {"kind": "uniform", "num_frames": 32}
    return GenerateConfig.model_validate(
        {
            "query_model": model,
            "response_model": model,
            "judge_model": model,
            "decode_pool": {"num_cpus": 0.5, "clips_in_flight": 1},
            "decode": {"pixels": {"min_pixels": SIDE * SIDE, "max_pixels": SIDE * SIDE}},
            "plans": {
                "query": dense,
                "preferred": {"spatial": dense, "temporal": dense, "cross_frame": dense},
                "adversarial": {"kind": "uniform", "num_frames": 32},
            },
            "queries": {"per_mode": 1, "max_chars": 40, "sampling": {"max_tokens": 256}},
            "responses": {
                "num_adversaries": 2,
                "preferred": {"temperature": 0.0, "max_tokens": 24},
                "rewrite": {"max_tokens": 160},
                "max_rewrite_chars": 40,
                "adversarial": {"max_tokens": 24},
            },
            "judge": {"max_reason_chars": 10, "sampling": {"temperature": 0.0, "max_tokens": 160}},
        }
    )


class Recorder:
    """An engine that keeps the requests it is asked."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self.model_id, self.requests = engine, engine.model_id, list[Request]()

    async def generate(self, request: Request) -> Answer:
        self.requests.append(request)
        return await self._engine.generate(request)

    def close(self) -> None:
        self._engine.close()


async def record(
    entries: list[ManifestEntry], settings: GenerateConfig, prompts: PromptSet, engine: Engine
) -> list[Request]:
    """The requests that the stages make, clip by clip, with their frames."""
    recorder = Recorder(engine)
    for entry in entries:
        clip = decode_clip(ClipRequest(entry.uris[0], None, None, views(settings), settings.decode))
        work = Work(entry=entry, clip_id=clip.clip_id, video_sha256=clip.video_sha256, plans=clip.plans)
        await play_roles(work, clip.frames, ROLES, recorder, prompts, settings, last_role=ROLES[-1])
    return recorder.requests


async def answer_all(engine: Engine, requests: list[Request]) -> float:
    """Tokens per second of one engine that gets all requests at once."""
    started = time.perf_counter()
    answers = await asyncio.gather(*(engine.generate(request) for request in requests))
    seconds = time.perf_counter() - started
    return sum(answer.usage.prompt_tokens + answer.usage.completion_tokens for answer in answers) / seconds


def run_pipeline(entries: list[ManifestEntry], settings: GenerateConfig, prompts: PromptSet) -> float:
    """Tokens per second of the Ray Data graph, from its first request to its last answer."""
    works = list(stream_works(entries, settings, prompts))
    tokens = sum(calls.prompt_tokens + calls.completion_tokens for work in works for calls in work.calls)
    first = min(work.started_at["query"] for work in works)
    last = max(work.started_at[ROLES[-1]] + work.seconds[ROLES[-1]] for work in works)
    return tokens / (last - first)


def main() -> None:
    """Print the table; write the JSON."""
    parser = arguments(__doc__)
    parser.add_argument("--clips", type=int, default=16)
    options = parser.parse_args()
    import ray

    with tempfile.TemporaryDirectory(prefix="vp-") as folder:
        make_vl(Path(folder) / "model", **MODEL)
        settings, prompts = config(Path(folder) / "model"), load_prompts()
        assert len(plan_stages(settings)) == 1
        entries = []
        for number, scene in enumerate(islice(scenes("train", seed=0), options.clips)):
            path = Path(folder) / f"{number}.mp4"
            write_video(scene, path, SIDE)
            entries.append(ManifestEntry((str(path),), None, None, None))
        ray.init(
            address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR,
            _temp_dir=f"{folder}/r", num_cpus=os.cpu_count(),
        )  # fmt: skip
        engine = start_engine(settings.response_model, video=True)
        requests = asyncio.run(record(entries, settings, prompts, engine))
        shuffled = random.Random(0).sample(requests, len(requests))
        rates: dict[str, list[float]] = {"pipeline": [], "bare": [], "exploded": []}
        for _ in range(options.runs):
            rates["bare"].append(asyncio.run(answer_all(engine, requests)))
            rates["exploded"].append(asyncio.run(answer_all(engine, shuffled)))
            rates["pipeline"].append(run_pipeline(entries, settings, prompts))
            print({name: round(values[-1]) for name, values in rates.items()}, flush=True)
        ray.shutdown()
    medians = {name: statistics.median(values) for name, values in rates.items()}
    result = {
        "machine": machine(),
        "clips": options.clips,
        "requests": len(requests),
        "runs": options.runs,
        "tokens_per_s": medians,
        "ratio": medians["pipeline"] / medians["bare"],
        "ratio_exploded": medians["pipeline"] / medians["exploded"],
    }
    print(f"{len(requests)} requests on {options.clips} clips, medians of {options.runs}")
    for name, value in medians.items():
        print(f"  {name:9} {value:9.0f} tokens/s")
    print(f"pipeline / bare = {result['ratio']:.2f}, pipeline / exploded = {result['ratio_exploded']:.2f}")
    write_json(options.json, result)


if __name__ == "__main__":
    main()
