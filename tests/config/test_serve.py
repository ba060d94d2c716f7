import pytest

from tests.conftest import REPOSITORY
from videopasta.config import GenerateConfig, ServeConfig, load_config
from videopasta.errors import UserError

FILES = sorted((REPOSITORY / "configs").glob("serve_*.yaml"))


def test_by_default_no_file_is_opened_and_nobody_elsewhere_is_served():
    """Loopback, and no source of videos but the request itself."""
    config = load_config(ServeConfig)
    assert config.http.host == "127.0.0.1"
    assert config.decode.sources.schemes == ()


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("decode.sources.schemes=[file]", "without roots"),
        ("decode.sources.schemes=[https, s3]", "without roots"),
        ("decode.sources.roots=[/data]", "without schemes"),
        ("sampling.max_tokens=2000", "over limits.max_tokens"),
        ("pairs={root: jobs, recipe: r.yaml}", "is relative"),
        ("auth.token_env=a-b", "pattern"),
    ],
)
def test_what_would_open_too_much_or_nothing_is_refused(setting: str, words: str):
    """With the reason."""
    with pytest.raises(UserError, match=words):
        load_config(ServeConfig, None, [setting])


def test_hosts_bound_the_web_without_roots():
    """An allow-list of hosts is a bound."""
    load_config(ServeConfig, None, ["decode.sources.schemes=[https]", "decode.sources.hosts=[a.org]"])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_shipped_services_are_valid(file):
    """With their recipes, which are in the repository."""
    config = load_config(ServeConfig, file)
    if config.pairs is not None:
        load_config(GenerateConfig, REPOSITORY / config.pairs.recipe)
