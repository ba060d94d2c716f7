"""TRL's own DPOTrainer on the same pairs: a sequence per answer, video decoded and encoded for each.

For people who live in TRL, and the plain side of comparisons. TRL has no video (a `videos` column trains on text
alone without a word), so the collator makes what its loss needs: the same tokens, frames and positions as the packed
trainer's. The order of pairs and the learning rate are the packed trainer's too. What TRL's loss lacks is refused by
`TrainConfig`.
"""

import json
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
from transformers import Qwen2_5_VLForConditionalGeneration, TrainerCallback
from trl import DPOConfig, DPOTrainer

from videopasta.config import TrainConfig
from videopasta.dpo import policy, schedule
from videopasta.dpo.data import Selection, fitting, select
from videopasta.dpo.examples import Clip, Pair
from videopasta.dpo.fit import Plan, Reports
from videopasta.dpo.qwen import QwenVideo
from videopasta.dpo.rope import VIDEO
from videopasta.dpo.team import Team
from videopasta.dpo.trainer import learning_rate
from videopasta.errors import UserError
from videopasta.video import FrameReader, VideoError

_IGNORED = "images"
"""TRL takes a data set for one of vision by this column; nothing reads it."""
_NAMES = {
    "loss": "loss", "grad_norm": "grad_norm", "learning_rate": "learning_rate", "epoch": "epoch",
    "rewards/chosen": "reward_chosen", "rewards/rejected": "reward_rejected", "rewards/margins": "reward_margin",
    "rewards/accuracies": "reward_accuracy", "logps/chosen": "logp_chosen", "logps/rejected": "logp_rejected",
}  # fmt: skip


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

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Load whole weights by the names under which they were saved.

        transformers 5.19 saves a Qwen2.5-VL with the names of the hub's checkpoints, and its Trainer loads with the
        module's: no weight of the language model would be loaded, without a word.
        """
        if self._settings.lora is not None:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        saved = Qwen2_5_VLForConditionalGeneration.from_pretrained(resume_from_checkpoint, dtype=torch.float32)
        target: Any = model or self.model
        target.load_state_dict(saved.state_dict())

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
        UserError: nothing to train on.
    """
    team = Team.current(use_gpu=config.workers.num_gpus > 0)
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
        trainer.add_callback(_Reporter(reports, team, num_steps, config.checkpoints.every_steps))
        try:
            with reports.restored() as folder:
                first = json.loads((folder / "trainer_state.json").read_text())["global_step"] if folder else 0
                reports.begin(Plan(num_steps, first, counts, len(unseen), dict(selection.skipped)))
                trainer.train(resume_from_checkpoint=str(folder) if folder else None)
        finally:
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

    def __init__(self, reports: Reports, team: Team, num_steps: int, every_steps: int) -> None:
        self._reports, self._team = reports, team
        self._num_steps, self._every = num_steps, every_steps
        self._metrics: dict[str, float] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._first = state.global_step

    def on_log(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        logs: Mapping[str, float] = others["logs"]
        for name, value in logs.items():
            prefix = "validation/" if name.startswith("eval_") else ""
            plain = name.removeprefix("eval_")
            if plain in _NAMES and (not prefix or plain not in ("epoch", "learning_rate", "grad_norm")):
                self._metrics[prefix + _NAMES[plain]] = value
        self._metrics["step"] = state.global_step
        if state.global_step == self._first:
            # The look before the first step; of a run that goes on it was taken at its checkpoint already.
            if self._first:
                self._metrics = {}
            else:
                self._send(None)
        elif "loss" in logs and state.global_step % self._every and state.global_step != self._num_steps:
            self._send(None)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        saved = Path(args.output_dir, f"checkpoint-{state.global_step}")
        self._team.gather(None)  # each has written its part

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
