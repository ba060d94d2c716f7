"""Do the exports train? Two steps of each trainer's own command on them, in an environment of its own.

    make trainers-env
    python benchmarks/trainers.py --json benchmarks/results/trainers.json

Two rendered clips with a pair each are imported (`videopasta import`, 32 frames, the default pixel budget), exported
for each trainer, and trained on by its command line: full fine-tuning of a random Qwen2.5-VL of 0.7 M parameters on
CPU, beta 0.1, both pairs in each step. A run fails here unless it gives a loss a step, the first of them log 2, and
unless each sequence has as many tokens of the video as the frame plan makes. `logps` are the mean log-probs of the
chosen and rejected answers before the first step: those of `ours` are from the packed pass on the same frames.

    trl            `trl dpo` of this environment on `--frames png`: images, each a grid of its own, twice the tokens
    ms-swift       `swift rlhf --rlhf_type dpo` on `--frames png`, and on the videos, which it samples itself
    llama-factory  `llamafactory-cli train` with `stage: dpo` on the same two

The log-probs of ms-swift and LLaMA-Factory must be ours within what they round them to, once two things are made equal.
They learn the line break behind an answer's end as well: `ours` has it too. And transformers 5 places the text behind a
video elsewhere than vLLM does; `positions mended` runs them with `videopasta/dpo/rope.py`, which says more.

ms-swift is told the two token ids of the small tokenizer: it takes Qwen's for granted, and would train on no video.
LLaMA-Factory imports torchaudio, which has no build for a machine without CUDA; an empty module stands in for it there.
"""

import json
import math
import os
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from _common import arguments, machine, write_json

NUM_FRAMES = 32
FPS = 4.0  # of such a plan on these clips, whose last frame is at 7.75 s
TOKENS = NUM_FRAMES // 2 * 12 * 12  # 336 x 336 pixels
STEPS = 2
BETA = 0.1
LEARNING_RATE = 1e-4
ROUNDED = 0.06  # the trainers log four digits
MENDED = "positions mended"
POSITIONS = "from videopasta.dpo.rope import use_engine_positions\nuse_engine_positions()\n"
RUNS = (
    "trl, frames", "ms-swift, videos", "ms-swift, frames", f"ms-swift, frames, {MENDED}", "llama-factory, videos",
    "llama-factory, frames", f"llama-factory, frames, {MENDED}",
)  # fmt: skip
PACKAGES = ("trl", "ms_swift", "llamafactory", "transformers", "torch", "datasets", "qwen_vl_utils", "av")


def main() -> None:
    """Print the table; write the JSON."""
    parser = arguments(__doc__, timed=False)
    parser.add_argument("--ms-swift", type=Path, default=Path(".venv-swift/bin/python"), help="its interpreter")
    parser.add_argument("--llama-factory", type=Path, default=Path(".venv-llamafactory/bin/python"), help="likewise")
    options = parser.parse_args()
    pythons = {"trl": Path(sys.executable), "ms-swift": options.ms_swift, "llama-factory": options.llama_factory}
    runs: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="vp-") as temporary:
        folder = Path(temporary)
        pairs = prepare(folder)
        runs["ours"] = {"logps": our_logps(folder, pairs), "tokens": TOKENS}
        show("ours", runs["ours"])
        for name in RUNS:
            trainer, frames = name.split(", ")[0], "frames" in name
            runs[name] = trained(name, pythons[trainer].absolute(), folder, pairs, frames=frames)
            show(name, runs[name])
            if name.endswith(MENDED):
                pairs_of_logps = zip(runs["ours"]["logps"], runs[name]["logps"], strict=True)
                if max(abs(our - their) for our, their in pairs_of_logps) > ROUNDED:
                    raise SystemExit(f"{name}: on the same frames, but with other log-probs than ours")
    write_json(options.json, {"machine": machine(), "runs": runs})


def show(name: str, run: Mapping[str, Any]) -> None:
    """A line of the table."""
    logps = ", ".join(f"{value:.2f}" for value in run["logps"])
    losses = ", ".join(f"{loss:.4f}" for loss in run.get("losses", ()))
    print(f"{name:>34}  {run['tokens']} tokens  logps {logps}  losses {losses}", flush=True)


def prepare(folder: Path) -> Path:
    """The model, two clips, and a set of pairs about them."""
    from videopasta.config import ImportConfig
    from videopasta.exchange.importing import import_pairs
    from videopasta.tiny import questions as q
    from videopasta.tiny.learning.lessons import Catalogue
    from videopasta.tiny.random_models import make_vl
    from videopasta.tiny.render import write_video
    from videopasta.tiny.world import scenes

    make_vl(folder / "model")
    rng, rows = random.Random(0), []
    for number, scene in enumerate(islice(scenes("train", seed=0), 2)):
        write_video(scene, folder / f"{number}.mp4")
        (asked,) = Catalogue(scene, rng).draw("spatial", 1)
        misled = q.mislead(asked.answer, q.ADVERSARIES["spatial"][0], rng, scene)
        assert misled.claim is not None  # of this adversary
        rows.append(
            {
                "video": f"{number}.mp4", "prompt": asked.question.text(), "chosen": asked.answer.sentence,
                "rejected": misled.claim.sentence, "failure_mode": "spatial",
            }
        )  # fmt: skip
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    report, _ = import_pairs(str(folder / "pairs.jsonl"), str(folder / "pairs"), ImportConfig())
    if report.num_pairs != len(rows):
        raise SystemExit(f"{report.num_pairs} of {len(rows)} rows became pairs: {report}")
    return folder / "pairs"


def our_logps(folder: Path, pairs: Path) -> list[float]:
    """Mean log-probs of the chosen and of the rejected answers, each with a line break behind its end."""
    from videopasta.config import TrainConfig
    from videopasta.dpo import policy
    from videopasta.dpo.data import pair_files, read_pairs, select
    from videopasta.dpo.examples import trees
    from videopasta.dpo.preparation import logps_of
    from videopasta.dpo.qwen import QwenVideo
    from videopasta.dpo.reference import Logps
    from videopasta.video import FrameReader

    class Broken:
        def __init__(self, video: QwenVideo) -> None:
            self.prefix, self.query, self._video = video.prefix, video.query, video

        def answer(self, text: str) -> tuple[int, ...]:
            return (*self._video.answer(text), *self._video.processor.tokenizer("\n")["input_ids"])

    config = TrainConfig.model_validate(
        {"model": str(folder / "model"), "dtype": "float32", "validation": {"share": 0}}
    )
    video, _ = policy.load_base(config)
    found: list[Logps] = []
    with FrameReader(config.decode) as reader:
        for clip in select(read_pairs(pair_files(str(pairs))), config).train:
            features = {clip.key: video.features(reader.read(clip))}
            found += logps_of(trees(clip, Broken(video), config.tokens_per_pack), video, features).values()
    return [sum(one.chosen for one in found) / len(found), sum(one.rejected for one in found) / len(found)]


def trained(name: str, python: Path, folder: Path, pairs: Path, *, frames: bool) -> dict[str, Any]:
    """What a trainer's own command said of its steps.

    Raises:
        SystemExit: it failed, or did not train on the video.
    """
    from videopasta.config import ExportConfig
    from videopasta.exchange.exporting import export

    trainer = name.split(", ")[0]
    work = folder / name.replace(", ", "-").replace(" ", "-")
    config = ExportConfig.model_validate({"frames": "png" if frames else None, "validation": {"share": 0}})
    _, rejects = export(str(pairs), str(work / "export"), trainer, config)  # type: ignore[arg-type]
    if rejects:
        raise SystemExit(f"{trainer}: {rejects[0]}")
    command, more = {"trl": trl, "ms-swift": ms_swift, "llama-factory": llama_factory}[trainer](python, folder, work)
    if name.endswith(MENDED):
        (work / "sitecustomize.py").write_text(POSITIONS)  # Python runs it when it starts
    environment = (
        os.environ
        | {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf"), "PYTHONPATH": str(work)}
        | more
    )
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=work)
    text = done.stdout + done.stderr
    losses = [float(loss) for loss in re.findall(r"\{'loss': '?([\d.]+)", text)]
    logps = [float(value) for name in ("chosen", "rejected") for value in logged(f"logps/{name}", text)[:1]]
    tokens = tokens_of_video(trainer, folder, text)
    expected = 2 * TOKENS if trainer == "trl" else TOKENS
    if done.returncode or len(losses) != STEPS or abs(losses[0] - math.log(2)) > 1e-3 or tokens != expected:
        raise SystemExit(f"{trainer}: losses {losses}, {tokens} tokens of {expected}:\n{text[-4000:]}")
    return {"versions": versions(python), "losses": losses, "logps": logps, "tokens": tokens}


def logged(name: str, text: str) -> list[float]:
    """The values of a metric, in the order of the steps."""
    return [float(value) for value in re.findall(rf"'{name}': '?(-?[\d.e+]+)", text)]


def tokens_of_video(trainer: str, folder: Path, text: str) -> int:
    """How many a sequence has, by the trainer's own log."""
    if trainer == "trl":  # it logs all tokens of a batch: beside an image's two marks and fewer of text than a frame's
        num_sequences, of_frame = 4, 2 * TOKENS // NUM_FRAMES
        seen = logged("num_tokens", text)
        return int((seen[0] / num_sequences - 2 * NUM_FRAMES) / of_frame) * of_frame if seen else 0
    name = r"CHOSEN_INPUT_IDS\]" if trainer == "ms-swift" else "chosen_input_ids:"
    ids = re.findall(name + r"\s*\[([^]]*)\]", text)
    video_id = json.loads((folder / "model/config.json").read_text())["video_token_id"]
    return ids[0].split(", ").count(str(video_id)) if ids else 0


Command = tuple[list[str], dict[str, str]]


def trl(python: Path, folder: Path, work: Path) -> Command:
    """As its users write it."""
    return [
        str(python.parent / "trl"), "dpo", "--model_name_or_path", str(folder / "model"),
        "--dataset_name", str(work / "export"), "--dtype", "float32", "--use_cpu", "true", "--bf16", "false",
        "--beta", str(BETA), "--learning_rate", str(LEARNING_RATE), "--per_device_train_batch_size", "2",
        "--max_steps", str(STEPS), "--max_length", "16384", "--logging_steps", "1", "--save_strategy", "no",
        "--gradient_checkpointing", "false", "--report_to", "none", "--output_dir", str(work / "out"),
    ], {}  # fmt: skip


def ms_swift(python: Path, folder: Path, work: Path) -> Command:
    """As its users write it, but for the token ids."""
    model = json.loads((folder / "model/config.json").read_text())
    (work / "token_ids.py").write_text(
        "from swift.template.templates.qwen import Qwen2VLTemplate as template\n"
        f"template.image_token_id, template.video_token_id = {model['image_token_id']}, {model['video_token_id']}\n"
    )
    return [
        str(python), "-m", "swift.cli.main", "rlhf", "--rlhf_type", "dpo", "--model", str(folder / "model"),
        "--model_type", "qwen2_5_vl", "--template", "qwen2_5_vl", "--tuner_type", "full", "--freeze_vit", "true",
        "--dataset", str(work / "export/train.jsonl"), "--torch_dtype", "float32", "--beta", str(BETA),
        "--learning_rate", str(LEARNING_RATE), "--per_device_train_batch_size", "2",
        "--gradient_accumulation_steps", "1", "--max_steps", str(STEPS), "--attn_impl", "sdpa",
        "--gradient_checkpointing", "false", "--split_dataset_ratio", "0", "--save_strategy", "no",
        "--report_to", "none", "--dataloader_num_workers", "0", "--logging_steps", "1",
        "--output_dir", str(work / "out"), "--external_plugins", str(work / "token_ids.py"),
    ], {
        "USE_HF": "1", "FORCE_QWENVL_VIDEO_READER": "decord", "FPS": str(FPS), "FPS_MIN_FRAMES": str(NUM_FRAMES),
        "FPS_MAX_FRAMES": str(NUM_FRAMES),
    }  # fmt: skip


def llama_factory(python: Path, folder: Path, work: Path) -> Command:
    """As its users write it."""
    import yaml

    from videopasta.config import PixelBudget

    settings = {
        "stage": "dpo", "do_train": True, "model_name_or_path": str(folder / "model"), "template": "qwen2_vl",
        "finetuning_type": "full", "freeze_vision_tower": True, "dataset_dir": str(work / "export"),
        "media_dir": str(work / "export"), "dataset": "videopasta_train", "cutoff_len": 16384,
        "video_max_pixels": PixelBudget().max_pixels, "video_fps": FPS, "video_maxlen": NUM_FRAMES,
        "pref_beta": BETA, "pref_loss": "sigmoid", "learning_rate": LEARNING_RATE, "max_steps": STEPS,
        "per_device_train_batch_size": 2, "gradient_accumulation_steps": 1, "logging_steps": 1, "save_strategy": "no",
        "report_to": "none", "use_cpu": True, "preprocessing_num_workers": 1, "dataloader_num_workers": 0,
        "output_dir": str(work / "out"),
    }  # fmt: skip
    (work / "train.yaml").write_text(yaml.safe_dump(settings))
    if subprocess.run([str(python), "-c", "import torchaudio"], capture_output=True, check=False).returncode:
        (work / "torchaudio.py").touch()
    return [str(python.parent / "llamafactory-cli"), "train", str(work / "train.yaml")], {}


def versions(python: Path) -> dict[str, str]:
    """Of what trained, where it is installed."""
    code = (
        "import json, importlib.metadata as m\n"
        "print(json.dumps({d.name: d.version for d in m.distributions() if d.name.lower().replace('-', '_') in "
        f"{PACKAGES}}}))"
    )
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    main()
