"""The loss of preference pairs, from the log-probabilities of their answers. Pure.

In: per pair, the summed log-probs of both answers under the policy and under the reference. Out: per pair, the
preference loss, the supervised loss, and the rewards that are watched. How pairs are weighted and summed into one
number is `Weights`' part: it does not depend on how a batch is cut into packs or spread over workers.

Shapes: P pairs.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.nn.functional import logsigmoid

from videopasta.config import FAILURE_MODES, FailureMode
from videopasta.config.train import LossConfig, ModeWeights


@dataclass(frozen=True)
class PairLogps:
    """Log-probabilities of pairs, natural logarithms summed over an answer's tokens. All (P,)."""

    chosen: torch.Tensor
    rejected: torch.Tensor
    reference_chosen: torch.Tensor
    reference_rejected: torch.Tensor
    chosen_tokens: torch.Tensor
    """Tokens of the answer with its end."""
    rejected_tokens: torch.Tensor


@dataclass(frozen=True)
class PairLosses:
    """All (P,)."""

    preference: torch.Tensor
    supervised: torch.Tensor
    """Cross-entropy of the chosen answer, summed over its tokens."""
    reward_chosen: torch.Tensor
    """beta * log(policy / reference), without gradient; likewise the other."""
    reward_rejected: torch.Tensor


def pair_losses(logps: PairLogps, config: LossConfig) -> PairLosses:
    """The losses of each pair by itself; the preference loss equals TRL's of the same name."""
    chosen, rejected = logps.chosen - logps.reference_chosen, logps.rejected - logps.reference_rejected
    rewards = (config.beta * chosen).detach(), (config.beta * rejected).detach()
    if config.length_normalised or config.type == "ipo":
        chosen, rejected = chosen / logps.chosen_tokens, rejected / logps.rejected_tokens
    return PairLosses(_preference(chosen - rejected, config), -logps.chosen, *rewards)


def _preference(margin: torch.Tensor, config: LossConfig) -> torch.Tensor:
    scaled, flipped = config.beta * margin, config.label_smoothing
    match config.type:
        case "sigmoid":
            return -(1 - flipped) * logsigmoid(scaled) - flipped * logsigmoid(-scaled)
        case "robust":
            return (flipped * logsigmoid(-scaled) - (1 - flipped) * logsigmoid(scaled)) / (1 - 2 * flipped)
        case "hinge":
            return torch.relu(1 - scaled)
        case "ipo":
            return (margin - 1 / (2 * config.beta)) ** 2


@dataclass(frozen=True)
class Weights:
    """What a pair of each failure mode counts for, so that the mean over pairs is the paper's weighted sum.

    The paper sums the mean losses of the three modes with lambdas. With shares p of a mode's pairs in the whole
    dataset, the weight lambda / (p * sum of lambdas) makes the expected mean over pairs that sum over the sum of
    lambdas, however the modes fall into batches. Equal shares and lambdas give 1 to every pair.
    """

    by_mode: Mapping[FailureMode, float]

    @classmethod
    def of_dataset(cls, counts: Mapping[FailureMode, int], lambdas: ModeWeights) -> "Weights":
        """Weights for a dataset with so many pairs of each mode; modes without pairs take no part."""
        present = [mode for mode in FAILURE_MODES if counts.get(mode)]
        total, summed = sum(counts[mode] for mode in present), sum(lambdas.of(mode) for mode in present)
        if not summed:
            raise ValueError(
                f"the failure modes with pairs ({', '.join(present) or 'none'}) all have weight 0; "
                "set loss.mode_weights, or add pairs of the others"
            )
        return cls({mode: lambdas.of(mode) * total / (counts[mode] * summed) for mode in present})


def batch_loss(
    losses: PairLosses, weights: torch.Tensor, *, num_pairs: int, num_chosen_tokens: int, rpo_alpha: float
) -> torch.Tensor:
    """A pack's part of its batch's loss: summed over the packs of all workers, that loss.

    Args:
        losses: of the pack's pairs.
        weights: (P,) of each pair.
        num_pairs: in the whole batch.
        num_chosen_tokens: in the whole batch, counted once per pair.
        rpo_alpha: weight of the supervised part.
    """
    preference = (weights * losses.preference).sum() / num_pairs
    supervised = (weights * losses.supervised).sum() / num_chosen_tokens
    return preference + rpo_alpha * supervised
