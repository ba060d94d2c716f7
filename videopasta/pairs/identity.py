"""Names made of content: equal ids mean equal pairs, in any run and any folder. Pure."""

import hashlib
import json


def pair_id(
    *, clip_id: str, failure_mode: str, prompt: str, chosen: str, rejected: str, adversary: str,
    chosen_plan: str, rejected_plan: str,
) -> str:  # fmt: skip
    """32 hex digits over what a pair says and what was seen when it was said.

    Caches keyed by it (reference log-probs) are right by construction: other content, other id.
    """
    parts = [clip_id, failure_mode, prompt, chosen, rejected, adversary, chosen_plan, rejected_plan]
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()[:32]
