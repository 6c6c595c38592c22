"""Settings: three sources, one meaning, no nonsense."""

import pytest

from tsne_backends import ServerlessTSNE
from tsne_backends.errors import ConfigurationError
from tsne_backends.settings import Settings, config_file, read_settings


@pytest.fixture
def configure():
    """Return a function that writes the configuration file."""

    def write(text):
        config_file().parent.mkdir(parents=True, exist_ok=True)
        config_file().write_bytes(text if isinstance(text, bytes) else text.encode())

    yield write
    config_file().unlink(missing_ok=True)


def test_defaults():
    assert read_settings({}) == Settings(sources={})
    assert Settings().allow_remote
    assert Settings().prefer == "time"
    assert Settings().source("prefer") == "the default"


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        *((text, True) for text in ("1", "true", "TRUE", "yes", "on", " 1 ")),
        *((text, False) for text in ("0", "false", "False", "no", "off")),
    ],
)
def test_switches_are_read_not_tested_for_truth(text, allowed, monkeypatch):
    monkeypatch.setenv("SERVERLESS_TSNE_ALLOW_REMOTE", text)
    settings = read_settings({})
    assert settings.allow_remote is allowed
    assert settings.source("allow_remote").endswith("SERVERLESS_TSNE_ALLOW_REMOTE")


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_variable_says_nothing(text, monkeypatch, configure):
    for name in ("ALLOW_REMOTE", "BACKENDS", "MAX_COST", "PREFER", "REMEMBER"):
        monkeypatch.setenv(f"SERVERLESS_TSNE_{name}", text)
    configure("allow_remote = false")
    assert read_settings({}).allow_remote is False
    assert read_settings({}).backends is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ALLOW_REMOTE", "maybe"),
        ("ALLOW_REMOTE", "2"),
        ("ALLOW_REMOTE", "None"),
        ("MAX_COST", "cheap"),
        ("MAX_COST", "-1"),
        ("MAX_COST", "nan"),
        ("MAX_COST", "inf"),
        ("PREFER", "speed"),
        ("BACKENDS", "opentsne,,sklearn"),
        ("BACKENDS", "opentsne,opentsne"),
        ("REMEMBER", "sometimes"),
    ],
)
def test_nonsense_in_a_variable_is_refused(name, text, monkeypatch, digits):
    monkeypatch.setenv(f"SERVERLESS_TSNE_{name}", text)
    with pytest.raises(ConfigurationError, match=rf"SERVERLESS_TSNE_{name} is '{text}', but it"):
        ServerlessTSNE(max_iter=250).fit(digits)


def test_lists_and_numbers(monkeypatch):
    monkeypatch.setenv("SERVERLESS_TSNE_BACKENDS", "sklearn, opentsne")
    monkeypatch.setenv("SERVERLESS_TSNE_MAX_COST", "0.05")
    settings = read_settings({})
    assert settings.backends == ("sklearn", "opentsne")
    assert settings.max_cost == 0.05


def test_the_call_comes_before_the_environment_and_that_before_the_file(monkeypatch, configure):
    configure('allow_remote = true\nprefer = "cost"\nmax_cost = 1\nbackends = ["sklearn"]')
    settings = read_settings({})
    assert (settings.allow_remote, settings.prefer, settings.max_cost) == (True, "cost", 1.0)
    assert settings.backends == ("sklearn",)
    assert str(config_file()) in settings.source("prefer")
    monkeypatch.setenv("SERVERLESS_TSNE_ALLOW_REMOTE", "0")
    assert read_settings({"allow_remote": None}).allow_remote is False
    assert read_settings({"allow_remote": True}).allow_remote is True
    assert read_settings({"allow_remote": False}).source("allow_remote") == (
        "the parameter allow_remote"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("allow_remote = ", "not valid TOML"),
        ("allow_remote = 0", '"allow_remote" in .* must be one of 1, true'),
        ("max_cost = true", "a number of US dollars"),
        ("backends = 3", "backend names"),
        ("backends = [1]", "backend names"),
        ("allow_remotes = false", 'Did you mean "allow_remote"'),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused(text, words, configure):
    """It may hold the wish that no data leave the machine, so it is not passed over."""
    configure(text)
    with pytest.raises(ConfigurationError, match=words):
        read_settings({})


def test_estimator_parameters_are_checked(digits):
    for parameters in ({"max_cost": -1}, {"allow_remote": "no"}, {"prefer": "luck"}):
        with pytest.raises(ValueError, match=next(iter(parameters))):
            ServerlessTSNE(**parameters).fit(digits)
