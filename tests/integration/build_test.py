"""The build itself: in a checkout at any path, what did not change is not built again."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from stack import ROOT  # noqa: E402


@pytest.fixture
def shaders(tmp_path):
    """A checkout of the shaders alone, configured."""
    checkout = tmp_path / "check out é (1) 100%"
    for name in ("cmake", "shaders"):
        shutil.copytree(ROOT / name, checkout / name)
    shutil.copy(ROOT / "CMakeLists.txt", checkout)
    subprocess.run(["cmake", "-G", "Ninja", "-S", checkout, "-B", checkout / "build", "-DCYX_ROOMS=shaders"], check=True,
                   capture_output=True, timeout=120)
    return checkout


def build(checkout, *arguments):
    return subprocess.run(["ninja", "-C", checkout / "build", *arguments, "shaders/adam.inc"], check=True,
                          capture_output=True, text=True, timeout=120).stdout


def test_a_shader_is_compiled_when_it_or_what_it_includes_changed_and_not_again(shaders):
    assert "SPIR-V adam" in build(shaders)
    assert "no work to do" in build(shaders, "-n")
    for changed in ("include/adam.glsl", "ops/adam.comp"):
        (shaders / "shaders" / changed).write_text((shaders / "shaders" / changed).read_text() + "// changed\n")
        assert "SPIR-V adam" in build(shaders)
        assert "no work to do" in build(shaders, "-n")
