"""Steps of a training, and looks at its validation pairs. Needs no Ray.

In: a batch of clips with pairs, the same on all workers. Out: metrics, the same on all workers. Each worker takes its
share of the clips, packs it, and adds its part of the batch's loss; the result does not depend on how many workers
there are. All run the same number of passes, because FSDP exchanges weights in each: who has fewer packs repeats one
whose loss counts nothing.
"""

import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch.distributed.tensor import DTensor

from videopasta.config import TrainConfig
from videopasta.dpo import metrics
from videopasta.dpo.examples import Clip, Pair, Tree, pack, trees
from videopasta.dpo.features import FeatureSource
from videopasta.dpo.flops import flops_of, peak_flops
from videopasta.dpo.loss import PairLogps, PairLosses, Weights, batch_loss, pair_losses
from videopasta.dpo.policy import trained
from videopasta.dpo.qwen import QwenVideo
from videopasta.dpo.reference import Logps
from videopasta.dpo.schedule import shares
from videopasta.dpo.step import speak
from videopasta.dpo.team import Team, WorkerError
from videopasta.errors import UserError
from videopasta.video import VideoError


def learning_rate(step: int, num_steps: int, config: TrainConfig) -> float:
    """Of step `step`, counted from 0: linear warm-up, then half a cosine to 0 behind the last step."""
    warmup = max(1, round(config.optimizer.warmup * num_steps))
    if step < warmup:
        return config.optimizer.lr * (step + 1) / warmup
    done = (step - warmup) / max(1, num_steps - warmup)
    return config.optimizer.lr * 0.5 * (1 + math.cos(math.pi * done))


def make_optimizer(video: QwenVideo, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW over what is trained; only matrices decay."""
    parameters = trained(video)
    decaying = {name for name, p in parameters.items() if p.ndim >= 2}
    groups = [
        {"params": [p for n, p in parameters.items() if n in decaying], "weight_decay": config.optimizer.weight_decay},
        {"params": [p for n, p in parameters.items() if n not in decaying], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=config.optimizer.lr, betas=config.optimizer.betas)


@contextmanager
def _told(made: Sequence[Tree]) -> Iterator[None]:
    """What goes wrong with a pack on this worker alone, for people."""
    try:
        yield
    except VideoError as error:
        raise WorkerError(
            f"{', '.join(tree.clip.uri for tree in made)}: decoded before training, and now {error}; the features are "
            "not in this machine's cache any more. Bring the file back, or raise vision_cache.max_gib"
        ) from error
    except torch.OutOfMemoryError as error:
        tokens = sum(len(tree.flat) for tree in made)
        raise WorkerError(f"a pack of {tokens} tokens exceeds the GPU's memory; lower tokens_per_pack") from error


class Trainer:
    """The model, its optimizer, and what each pair counts for."""

    def __init__(
        self,
        video: QwenVideo,
        team: Team,
        config: TrainConfig,
        *,
        features: FeatureSource,
        references: Mapping[str, Logps],
        weights: Weights,
        num_steps: int,
    ) -> None:
        """Take everything up; nothing runs yet.

        Args:
            video: the policy, sharded, what is trained set to require gradients.
            team: the workers.
            config: of the training.
            features: of the clips.
            references: log-probs of every pair of train and validation, by `Clip.content_of`.
            weights: of the pairs.
            num_steps: of the whole training, for the schedule.
        """
        self.video, self.optimizer = video, make_optimizer(video, config)
        self._team, self._config, self._features = team, config, features
        self._references, self._weights, self._num_steps = references, weights, num_steps
        if config.activation_checkpointing:
            video.language.text.gradient_checkpointing_enable({"use_reentrant": False})

    def step(self, number: int, batch: Sequence[Clip]) -> dict[str, float]:
        """Learn from a batch.

        Args:
            number: of the step, from 0.
            batch: clips with the pairs that take part.

        Raises:
            UserError: the loss or its gradient is not a number; no weight was changed.
            WorkerError: a clip's video cannot be decoded any more, or the pack exceeds the GPU's memory.
        """
        started, data_s, vision_s = time.perf_counter(), self._features.data_s, self._features.vision_s
        self.video.language.train()
        torch.manual_seed(random.Random(f"{self._config.seed} {number} {self._team.rank}").getrandbits(63))
        packs, totals = self._packs(batch)
        sums = metrics.no_sums() | {"tokens": 0.0, "flops": 0.0}
        for trees_, counts in packs:
            with _told(trees_):
                pairs, logps, losses, weights = self._losses(trees_)
                loss = batch_loss(
                    losses, weights, num_pairs=totals["pairs"], num_chosen_tokens=totals["chosen_tokens"],
                    rpo_alpha=self._config.loss.rpo_alpha,
                )  # fmt: skip
                # FSDP takes the mean of the workers' gradients; what is wanted is their sum.
                (loss * (self._team.size if counts else 0.0)).backward()
            if counts:
                metrics.add_pairs(sums, pairs, logps, losses)
                sums["loss"] += loss.item()
                sums["tokens"] += sum(len(tree.flat) for tree in trees_)
                sums["flops"] += sum(flops_of(self.video, tree.flat) for tree in trees_)
        sums = self._team.sum(sums)
        norm = torch.nn.utils.clip_grad_norm_(list(trained(self.video).values()), self._config.optimizer.max_grad_norm)
        length = (norm.full_tensor() if isinstance(norm, DTensor) else norm).item()
        if not math.isfinite(sums["loss"] + length):
            self.optimizer.zero_grad(set_to_none=True)
            raise UserError(
                f"step {number}: the loss is {sums['loss']:g}, its gradient's length {length:g}; train anew, into "
                f"another --out, with a lower optimizer.lr than {self._config.optimizer.lr:g}"
            )
        rate = learning_rate(number, self._num_steps, self._config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        seconds = time.perf_counter() - started
        data_s, vision_s = self._features.data_s - data_s, self._features.vision_s - vision_s
        found = metrics.means(sums) | {
            "loss": sums["loss"],
            "learning_rate": rate,
            "grad_norm": length,
            "tokens": sums["tokens"],
            "tokens_saved": 1 - sums["tokens"] / totals["plain_tokens"],
            "pairs_per_s": totals["pairs"] / seconds,
            "tokens_per_s": sums["tokens"] / seconds,
            "step_s": seconds,
            "data_s": data_s,
            "vision_s": vision_s,
            "language_s": seconds - data_s - vision_s,
        }
        if (peak := peak_flops(self._team.device)) is not None:
            found["mfu"] = sums["flops"] / seconds / (peak * self._team.size)
        return found

    @torch.no_grad()
    def evaluate(self, clips: Sequence[Clip]) -> dict[str, float]:
        """Metrics of all pairs of `clips`, without learning; names begin with `validation/`."""
        if not clips:
            return {}
        self.video.language.eval()
        packs, _ = self._packs(clips)
        sums = metrics.no_sums()
        for trees_, counts in packs:
            with _told(trees_):
                pairs, logps, losses, _ = self._losses(trees_)
            if counts:
                metrics.add_pairs(sums, pairs, logps, losses)
        return {f"validation/{name}": value for name, value in metrics.means(self._team.sum(sums)).items()}

    def _packs(self, batch: Sequence[Clip]) -> tuple[list[tuple[list[Tree], bool]], dict[str, int]]:
        """This worker's packs, each with whether it counts, as many as any worker's; and totals of the batch."""
        budget = self._config.tokens_per_pack
        grown = [trees(clip, self.video, budget) for clip in batch]
        tokens = [sum(len(tree.flat) for tree in made) for made in grown]
        mine = shares(tokens, self._team.size)[self._team.rank]
        packs = [(one, True) for one in pack([tree for i in mine for tree in grown[i]], budget)]
        all_trees = [tree for made in grown for tree in made]
        filler = min(packs[-1][0] if packs else all_trees, key=lambda tree: len(tree.flat))
        packs += [([filler], False)] * (self._team.most(len(packs)) - len(packs))
        chosen = [(tree, tree.flat.spans[n]) for tree in all_trees for n in tree.chosen]
        rejected = [(tree, tree.flat.spans[n]) for tree in all_trees for n in tree.rejected]
        totals = {
            "pairs": len(chosen),
            "chosen_tokens": sum(span.end - span.start for _, span in chosen),
            "plain_tokens": sum(tree.flat.path_length(span) for tree, span in (*chosen, *rejected)),
        }
        return packs, totals

    def _losses(self, made: Sequence[Tree]) -> tuple[list[Pair], PairLogps, PairLosses, torch.Tensor]:
        spoken = speak(self.video, made, {tree.clip.key: self._features.of(tree.clip) for tree in made})
        pairs = [pair for tree in made for pair in tree.pairs]
        references = [self._references[tree.clip.content_of(pair)] for tree in made for pair in tree.pairs]
        device = spoken.chosen.device
        chosen, rejected = (
            torch.tensor([getattr(reference, side) for reference in references], device=device)
            for side in ("chosen", "rejected")
        )
        logps = PairLogps(
            spoken.chosen, spoken.rejected, chosen, rejected, spoken.chosen_tokens, spoken.rejected_tokens
        )
        weights = torch.tensor([self._weights.by_mode.get(pair.failure_mode, 0.0) for pair in pairs], device=device)
        return pairs, logps, pair_losses(logps, self._config.loss), weights
