import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path

import pytest

from videopasta.config import FAILURE_MODES, FailureMode
from videopasta.errors import UserError
from videopasta.prompts import SHIPPED, PromptSet, load_prompts

ANSWERS = {
    "query": "Where is the <dog> & cat?",
    "preferred": "It lies left.",
    "adversarial": "It lies right.",
}


def make_folder(folder: Path, files: Mapping[str, str]) -> str:
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return str(folder)


def rendered(prompts: PromptSet) -> list[str]:
    """One of each prompt, in each failure mode."""
    texts = [
        prompts.describe(),
        prompts.preferred("q", min_words=1, max_words=2),
        prompts.adversarial("q", words=3),
    ]
    for mode in FAILURE_MODES:
        texts.append(prompts.query(mode, count=2))
        texts.append(prompts.judge(mode, **ANSWERS))
        texts += [
            prompts.rewrite(mode, adversary, query="q", preferred="p") for adversary in prompts.modes[mode].adversaries
        ]
    return texts


def test_every_mode_has_what_the_paper_asks_for():
    """Three adversaries a mode, each with an example, and examples for the query writer."""
    prompts = load_prompts()
    assert set(prompts.modes) == set(FAILURE_MODES)
    for mode in prompts.modes.values():
        assert len(mode.adversaries) >= 3
        assert len(mode.examples) >= 2
        assert all(one.instruction and one.example for one in mode.adversaries.values())


def test_adversaries_have_names_of_their_own():
    """An adversary's name alone says what it does, in whatever mode."""
    names = [name for mode in load_prompts().modes.values() for name in mode.adversaries]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("mode", FAILURE_MODES)
def test_query_prompt_says_how_many_of_what_and_what_is_taken(mode: FailureMode):
    """The count, the mode's subject and examples, the questions not to repeat, and the form of the answer."""
    prompts = load_prompts()
    text = prompts.query(mode, count=7, taken=["Who runs first?"])
    for part in (
        " 7 ",
        prompts.modes[mode].about,
        *prompts.modes[mode].examples,
        "Who runs first?",
        '{"queries":',
    ):
        assert part in text
    assert "Do not repeat" not in prompts.query(mode, count=7)


@pytest.mark.parametrize("mode", FAILURE_MODES)
def test_rewrite_prompt_holds_the_operator_and_the_pair(mode: FailureMode):
    """Each adversary's own instruction and example, the query, and its right answer."""
    prompts = load_prompts()
    for name, operator in prompts.modes[mode].adversaries.items():
        text = prompts.rewrite(mode, name, query="Who runs first?", preferred="The man does.")
        for part in (operator.instruction, operator.example, "Who runs first?", "The man does.", '{"query":'):
            assert part in text


@pytest.mark.parametrize("mode", FAILURE_MODES)
def test_judge_prompt_holds_both_answers_and_the_failure(mode: FailureMode):
    """The judge sees text alone, so the text has to say everything; a description only when there is one."""
    prompts = load_prompts()
    text = prompts.judge(mode, **ANSWERS)
    for part in (*ANSWERS.values(), prompts.modes[mode].about, prompts.modes[mode].failure):
        assert part in text
    for question in ("genuine", "targeted", "distinct", "preferred_ok", "confidence", "reason"):
        assert f'"{question}"' in text
    assert "description" not in text
    assert "A red room." in prompts.judge(mode, **ANSWERS, description="A red room.")


def test_answer_prompts_hold_query_and_length():
    """Length is asked for in words, as the guards measure it."""
    prompts = load_prompts()
    preferred = prompts.preferred("Who runs first?", min_words=11, max_words=17)
    assert all(part in preferred for part in ("Who runs first?", "11", "17"))
    adversarial = prompts.adversarial("Who runs last?", words=13)
    assert all(part in adversarial for part in ("Who runs last?", "13"))


def test_prompts_about_a_video_begin_with_the_same_words():
    """They fill the cache block in which the video ends; text-only prompts do not have them."""
    prompts = load_prompts()
    preamble = prompts.sources["preamble.j2"].strip()
    about_video = [
        prompts.query("spatial", count=1),
        prompts.preferred("q", min_words=1, max_words=2),
        prompts.adversarial("q", words=1),
        prompts.describe(),
    ]
    assert all(text.startswith(preamble) for text in about_video)
    assert preamble not in prompts.rewrite("spatial", "flipped_relation", query="q", preferred="p")
    assert preamble not in prompts.judge("spatial", **ANSWERS)


def test_prompts_are_plain_text():
    """No HTML escapes, no template syntax, no white space at the ends, whatever the query holds."""
    prompts = load_prompts()
    for text in [*rendered(prompts), prompts.judge("spatial", **ANSWERS)]:
        assert "{%" not in text
        assert "{{" not in text
        assert "&amp;" not in text
        assert text == text.strip()
    assert ANSWERS["query"] in prompts.judge("spatial", **ANSWERS)


def test_query_that_looks_like_a_template_is_not_run():
    """A model's words are data."""
    assert "{{ 6 * 7 }}" in load_prompts().preferred("{{ 6 * 7 }}", min_words=1, max_words=2)


def test_hash_is_of_the_files_text():
    """A row's hash can be compared with a file by sha256sum."""
    hashes = load_prompts().hashes
    assert set(hashes) == {path.name for path in SHIPPED.iterdir()}
    for name, value in hashes.items():
        assert value == hashlib.sha256((SHIPPED / name).read_bytes()).hexdigest()[:12]


def test_folder_replaces_the_files_it_has(tmp_path: Path):
    """Other prompts, and their hashes, stay as shipped."""
    folder = make_folder(tmp_path, {"preferred.j2": "Short: {{ query }}", "notes.txt": "not a template"})
    shipped, changed = load_prompts(), load_prompts(folder)
    assert changed.preferred("Who?", min_words=1, max_words=2).endswith("Short: Who?")
    assert changed.adversarial("Who?", words=3) == shipped.adversarial("Who?", words=3)
    assert {name for name in shipped.hashes if shipped.hashes[name] != changed.hashes[name]} == {"preferred.j2"}


def test_folder_with_the_same_text_has_the_same_hashes(tmp_path: Path):
    """A copy is no change: the hash is of the text, not of the place."""
    folder = make_folder(tmp_path, {"judge.j2": (SHIPPED / "judge.j2").read_text(encoding="utf-8")})
    assert load_prompts(folder).hashes == load_prompts().hashes


def test_any_change_of_text_changes_the_hash(tmp_path: Path):
    """One space is another prompt to a model."""
    text = (SHIPPED / "spatial.yaml").read_text(encoding="utf-8")
    changed = load_prompts(make_folder(tmp_path, {"spatial.yaml": text + "# note\n"}))
    assert changed.modes == load_prompts().modes
    assert changed.hashes["spatial.yaml"] != load_prompts().hashes["spatial.yaml"]


def test_adversaries_can_be_added(tmp_path: Path):
    """A folder's mode file brings its own operators."""
    operator = "  mirrored:\n    instruction: Mirror it.\n    example: A becomes B.\n"
    text = (SHIPPED / "spatial.yaml").read_text(encoding="utf-8") + operator
    prompts = load_prompts(make_folder(tmp_path, {"spatial.yaml": text}))
    assert list(prompts.modes["spatial"].adversaries)[-1] == "mirrored"
    assert "Mirror it." in prompts.rewrite("spatial", "mirrored", query="q", preferred="p")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"prefered.j2": "x"}, r"prefered\.j2 would replace nothing; templates are called .*preferred\.j2"),
        ({"notes.txt": "x"}, r"it has no template; templates are called"),
        (
            {"preferred.j2": "{{ quory }}"},
            r"preferred\.j2: 'quory' is undefined; see .*templates.preferred\.j2",
        ),
        ({"judge.j2": "{% if query %}"}, r"judge\.j2: .*end of template"),
        ({"query.j2": "{{ count + about }}"}, r"query\.j2: unsupported operand"),
        ({"describe.j2": "{% include 'judge.j2' %}"}, r"describe\.j2: no loader"),
        ({"preamble.j2": "{{ clip }}"}, r"preamble\.j2: 'clip' is undefined"),
        ({"spatial.yaml": "about: ["}, r"spatial\.yaml: while parsing"),
        ({"spatial.yaml": "about: x"}, r"spatial\.yaml: .*Field required; see"),
        ({"temporal.yaml": "abuot: x"}, r"temporal\.yaml: .*see"),
        ({"temporal.yaml": ""}, r"temporal\.yaml: .*see"),
    ],
)
def test_mistake_in_a_folder_names_the_file_and_the_fix(files: dict[str, str], message: str, tmp_path: Path):
    """Before any model loads."""
    with pytest.raises(UserError, match=message):
        load_prompts(make_folder(tmp_path, files))


def test_missing_folder_is_named(tmp_path: Path):
    """A wrong path is the user's to mend."""
    with pytest.raises(UserError, match="none is no folder"):
        load_prompts(str(tmp_path / "none"))


def test_template_that_is_not_text_is_named(tmp_path: Path):
    """Bytes that are no UTF-8 are told with the file."""
    (tmp_path / "judge.j2").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"judge\.j2"):
        load_prompts(str(tmp_path))


def test_prompt_set_travels(tmp_path: Path):
    """A pickled set renders the same in an actor that has no folder."""
    folder = make_folder(tmp_path, {"preferred.j2": "Short: {{ query }}"})
    prompts = load_prompts(folder)
    travelled = pickle.loads(pickle.dumps(prompts))
    assert travelled == prompts
    assert rendered(travelled) == rendered(prompts)
