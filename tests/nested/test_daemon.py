# SPDX-License-Identifier: Apache-2.0
"""The daemon's own faults: killed, started twice, started where it cannot work."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from observer.demo.voice import observer_running
from observer.guests.launch import GuestSpec
from observer.guests.linux import linux_guest
from observer.guests.waiting import wait_until

if TYPE_CHECKING:
    from observer.demo.run import Stage
    from observer.demo.voice import Voice
    from observer.guests.images import GuestImage

pytestmark = [
    pytest.mark.nested,
    pytest.mark.newest,
    pytest.mark.vm,
    pytest.mark.timeout(400),
]

PINS = Path("/sys/fs/bpf/observer")


def observer(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "observer", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, **env},
    )


def says_one_sentence(done: subprocess.CompletedProcess[str], *words: str) -> bool:
    lines = done.stderr.strip().splitlines()
    return (
        done.returncode != 0
        and len(lines) == 1
        and "Traceback" not in done.stderr
        and all(word in lines[0] for word in words)
    )


def loaded_programs() -> set[str]:
    listed = subprocess.run(
        ["bpftool", "-j", "prog", "list"], capture_output=True, check=True, timeout=60
    )
    return {p["name"] for p in json.loads(listed.stdout) if "name" in p}


def daemon_pid() -> int:
    return int(Path("/run/observer/lock").read_text())


def test_killed_and_started_again_it_knows_the_vms(
    image: GuestImage, tmp_path: Path
) -> None:
    """After SIGKILL the VM runs on, the books are taken over, nothing is said."""
    with linux_guest(GuestSpec("kept", subnet=35), image) as guest:
        with observer_running(tmp_path / "first.log") as first:
            wait_until(lambda: "vm: kept" in first.notes(), 30, "the guest was seen")
            os.kill(daemon_pid(), signal.SIGKILL)
            wait_until(lambda: not first.alive(), 10, "the observer was gone")
            assert any(PINS.glob("vcpu-*/on_kvm_exit"))
            guest.order("ping")
        with observer_running(tmp_path / "second.log") as second:
            wait_until(lambda: "vm: kept" in second.notes(), 30, "it was known")
            assert "taken over as they were: process, vcpu, vring" in second.notes()
            assert second.wait(lambda _: True, 3.0) is None
            effect_ns = guest.order("irqoff-spin")
            said = second.wait(lambda v: v.monotonic_ns > effect_ns, 10)
        assert said is not None
        assert said.kind == "guest-hung"
    assert not PINS.exists()


def test_sigterm_leaves_nothing_in_the_kernel(tmp_path: Path) -> None:
    """An orderly end detaches every program and removes every pin."""
    with observer_running(tmp_path / "log"):
        assert PINS.is_dir()

    assert not PINS.exists()
    # the kernel frees a program only when nobody can be in it any more
    ours = {"on_kvm_exit", "on_kick", "on_call", "on_process_exit"}
    wait_until(lambda: not ours & loaded_programs(), 30, "the programs were gone")


def test_where_it_cannot_work_it_says_why(tmp_path: Path) -> None:
    """No root, bad policy, no place for pins: one sentence with the next step."""
    unknown = tmp_path / "unknown.toml"
    unknown.write_text('[limits]\nbackend_ms = "20ms"\n')
    unit = tmp_path / "unit.toml"
    unit.write_text("[limits]\nbackend = 20\n")
    bpffs = tmp_path / "bpffs.toml"
    bpffs.write_text('[paths]\nbpffs = "/proc/observer"\n')
    as_nobody = subprocess.run(
        [
            *("setpriv", "--reuid", "65534", "--clear-groups"),
            *(sys.executable, "-m", "observer", "run"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert says_one_sentence(as_nobody, "sudo")
    assert says_one_sentence(
        observer("run", "--config", str(unknown)), "unknown.toml", "backend_ms"
    )
    assert says_one_sentence(
        observer("run", "--config", str(unit)), "limits.backend", "20ms"
    )
    assert says_one_sentence(observer("run", "--config", str(bpffs)), "/proc/observer")


def test_it_is_asked_and_inhibited_and_a_silent_monitor_holds_up_nobody(
    stage: Stage, voice: Voice
) -> None:
    """Tables, JSON and OCF's exit codes; there is one on a host, as a second is told.

    While one VMM is stopped, and so is its QMP, another's hang is found in time.
    """
    stage.boot("mute", 1)
    stage.boot("other", 1)
    mute, other = stage.guest("mute"), stage.guest("other")
    assert says_one_sentence(observer("run"), str(daemon_pid()), "already")
    status = json.loads(observer("status", "-o", "json").stdout)
    assert {"mute", "other"} <= {vm["name"] for vm in status["vms"]}
    assert observer("check", "other").returncode == 0
    assert observer("check", "nobody").returncode == 7

    os.kill(mute.pid, signal.SIGSTOP)
    stopped = voice.wait(lambda v: v.vm == "mute", 10)
    effect_ns = other.order("irqoff-spin")
    hung = voice.wait(lambda v: v.vm == "other", 10)
    os.kill(mute.pid, signal.SIGCONT)
    assert stopped is not None
    assert stopped.kind == "vmm-stopped"
    assert hung is not None
    assert hung.kind == "guest-hung"
    assert hung.monotonic_ns - effect_ns < 3_000_000_000

    assert observer("inhibit", "mute", "--for", "5m").returncode == 0
    assert says_one_sentence(observer("inhibit", "nobody"), "nobody")
    began_ns = mute.order("halt")
    assert (
        voice.wait(lambda v: v.vm == "mute" and v.monotonic_ns > began_ns, 3.0) is None
    )
    assert observer("resume", "mute").returncode == 0
