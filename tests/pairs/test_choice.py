"""Which candidates are pairs: thresholds, near-duplicates, caps and balance, each with its reason."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.exchange.rows import MODEL, VOTE, make_row
from tests.pairs.test_reviews import make_review
from videopasta.config import FAILURE_MODES, RefilterConfig
from videopasta.config.generate import GuardsConfig, JudgeConfig
from videopasta.generate.judging import decide
from videopasta.generate.work import Vote
from videopasta.pairs.choice import NEAR_DUPLICATE, OVER_CAP, UNBALANCED, Entry, choose, drop_reason, reviewed
from videopasta.pairs.reviews import latest

WORDS = ["the", "red", "ball", "rolls", "behind", "a", "small", "green", "box", "then", "stops", "left", "of", "it"]


def make_entry(number: int, *, clip: str = "a", mode: str = "spatial", query: int | None = None, **others) -> Entry:
    """Texts differ in every word but for what is given."""
    asked = number if query is None else query
    texts = {
        "prompt": f"what{asked} is{asked} there{asked}", "chosen": f"good{number} answer{number}",
        "rejected": f"bad{number} answer{number}",
    }  # fmt: skip
    given = {"confidence": 0.5, "agreement": 1.0, "by_person": False, "pair_id": f"{number:04d}"} | texts | others
    return Entry(number=number, clip_id=clip, failure_mode=mode, **given)


def kept(entries: list[Entry], **config) -> list[int]:
    dropped = choose(entries, RefilterConfig(**config))
    return [one.number for one in entries if one.number not in dropped]


@pytest.mark.parametrize("confidence", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("noes", [{}, {"genuine": False}, {"targeted": False}])
@pytest.mark.parametrize("config", [JudgeConfig(), JudgeConfig(min_confidence=0.6), JudgeConfig(min_agreement=1.0)])
def test_votes_decide_as_in_a_generation(confidence: float, noes: dict, config: JudgeConfig):
    """The same function, on the votes in the row."""
    votes = [{"judge": "j@r", **VOTE, "confidence": confidence}, {"judge": "k@r", **VOTE, **noes}]
    row = make_row(votes=votes, drop_reason="judge_low_confidence")
    assert drop_reason(row, config, GuardsConfig()) == decide([Vote(**vote) for vote in votes], config)[1]


def test_guards_are_asked_anew():
    """Tighter ones drop what came through; what never came before a judge keeps its reason under looser ones."""
    row = make_row(chosen="Cup 0 stands left of the plate.", rejected="Cup 0 lies under it.")
    assert drop_reason(row, JudgeConfig(), GuardsConfig()) is None
    assert drop_reason(row, JudgeConfig(), GuardsConfig(max_length_ratio=1.2)) == "length_ratio"
    unjudged = make_row(votes=[], verdict=None, drop_reason="length_ratio")
    assert drop_reason(unjudged, JudgeConfig(), GuardsConfig(max_length_ratio=100)) == "length_ratio"


def test_guards_alone_decide_where_no_judge_was_asked():
    """Of imported pairs."""
    row = make_row(votes=[], verdict=None, judge_model=None, drop_reason="length_ratio", rejected="Under it.")
    assert drop_reason(row, JudgeConfig(), GuardsConfig()) == "length_ratio"
    assert drop_reason(row, JudgeConfig(), GuardsConfig(max_length_ratio=9)) is None


def test_the_better_of_two_near_duplicates_is_kept():
    """Of a clip and a failure mode; query and both answers must be alike."""
    said = " ".join(WORDS)
    same = {"prompt": said, "chosen": said + " ok", "rejected": said + " no"}
    entries = [make_entry(0, **same), make_entry(1, **same, confidence=0.9)]
    assert choose(entries, RefilterConfig()) == {0: NEAR_DUPLICATE}
    assert kept([*entries, make_entry(2, **same, clip="b"), make_entry(3, **same, mode="temporal")]) == [1, 2, 3]
    assert kept([entries[0], make_entry(1, **same | {"rejected": "something else"})]) == [0, 1]
    assert kept(entries, max_similarity=None) == [0, 1]


def test_one_other_word_is_no_near_duplicate():
    """Left and right make all the difference; case and punctuation make none."""
    first = make_entry(
        0, prompt="Where is it?", chosen="here", rejected="The red ball rolls to the left of the big box."
    )
    other = make_entry(
        1, prompt="Where is it?", chosen="here", rejected="The red ball rolls to the right of the big box."
    )
    again = make_entry(
        2, prompt="where is it", chosen="Here!", rejected="the red ball rolls to the left of the big box"
    )
    assert kept([first, other]) == [0, 1]
    assert kept([first, again]) == [0]


def test_what_a_person_kept_is_no_near_duplicate():
    """And others are of it."""
    same = {"prompt": "q", "chosen": "a", "rejected": "b"}
    entries = [make_entry(0, **same, confidence=1.0), make_entry(1, **same, by_person=True),
               make_entry(2, **same, by_person=True)]  # fmt: skip
    assert kept(entries) == [1, 2]


def test_the_cap_goes_over_modes_and_queries_in_turn():
    """Nine pairs of one query do not crowd out the others."""
    entries = [make_entry(n, query=0, confidence=0.9) for n in range(4)]
    entries += [make_entry(n, query=1, confidence=0.1) for n in range(4, 6)]
    entries += [make_entry(6, mode="temporal", confidence=0.2)]
    assert kept(entries, max_per_clip=2) == [0, 6]
    assert kept(entries, max_per_clip=3) == [0, 4, 6]
    assert kept(entries, max_per_clip=4) == [0, 1, 4, 6]
    assert set(choose(entries, RefilterConfig(max_per_clip=3)).values()) == {OVER_CAP}
    assert kept([*entries, make_entry(9, clip="b")], max_per_clip=1) == [0, 9]


def test_balance_takes_as_many_of_each_mode_over_clips_in_turn():
    """As many as the rarest that has any; a mode without pairs does not empty the set."""
    entries = [make_entry(n, clip="a", confidence=0.9) for n in range(4)]
    entries += [make_entry(n, clip=f"c{n}", confidence=0.1) for n in range(4, 7)]
    entries += [make_entry(n, mode="temporal") for n in range(7, 10)]
    chosen = kept(entries, balance=True)
    assert [n for n in chosen if n >= 7] == [7, 8, 9]
    assert len([n for n in chosen if n < 7]) == 3
    assert len({entries[n].clip_id for n in chosen if n < 7}) == 3
    assert UNBALANCED in choose(entries, RefilterConfig(balance=True)).values()


_ENTRIES = st.lists(
    st.builds(
        lambda clip, mode, query, confidence: (clip, mode, query, confidence),
        st.sampled_from("abc"), st.sampled_from(FAILURE_MODES), st.integers(0, 2), st.sampled_from([0.1, 0.5, 0.9]),
    ),
    max_size=30,
)  # fmt: skip


@settings(deadline=None)
@given(_ENTRIES, st.none() | st.integers(1, 4), st.booleans(), st.randoms())
def test_caps_and_balance_hold_whatever_the_order(given_entries, cap, balance, rng):
    """The choice is a function of the set of rows."""
    entries = [
        make_entry(n, clip=clip, mode=mode, query=query, confidence=confidence)
        for n, (clip, mode, query, confidence) in enumerate(given_entries)
    ]
    config = RefilterConfig(max_per_clip=cap, balance=balance)
    dropped = choose(entries, config)
    shuffled = rng.sample(entries, len(entries))
    assert choose(shuffled, config) == dropped
    left = [one for one in entries if one.number not in dropped]
    assert bool(left) == bool(entries)
    if cap:
        assert max(Counter(one.clip_id for one in left).values(), default=0) <= cap
    if balance:
        assert len(set(Counter(one.failure_mode for one in left).values())) <= 1


@pytest.mark.parametrize(
    ("decision", "changes"),
    [
        ({"decision": "accept"}, {"accepted": True, "drop_reason": None}),
        ({"decision": "reject"}, {"accepted": False, "drop_reason": "review_reject"}),
        ({"decision": "swap"}, {"accepted": True, "drop_reason": None, "chosen": "Right.", "rejected": "Left.",
                                "verdict": None, "votes": []}),
        ({"decision": "edit", "chosen": "Far left."},
         {"accepted": True, "drop_reason": None, "chosen": "Far left.", "rejected": "Right.", "verdict": None,
          "votes": []}),
        ({"decision": "edit", "chosen": "Right."},
         {"accepted": False, "drop_reason": "review_no_pair", "chosen": "Right.", "rejected": "Right.",
          "verdict": None, "votes": []}),
        ({"decision": "edit"}, {"accepted": True, "drop_reason": None}),
    ],
)  # fmt: skip
def test_a_decision_changes_the_row(decision: dict, changes: dict):
    """It overrules judges and guards; what no judge saw has no verdict."""
    row = make_row(chosen="Left.", rejected="Right.", drop_reason="judge_not_genuine", accepted=False)
    assert reviewed(row, make_review(**decision)) == changes
    assert reviewed(row, None) is None


def test_an_accepted_candidate_without_an_answer_is_no_pair():
    """A preferred answer that was cut had no adversarial one."""
    row = make_row(rejected="", drop_reason="preferred_cut", accepted=False, judge_model=MODEL)
    changes = reviewed(row, make_review(decision="accept"))
    assert changes == {"accepted": False, "drop_reason": "review_no_pair"}


def test_of_a_pair_the_latest_decision_counts():
    """By its time, not by its place."""
    early, late = make_review(decision="reject", hour=1), make_review(decision="accept", hour=2)
    assert latest([early, late]) == latest([late, early]) == {"p": late}
