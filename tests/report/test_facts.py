from tests.works import make_candidate, make_finished, make_vote
from videopasta.pairs.schema import candidate_rows
from videopasta.report.facts import Effort, Facts, effort_of


def make_facts(*candidates) -> Facts:
    facts = Facts()
    for row in candidate_rows(make_finished(candidates=candidates), run_id="run", prompt_hashes={}):
        facts.add(row)
    return facts


def test_the_funnel_ends_in_pairs():
    """What a guard dropped no judge has seen; what a judge dropped is no pair."""
    facts = make_facts(
        make_candidate(),
        make_candidate(text="And the plate?"),
        make_candidate(mode="temporal", adversary="reordered", drop_reason="judge_not_genuine"),
        make_candidate(adversary="false_between", drop_reason="length_ratio", votes=()),
    )
    assert facts.funnel == [("candidates", 4), ("judged", 3), ("pairs", 2)]
    assert facts.drop_reasons == {"judge_not_genuine": 1, "length_ratio": 1}
    assert {mode: (one.num_candidates, one.num_pairs) for mode, one in facts.by_mode.items()} == {
        "spatial": (3, 2), "temporal": (1, 0),
    }  # fmt: skip
    assert facts.by_adversary["spatial", "false_between"].share == 0
    assert facts.by_adversary["spatial", "flipped_relation"].share == 1


def test_repeated_texts_are_counted_once_each():
    """Without regard to case and blanks; the first is no repetition."""
    facts = make_facts(
        make_candidate(text="Where is the cup?"), make_candidate(text="where  is the CUP?", index=1),
        make_candidate(text="Where is the plate?", index=2),
    )  # fmt: skip
    assert (facts.num_repeated_prompts, facts.num_repeated_answers) == (1, 2)


def test_lengths_are_those_of_pairs():
    """Dropped candidates have none."""
    facts = make_facts(make_candidate(), make_candidate(drop_reason="identical", votes=()))
    assert facts.words == {"chosen": {9: 1}, "rejected": {9: 1}}
    assert (facts.num_chosen_longer, facts.num_rejected_longer) == (0, 0)


def test_confidence_of_one_is_in_the_last_tenth():
    """0.9 to 1 are one bar."""
    facts = make_facts(*(make_candidate(votes=(make_vote(confidence=c),)) for c in (0.0, 0.89, 0.9, 1.0)))
    assert facts.confidences == {0: 1, 8: 1, 9: 2}
    assert facts.unanimous == 1


def test_nothing_is_known_of_nothing():
    """A folder of dropped candidates has a page too."""
    facts = make_facts(make_candidate(drop_reason="identical", votes=()))
    assert facts.unanimous is None
    assert facts.mean_words("chosen") == 0
    assert facts.to_dict()["funnel"] == {"candidates": 1, "judged": 0, "pairs": 0}


def test_runs_are_summed_up():
    """Those that asked no model, as an import, are none."""
    run = {"wall_s": 2.0, "tokens": {"query": {"requests": 1, "prompt": 10}}, "seconds": {"decode": 0.5}}
    assert effort_of([run, {"imported": 3}, run]) == Effort(
        2, 4.0, {"query": {"requests": 2, "prompt": 20}}, {"decode": 1.0}
    )
