import pytest

from videopasta.review.agreement import Agreement, agreement, between_reviewers, with_judge
from videopasta.review.decisions import Decision
from videopasta.review.queue import Entry


def decided(pair_id: str, action: str, reviewer: str = "ann") -> Decision:
    return Decision(1, pair_id, reviewer, action, None, None, "", "2026-01-01T00:00:00+00:00")  # type: ignore[arg-type]


def entry(pair_id: str, *, accepted: bool, judged: bool = True) -> Entry:
    return Entry(pair_id, "spatial", "flipped_relation", accepted, None, 0.9 if judged else None, 1.0)


def test_kappa_is_cohens():
    """The example of Cohen's formula: 20 both yes, 5 and 10 one of them, 15 both no: 0.7, of which 0.5 is chance."""
    opinions = [(True, True)] * 20 + [(True, False)] * 5 + [(False, True)] * 10 + [(False, False)] * 15
    found = agreement(opinions)
    assert (found.count, found.share, found.kappa) == (50, 0.7, pytest.approx(0.4))


def test_who_says_one_thing_only_has_no_kappa():
    """And of nothing, nothing is known."""
    assert agreement([(True, True), (True, False)]) == Agreement(2, 0.5, None)
    assert agreement([]) == Agreement(0, None, None)


def test_swapped_and_edited_pairs_were_not_good_as_they_stood():
    """The judge accepted them, the reviewer did not."""
    entries = {name: entry(name, accepted=True) for name in "abc"}
    found = with_judge(entries, [decided("a", "accept"), decided("b", "swap"), decided("c", "edit")])
    assert (found.count, found.share) == (3, pytest.approx(1 / 3))


def test_candidates_that_no_judge_saw_say_nothing_of_it():
    """A guard dropped them; nor do decisions about other folders' pairs."""
    entries = {"a": entry("a", accepted=False, judged=False)}
    assert with_judge(entries, [decided("a", "reject"), decided("elsewhere", "accept")]).count == 0


def test_reviewers_are_compared_on_what_both_decided():
    """Two by two, in the order of their names."""
    standing = [
        decided("a", "accept", "bob"), decided("a", "accept", "ann"), decided("b", "reject", "bob"),
        decided("b", "accept", "ann"), decided("c", "accept", "eve"),
    ]  # fmt: skip
    assert between_reviewers(standing) == {("ann", "bob"): Agreement(2, 0.5, None)}
