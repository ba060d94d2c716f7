"""`--model videopasta_vllm` of lmms-eval: its `vllm_generate`, with videos that vLLM takes.

lmms-eval 0.7.3 gives vLLM the frames of a Qwen2.5-VL without their metadata, which vLLM 0.32 refuses ("Video metadata
is required"); its later versions mend it (lmms-eval #1535). Here each video comes with what `engine/vllm.py` says of
it: the sampled frames are a video of their own, so nothing samples them again. Imported by lmms-eval alone.
"""

from typing import Any

from lmms_eval.api.registry import register_model
from lmms_eval.models.chat.vllm_generate import VLLMGenerate

from videopasta.evaluate.lmms.profiles import VIDEO_MODEL


@register_model(VIDEO_MODEL)
class VideopastaVLLM(VLLMGenerate):
    """`VLLMGenerate` whose videos carry their metadata."""

    is_simple = False

    def make_one_request(self, request: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """As its parent's, with (frames, metadata) for each video."""
        inputs, params = super().make_one_request(request)
        videos = inputs["multi_modal_data"].get("video")
        if videos:
            fps = float(inputs.pop("mm_processor_kwargs")["fps"])
            inputs["multi_modal_data"]["video"] = [(_frames(video), _metadata(len(video), fps)) for video in videos]
            inputs["mm_processor_kwargs"] = {"do_resize": False}  # fetch_video has done it
        return inputs, params


def _frames(video: Any) -> Any:
    return video.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def _metadata(num_frames: int, fps: float) -> dict[str, Any]:
    return {
        "fps": fps,
        "total_num_frames": num_frames,
        "duration": num_frames / fps,
        "frames_indices": list(range(num_frames)),
        "video_backend": "qwen-vl-utils",
        "do_sample_frames": False,
    }
