# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.clock import MS
from observer.config import Policy, duration_ns, load
from observer.errors import ConfigError
from observer.model import VerdictKind


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


REPAIR = """
[repair]
dry_run = false
care = ["net", "web-*"]
rates = { vm = 3, host = 9, window = "5m" }
[repair.uses]
"web-*" = ["net"]
[[repair.ladders.part-hung]]
do = "reset-part"
deadline = "250ms"
tries = 3
cool_down = "20ms"
"""


def test_who_is_cared_for_and_how(tmp_path: Path) -> None:
    """Names, order, means, and how often at most."""
    path = tmp_path / "observer.toml"
    path.write_text(REPAIR)
    repair = load(path).repair

    assert not repair.dry_run
    assert repair.cares_for("web-7")
    assert not repair.cares_for("disk")
    (step,) = repair.ladder(VerdictKind.PART_HUNG)
    assert (step.deadline_ns, step.tries, step.cool_down_ns) == (250 * MS, 3, 20 * MS)
    assert repair.ladder(VerdictKind.VMM_CRASHED)  # as it is built in
    assert repair.rates.window_ns == 300_000 * MS


def test_a_vm_is_started_again_as_its_pattern_says(tmp_path: Path) -> None:
    """The first that fits; nothing where none does."""
    path = tmp_path / "observer.toml"
    path.write_text("""
[repair]
in_order = ["web-*"]
[repair.restart]
"web-1" = { recorded = true }
"web-*" = { unit = "qemu@{vm}.service" }
"app" = { domain = "{vm}" }
"old" = { command = ["/start", "{vm}", "{vm}.xml"] }
""")
    repair = load(path).repair
    argvs = {
        name: way.argv(name)
        for name in ("web-1", "web-2", "app", "old", "db")
        if (way := repair.restart_of(name))
    }

    assert argvs == {
        "web-1": (),
        "web-2": ("systemctl", "restart", "--", "qemu@web-2.service"),
        "app": ("virsh", "start", "--domain", "app"),
        "old": ("/start", "old", "old.xml"),
    }
    assert repair.is_in_order("web-2")
    assert not repair.is_in_order("app")


def test_nothing_is_repaired_unasked() -> None:
    """Nobody is cared for, and if they were it would be a dry run."""
    assert Policy().repair.dry_run
    assert not Policy().repair.care


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            '[repair.uses]\nnet = ["store"]\nstore = ["net"]\n',
            "net uses store uses net",
        ),
        ('[repair.uses]\n"net-*" = ["net-1"]\n', "repair.uses"),
        ('[[repair.ladders.part-hung]]\ndo = "pray"\ndeadline = "1s"\n', "pray"),
        (
            '[[repair.ladders.vmm-crashed]]\ndo = "reset-part"\ndeadline = "1s"\n',
            "repair.ladders.vmm-crashed: reset-part cannot mend that",
        ),
        ('[[repair.ladders.unwell]]\ndo = "continue"\ndeadline = "1s"\n', "unwell"),
        (
            '[[repair.ladders.vmm-stopped]]\ndo = "continue"\ndeadline = 1\n',
            "repair.ladders.vmm-stopped.deadline is 1, a number without a unit",
        ),
        (
            """repair.ladders.vmm-stopped = [
            { do = "continue", deadline = "1s", tries = 0 }]""",
            "continue is tried 1 to",
        ),
        ("[repair]\nrates = { vm = 0 }\n", "repair.rates: at least 1"),
        ("[repair]\ncares = 1\n", "cares"),
        (
            '[repair.restart]\nweb = { unit = "a", domain = "b" }\n',
            "repair.restart.web: one of unit, domain, command, recorded",
        ),
        ("[repair.restart]\nweb = { recorded = false }\n", "repair.restart.web: one"),
        ('[repair.restart]\nweb = { command = "a b" }\n', "command"),
    ],
)
def test_a_repair_that_cannot_be_is_refused(
    tmp_path: Path, text: str, words: str
) -> None:
    """A cycle, an unknown step, one that cannot mend it: before anything runs."""
    assert words in refused(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            'alertmanager = ["localhost:9093"]',
            "escalate.alertmanager: 'localhost:9093'",
        ),
        ('webhook = ["file:///etc/passwd"]', "escalate.webhook"),
        ('command = [["logger"]]', "a program's whole path"),
        ("command = [[]]", "escalate.command"),
        ('mail = "root"', "mail"),
    ],
)
def test_an_address_that_cannot_be_is_refused(
    tmp_path: Path, text: str, words: str
) -> None:
    """Before anybody is to be told."""
    assert words in refused(tmp_path, f"[escalate]\n{text}\n")


def test_files_of_conf_d_come_after(tmp_path: Path) -> None:
    """In the order of their names; tables are joined, and the last value holds."""
    main, more = tmp_path / "observer.toml", tmp_path / "conf.d"
    more.mkdir()
    main.write_text('[repair]\ncare = ["net"]\n[limits]\nbackend = "30ms"\n')
    (more / "10-web.toml").write_text('[repair.uses]\n"web-*" = ["net"]\n')
    (more / "20-slow.toml").write_text('[limits]\nbackend = "40ms"\n')
    policy = load(None, main)

    assert policy.repair.care == ("net",)
    assert policy.repair.uses == {"web-*": ("net",)}
    assert policy.limits.backend == 40 * MS

    (more / "30-wrong.toml").write_text('[repair.uses]\nnet = ["web-1"]\n')
    with pytest.raises(ConfigError, match=r"30-wrong\.toml: repair\.uses"):
        load(None, main)
