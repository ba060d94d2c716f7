"""The reference trainer: TRL sees the frames, and its steps are the packed trainer's."""

from pathlib import Path

import pytest

from tests.dpo.trainings import Remembered, Stopped, make_config, make_rows
from videopasta.config import TrainConfig
from videopasta.config.train import LossConfig, ModeWeights
from videopasta.dpo.fit import fit
from videopasta.dpo.trl_trainer import fit_with_trl


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("trl")


@pytest.fixture(scope="module")
def rows(folder):
    return make_rows(folder / "videos", num_clips=6)


@pytest.mark.parametrize("lora", [False, True])
def test_trl_takes_the_steps_of_the_packed_trainer(folder, rows, tmp_path, lora):
    """Losses, rewards, log-probs and gradient norms of all steps agree: same pairs, frames, tokens, positions."""
    config = make_config(folder, lora=lora, pairs_per_step=6, trl_pairs_per_pass=6)
    ours, theirs = Remembered(tmp_path / "packed"), Remembered(tmp_path / "trl")
    fit(rows, config, str(folder), ours)
    fit_with_trl(rows, config, theirs)
    assert len(theirs.steps) == len(ours.steps) >= 4
    assert ours.plan == theirs.plan
    compared = 0
    for one, other in zip(ours.steps, theirs.steps, strict=True):
        for name in {"reward_chosen", "reward_rejected", "logp_chosen", "grad_norm", "loss"} & set(other):
            assert other[name] == pytest.approx(one[name], rel=2e-3, abs=2e-3), (one["step"], name)
            compared += 1
    assert compared >= 15


def test_the_video_is_seen(folder, rows, tmp_path):
    """Other frames give another loss: nothing trains on text alone."""
    config = make_config(folder, pairs_per_step=6, trl_pairs_per_pass=6)
    swapped = [
        row | {name: rows[(i + 12) % len(rows)][name] for name in ("video_uri", "video_sha256")}
        for i, row in enumerate(rows)
    ]
    first = []
    for number, some in enumerate((rows, swapped)):
        reports = Remembered(tmp_path / str(number))
        fit_with_trl(some, config, reports)
        first.append(reports.steps[0]["validation/logp_chosen"])
    assert abs(first[0] - first[1]) > 0.1


@pytest.mark.parametrize(
    ("loss", "named"),
    [
        (LossConfig(mode_weights=ModeWeights(spatial=2.0)), "mode_weights"),
        (LossConfig(label_smoothing=0.1), "label_smoothing"),
        (LossConfig(type="hinge", length_normalised=True), "length_normalised"),
    ],
)
def test_what_trl_lacks_is_refused(loss, named):
    """By the configuration, with the setting's name."""
    with pytest.raises(ValueError, match=rf"trainer=trl .*loss\.{named}"):
        TrainConfig(trainer="trl", loss=loss)


@pytest.mark.parametrize("lora", [False, True])
def test_a_stopped_training_goes_on(folder, rows, tmp_path, lora):
    """From TRL's own checkpoint: the steps of an unbroken run, none twice, and no second look before the first."""
    config = make_config(folder, lora=lora, trainer="trl", pairs_per_step=6, trl_pairs_per_pass=6, every_steps=2)
    whole, stopped = Remembered(tmp_path / "whole"), Remembered(tmp_path / "stopped", stop_after=2)
    fit_with_trl(rows, config, whole)
    with pytest.raises(Stopped):
        fit_with_trl(rows, config, stopped)
    rest = Remembered(tmp_path / "rest", restored=tmp_path / "stopped/step-2")
    fit_with_trl(rows, config, rest)
    assert rest.plan.first_step == 2
    assert [step["step"] for step in rest.steps] == [3, 4, 5]
    for one, other in zip(whole.steps[3:], rest.steps, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-5)
