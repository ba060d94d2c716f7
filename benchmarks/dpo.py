"""What is one pass per clip worth? Pairs per second of DPO, packed and cached, against a sequence per answer.

    python benchmarks/dpo.py --json benchmarks/results/dpo.json

    make swift-env                                                  # and with ms-swift beside:
    python benchmarks/dpo.py --json benchmarks/results/dpo.json --ms-swift .venv-swift/bin/python

A random Qwen2.5-VL of 10 M parameters, float32, full fine-tuning, clips of 1,024 video tokens with 1, 3 or 10 pairs.
Each side runs in a process of its own, in turns; medians over the runs.

    packed   `trainer: packed`: vision features and reference log-probs once, then a pass per clip and epoch
    plain    written for this benchmark: two sequences a pair in one batch, policy and reference, nothing kept; but a
             clip is decoded and encoded once for the two pairs that share a batch, and both models share the features
    trl      `trainer: trl`: TRL's DPOTrainer with our collator, which encodes the video of each sequence in each model
    ms_swift its own command, in an environment of its own, on the same clips, texts and model, told the two token ids
             of the small tokenizer (it takes Qwen's for granted and would train on no video); a step is an epoch

The time of a training of 3 epochs, the paper's number: the packed side's one preparation and 3 measured epochs; the
others' measured epoch three times. `ratio` = packed over plain in pairs per second, by pairs per clip. Memory is the
most that the process held at once, less the most it had held before the first pass (ms-swift's: all of it).
"""

import copy
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from _common import arguments, machine, write_json

SIDE = 224  # pixels: 16 frame pairs of 8 x 8 tokens
VIDEO_TOKENS = 1024
MODEL = {"hidden_size": 384, "num_layers": 6}
SIDES = ("packed", "plain", "trl", "ms_swift")
PAIRS_PER_CLIP = (1, 3, 10)
TARGETS = {"1": 2.0, "3": 6.0, "10": 12.0}
EPOCHS = 3
PAIRS_PER_PASS = 2
WORDS = ("the", "red", "ball", "rolls", "behind", "a", "small", "green", "box", "and", "then", "stops", "left", "white")


def main() -> None:
    """Print the table; write the JSON."""
    parser = arguments(__doc__)
    parser.add_argument("--clips", type=int, default=2, help="clips in an epoch (default 2)")
    parser.add_argument("--side", choices=SIDES, help="measure one side only, in this process")
    parser.add_argument("--folder", type=Path, help="of the clips and the model")
    parser.add_argument("--pairs", type=int, help="pairs per clip")
    parser.add_argument("--ms-swift", type=Path, help="an interpreter that has ms-swift: measure it as well")
    options = parser.parse_args()
    if options.side:
        print(json.dumps(measure(options.side, options.folder, options.clips, options.pairs, options.ms_swift)))
        return
    sides = SIDES if options.ms_swift else SIDES[:-1]
    with tempfile.TemporaryDirectory(prefix="vp-") as folder:
        prepare_files(Path(folder), options.clips + 1)
        found: dict[str, dict[str, list[dict[str, float]]]] = {}
        for run in range(options.runs):
            for pairs in PAIRS_PER_CLIP:
                for side in sides:
                    one = measure_apart(side, folder, options.clips, pairs, options.ms_swift)
                    found.setdefault(str(pairs), {}).setdefault(side, []).append(one)
                    print(f"run {run + 1}, {pairs} pairs a clip, {side}: {one['pairs_per_s']:.3f} pairs/s", flush=True)
    medians = {
        count: {
            side: {name: statistics.median(one[name] for one in ones) for name in ones[0]} for side, ones in s.items()
        }
        for count, s in found.items()
    }
    ratios = {
        other: {count: s["packed"]["pairs_per_s"] / s[other]["pairs_per_s"] for count, s in medians.items()}
        for other in sides[1:]
    }
    print(f"\n{'pairs a clip':>12} {' '.join(f'{side:>9}' for side in sides)} pairs/s   packed over them   MiB of each")
    for count, s in medians.items():
        speeds = " ".join(f"{s[side]['pairs_per_s']:9.3f}" for side in sides)
        over = ", ".join(f"{ratios[other][count]:.1f}" for other in sides[1:])
        memory = ", ".join(f"{s[side]['peak_mib']:.0f}" for side in sides)
        print(f"{count:>12} {speeds}           {over:>16}   {memory}")
    write_json(
        options.json,
        {
            "machine": machine(), "clips": options.clips, "runs": options.runs, "epochs": EPOCHS,
            "ratio": ratios["plain"], "target": TARGETS, "ratio_trl": ratios["trl"],
            "ratio_ms_swift": ratios.get("ms_swift"), "medians": medians,
        },
    )  # fmt: skip


def prepare_files(folder: Path, num_clips: int) -> None:
    """The model, and clips as files."""
    from videopasta.tiny.random_models import make_vl
    from videopasta.tiny.render import write_video
    from videopasta.tiny.world import scenes

    make_vl(folder / "model", **MODEL)
    for number, scene in enumerate(islice(scenes("train", seed=0), num_clips)):
        write_video(scene, folder / f"{number}.mp4", SIDE)


def measure_apart(side: str, folder: str, clips: int, pairs: int, swift: Path | None) -> dict[str, float]:
    """`measure` in a process of its own."""
    command = [
        sys.executable,
        __file__,
        "--side",
        side,
        "--folder",
        folder,
        "--clips",
        str(clips),
        "--pairs",
        str(pairs),
        *(["--ms-swift", str(swift)] if swift else []),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{side} with {pairs} pairs a clip failed:\n{done.stderr[-3000:]}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure(side: str, folder: Path, num_clips: int, num_pairs: int, swift: Path | None) -> dict[str, float]:
    """Pairs per second over `EPOCHS` epochs, and memory in MiB."""
    from videopasta.config import TrainConfig, UniformPlan
    from videopasta.dpo.examples import Clip, Pair
    from videopasta.video import ClipRequest, decode_clip

    config = TrainConfig.model_validate(
        {
            "model": str(folder / "model"), "dtype": "float32", "lora": None, "pairs_per_step": num_clips * num_pairs,
            "tokens_per_pack": 4096, "activation_checkpointing": False, "trl_pairs_per_pass": PAIRS_PER_PASS,
            "decode": {"pixels": {"min_pixels": SIDE * SIDE, "max_pixels": SIDE * SIDE}},
            "vision_cache": {"folder": tempfile.mkdtemp(dir=folder)}, "validation": {"share": 0},
        }
    )  # fmt: skip
    rng = random.Random(num_pairs)

    def sentence() -> str:
        return " ".join(rng.choices(WORDS, k=15))

    clips = []
    for number in range(num_clips + 1):
        uri = str(folder / f"{number}.mp4")
        seen = decode_clip(ClipRequest(uri, None, None, {"dense": UniformPlan(num_frames=32)}, config.decode))
        queries = [(sentence(), sentence()) for _ in range(-(-num_pairs // 3))]
        pairs = tuple(
            Pair(f"{number}-{n}", "spatial", *queries[n // 3], rejected=sentence()) for n in range(num_pairs)
        )  # 3 adversarial answers a query, as the paper has them
        clips.append(Clip(uri, None, None, seen.video_sha256, seen.plans["dense"], pairs))
    if side == "ms_swift" and swift:
        return ms_swift(swift, clips[1:], folder)
    run = {"packed": packed, "plain": plain, "trl": trl}[side]
    return run(config, clips[1:], clips[0], folder)


def timed(run: Callable[[], object]) -> float:
    """Seconds."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def speed(clips: Sequence[Any], seconds: float, before_kib: int) -> dict[str, float]:
    """Pairs per second of a training of `seconds`."""
    return {
        "pairs_per_s": EPOCHS * sum(len(clip.pairs) for clip in clips) / seconds,
        "peak_mib": (held_kib() - before_kib) / 1024,
    }


def held_kib() -> int:
    """The most memory that this process has held."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def packed(config: Any, clips: Sequence[Any], warm_up: Any, folder: Path) -> dict[str, float]:
    """Preparation once, and `EPOCHS` times the time of a step with all clips."""
    from videopasta.dpo import policy
    from videopasta.dpo.data import Selection
    from videopasta.dpo.features import FeatureSource
    from videopasta.dpo.loss import Weights
    from videopasta.dpo.preparation import prepare
    from videopasta.dpo.reference import ReferenceStore
    from videopasta.dpo.team import Team
    from videopasta.dpo.trainer import Trainer
    from videopasta.dpo.vision_cache import VisionCache, tower_hash

    team, loaded = Team.current(use_gpu=False), policy.load_policy(config)
    video = loaded.video
    cache = VisionCache(policy.folder_of(config), tower_hash(video.model.model.visual), 10**10)
    store = ReferenceStore(config.vision_cache.folder, loaded.revision, config.dtype)
    with FeatureSource(video, cache, config.decode) as features:

        def prepared(some: Sequence[Any]) -> dict[str, Any]:
            return prepare(Selection(tuple(some), ()), video, team, config, features=features, store=store)[1]

        def trainer(some: Sequence[Any], references: dict[str, Any]) -> Trainer:
            weights = Weights({"spatial": 1.0})
            return Trainer(video, team, config, features=features, references=references, weights=weights, num_steps=9)

        before = held_kib()
        trainer([warm_up], prepared([warm_up])).step(0, [warm_up])
        started = time.perf_counter()
        references = prepared(clips)
        preparation_s = time.perf_counter() - started
        ready = trainer(clips, references)
        epochs_s = sum(timed(lambda number=number: ready.step(number, clips)) for number in range(EPOCHS))  # type: ignore[misc]
    return speed(clips, preparation_s + epochs_s, before)


def plain(config: Any, clips: Sequence[Any], warm_up: Any, folder: Path) -> dict[str, float]:
    """`EPOCHS` times the time of an epoch in which each answer is a sequence of its own."""
    import torch

    from videopasta.dpo import policy
    from videopasta.dpo.loss import PairLogps, batch_loss, pair_losses
    from videopasta.dpo.trainer import make_optimizer
    from videopasta.video import FrameReader

    # The causal kernel without a mask: right-padded sequences need none.
    video = policy.load_policy(config.model_copy(update={"attention": "dense"})).video
    reference = copy.deepcopy(video.model).requires_grad_(False)
    optimizer = make_optimizer(video, config)

    def logps(model: Any, ids: Any, positions: Any, features: Any, answers: list[tuple[int, int]]) -> Any:
        """(sequences,) log-probability of each answer; right-padded, so the causal mask is all that is needed."""
        embedded = model.model.language_model.embed_tokens(ids)
        embedded = embedded.masked_scatter((ids == video.video_id)[..., None], features)
        hidden = model.model.language_model(
            inputs_embeds=embedded, position_ids=positions, attention_mask={"full_attention": None}, use_cache=False
        ).last_hidden_state
        rows = torch.cat([hidden[n, start - 1 : end - 1] for n, (start, end) in enumerate(answers)])
        targets = torch.cat([ids[n, start:end] for n, (start, end) in enumerate(answers)])
        found = model.lm_head(rows).float().log_softmax(-1).gather(-1, targets[:, None])[:, 0]
        return torch.stack([part.sum() for part in found.split([end - start for start, end in answers])])

    def epoch(some: Sequence[Any], reader: FrameReader) -> None:
        num_pairs = sum(len(clip.pairs) for clip in some)
        num_tokens = sum(len(video.answer(pair.chosen)) for clip in some for pair in clip.pairs)
        for clip in some:
            for first in range(0, len(clip.pairs), PAIRS_PER_PASS):
                pairs = clip.pairs[first : first + PAIRS_PER_PASS]
                features = video.features(reader.read(clip))
                prefix, prefix_positions = video.prefix(clip.plan)
                rows, answers, positions = [], [], []
                for pair, text in [(p, p.chosen) for p in pairs] + [(p, p.rejected) for p in pairs]:
                    query, answer = video.query(pair.prompt), video.answer(text)
                    start = len(prefix) + len(query)
                    answers.append((start, start + len(answer)))
                    rows.append(torch.tensor([*prefix.tolist(), *query, *answer]))
                    behind = torch.arange(len(query) + len(answer)) + int(prefix_positions.max()) + 1
                    positions.append(torch.cat([torch.from_numpy(prefix_positions), behind.expand(3, -1)], dim=1))
                ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
                padded = torch.nn.utils.rnn.pad_sequence([p.T for p in positions], batch_first=True).permute(2, 0, 1)
                seen = features.repeat(len(rows), 1)
                spoken = logps(video.model, ids, padded, seen, answers)
                with torch.no_grad():
                    base = logps(reference, ids, padded, seen, answers)
                lengths = torch.tensor([end - start for start, end in answers])
                half = len(pairs)
                of_pairs = PairLogps(
                    spoken[:half], spoken[half:], base[:half], base[half:], lengths[:half], lengths[half:]
                )
                losses = pair_losses(of_pairs, config.loss)
                batch_loss(
                    losses, torch.ones(half), num_pairs=num_pairs, num_chosen_tokens=num_tokens, rpo_alpha=1.0
                ).backward()
        torch.nn.utils.clip_grad_norm_(list(policy.trained(video).values()), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    with FrameReader(config.decode) as reader:
        before = held_kib()
        epoch([warm_up], reader)
        seconds = timed(lambda: epoch(clips, reader))
    return speed(clips, EPOCHS * seconds, before)


def trl(config: Any, clips: Sequence[Any], warm_up: Any, folder: Path) -> dict[str, float]:
    """`EPOCHS` times the time of an epoch of TRL's trainer; its start is not counted."""
    from transformers import TrainerCallback

    from videopasta.dpo import policy
    from videopasta.dpo.team import Team
    from videopasta.dpo.trl_trainer import make_trainer
    from videopasta.video import FrameReader

    class Clock(TrainerCallback):
        def __init__(self) -> None:
            self.ends: list[float] = []
            self.before = 0

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.ends.append(time.perf_counter())

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            self.before = held_kib()

    video, _ = policy.load_base(config)
    step = config.pairs_per_step
    examples = [(clip, pair) for clip in clips for pair in clip.pairs]
    # The first step warms up; what it takes depends on nothing.
    warm = [(warm_up, warm_up.pairs[n % len(warm_up.pairs)]) for n in range(step)]
    micro = min(PAIRS_PER_PASS, step)
    config = config.model_copy(update={"trl_pairs_per_pass": micro if step % micro == 0 else 1})
    clock = Clock()
    with FrameReader(config.decode) as reader:
        alone = Team.current(use_gpu=False)
        trainer = make_trainer(video, config, reader, [*warm, *examples], [], alone, folder / "trl")
        trainer.add_callback(clock)
        trainer.train()
    return speed(clips, EPOCHS * (clock.ends[1] - clock.ends[0]), clock.before)


def ms_swift(python: Path, clips: Sequence[Any], folder: Path) -> dict[str, float]:
    """`EPOCHS` epochs of ms-swift's own command after one to warm up, by the seconds that its log tells.

    Raises:
        SystemExit: it fails, or trains without the video.
    """
    import resource

    work = Path(tempfile.mkdtemp(dir=folder))
    model = json.loads((folder / "model/config.json").read_text())
    (work / "token_ids.py").write_text(
        "from swift.template.templates.qwen import Qwen2VLTemplate as template\n"
        f"template.image_token_id, template.video_token_id = {model['image_token_id']}, {model['video_token_id']}\n"
    )
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"<video>{pair.prompt}"}, {"role": "assistant", "content": pair.chosen},
            ],
            "rejected_response": pair.rejected, "videos": [clip.uri],
        }
        for clip in clips for pair in clip.pairs
    ]  # fmt: skip
    (work / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    micro = min(PAIRS_PER_PASS, len(rows))
    command = [
        str(python), "-m", "swift.cli.main", "rlhf", "--rlhf_type", "dpo", "--model", str(folder / "model"),
        "--model_type", "qwen2_5_vl", "--template", "qwen2_5_vl", "--tuner_type", "full", "--freeze_vit", "true",
        "--freeze_aligner", "true", "--dataset", str(work / "data.jsonl"), "--torch_dtype", "float32",
        "--num_train_epochs", str(1 + EPOCHS), "--per_device_train_batch_size", str(micro),
        "--gradient_accumulation_steps", str(len(rows) // micro), "--learning_rate", "1e-6", "--attn_impl", "sdpa",
        "--gradient_checkpointing", "false", "--save_strategy", "no", "--split_dataset_ratio", "0",
        "--report_to", "none", "--dataloader_num_workers", "0", "--logging_steps", "1", "--output_dir", str(work),
        "--external_plugins", str(work / "token_ids.py"),
    ]  # fmt: skip
    pixels = str(SIDE * SIDE)
    environment = os.environ | {
        "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "USE_HF": "1", "VIDEO_MAX_PIXELS": pixels,
        "VIDEO_MIN_PIXELS": pixels, "FPS": "4", "FPS_MIN_FRAMES": "32", "FPS_MAX_FRAMES": "32",
        "FORCE_QWENVL_VIDEO_READER": "decord",
    }  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    text = done.stdout + done.stderr
    per_step = [float(seconds) for seconds in re.findall(r"'learning_rate'.*?'train_speed\(s/it\)': '([\d.]+)'", text)]
    tokens = re.findall(r"CHOSEN_INPUT_IDS\] \[([^]]*)\]", text)
    if done.returncode or len(per_step) != 1 + EPOCHS:  # a step is an epoch; each line has the mean so far
        raise SystemExit(f"ms-swift failed:\n{text[-3000:]}")
    of_video = tokens[0].split(", ").count(str(model["video_token_id"])) if tokens else 0
    if of_video != VIDEO_TOKENS:
        raise SystemExit(f"ms-swift trained on {of_video} tokens of the video, not on {VIDEO_TOKENS}")
    peak_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    seconds = (1 + EPOCHS) * per_step[-1] - per_step[0]
    return {"pairs_per_s": EPOCHS * len(rows) / seconds, "peak_mib": peak_mib}


if __name__ == "__main__":
    main()
