"""The workers of a training as one of them sees them: sums and lists over all, in step with the others."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist

from videopasta.errors import UserError

T = TypeVar("T")


class WorkerError(UserError):
    """What went wrong in one worker alone. A plain `UserError` is met by all of them at the same place."""


@dataclass(frozen=True)
class Team:
    """This process among the workers. Every method is called by all of them, the same times in the same order."""

    rank: int
    size: int
    device: torch.device

    @classmethod
    def current(cls, *, use_gpu: bool) -> "Team":
        """Of the process group; alone where there is none."""
        device = torch.device("cuda", torch.cuda.current_device()) if use_gpu else torch.device("cpu")
        return cls(dist.get_rank(), dist.get_world_size(), device) if dist.is_initialized() else cls(0, 1, device)

    def sum(self, values: Mapping[str, float]) -> dict[str, float]:
        """Each value summed over the workers, in float64; all give the same names."""
        names = sorted(values)
        numbers = torch.tensor([values[name] for name in names], dtype=torch.float64, device=self.device)
        if self.size > 1:
            dist.all_reduce(numbers)
        return dict(zip(names, numbers.tolist(), strict=True))

    def most(self, number: int) -> int:
        """The largest of the workers' numbers."""
        return max(self.gather(number))

    def gather(self, value: T) -> list[T]:
        """Every worker's value, by rank."""
        if self.size == 1:
            return [value]
        values: list[T | None] = [None] * self.size
        dist.all_gather_object(values, value)
        return values  # type: ignore[return-value]
