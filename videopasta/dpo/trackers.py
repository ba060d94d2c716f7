"""Where the metrics of each step go: a CSV in the output folder, Ray's Prometheus endpoint, TensorBoard, W&B.

Only the first worker tracks; metrics are those of all workers.
"""

import csv
import hashlib
import importlib.util
import io
import time
from collections.abc import Mapping
from typing import Any, Protocol

from videopasta import storage
from videopasta.config import FAILURE_MODES
from videopasta.config.train import TrackingConfig
from videopasta.errors import UserError
from videopasta.telemetry import Meter, Metric, Pace, sample

METRICS_FILE = "metrics.csv"
_FLUSH_S = 15.0
_P = "videopasta_train"
_OF_A_STEP = (
    "loss", "nll", "reward_chosen", "reward_rejected", "logp_chosen", "logp_rejected", "grad_norm", "learning_rate",
    "pairs_per_s", "tokens_per_s", "tokens_saved", "mfu", "epoch", "data_s", "vision_s", "language_s",
)  # fmt: skip
_BY_MODE = ("reward_margin", "reward_accuracy")
METRICS = (
    *(Metric("gauge", f"{_P}_{name}", f"{name} of the newest training step") for name in _OF_A_STEP),
    *(Metric("gauge", f"{_P}_{name}", f"{name} of the newest training step", ("failure_mode",)) for name in _BY_MODE),
    *(
        Metric("gauge", f"{_P}_validation_{name}", f"{name} of held-out pairs, at the newest look", ("failure_mode",))
        for name in _BY_MODE
    ),
    Metric("gauge", f"{_P}_steps_left", "Steps until the last"),
    Metric("gauge", f"{_P}_eta_seconds", "Seconds until the last step at the pace of the last ones"),
    Metric("gauge", f"{_P}_run_active", "1 while steps are done, 0 when they end"),
    Metric("counter", f"{_P}_steps", "Steps done"),
    Metric("counter", f"{_P}_pairs", "Pairs trained on"),
    Metric("counter", f"{_P}_tokens", "Tokens trained on"),
    Metric("counter", f"{_P}_seconds", "Seconds of steps"),
)


class Tracker(Protocol):
    """Takes the metrics of steps, in order."""

    def log(self, metrics: Mapping[str, float]) -> None:
        """Of one step; `step` is among them."""
        ...

    def flush(self) -> None:
        """A checkpoint follows: what came before it must not be lost."""
        ...

    def close(self) -> None:
        """Nothing more comes."""
        ...


class MetricsFile:
    """OUT/metrics.csv: a row a step. Rewritten whole now and then, as object stores cannot append."""

    def __init__(self, out: str, first_step: int) -> None:
        """Take up what is there.

        Args:
            out: folder.
            first_step: rows of later steps are of a run that was broken off, and will come again.
        """
        self._fs, folder = storage.resolve(out)
        self._fs.create_dir(folder, recursive=True)
        self._path = f"{folder}/{METRICS_FILE}"
        self._rows: list[dict[str, Any]] = [row for row in read_metrics(out) if row["step"] <= first_step]
        if not first_step:
            self._rows = []
        self._written = 0.0

    def log(self, metrics: Mapping[str, float]) -> None:
        self._rows.append(dict(metrics))
        if time.monotonic() - self._written > _FLUSH_S:
            self.flush()

    def close(self) -> None:
        self.flush()

    def flush(self) -> None:
        text = io.StringIO()
        columns = dict.fromkeys(name for row in self._rows for name in row)
        writer = csv.DictWriter(text, ["step", *(name for name in columns if name != "step")])
        writer.writeheader()
        writer.writerows(self._rows)
        with self._fs.open_output_stream(f"{self._path}.new") as stream:
            stream.write(text.getvalue().encode())
        self._fs.move(f"{self._path}.new", self._path)
        self._written = time.monotonic()


def read_metrics(out: str) -> list[dict[str, float]]:
    """The rows of OUT/metrics.csv; none where there is no such file. What a row lacks is left out."""
    filesystem, folder = storage.resolve(out)
    try:
        with filesystem.open_input_stream(f"{folder}/{METRICS_FILE}") as stream:
            text = stream.read().decode()
    except FileNotFoundError:
        return []
    rows = csv.DictReader(io.StringIO(text))
    return [{name: float(value) for name, value in row.items() if value} for row in rows]


class RayMetrics:
    """`METRICS` on Ray's Prometheus endpoint, as `ray_videopasta_train_...`."""

    def __init__(self, run: str, num_steps: int) -> None:
        self._meter = Meter(METRICS, {"run": run})
        self._num_steps, self._pace = num_steps, Pace()
        self._meter.set(f"{_P}_run_active", 1.0)
        self._meter.watch(f"{_P}_eta_seconds", lambda: self._pace.eta_s(time.monotonic()))

    def log(self, metrics: Mapping[str, float]) -> None:
        for name in _OF_A_STEP:
            if name in metrics:
                self._meter.set(f"{_P}_{name}", metrics[name])
        for name in _BY_MODE:
            for mode in ("all", *FAILURE_MODES):
                key = name if mode == "all" else f"{mode}/{name}"
                if key in metrics:
                    self._meter.set(f"{_P}_{name}", metrics[key], failure_mode=mode)
                if f"validation/{key}" in metrics:
                    self._meter.set(f"{_P}_validation_{name}", metrics[f"validation/{key}"], failure_mode=mode)
        left = self._num_steps - int(metrics["step"])
        self._meter.set(f"{_P}_steps_left", left)
        self._pace.progress(left, time.monotonic())
        if "step_s" in metrics:
            self._meter.add(sample(f"{_P}_steps"))
            self._meter.add(sample(f"{_P}_pairs", metrics["pairs_per_s"] * metrics["step_s"]))
            self._meter.add(sample(f"{_P}_tokens", metrics["tokens"]))
            self._meter.add(sample(f"{_P}_seconds", metrics["step_s"]))

    def flush(self) -> None:
        """Nothing is kept back."""

    def close(self) -> None:
        """What follows - the export of the model - has no steps."""
        self._meter.set(f"{_P}_run_active", 0.0)
        self._meter.close()


class TensorBoard:
    """Event files in OUT/tensorboard, a local folder."""

    def __init__(self, out: str) -> None:
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(storage.local_path(storage.join(out, "tensorboard")))

    def log(self, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            if name != "step":
                self._writer.add_scalar(name, value, int(metrics["step"]))

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    """A run of a W&B project; taken up again under the same name after a break."""

    def __init__(self, project: str, run: str, config: Mapping[str, Any]) -> None:
        import wandb

        self._run = wandb.init(project=project, id=run, name=run, resume="allow", config=dict(config))

    def log(self, metrics: Mapping[str, float]) -> None:
        self._run.log(dict(metrics), step=int(metrics["step"]))

    def flush(self) -> None:
        """It sends by itself."""

    def close(self) -> None:
        self._run.finish()


def check_tracking(out: str, tracking: TrackingConfig) -> None:
    """Whether what `tracking` asks for can be had.

    Raises:
        UserError: it cannot.
    """
    if tracking.tensorboard and not storage.is_local(out):
        raise UserError(f"tracking.tensorboard: event files need a local --out, not {out}; use wandb_project there")
    if tracking.wandb_project and importlib.util.find_spec("wandb") is None:
        raise UserError("tracking.wandb_project: the package wandb is not installed; pip install wandb")


def open_trackers(
    out: str, run: str, first_step: int, num_steps: int, tracking: TrackingConfig, config: Mapping[str, Any]
) -> list[Tracker]:
    """Those that `tracking` asks for, and the ones that are always there; `check_tracking` comes first."""
    trackers: list[Tracker] = [MetricsFile(out, first_step), RayMetrics(run, num_steps)]
    if tracking.tensorboard:
        trackers.append(TensorBoard(out))
    if tracking.wandb_project:
        # By the folder, so that the same command goes on in the same run.
        name = hashlib.sha256(out.encode()).hexdigest()[:8]
        trackers.append(WeightsAndBiases(tracking.wandb_project, f"videopasta-{name}", config))
    return trackers
