"""Cheap checks on a candidate before any judge is asked. Pure.

In: two answers. Out: the first reason to drop them, or None. The names are the `drop_reason` of a row.
"""

import re

import regex

from videopasta.config.generate import GuardsConfig

# Unicode's rule for words (UAX #29) joins no two letters of the class Other: Han, hiragana, Thai, Lao, Khmer, Burmese.
_WORD = regex.compile(r"[\w&&\p{Word_Break=Other}]\p{M}*|[\w--\p{Word_Break=Other}]+(?:['’]\w+)*", regex.V1)

# Openings of answers that decline. English, like the prompts; matched at the start of a sentence.
_REFUSAL = re.compile(
    r"(?:^|[.!?]\s+)(?:"
    r"(?:(?:i['’]?m|i am) )?sorry\b"
    r"|i (?:can(?:no|['’])?t|do(?: not|n['’]?t)) (?:see|tell|answer|determine|provide|help|know|watch|view)\b"
    r"|i(?:['’]?m| am) (?:unable|not able) to\b"
    r"|as an ai\b"
    r"|unable to (?:determine|answer|tell)\b"
    r"|it(?: is|['’]?s) (?:not possible|impossible) to (?:tell|determine|say|answer)\b"
    r"|the video does(?: not|n['’]?t) (?:show|provide|contain) "
    r"(?:enough|that information|any (?:information|indication|evidence|detail))"
    r")",
    re.IGNORECASE,
)


def words(text: str) -> list[str]:
    """The words of `text`, lower case, without punctuation: whatever is counted or compared in words uses these.

    Where no spaces are written, each letter with its marks is one, as Unicode's default rule (UAX #29) has it; words of
    several letters would take a dictionary for each language. Katakana and Hangul are joined, as by that rule.
    """
    return _WORD.findall(text.lower())


def check_answer(text: str, config: GuardsConfig, *, cut: bool = False) -> str | None:
    """`cut`, `empty` or `refusal`, or None for an answer that can be used."""
    if cut and config.drop_cut:
        return "cut"
    if len(words(text)) < config.min_words:
        return "empty"
    if config.drop_refusals and _REFUSAL.search(text):
        return "refusal"
    return None


def check_pair(preferred: str, adversarial: str, config: GuardsConfig) -> str | None:
    """Why they make no pair: `empty`, `refusal`, `identical`, `containment`, `length_ratio`; or None."""
    reason = check_answer(preferred, config) or check_answer(adversarial, config)
    if reason:
        return reason
    first, second = words(preferred), words(adversarial)
    if first == second:
        return "identical"
    short, long = sorted((first, second), key=len)
    if config.drop_containment and f" {' '.join(short)} " in f" {' '.join(long)} ":
        return "containment"
    if len(long) > config.max_length_ratio * len(short):
        return "length_ratio"
    return None
