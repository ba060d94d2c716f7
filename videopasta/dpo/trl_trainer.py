"""TRL's own DPOTrainer on the same pairs: a sequence per answer, video decoded and encoded for each.

For people who live in TRL, and the plain side of comparisons. TRL has no video (a `videos` column trains on text
alone without a word), so the collator makes what its loss needs: the same tokens, frames and positions as the packed
trainer's. The order of pairs and the learning rate are the packed trainer's too. What TRL's loss lacks is refused.
"""

import shutil
import tempfile
import uuid
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch.utils.data import SequentialSampler
from transformers import TrainerCallback
from trl import DPOConfig, DPOTrainer

from videopasta.config import FAILURE_MODES, TrainConfig
from videopasta.dpo import policy, schedule
from videopasta.dpo.data import Selection, fitting, select
from videopasta.dpo.examples import Clip, Pair
from videopasta.dpo.features import FrameReader
from videopasta.dpo.fit import Plan, Reports
from videopasta.dpo.qwen import QwenVideo
from videopasta.dpo.rope import VIDEO
from videopasta.dpo.team import Team
from videopasta.dpo.trainer import learning_rate
from videopasta.errors import UserError
from videopasta.video import VideoError

_IGNORED = "images"
"""TRL takes a data set for one of vision by this column; nothing reads it."""
_NAMES = {
    "loss": "loss", "grad_norm": "grad_norm", "learning_rate": "learning_rate", "epoch": "epoch",
    "rewards/chosen": "reward_chosen", "rewards/rejected": "reward_rejected", "rewards/margins": "reward_margin",
    "rewards/accuracies": "reward_accuracy", "logps/chosen": "logp_chosen", "logps/rejected": "logp_rejected",
}  # fmt: skip


def check_config(config: TrainConfig) -> None:
    """Whether TRL can do what `config` asks for.

    Raises:
        UserError: it cannot.
    """
    loss, weights = config.loss, {config.loss.mode_weights.of(mode) for mode in FAILURE_MODES}
    refused = {
        "loss.mode_weights": f"{config.loss.mode_weights!r}: TRL weighs no pairs" if len(weights) > 1 else "",
        "loss.label_smoothing": "TRL's sigmoid loss has none"
        if loss.label_smoothing and loss.type == "sigmoid"
        else "",
        "loss.length_normalised": f"TRL's {loss.type} loss has no such form"
        if loss.length_normalised and loss.type != "sigmoid"
        else "",
    }
    for name, reason in refused.items():
        if reason:
            raise UserError(f"trainer: trl with {name}: {reason}; use trainer: packed, or the default")


class VideoCollator:
    """From pairs to a batch of conversations: all chosen ones, then all rejected ones."""

    def __init__(self, video: QwenVideo, reader: FrameReader, examples: Sequence[tuple[Clip, Pair]]) -> None:
        """Take up what it needs.

        Args:
            video: for tokens and pixels.
            reader: of frames.
            examples: what the numbers in the column `example` stand for.
        """
        self._video, self._reader, self._examples = video, reader, examples

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        chosen = [self._examples[row["example"]] for row in rows]
        # Pairs of a clip follow each other: its frames are decoded and cut into patches once a batch.
        seen = {clip.key: clip for clip, _ in chosen}
        pixels = {key: self._video.patches(self._reader.read(clip)) for key, clip in seen.items()}
        conversations = [(clip, pair.prompt, pair.chosen) for clip, pair in chosen]
        conversations += [(clip, pair.prompt, pair.rejected) for clip, pair in chosen]
        ids, masks = [], []
        for clip, prompt, text in conversations:
            before = [*self._video.prefix(clip.plan)[0].tolist(), *self._video.query(prompt)]
            answer = self._video.answer(text)
            ids.append(torch.tensor([*before, *answer]))
            masks.append(torch.tensor([0] * len(before) + [1] * len(answer)))
        pad = torch.nn.utils.rnn.pad_sequence
        padding = self._video.processor.tokenizer.pad_token_id
        input_ids = pad(ids, batch_first=True, padding_value=padding)
        return {
            "input_ids": input_ids,
            "attention_mask": pad([torch.ones_like(row) for row in ids], batch_first=True),
            "completion_mask": pad(masks, batch_first=True),
            "mm_token_type_ids": (input_ids == self._video.video_id).long() * VIDEO,
            "pixel_values_videos": torch.cat([pixels[clip.key][0] for clip, _, _ in conversations]),
            "video_grid_thw": torch.cat([pixels[clip.key][1] for clip, _, _ in conversations]),
            "second_per_grid_ts": torch.tensor(
                [self._video.seconds_per_step(clip.plan) for clip, _, _ in conversations]
            ),
        }


class VideoDPOTrainer(DPOTrainer):
    """DPOTrainer with the packed trainer's order and schedule."""

    def __init__(self, *arguments: Any, settings: TrainConfig, **others: Any) -> None:
        self._settings = settings
        super().__init__(*arguments, **others)

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> SequentialSampler:
        assert isinstance(self.train_dataset, Dataset)
        return SequentialSampler(self.train_dataset)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        config = self._settings
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer or self.optimizer,  # type: ignore[arg-type]
            lambda step: learning_rate(step, num_training_steps, config) / config.optimizer.lr,
        )
        return self.lr_scheduler


def fit_with_trl(rows: Iterable[Mapping[str, Any]], config: TrainConfig, reports: Reports) -> None:
    """Train with TRL; each worker has the whole model (data parallel).

    Raises:
        UserError: nothing to train on, or a setting that TRL lacks.
    """
    check_config(config)
    team = Team.current()
    video, _ = policy.load_base(config)
    # One folder for all workers: the first one writes there and the others look.
    scratch = Path(team.gather(tempfile.gettempdir() + f"/videopasta-trl-{uuid.uuid4().hex}")[0])
    with FrameReader(config.decode) as reader:
        selection = fitting(
            select(rows, config), video, max_answer_tokens=config.max_answer_tokens,
            tokens_per_pack=config.tokens_per_pack,
        )  # fmt: skip
        selection = _usable(selection, reader, team)
        counts = selection.counts()
        num_steps = schedule.num_steps(selection.train, epochs=config.epochs, pairs_per_step=config.pairs_per_step)
        if not num_steps:
            raise UserError(
                f"{sum(counts.values())} usable pairs: not one step of {config.pairs_per_step}; lower pairs_per_step"
            )
        batches = schedule.batches(
            selection.train, epochs=config.epochs, pairs_per_step=config.pairs_per_step, seed=config.seed
        )
        train = [(clip, pair) for batch in batches for clip in batch for pair in clip.pairs]
        unseen = [(clip, pair) for clip in selection.validation for pair in clip.pairs]
        trainer = make_trainer(video, config, reader, train, unseen, team, scratch)
        restored = reports.restore()
        first = int(restored.name.removeprefix("step-")) if restored else 0
        trainer.add_callback(_Reporter(reports, num_steps, len(unseen), config.checkpoints.every_steps))
        reports.begin(Plan(num_steps, first, counts, len(unseen), dict(selection.skipped)))
        trainer.train(resume_from_checkpoint=str(restored) if restored else None)
    shutil.rmtree(scratch, ignore_errors=True)


def make_trainer(
    video: QwenVideo,
    config: TrainConfig,
    reader: FrameReader,
    train: Sequence[tuple[Clip, Pair]],
    unseen: Sequence[tuple[Clip, Pair]],
    team: Team,
    scratch: Path,
) -> VideoDPOTrainer:
    """TRL's trainer over `train`, in its order, and `unseen` for validation; its own checkpoints go to `scratch`."""
    micro = config.trl_pairs_per_pass
    accumulate, rest = divmod(config.pairs_per_step, micro * team.size)
    if rest or not accumulate:
        raise UserError(
            f"pairs_per_step = {config.pairs_per_step}: TRL cuts it into passes of trl_pairs_per_pass = {micro} on "
            f"{team.size} workers; give a multiple of {micro * team.size}"
        )
    losses, weights = [_LOSS[config.loss.type, config.loss.length_normalised]], [1.0]
    if config.loss.rpo_alpha:
        losses, weights = [*losses, "sft"], [*weights, config.loss.rpo_alpha]
    arguments = DPOConfig(
        output_dir=str(scratch),
        per_device_train_batch_size=micro,
        per_device_eval_batch_size=micro,
        gradient_accumulation_steps=accumulate,
        max_steps=len(train) // config.pairs_per_step,
        learning_rate=config.optimizer.lr,
        weight_decay=config.optimizer.weight_decay,
        adam_beta1=config.optimizer.betas[0],
        adam_beta2=config.optimizer.betas[1],
        max_grad_norm=config.optimizer.max_grad_norm,
        beta=config.loss.beta,
        loss_type=losses,
        loss_weights=weights,
        label_smoothing=config.loss.label_smoothing,
        max_length=None,
        disable_dropout=False,
        gradient_checkpointing=config.activation_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        bf16=config.dtype == "bfloat16",
        use_cpu=team.device.type == "cpu",
        seed=config.seed,
        eval_strategy="steps" if unseen else "no",
        eval_steps=config.checkpoints.every_steps,
        eval_on_start=bool(unseen),
        save_steps=config.checkpoints.every_steps,
        save_total_limit=1,
        logging_steps=1,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
    video.model.requires_grad_(False)
    video.language.requires_grad_(config.lora is None)
    for parameter in policy.trained(video).values():
        parameter.data = parameter.data.float()
    examples = [*train, *unseen]
    return VideoDPOTrainer(
        model=video.model,
        args=arguments,
        train_dataset=_dataset(0, len(train)),
        eval_dataset=_dataset(len(train), len(examples)) if unseen else None,
        processing_class=video.processor,
        data_collator=VideoCollator(video, reader, examples),
        peft_config=policy.lora_config(config.lora) if config.lora else None,
        settings=config,
    )


_LOSS = {
    ("sigmoid", False): "sigmoid", ("sigmoid", True): "sigmoid_norm", ("hinge", False): "hinge",
    ("ipo", False): "ipo", ("robust", False): "robust",
}  # fmt: skip


def _dataset(start: int, end: int) -> Dataset:
    """Numbers of examples; the texts are there because TRL looks for them."""
    turn = [{"role": "user", "content": ""}]
    numbers = list(range(start, end))
    texts = {name: [turn] * len(numbers) for name in ("prompt", "chosen", "rejected")}
    return Dataset.from_dict({"example": numbers, _IGNORED: [[]] * len(numbers), **texts})


def _usable(selection: Selection, reader: FrameReader, team: Team) -> Selection:
    """Less the clips that do not decode; each is tried by one worker."""
    lost = {}
    for clip in [*selection.train, *selection.validation][team.rank :: team.size]:
        try:
            reader.read(clip)
        except VideoError as error:
            lost[clip.key] = f"video_{error.reason}"
    return selection.without(dict(chain.from_iterable(part.items() for part in team.gather(lost))))


class _Reporter(TrainerCallback):
    """TRL's logs and checkpoints as ours."""

    def __init__(self, reports: Reports, num_steps: int, num_unseen: int, every_steps: int) -> None:
        self._reports, self._num_steps, self._every = reports, num_steps, every_steps
        self._waits_for_validation = num_unseen > 0
        self._metrics: dict[str, float] = {}

    def on_log(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        logs: Mapping[str, float] = others["logs"]
        for name, value in logs.items():
            prefix = "validation/" if name.startswith("eval_") else ""
            plain = name.removeprefix("eval_")
            if plain in _NAMES and (not prefix or plain not in ("epoch", "learning_rate", "grad_norm")):
                self._metrics[prefix + _NAMES[plain]] = value
        self._metrics["step"] = state.global_step
        is_due = state.global_step % self._every == 0 or state.global_step == self._num_steps
        if (not is_due and "loss" in logs) or state.global_step == 0:
            self._send(None)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        saved = Path(args.output_dir, f"checkpoint-{state.global_step}")

        def save(folder: Path) -> Future[Any]:
            done: Future[Any] = Future()
            if state.is_world_process_zero:
                shutil.copytree(saved, folder, dirs_exist_ok=True)
            done.set_result(None)
            return done

        self._send(save)

    def _send(self, save: Any) -> None:
        self._reports.step(self._metrics, save)
        self._metrics = {}
