"""What is measured of a step: sums over pairs that workers add up, and the means they become. Pure.

Names: `loss`, `nll`, then for all pairs and as `spatial/...`, `temporal/...`, `cross_frame/...`:

    reward_chosen, reward_rejected, reward_margin   beta * log(policy / reference), mean over pairs
    reward_accuracy                                 share of pairs with a positive margin
    logp_chosen, logp_rejected                      log-probability of an answer, mean over pairs: both sinking while
                                                    the margin grows is the known failure of DPO
"""

from collections.abc import Iterator, Mapping, Sequence

import torch

from videopasta.config import FAILURE_MODES
from videopasta.dpo.examples import Pair
from videopasta.dpo.loss import PairLogps, PairLosses

_PER_PAIR = ("reward_chosen", "reward_rejected", "reward_accuracy", "logp_chosen", "logp_rejected", "preference")
_GROUPS = ("", *(f"{mode}/" for mode in FAILURE_MODES))


def no_sums() -> dict[str, float]:
    """Zero of everything."""
    names = [f"{group}{name}" for group in _GROUPS for name in ("pairs", *_PER_PAIR)]
    return dict.fromkeys([*names, "loss", "supervised", "chosen_tokens"], 0.0)


def add_pairs(sums: dict[str, float], pairs: Sequence[Pair], logps: PairLogps, losses: PairLosses) -> None:
    """Add a pack's pairs to the sums."""
    columns = {
        "reward_chosen": losses.reward_chosen,
        "reward_rejected": losses.reward_rejected,
        "reward_accuracy": (losses.reward_chosen > losses.reward_rejected).float(),
        "logp_chosen": logps.chosen,
        "logp_rejected": logps.rejected,
        "preference": losses.preference,
    }
    values = {name: column.detach().double().cpu() for name, column in columns.items()}
    for group, chosen in _members(pairs):
        sums[f"{group}pairs"] += len(chosen)
        for name, column in values.items():
            sums[f"{group}{name}"] += column[chosen].sum().item()
    sums["supervised"] += losses.supervised.detach().double().sum().item()
    sums["chosen_tokens"] += logps.chosen_tokens.sum().item()


def _members(pairs: Sequence[Pair]) -> Iterator[tuple[str, torch.Tensor]]:
    yield "", torch.arange(len(pairs))
    for mode in FAILURE_MODES:
        of_mode = [n for n, pair in enumerate(pairs) if pair.failure_mode == mode]
        if of_mode:
            yield f"{mode}/", torch.tensor(of_mode)


def means(sums: Mapping[str, float]) -> dict[str, float]:
    """The metrics of a batch from its sums; a failure mode without pairs has none."""
    found = {}
    for group in _GROUPS:
        pairs = sums[f"{group}pairs"]
        if not pairs:
            continue
        for name in _PER_PAIR:
            found[f"{group}{name}"] = sums[f"{group}{name}"] / pairs
        found[f"{group}reward_margin"] = found[f"{group}reward_chosen"] - found[f"{group}reward_rejected"]
    if sums["chosen_tokens"]:
        found["nll"] = sums["supervised"] / sums["chosen_tokens"]
    return found
