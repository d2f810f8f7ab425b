# SPDX-License-Identifier: Apache-2.0
import pytest

from observer.doctor.loaders import bcc, bcc_headers, libbpf, unknown_to_bcc

IMPOSTOR = "venv/bcc/__init__.py"
HEADERS = "lib/modules/6.1.0-56-amd64/source/include"


def _absent():
    raise OSError("libbpf.so.1: cannot open shared object file")


@pytest.mark.parametrize(
    ("version", "state"),
    [(_absent, "missing"), (lambda: "0.5", "missing"), (lambda: "1.5", "ok")],
)
def test_libbpf_must_be_there_and_final(recorded, version, state):
    """No libbpf and one before 1.0 are both told with the package to install."""
    finding = libbpf(recorded.host(libbpf_version=version))

    assert finding.state == state
    assert finding.packages == (() if state == "ok" else ("libbpf1",))


def test_debians_bcc_is_the_real_one(recorded):
    """BCC outside of the virtual environment is found, with its version."""
    finding = bcc(recorded.host())

    assert finding.state == "ok"
    assert "BCC 0.26.0" in finding.detail


def test_the_impostor_is_recognised(recorded):
    """PyPI's package named bcc is a lattice library and is called by its name."""
    recorded.write(IMPOSTOR, "from .bcc import BCC\n")
    recorded.remove("usr/lib/python3/dist-packages/bcc/libbcc.py")
    (recorded.root / "usr/lib/python3/dist-packages/bcc").rename(
        recorded.root / "elsewhere"
    )

    finding = bcc(recorded.host())

    assert finding.state == "missing"
    assert "lattice" in finding.detail
    assert "pip uninstall bcc" in finding.next_step
    assert finding.packages == ("python3-bpfcc",)


def test_an_impostor_in_front_of_the_real_one_is_told(recorded):
    """With both installed, `import bcc` would give the wrong one."""
    recorded.write(IMPOSTOR, "from .bcc import BCC\n")

    finding = bcc(recorded.host())

    assert finding.state == "warn"
    assert finding.next_step == "Run: pip uninstall bcc"


def test_no_bcc_is_told(recorded):
    """A host without BCC can still run the default design."""
    (recorded.root / "usr/lib/python3/dist-packages/bcc").rename(
        recorded.root / "elsewhere"
    )

    assert bcc(recorded.host()).packages == ("python3-bpfcc",)


def test_headers_that_bcc_understands(recorded):
    """Debian 12's BCC compiles against Debian 12's kernel."""
    assert bcc_headers(recorded.host()).state == "ok"


def test_headers_newer_than_bcc_are_told_with_the_reason(recorded):
    """The types that BCC lacks are named, since they are why nothing compiles."""
    recorded.write(f"{HEADERS}/linux/bpf.h", "return sizeof(struct bpf_wq);\n")
    recorded.write(f"{HEADERS}/uapi/linux/bpf.h", "struct bpf_wq {\n};\n")

    finding = bcc_headers(recorded.host())

    assert finding.state == "missing"
    assert "bpf_wq" in finding.detail
    assert "libbpf" in finding.next_step


def test_types_of_the_kernel_alone_do_no_harm():
    """A type that uapi/linux/bpf.h does not define is not replaced by BCC's copy."""
    assert unknown_to_bcc("sizeof(struct bpf_map)", "", b"") == []


def test_missing_headers_name_debians_package(recorded):
    """Debian's kernels have a package of headers, named after the release."""
    recorded.remove(f"{HEADERS}/linux/bpf.h")

    assert bcc_headers(recorded.host()).packages == ("linux-headers-6.1.0-56-amd64",)


def test_a_foreign_kernel_gets_no_made_up_package(recorded):
    """For a kernel that is not Debian's there is no package to be named."""
    recorded.write("proc/sys/kernel/osrelease", "6.18.44-custom\n")

    finding = bcc_headers(recorded.host())

    assert finding.state == "missing"
    assert finding.packages == ()
