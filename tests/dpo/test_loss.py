"""The loss: TRL's on the same log-probs, and a sum that does not depend on how a batch is cut."""

from types import SimpleNamespace

import pytest
import torch

from videopasta.config.train import LossConfig, ModeWeights
from videopasta.dpo.loss import PairLogps, PairLosses, Weights, batch_loss, pair_losses

NUM_PAIRS, LONGEST = 6, 9


class Spoken:
    """A model that gives fixed log-probs per token, as TRL asks for them."""

    training = True

    def __init__(self, per_token: torch.Tensor) -> None:
        self.per_token = per_token

    def __call__(self, **_):
        zeros = torch.zeros_like(self.per_token)
        return SimpleNamespace(log_probs=self.per_token, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool())


@pytest.fixture
def batch():
    """Log-probs of 6 pairs of answers of 3 to 8 tokens, and where the answers stand."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.zeros(2 * NUM_PAIRS, LONGEST, dtype=torch.long)
    for row, length in enumerate(torch.randint(3, LONGEST, (2 * NUM_PAIRS,), generator=generator).tolist()):
        mask[row, 1 : 1 + length] = 1
    policy, reference = (-torch.rand(2 * NUM_PAIRS, LONGEST - 1, generator=generator) * 3 for _ in range(2))
    return mask, policy * mask[:, 1:], reference * mask[:, 1:]


def ours(batch, config: LossConfig) -> torch.Tensor:
    mask, policy, reference = batch
    lengths = mask.sum(1)
    (c, r), (rc, rr), (nc, nr) = (x.chunk(2) for x in (policy.sum(1), reference.sum(1), lengths))
    losses = pair_losses(PairLogps(c, r, rc, rr, nc, nr), config)
    return batch_loss(
        losses, torch.ones(NUM_PAIRS), num_pairs=NUM_PAIRS, num_chosen_tokens=int(nc.sum()), rpo_alpha=config.rpo_alpha
    )


def trls(batch, config: LossConfig) -> torch.Tensor:
    """The installed TRL's DPOTrainer's own loss."""
    from trl import DPOTrainer

    mask, policy, reference = batch
    kind = "sigmoid_norm" if config.length_normalised else config.type
    chosen, rejected = reference.sum(1).chunk(2)
    trainer = SimpleNamespace(
        model=Spoken(policy),
        accelerator=SimpleNamespace(device=torch.device("cpu"), gather_for_metrics=lambda x: x, gather=lambda x: x),
        aux_loss_enabled=False, ld_alpha=None, precompute_ref_logps=True, f_divergence_type="reverse_kl",
        loss_types=[kind, "sft"], loss_weights=[1.0, config.rpo_alpha], beta=config.beta,
        label_smoothing=config.label_smoothing, use_weighting=False, _metrics=_Metrics(), _total_train_tokens=0,
        _tp_size=1,
    )  # fmt: skip
    inputs = {
        "input_ids": torch.zeros_like(mask), "attention_mask": torch.ones_like(mask), "completion_mask": mask,
        "ref_chosen_logps": chosen, "ref_rejected_logps": rejected,
    }  # fmt: skip
    return DPOTrainer._compute_loss(trainer, trainer.model, inputs, return_outputs=False)


class _Metrics(dict):
    def __missing__(self, mode):
        from collections import defaultdict

        self[mode] = defaultdict(list)
        return self[mode]


@pytest.mark.parametrize(
    "config",
    [
        LossConfig(),
        LossConfig(beta=0.5, rpo_alpha=0.0),
        LossConfig(type="hinge", rpo_alpha=0.3),
        LossConfig(type="ipo"),
        LossConfig(type="robust", label_smoothing=0.2),
        LossConfig(length_normalised=True),
    ],
    ids=lambda c: f"{c.type}{'-normalised' if c.length_normalised else ''}-{c.rpo_alpha}",
)
def test_loss_is_trls(batch, config):
    """Our loss of a batch is what TRL's DPOTrainer computes from the same log-probs."""
    assert ours(batch, config).item() == pytest.approx(trls(batch, config).item(), rel=1e-6)


def test_smoothed_sigmoid_is_conservative_dpo(batch):
    """With smoothing e the loss is (1 - e) of the pair as it stands and e of the pair turned around."""
    margin = torch.tensor([-2.0, 0.5, 3.0])
    none = torch.zeros(3)
    ones = torch.ones(3)

    def loss(chosen, smoothing):
        config = LossConfig(label_smoothing=smoothing)
        return pair_losses(PairLogps(chosen, none, none, none, ones, ones), config).preference

    torch.testing.assert_close(loss(margin, 0.2), 0.8 * loss(margin, 0.0) + 0.2 * loss(-margin, 0.0))


def test_packs_add_up_to_the_batch(batch):
    """However a batch is cut, its parts' losses sum to the loss of the whole."""
    mask, policy, reference = batch
    config = LossConfig()
    (c, r), (rc, rr), (nc, nr) = (x.chunk(2) for x in (policy.sum(1), reference.sum(1), mask.sum(1)))
    weights = torch.tensor([1.0, 2.0, 0.5, 1.0, 1.0, 3.0])
    whole = {"num_pairs": NUM_PAIRS, "num_chosen_tokens": int(nc.sum()), "rpo_alpha": 1.0}

    def part(rows: slice) -> torch.Tensor:
        logps = PairLogps(*(x[rows] for x in (c, r, rc, rr, nc, nr)))
        return batch_loss(pair_losses(logps, config), weights[rows], **whole)

    torch.testing.assert_close(part(slice(0, 2)) + part(slice(2, 6)), part(slice(0, 6)))


def test_mode_weights_make_the_papers_sum():
    """The weighted mean over pairs is the lambda-weighted sum of the modes' mean losses over the sum of lambdas."""
    counts = {"spatial": 10, "temporal": 30, "cross_frame": 60}
    lambdas = ModeWeights(spatial=2.0, temporal=1.0, cross_frame=0.5)
    means = {"spatial": 0.7, "temporal": 0.2, "cross_frame": 0.4}
    weights = Weights.of_dataset(counts, lambdas).by_mode
    over_pairs = sum(counts[m] * weights[m] * means[m] for m in counts) / sum(counts.values())
    assert over_pairs == pytest.approx((2 * 0.7 + 1 * 0.2 + 0.5 * 0.4) / 3.5)
    assert set(Weights.of_dataset({"spatial": 5, "temporal": 5, "cross_frame": 5}, ModeWeights()).by_mode.values()) == {
        1
    }


def test_pairs_without_weight_are_an_error():
    """A dataset whose only failure mode has weight 0 is refused, with the fix."""
    with pytest.raises(ValueError, match=r"spatial.*mode_weights"):
        Weights.of_dataset({"spatial": 5}, ModeWeights(spatial=0.0))


def test_rewards_are_scaled_log_ratios():
    """They are beta times the summed log-ratio, also where the loss is per token; no gradient flows through them."""
    c = torch.tensor([-3.0], requires_grad=True)
    logps = PairLogps(c, *(torch.tensor([x]) for x in (-9.0, -5.0, -6.0, 4.0, 2.0)))
    losses: PairLosses = pair_losses(logps, LossConfig(beta=0.5, length_normalised=True))
    assert (losses.reward_chosen.item(), losses.reward_rejected.item()) == (1.0, -1.5)
    assert not losses.reward_chosen.requires_grad
