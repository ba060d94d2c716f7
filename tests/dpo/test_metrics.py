"""Metrics: means over pairs, by failure mode, the same however the pairs are dealt out; and where they are kept."""

from pathlib import Path

import pytest
import torch

from videopasta.config import LossConfig
from videopasta.config.train import TrackingConfig
from videopasta.dpo import metrics
from videopasta.dpo.examples import Pair
from videopasta.dpo.loss import PairLogps, pair_losses
from videopasta.dpo.trackers import MetricsFile, TensorBoard, check_tracking, read_metrics
from videopasta.errors import UserError

PAIRS = [
    Pair(str(n), mode, "q", "a", "b")
    for n, mode in enumerate(("spatial", "spatial", "temporal", "spatial", "temporal"))
]


def make_logps() -> PairLogps:
    generator = torch.Generator().manual_seed(0)
    columns = [-10 * torch.rand(5, generator=generator) for _ in range(4)]
    return PairLogps(*columns, torch.tensor([3, 4, 5, 6, 7]), torch.tensor([2, 2, 2, 2, 2]))


def part(logps: PairLogps, chosen: slice) -> PairLogps:
    return PairLogps(**{name: value[chosen] for name, value in vars(logps).items()})


def summed(logps: PairLogps, *parts: slice) -> dict[str, float]:
    sums = metrics.no_sums()
    for chosen in parts:
        some = part(logps, chosen)
        metrics.add_pairs(sums, PAIRS[chosen], some, pair_losses(some, LossConfig()))
    return metrics.means(sums)


def test_means_do_not_depend_on_the_packs():
    """Pairs in one pack, or in three."""
    logps = make_logps()
    whole, cut = summed(logps, slice(5)), summed(logps, slice(1), slice(1, 3), slice(3, 5))
    assert whole == pytest.approx(cut)


def test_modes_have_metrics_of_their_own():
    """Those of their pairs; a mode without pairs has none, and margins are differences of rewards."""
    logps = make_logps()
    found = summed(logps, slice(5))
    rewards = 0.1 * (logps.chosen - logps.reference_chosen)
    assert found["temporal/reward_chosen"] == pytest.approx(rewards[[2, 4]].mean().item())
    assert found["reward_chosen"] == pytest.approx(rewards.mean().item())
    assert found["reward_margin"] == pytest.approx(found["reward_chosen"] - found["reward_rejected"])
    assert found["nll"] == pytest.approx(-logps.chosen.sum().item() / 25)
    assert not any(name.startswith("cross_frame/") for name in found)
    margins = logps.chosen - logps.reference_chosen - logps.rejected + logps.reference_rejected
    assert found["reward_accuracy"] == pytest.approx((margins > 0).float().mean().item())


def test_a_resumed_run_has_each_step_once(tmp_path: Path):
    """Rows behind the checkpoint are dropped, those before it kept; a run from nothing starts anew."""
    first = MetricsFile(str(tmp_path), 0)
    for step in range(6):
        first.log({"step": step, "loss": 1.0 / (step + 1)} | ({"validation/nll": 2.0} if step == 3 else {}))
    first.close()
    resumed = MetricsFile(str(tmp_path), 3)
    resumed.log({"step": 4, "loss": 9.0})
    resumed.close()
    rows = read_metrics(str(tmp_path))
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4]
    assert rows[3] == {"step": 3, "loss": 0.25, "validation/nll": 2.0}
    assert rows[4] == {"step": 4, "loss": 9.0}
    MetricsFile(str(tmp_path), 0).close()
    assert read_metrics(str(tmp_path)) == []


def test_tensorboard_gets_event_files(tmp_path: Path):
    """In a local folder; an object store is refused, with another way, before anything starts."""
    board = TensorBoard(str(tmp_path))
    board.log({"step": 1, "loss": 0.5})
    board.close()
    assert any((tmp_path / "tensorboard").iterdir())
    with pytest.raises(UserError, match="wandb_project"):
        check_tracking("s3://bucket/out", TrackingConfig(tensorboard=True))
