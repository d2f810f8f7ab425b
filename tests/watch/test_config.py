# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.clock import MS
from observer.config import Policy, duration_ns, load
from observer.errors import ConfigError


def refused(tmp_path: Path, text: str) -> str:
    path = tmp_path / "observer.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load(path)
    assert str(path) in error.value.message
    return error.value.message


def test_a_duration_has_a_unit() -> None:
    """The units are those that people write."""
    assert duration_ns("20ms") == 20 * MS
    assert duration_ns("1.5s") == 1500 * MS
    assert duration_ns("2m") == 120_000 * MS
    with pytest.raises(ValueError, match="20ms"):
        duration_ns("20")


@given(st.integers(1, 10**6))
def test_a_duration_means_the_same_in_every_unit(ms: int) -> None:
    """Milliseconds and microseconds agree to the nanosecond."""
    assert duration_ns(f"{ms}ms") == duration_ns(f"{ms * 1000}us") == ms * MS


def test_limits_reach_the_knobs_of_the_programs(tmp_path: Path) -> None:
    """What the operator writes is what BPF is given."""
    path = tmp_path / "observer.toml"
    path.write_text('[limits]\nbackend = "35ms"\n')

    assert load(path).knobs()["backend_limit_ns"] == 35 * MS
    assert load(path).limits.vcpu == Policy().limits.vcpu


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[limits]\nback_end = '20ms'\n", "back_end"),
        ("[limits]\nbackend = 20\n", "limits.backend is 20, a number without a unit"),
        ("[limits]\nbackend = '20'\n", "limits.backend"),
        ("[limits]\nbackend = '0ms'\n", "limits.backend is 0"),
        ("limits = 3\n", "limits must be a table"),
        ("[paths]\nruntime = 7\n", "paths.runtime"),
        ("colour = 'red'\n", "colour"),
        ("[limits\n", "not TOML"),
    ],
)
def test_a_fault_names_file_and_key(tmp_path: Path, text: str, words: str) -> None:
    """Unknown key, wrong type, no unit, no TOML: one sentence that says where."""
    assert words in refused(tmp_path, text)


def test_a_missing_file_is_refused_only_if_it_was_named(tmp_path: Path) -> None:
    """Without --config the defaults do; a path that is not there is an error."""
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none.toml")
