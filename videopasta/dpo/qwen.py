"""Qwen2.5-VL as the trainer uses it: tokens, positions, vision features, log-probs. The one file that knows the model.

Its tokens and positions are the engine's: `rope.rope_index`, and the chat template as `engine/vllm.py` applies it.
"""

from typing import Any

import numpy as np
import torch

from videopasta.dpo.attention import mask_of
from videopasta.dpo.rope import VIDEO, rope_index
from videopasta.dpo.tree import Flat
from videopasta.errors import UserError
from videopasta.video.plan import FramePlan


class QwenVideo:
    """A Qwen2.5-VL and its processor."""

    def __init__(self, model: Any, processor: Any) -> None:
        """Neither is changed.

        Raises:
            UserError: the model has no vision tower, or the processor is another model's.
        """
        if not hasattr(model.config, "vision_config"):
            raise UserError(f"model of type {model.config.model_type!r} has no vision tower; give a Qwen2.5-VL")
        self.model, self.processor, self._tokenizer = model, processor, processor.tokenizer
        self.language = Language(model)
        vision = model.config.vision_config
        self._merge, self._frames_per_patch = vision.spatial_merge_size, vision.temporal_patch_size
        self._patch = vision.patch_size
        theirs = processor.video_processor
        if (theirs.patch_size, theirs.merge_size, theirs.temporal_patch_size) != (
            self._patch, self._merge, self._frames_per_patch,
        ):  # fmt: skip
            raise UserError(
                f"the processor cuts patches of {theirs.patch_size} pixels, {theirs.merge_size} a side, "
                f"{theirs.temporal_patch_size} frames; the model takes {self._patch}, {self._merge}, "
                f"{self._frames_per_patch}: they are of different models"
            )
        self.video_id: int = model.config.video_token_id
        turn = self._tokenizer.apply_chat_template(
            [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": _QUERY}]}],
            tokenize=False,
            add_generation_prompt=True,
        )
        before, video, self._behind = turn.partition(_VIDEO)
        if not video or _QUERY not in self._behind:
            raise UserError("the model's chat template does not put the video before the text; give a Qwen2.5-VL's")
        self._before = self._ids(f"{before}<|vision_start|>")
        self._end = self._ids("<|vision_end|>")

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _grid(self, plan: FramePlan) -> tuple[int, int, int]:
        """Patches in time, height, width."""
        return plan.num_frames // self._frames_per_patch, plan.height // self._patch, plan.width // self._patch

    def seconds_per_step(self, plan: FramePlan) -> float:
        """Between two time steps of the tower, each of several frames."""
        return self._frames_per_patch / plan.sampled_fps

    def prefix(self, plan: FramePlan) -> tuple[np.ndarray, np.ndarray]:
        """See `Encoder.prefix`."""
        grid = self._grid(plan)
        num_video = grid[0] * grid[1] * grid[2] // self._merge**2
        ids = torch.tensor([[*self._before, *[self.video_id] * num_video, *self._end]])
        positions, _ = rope_index(
            self.model.model,
            ids,
            (ids == self.video_id).long() * VIDEO,
            video_grid_thw=torch.tensor([grid]),
            second_per_grid_ts=torch.tensor([self.seconds_per_step(plan)]),
        )
        return ids[0].numpy(), positions[:, 0].numpy()

    def query(self, prompt: str) -> tuple[int, ...]:
        """See `Encoder.query`."""
        return tuple(self._ids(self._behind.replace(_QUERY, prompt)))

    def answer(self, text: str) -> tuple[int, ...]:
        """See `Encoder.answer`."""
        return (*self._ids(text), self._tokenizer.eos_token_id)

    def patches(self, frames: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """What the vision tower takes: (patches, values) float32, and (1, 3) patches in time, height, width.

        Args:
            frames: uint8 (T, H, W, 3) of a plan.
        """
        seen = self.processor.video_processor([frames], do_sample_frames=False, do_resize=False, return_tensors="pt")
        return seen["pixel_values_videos"], seen["video_grid_thw"]

    @torch.no_grad()
    def features(self, frames: np.ndarray) -> torch.Tensor:
        """(V, D) of the vision tower and merger, in the model's type; the tower is frozen.

        Args:
            frames: uint8 (T, H, W, 3) of a plan.
        """
        pixels, grid = self.patches(frames)
        found = self.model.model.get_video_features(pixels.to(self.model.device), grid.to(self.model.device))
        features: torch.Tensor = torch.cat(list(found.pooler_output))
        return features

    def answer_logps(self, flat: Flat, features: torch.Tensor) -> torch.Tensor:
        """(number of spans,) float32: each answer's log-probability, summed over its tokens.

        Args:
            flat: one or several trees.
            features: (V, D) of their videos, in order.

        Raises:
            ValueError: there are not as many features as video tokens.
        """
        device = self.model.device
        ids = torch.from_numpy(flat.ids).to(device)
        is_video = ids == self.video_id
        if not 0 < int(is_video.sum()) == len(features):
            raise ValueError(f"{int(is_video.sum())} video tokens and {len(features)} features; each needs its own")
        # What predicts an answer's tokens: the query's last, and the answer's own but its last.
        rows = np.concatenate([[span.before, *range(span.start, span.end - 1)] for span in flat.spans])
        targets = np.concatenate([np.arange(span.start, span.end) for span in flat.spans])
        owners = np.repeat(np.arange(len(flat.spans)), [span.end - span.start for span in flat.spans])
        logps: torch.Tensor = self.language(
            ids,
            features.to(device),
            is_video,
            torch.from_numpy(flat.positions).to(device),
            mask_of(flat, self.model.config.text_config._attn_implementation, device),
            torch.from_numpy(rows).to(device),
            torch.from_numpy(flat.ids[targets]).to(device),
        )
        return logps.new_zeros(len(flat.spans)).index_add(0, torch.from_numpy(owners).to(device), logps)


class Language(torch.nn.Module):
    """The language model with its head: the part that is trained, and split over workers.

    Its parameters are the model's own. One module with one forward pass, because that is what FSDP2 hooks into.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.text = model.model.language_model
        self.head = model.lm_head

    def forward(
        self,
        ids: torch.Tensor,
        features: torch.Tensor,
        is_video: torch.Tensor,
        positions: torch.Tensor,
        mask: Any,
        rows: torch.Tensor,
        targets: torch.Tensor,
    ) -> torch.Tensor:
        """(R,) float32: log-probability of each of `targets`, from the output at each of `rows`.

        Args:
            ids: (L,) int64.
            features: (V, D) of the video tokens, in order.
            is_video: (L,) bool, V of them.
            positions: (3, L) int64.
            mask: of `attention.mask_of`.
            rows: (R,) int64.
            targets: (R,) int64.
        """
        embedded = self.text.embed_tokens(ids)
        embedded = embedded.masked_scatter(is_video[:, None], features.to(embedded.dtype))
        hidden = self.text(
            inputs_embeds=embedded[None],
            position_ids=positions[:, None],
            attention_mask={"full_attention": mask},
            use_cache=False,
        ).last_hidden_state[0]
        logits = self.head(hidden[rows]).float()
        return logits.log_softmax(-1).gather(-1, targets[:, None])[:, 0]


_VIDEO = "<|vision_start|><|video_pad|><|vision_end|>"
_QUERY = "\x00"
