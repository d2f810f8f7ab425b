# SPDX-License-Identifier: Apache-2.0
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from observer.doctor.host import Host
from observer.errors import HostError, ProgramError
from observer.kernel.bcc import check_bcc, import_bcc, quiet, run_queue_macros, sources
from observer.kernel.btf import offset_macros, wanted_members


def test_no_bcc_is_one_sentence(tmp_path):
    """The sentence is the doctor's, with what to install."""
    host = Host(tmp_path, (), lambda _name: None, lambda: "1.1", lambda _device: None)

    with pytest.raises(HostError, match=r"apt-get install python3-bpfcc\.$"):
        check_bcc(host)


def test_what_llvm_prints_stays_away(capfd):
    """Chatter of a compilation that succeeds is nobody's business."""
    with quiet("compile"):
        os.write(2, b"warning: something\n")

    assert capfd.readouterr().err == ""


def test_the_first_error_is_quoted(capfd):
    """Why it failed, and what to do, in one sentence."""
    with pytest.raises(ProgramError, match=r"compile \(error: no header\): use the"):
        _fail_with("note: x\nmain.c:1:2: error: no header\nerror: more\n")

    assert capfd.readouterr().err == ""


def _fail_with(said):
    with quiet("compile"):
        os.write(2, said.encode())
        raise ValueError


def test_run_queues_are_where_the_kernel_says(tmp_path):
    """Two symbols of some hundred thousand become two macros."""
    kallsyms = tmp_path / "kallsyms"
    kallsyms.write_text(
        "0000000000031c40 A runqueues\n"
        "ffffffff81000000 T _text\n"
        "ffffffff8241cb60 D __per_cpu_offset\n"
    )

    assert run_queue_macros(kallsyms) == [
        "-DRUN_QUEUES=0x0000000000031c40ULL",
        "-DPER_CPU_OFFSETS=0xffffffff8241cb60ULL",
    ]


def test_hidden_symbols_are_one_sentence(tmp_path):
    """A host that hides its addresses is told which knob does it."""
    kallsyms = tmp_path / "kallsyms"
    kallsyms.write_text("")

    with pytest.raises(HostError, match="kptr_restrict"):
        run_queue_macros(kallsyms)


def test_only_members_that_the_kernel_has_become_macros():
    """The source tells kernels apart by what is defined."""
    offsets = {("kvm", "arch"): 8}
    types = SimpleNamespace(offset=lambda *member: offsets.get(member))

    macros = offset_macros(types, "AT(kvm, arch) + AT(vcpu_svm, vmcb)")

    assert macros == ["-DAT_kvm_arch=8"]


def test_every_member_in_an_ifdef_is_asked_for():
    """A name that is only in an #ifdef would never be defined."""
    text = "".join(path.read_text() for path in sources())
    asked = {f"AT_{type_name}_{member}" for type_name, member in wanted_members(text)}
    conditions = [
        word
        for line in text.splitlines()
        if line.startswith(("#if", "#elif"))
        for word in line.replace("(", " ").replace(")", " ").split()
        if word.startswith("AT_")
    ]

    assert conditions
    assert set(conditions) <= asked


def test_the_real_bcc_is_found_past_another_of_its_name(tmp_path):
    """Whatever else is called bcc, ours is the one in that folder."""
    package = tmp_path / "dist-packages/bcc"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from .libbcc import real\n")
    (package / "libbcc.py").write_text("real = True\n")
    impostor = tmp_path / "venv/bcc"
    impostor.mkdir(parents=True)
    (impostor / "__init__.py").write_text("")
    program = (
        "import sys; from pathlib import Path;"
        "from observer.kernel.bcc import import_bcc;"
        f"print(import_bcc(Path({str(package.parent)!r})).real, sys.path)"
    )
    said = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(impostor.parent)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert said.startswith("True")
    assert str(package.parent) not in said
    assert import_bcc.__doc__


def test_the_default_loader_imports_neither_numba_nor_bcc():
    """Who does not scan does not pay for it."""
    program = (
        "import sys; import observer.daemon;"
        "print({'numba', 'bcc', 'observer.kernel.bcc'} & set(sys.modules))"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout

    assert said.strip() == "set()"
