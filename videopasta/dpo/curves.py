"""The reward curves of a training, as the paper's Fig. 4: rewards, accuracy, losses over steps."""

from collections.abc import Mapping, Sequence
from pathlib import Path

PANELS: dict[str, tuple[str, ...]] = {
    "rewards": ("reward_chosen", "reward_rejected", "reward_margin"),
    "reward accuracy": ("reward_accuracy", "validation/reward_accuracy"),
    "log-probability of an answer": ("logp_chosen", "logp_rejected"),
    "loss": ("loss", "nll"),
}


def draw_curves(rows: Sequence[Mapping[str, float]], file: Path) -> None:
    """Draw the metrics of steps to a PNG.

    Args:
        rows: of metrics.csv.
        file: is overwritten.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6.5), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True).flat
    for axis, (title, names) in zip(axes, PANELS.items(), strict=True):
        for name in names:
            points = [(row["step"], row[name]) for row in rows if name in row]
            if points:
                axis.plot(*zip(*points, strict=True), label=name, marker="o" if len(points) < 20 else "")
        axis.set_title(title, loc="left")
        axis.grid(alpha=0.3)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(frameon=False)
    for axis in figure.axes[2:]:
        axis.set_xlabel("step")
    figure.savefig(file, dpi=120)
