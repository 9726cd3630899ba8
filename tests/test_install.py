"""install.py with stand-ins for the commands it runs: nothing is downloaded, and only a test's own folder changes."""

from __future__ import annotations

import ast
import errno
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from stpn.plugin.hosts.places import HOSTS

SCRIPT = Path(__file__).resolve().parents[1] / "install.py"
NO_NETWORK = [
    "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError(...)': /simple/numpy/",
    "ERROR: No matching distribution found for numpy==2.4.6",
]


def load() -> ModuleType:
    """install.py as a module."""
    specification = importlib.util.spec_from_file_location("install_script", SCRIPT)
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def install(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """install.py, unable to touch this repository: a test that forgets to name its folder gets an empty one."""
    module = load()
    module.ROOT = tmp_path_factory.mktemp("forgotten")
    return module


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small copy of the project."""
    for name in ("requirements", "engine", "ocio", "plugin", "examples/juggle/plate"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "requirements/cpu.txt").write_text("# run time\nNum_py==2.4.6\ntorch==2.13.0\n")
    (tmp_path / "requirements/test.txt").write_text("-r cpu.txt\npytest==9.2.0\n")
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "engine/network.py").touch()
    (tmp_path / "examples/juggle/plate/plate.1001.exr").touch()
    return tmp_path


class StandIn:
    """Does to the folder what the real commands would do, and remembers what was asked for."""

    def __init__(self, root: Path, *, version: tuple[int, int, int] = (3, 11, 7), fail: dict[str, Any] | None = None):
        self.root = root
        self.version = version
        self.fail = fail or {}  # a word of a command: what it ends with
        self.asked: list[str] = []

    def shown(self, command: list[str]) -> int:
        """ruff, mypy, pytest, stpn."""
        self.asked.append(" ".join(command))
        return next((code for word, code in self.fail.items() if word in command), 0)

    def captured(self, command: list[str]) -> tuple[int, list[str]]:
        """venv and pip."""
        line = " ".join(command)
        self.asked.append(line)
        for word, lines in self.fail.items():
            if word in command:
                return 1, lines
        if "import json, pip, sys" in line:
            return 0, [json.dumps([*self.version, str(self.root / ".venv")])]
        if " -m venv " in line:
            self.make_environment()
        elif "--requirement" in command:
            self.install("num_py-2.4.6", "torch-2.13.0+cpu", *(["pytest-9.2.0"] if "test.txt" in line else []))
        elif "--editable" in command:
            self.install("stpn-0.1.0")
            (self.root / ".venv/bin/stpn").touch()
            (self.root / "build/__editable__.stpn-0.1.0").mkdir(parents=True)
        return 0, []

    def make_environment(self) -> None:
        """What `python -m venv` leaves."""
        (self.root / ".venv/bin").mkdir(parents=True)
        (self.root / ".venv/pyvenv.cfg").write_text(f"command = /python3 -m venv {self.root / '.venv'}\n")

    def install(self, *names: str) -> None:
        """What pip leaves."""
        for name in names:
            (self.root / f".venv/lib/python3.11/site-packages/{name}.dist-info").mkdir(parents=True, exist_ok=True)

    def pip_calls(self) -> list[str]:
        """The installations asked for since the last look."""
        calls = [line.rpartition(" ")[2] for line in self.asked if " pip install " in line]
        self.asked.clear()
        return calls


def everything_below(root: Path) -> set[Path]:
    return set(root.rglob("*"))


# ---------------------------------------------------------------- which Python


def test_script_parses_on_python_3_6() -> None:
    ast.parse(SCRIPT.read_text(encoding="utf-8"), feature_version=(3, 6))


def test_old_python_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 8, 18, "final", 0))
    with pytest.raises(SystemExit) as stop:
        load()
    assert str(stop.value).startswith("install.py: error: expected Python 3.11 or newer, this is Python 3.8 (")
    assert str(stop.value).endswith("run, for example: python3.11 install.py demo")


def test_script_needs_the_standard_library_alone() -> None:
    tree = ast.parse(SCRIPT.read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imported} <= set(sys.stdlib_module_names)


# ---------------------------------------------------------------- the command line


def test_help_and_wrong_requests(install: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        install.main(["--help"])
    assert stop.value.code == 0
    assert "python3 install.py demo" in capsys.readouterr().out
    for wrong in ([], ["demonstrate"], ["demo", "--colour"]):
        with pytest.raises(SystemExit) as stop:
            install.main(wrong)
        assert stop.value.code == 2


@pytest.mark.parametrize("command", ["demo", "test", "uninstall"])
def test_dry_run_does_nothing(
    install: ModuleType, root: Path, command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install.tempfile, "TemporaryFile", lambda **_: pytest.fail("a file was made"))
    before, runner = everything_below(root), StandIn(root)
    assert install.main([command, "--dry-run"], root=root, runner=runner) == 0
    said = capsys.readouterr().out
    assert everything_below(root) == before
    assert not runner.asked
    if command != "uninstall":
        assert ".venv: would be made with Python 3." in said
        assert "packages would be installed" in said
        assert "stpn: would be installed from this folder" in said
    last = {"demo": "would run: stpn compare", "test": "would run: pytest", "uninstall": "nothing to remove"}
    assert last[command] in said


def test_demo_names_the_commands_of_the_example_readme(install: ModuleType) -> None:
    readme = " ".join((SCRIPT.parent / "examples/juggle/README.md").read_text().replace("\\\n", " ").split())
    for command in install.demo_commands(SCRIPT.parent):
        assert " ".join(["stpn", *command[1:]]) in readme


# ---------------------------------------------------------------- doing what is needed, once


def test_demo_sets_up_renders_and_says_where(install: ModuleType, root: Path, capsys: Any) -> None:
    runner = StandIn(root)
    assert install.main(["demo"], root=root, runner=runner) == 0
    assert [line.split()[1] for line in runner.asked if "/bin/stpn " in line] == ["propagate", "compare"]
    said = capsys.readouterr().out
    assert str(root / "examples/juggle/contact_sheet.png") in said
    assert f"{root}/examples/juggle/result/result.####.exr" in said


def test_second_run_installs_nothing(install: ModuleType, root: Path) -> None:
    runner = StandIn(root)
    install.main(["test"], root=root, runner=runner)
    assert runner.pip_calls() == [str(root / "requirements/test.txt"), str(root)]
    install.main(["test"], root=root, runner=runner)
    assert runner.pip_calls() == []


def change_a_module(root: Path) -> None:
    (root / "engine/network.py").write_text("changed = True\n")


def change_the_set_of_modules(root: Path) -> None:
    (root / "engine/fusion.py").touch()


def change_the_project(root: Path) -> None:
    (root / "pyproject.toml").write_text("[project]\nname = 'stpn'\n")


def change_the_lock(root: Path) -> None:
    (root / "requirements/cpu.txt").write_text("Num_py==2.4.6\n")


def lose_a_package(root: Path) -> None:
    shutil.rmtree(root / ".venv/lib/python3.11/site-packages/num_py-2.4.6.dist-info")


def lose_the_links(root: Path) -> None:
    shutil.rmtree(root / "build")


def spoil_the_stamp(root: Path) -> None:
    (root / ".venv/stpn-install.json").write_text("{")


@pytest.mark.parametrize(
    ("change", "reinstalled"),
    [
        (change_a_module, []),
        (change_the_set_of_modules, ["stpn"]),
        (change_the_project, ["stpn"]),
        (change_the_lock, ["requirements"]),
        (lose_a_package, ["requirements"]),
        (lose_the_links, ["stpn"]),
        (spoil_the_stamp, ["requirements", "stpn"]),
    ],
)
def test_only_what_changed_is_installed_again(install: ModuleType, root: Path, change: Any, reinstalled: Any) -> None:
    runner = StandIn(root)
    install.main(["test"], root=root, runner=runner)
    runner.pip_calls()
    change(root)
    install.main(["test"], root=root, runner=runner)
    assert ["requirements" if "requirements" in call else "stpn" for call in runner.pip_calls()] == reinstalled
    install.main(["test"], root=root, runner=runner)
    assert runner.pip_calls() == []


@pytest.mark.parametrize(
    ("marker", "here"),
    [
        (f'sys_platform == "{sys.platform}"', True),
        (f'sys_platform == "{sys.platform}" and python_version == "2.7"', False),
        ('platform_machine == "abacus"', False),
        ('implementation_name == "cpython"', False),
        ('sys_platform != "amiga"', False),
    ],
)
def test_pins_for_other_machines_are_not_missed(install: ModuleType, root: Path, marker: str, here: bool) -> None:
    lock = root / "requirements/test.txt"
    lock.write_text(f"{lock.read_text()}fuzzer==3.0.0; {marker}\n")
    assert ("fuzzer==3.0.0" in install.lock_lines(lock)) == here


def test_failed_installation_is_tried_again(install: ModuleType, root: Path) -> None:
    assert install.main(["demo"], root=root, runner=StandIn(root, fail={"--editable": ["ERROR: no"]})) == 1
    runner = StandIn(root)
    assert install.main(["demo"], root=root, runner=runner) == 0
    assert runner.pip_calls() == [str(root)]


# ---------------------------------------------------------------- the environment


def test_environment_of_a_person_is_kept_if_usable(install: ModuleType, root: Path, capsys: Any) -> None:
    runner = StandIn(root)
    runner.make_environment()
    assert install.main(["demo"], root=root, runner=runner) == 0
    assert not any(" -m venv " in line for line in runner.asked)
    assert ".venv: kept, Python 3.11.7" in capsys.readouterr().out


@pytest.mark.parametrize("fault", ["old Python", "another folder", "broken"])
def test_unusable_environment_is_made_anew_only_if_ours(
    install: ModuleType, root: Path, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    runner = StandIn(root)
    install.main(["demo"], root=root, runner=runner)
    mark = root / ".venv/mark"
    mark.touch()
    wanted = spoil_environment(fault, root, runner)
    install.main(["demo", "--dry-run"], root=root, runner=runner)
    assert wanted in capsys.readouterr().out
    (root / ".venv/stpn-install.json").write_text('{"made": true}')
    install.main(["demo"], root=root, runner=runner)
    assert not mark.exists()

    mark.touch()
    spoil_environment(fault, root, runner)
    (root / ".venv/stpn-install.json").unlink()
    capsys.readouterr()
    assert install.main(["demo"], root=root, runner=runner) == 1
    assert f"cannot be used ({wanted}) and was not made by install.py; move it away" in capsys.readouterr().err
    assert mark.exists()
    assert install.main(["demo", "--dry-run"], root=root, runner=runner) == 1


def spoil_environment(fault: str, root: Path, runner: StandIn) -> str:
    """Make the environment unusable; returns what is to be said of it."""
    if fault == "old Python":
        runner.version = (3, 9, 1)
        return "it has Python 3.9"
    if fault == "another folder":
        (root / ".venv/pyvenv.cfg").write_text("command = /python3 -m venv /elsewhere/.venv\n")
        return "it was made for another folder"
    (root / ".venv/pyvenv.cfg").unlink()
    return "it is no Python environment"


def test_usable_means_it_runs(install: ModuleType, root: Path) -> None:
    StandIn(root).make_environment()  # without a Python in it
    assert install.environment_state(root, install.Runner(root)) == (
        "",
        "its Python does not run, is older than 3.11 or has no pip",
    )


@pytest.mark.parametrize(
    ("lacking", "message"), [({"venv"}, "has no venv module"), ({"ensurepip", "pip"}, "has neither ensurepip nor pip")]
)
def test_python_without_parts(
    install: ModuleType, root: Path, monkeypatch: Any, capsys: Any, lacking: set[str], message: str
) -> None:
    monkeypatch.setattr(install.importlib.util, "find_spec", lambda name: None if name in lacking else object())
    assert install.main(["demo"], root=root, runner=StandIn(root)) == 1
    said = capsys.readouterr().err
    assert message in said
    assert "apt install python3-venv" in said
    assert not (root / ".venv").exists()


def test_python_without_ensurepip_uses_its_own_pip(install: ModuleType, root: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(install.importlib.util, "find_spec", lambda name: None if name == "ensurepip" else object())
    runner = StandIn(root)
    assert install.main(["demo"], root=root, runner=runner) == 0
    assert any("-m venv --without-pip" in line for line in runner.asked)
    assert any("-m pip --python" in line for line in runner.asked)


# ---------------------------------------------------------------- what stands in the way


@pytest.mark.parametrize(
    ("pip_says", "message"),
    [
        (NO_NETWORK, "the package index cannot be reached"),
        (["ERROR: No matching distribution found for torch==2.13.0"], "lacks a package for this Python and system"),
        (["ERROR: Could not install packages due to an OSError: [Errno 28] No space left"], "the disk is full"),
        (["ERROR: something else", ""], "pip failed"),
        ([], "it said nothing"),
    ],
)
def test_pip_failures_take_one_line(install: ModuleType, root: Path, capsys: Any, pip_says: Any, message: str) -> None:
    assert install.main(["demo"], root=root, runner=StandIn(root, fail={"--requirement": pip_says})) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("install.py: error: could not install requirements/cpu.txt: ")
    assert message in said
    assert not pip_says or f"pip's last line: {[line for line in pip_says if line][-1]}; " in said


def test_too_little_disk_space(install: ModuleType, root: Path, monkeypatch: Any, capsys: Any) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(install.shutil, "disk_usage", lambda _: usage(9e9, 8e9, 1e9))
    assert install.main(["demo"], root=root, runner=StandIn(root)) == 1
    assert f"expected 3.0 GB of free disk space in {root}, found 1.0 GB; make room" in capsys.readouterr().err
    assert not (root / ".venv").exists()


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.EROFS, "cannot write in"),
        (errno.EACCES, "cannot write in"),
        (errno.ENOSPC, "the disk is full while writing in"),
    ],
)
def test_folder_that_cannot_be_written(
    install: ModuleType, root: Path, monkeypatch: Any, capsys: Any, number: int, message: str
) -> None:
    def refuse(**_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(install.tempfile, "TemporaryFile", refuse)
    runner = StandIn(root)
    assert install.main(["demo"], root=root, runner=runner) == 1
    assert f"install.py: error: {message} {root}" in capsys.readouterr().err
    assert not runner.asked


def test_incomplete_copy(install: ModuleType, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(root / "examples")
    assert install.main(["demo"], root=root, runner=StandIn(root)) == 1
    assert "has no plate; this copy of the project is incomplete" in capsys.readouterr().err


def test_ctrl_c(install: ModuleType, root: Path, monkeypatch: Any) -> None:
    def stop(_: Any) -> None:
        raise KeyboardInterrupt

    runner = StandIn(root)
    monkeypatch.setattr(runner, "shown", stop)
    assert install.main(["demo"], root=root, runner=runner) == 130


# ---------------------------------------------------------------- exit codes and output


@pytest.mark.parametrize(("ended", "code"), [(1, 1), (2, 1), (130, 130)])
def test_demo_that_fails(install: ModuleType, root: Path, capsys: Any, ended: int, code: int) -> None:
    runner = StandIn(root, fail={"propagate": ended})
    assert install.main(["demo"], root=root, runner=runner) == code
    said = capsys.readouterr()
    assert f"stpn propagate ended with exit code {ended}" in said.err
    assert "Done" not in said.out
    assert not any(" compare " in line for line in runner.asked)


def test_all_checks_run_and_the_first_failure_counts(install: ModuleType, root: Path, capsys: Any) -> None:
    runner = StandIn(root, fail={"mypy": 2, "pytest": 5})
    assert install.main(["test", "--", "-k", "plate"], root=root, runner=runner) == 2
    assert [line.split(" -P -m ")[1] for line in runner.asked[-3:]] == ["ruff check .", "mypy", "pytest -k plate"]
    said = capsys.readouterr().out
    assert "ruff check   passed" in said
    assert "mypy         FAILED, exit code 2" in said
    assert "pytest       FAILED, exit code 5" in said


def test_commands_really_run(install: ModuleType, root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    runner = install.Runner(root)
    assert runner.captured([sys.executable, "-c", "print('one'); print('two'); exit(3)"]) == (3, ["one", "two"])
    assert capfd.readouterr().out == ""
    assert runner.shown([sys.executable, "-c", "print('seen'); exit(4)"]) == 4
    assert capfd.readouterr().out.strip() == "seen"


@pytest.mark.skipif(os.name == "nt", reason="exit codes of signals are a POSIX matter")
def test_killed_command_ends_as_in_a_shell(install: ModuleType, root: Path) -> None:
    assert install.Runner(root).shown([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]) == 137


def test_commands_see_no_modules_from_elsewhere(install: ModuleType, root: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    variables = install.child_environment(root)
    assert "PYTHONPATH" not in variables
    assert variables["PATH"].startswith(str(root / ".venv"))


# ---------------------------------------------------------------- GPU


def test_without_a_driver_nothing_is_changed(install: ModuleType, root: Path, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(install.ctypes, "CDLL", lambda name: (_ for _ in ()).throw(OSError(name)))
    before = everything_below(root)
    assert install.main(["gpu"], root=root, runner=StandIn(root)) == 1
    assert "expected an NVIDIA driver, there is no libcuda.so.1" in capsys.readouterr().err
    assert everything_below(root) == before


@pytest.mark.parametrize(("says", "code"), [(["NVIDIA H200"], 0), (["it is 2.13.0+cpu"], 1)])
def test_a_gpu_gets_what_it_can_use(
    install: ModuleType, root: Path, capsys: Any, monkeypatch: Any, says: list[str], code: int
) -> None:
    (root / "requirements/gpu.txt").write_text("-r cpu.txt\npycuda==2026.1\n")
    monkeypatch.setattr(install.ctypes, "CDLL", lambda name: None)
    runner = StandIn(root)
    honest = runner.captured

    def captured(command: list[str]) -> tuple[int, list[str]]:
        return (code, says) if install.CUDA_PROBE in command else honest(command)

    monkeypatch.setattr(runner, "captured", captured)
    assert install.main(["gpu"], root=root, runner=runner) == code
    assert any("--requirement" in line and "gpu.txt" in line for line in runner.asked)
    said = capsys.readouterr()
    assert says[0] in (said.err if code else said.out)
    assert not code or "pip's settings" in said.err


# ---------------------------------------------------------------- hosts


def test_hosts_are_those_of_the_package(install: ModuleType) -> None:
    assert {name: host.title for name, host in HOSTS.items()} == install.HOSTS


@pytest.mark.parametrize("host", ["ofx", "nuke", "blender", "comfyui"])
def test_a_host_gets_the_node_once_all_is_set_up(install: ModuleType, root: Path, host: str) -> None:
    runner = StandIn(root)
    assert install.main([host, "--to", "/plugins"], root=root, runner=runner) == 0
    assert runner.asked[-1].endswith(f"-P -m stpn.plugin.hosts {host} --to /plugins")
    assert install.main([host, "--dry-run"], root=root, runner=runner) == 0
    assert runner.asked[-1].endswith(f"-P -m stpn.plugin.hosts {host} --dry-run")


def test_a_host_on_an_untouched_computer_is_only_talked_about(install: ModuleType, root: Path, capsys: Any) -> None:
    before = everything_below(root)
    assert install.main(["nuke", "--to", "/plugins", "--dry-run"], root=root, runner=StandIn(root)) == 0
    assert capsys.readouterr().out.endswith("Nuke: would be put into /plugins\n")
    assert everything_below(root) == before


def test_a_host_that_fails_is_a_failure(install: ModuleType, root: Path) -> None:
    for ended, code in ((1, 1), (2, 2), (130, 130), (77, 1)):
        runner = StandIn(root, fail={"stpn.plugin.hosts": ended})
        assert install.main(["ofx"], root=root, runner=runner) == code


def test_uninstall_takes_the_node_out_of_hosts_first(install: ModuleType, root: Path) -> None:
    runner = StandIn(root)
    install.main(["demo"], root=root, runner=runner)
    (root / ".venv" / install.HOST_NOTE).write_text("[]")
    assert install.main(["uninstall", "nuke"], root=root, runner=runner) == 0
    assert runner.asked[-1].endswith("stpn.plugin.hosts uninstall nuke")
    assert (root / ".venv").is_dir()
    runner.fail = {"stpn.plugin.hosts": 1}
    assert install.main(["uninstall"], root=root, runner=runner) == 1
    assert (root / ".venv").is_dir(), "what could not be taken out could not be found again"
    runner.fail = {}
    assert install.main(["uninstall"], root=root, runner=runner) == 0
    assert runner.asked[-1].endswith("stpn.plugin.hosts uninstall")
    assert not (root / ".venv").exists()


# ---------------------------------------------------------------- uninstall


def test_uninstall_takes_all_away(install: ModuleType, root: Path, capsys: Any) -> None:
    before, runner = everything_below(root), StandIn(root)
    install.main(["demo"], root=root, runner=runner)
    (root / "examples/juggle/result").mkdir()
    (root / "examples/juggle/contact_sheet.png").touch()
    rendered = everything_below(root)
    assert install.main(["uninstall", "--dry-run"], root=root, runner=runner) == 0
    assert f"would remove {root / '.venv'}\n" in capsys.readouterr().out
    assert everything_below(root) == rendered
    assert install.main(["uninstall"], root=root, runner=runner) == 0
    assert everything_below(root) == before
    assert install.main(["uninstall"], root=root, runner=runner) == 0
    assert "nothing to remove" in capsys.readouterr().out


def test_uninstall_leaves_what_links_point_to(install: ModuleType, root: Path) -> None:
    runner = StandIn(root)
    install.main(["demo"], root=root, runner=runner)
    (root / "build/__editable__.stpn-0.1.0/engine").symlink_to(root / "engine")
    (root / "build/other").touch()
    install.main(["uninstall"], root=root, runner=runner)
    assert (root / "engine/network.py").is_file()
    assert [path.name for path in (root / "build").iterdir()] == ["other"]


def test_uninstall_keeps_the_environment_of_a_person(install: ModuleType, root: Path, capsys: Any) -> None:
    runner = StandIn(root)
    runner.make_environment()
    install.main(["demo"], root=root, runner=runner)
    assert install.main(["uninstall"], root=root, runner=runner) == 0
    assert "not made by install.py and kept" in capsys.readouterr().out
    assert any("pip uninstall --yes stpn" in line for line in runner.asked)
    assert (root / ".venv/pyvenv.cfg").is_file()
    assert not (root / ".venv/stpn-install.json").exists()


def test_script_runs_as_a_command(tmp_path: Path) -> None:
    finished = subprocess.run([sys.executable, SCRIPT], cwd=tmp_path, capture_output=True, text=True)
    assert finished.returncode == 2
    assert "COMMAND" in finished.stderr
