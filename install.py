#!/usr/bin/env python3
"""Set up stpn in this folder: one command from a fresh copy to a colored shot, or to the node in a host.

Needs Python 3.11 or newer with pip, and nothing else; `ofx` a C++ compiler and CMake besides. Everything goes into
.venv beside this file; other folders of the computer are changed only where the node is put into a host, which is where
that host looks for plugins; and nothing is downloaded after the packages are installed.
"""

# This file is read by whatever `python3` a computer has. It must parse on Python 3.6, so that an old one gets a
# sentence and not a SyntaxError: no match statement, no `:=`, no newer standard library at the top.
import argparse
import ctypes
import errno
import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

OLDEST_PYTHON = (3, 11)
if sys.version_info < OLDEST_PYTHON:
    sys.exit(
        f"install.py: error: expected Python 3.11 or newer, this is Python {'.'.join(map(str, sys.version_info[:2]))} "
        f"({sys.executable}); install a newer one and run, for example: python3.11 install.py demo"
    )

ROOT = Path(__file__).resolve().parent
PACKAGE_FOLDERS = ("engine", "ocio", "plugin")
LOCKS = {"run": "requirements/cpu.txt", "test": "requirements/test.txt", "gpu": "requirements/gpu.txt"}
SPACE_FOR_ENVIRONMENT = 3_000_000_000  # 1.7 GB installed, and pip unpacks beside it while it works
SPACE_FOR_UPDATE = 500_000_000
STAMP = "stpn-install.json"
HOST_NOTE = "stpn-hosts.json"  # the package's own: which plugins it put where
EXAMPLE = "examples/juggle"
DEMO_RESULTS = ("result", "confidence", "contact_sheet.png")
HOSTS = {"ofx": "OpenFX hosts", "nuke": "Nuke", "blender": "Blender", "comfyui": "ComfyUI"}

HELP = """
Examples
  python3 install.py demo                 set up, render the example shot, make a contact sheet
  python3 install.py test                 set up with the test tools, run ruff, mypy and pytest
  python3 install.py test -- -k plate     the same, with arguments for pytest
  python3 install.py demo --dry-run       say what would be done
  python3 install.py ofx                  the node for OpenFX hosts: Nuke, Natron, Resolve, Fusion
  python3 install.py nuke                 Nuke's menu for it (after ofx)
  python3 install.py blender              the add-on for Blender
  python3 install.py comfyui --to DIR     the nodes for ComfyUI, into its folder custom_nodes
  python3 install.py gpu                  TensorRT and pycuda besides, on a computer with an NVIDIA GPU
  python3 install.py uninstall nuke       take the node out of a host
  python3 install.py uninstall            take it all away again

The first run fetches the packages and takes minutes; later ones find everything in place and start at once. pip's own
settings (PIP_INDEX_URL, PIP_FIND_LINKS, pip.conf) hold: where they name a CPU-only torch of the pinned version, that
one is taken. Without a network, point PIP_FIND_LINKS at a folder with the packages.

Exit codes: 0 done, 1 failed, 2 wrong request, 130 stopped with Ctrl-C. `test` ends with the code of the first check
that fails.
"""


class SetupError(Exception):
    """What stands in the way and what to do about it, in one line."""


# ---------------------------------------------------------------- running commands


class Runner:
    """Runs commands in the folder of the project; tests put a stand-in here."""

    def __init__(self, root: Path, *, verbose: bool = False) -> None:
        self.root = root
        self.verbose = verbose

    def shown(self, command: list[str]) -> int:
        """Run a command whose output belongs on the terminal; returns its exit code."""
        return self._wait(subprocess.Popen(command, cwd=self.root, env=child_environment(self.root)))

    def captured(self, command: list[str]) -> tuple[int, list[str]]:
        """Run a command whose output matters only when it fails; returns its exit code and its lines."""
        process = subprocess.Popen(
            command,
            cwd=self.root,
            env=child_environment(self.root),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        lines: list[str] = []
        try:
            for line in process.stdout or ():
                lines.append(line.rstrip())
                self._follow(lines[-1])
        except BaseException:
            process.terminate()
            process.wait()
            raise
        finally:
            self._follow("")
        return self._wait(process), lines

    def _wait(self, process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> int:
        try:
            code = process.wait()
        except BaseException:  # Ctrl-C: on a terminal the child has been told too; elsewhere it has not
            process.terminate()
            process.wait()
            raise
        return code if code >= 0 else 128 - code

    def _follow(self, line: str) -> None:
        """On a terminal, show the latest line in place, so that minutes of pip do not look like a hang."""
        if self.verbose and line:
            print("    " + line, flush=True)
        elif not self.verbose and sys.stdout.isatty():
            width = shutil.get_terminal_size().columns - 5
            print("\r\033[K" + ("    " + line.strip()[:width] if line else ""), end="", flush=True)


def child_environment(root: Path) -> dict[str, str]:
    """The environment variables of commands: as here, less what would let modules from elsewhere in."""
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "PYTHONPATH")}
    variables["PATH"] = str(executable(root, "python").parent) + os.pathsep + variables.get("PATH", os.defpath)
    variables["VIRTUAL_ENV"] = str(root / ".venv")
    variables["PIP_USER"] = "0"  # some systems set it for everyone, and pip then refuses to work in an environment
    return variables


def executable(root: Path, name: str) -> Path:
    """A command of the environment."""
    return root / ".venv" / ("Scripts/" + name + ".exe" if os.name == "nt" else "bin/" + name)


def say(text: str) -> None:
    """Print at once, in order with what commands print themselves."""
    print(text, flush=True)


# ---------------------------------------------------------------- what stands in the way


def check_writable(root: Path) -> None:
    """Raise a SetupError where no file can be made; permissions alone do not tell (read-only disks, root)."""
    try:
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as error:
        raise SetupError(reason_of(error, root)) from error


def check_space(root: Path, needed: int) -> None:
    """Raise a SetupError where the disk has less than `needed` bytes left."""
    free = shutil.disk_usage(root).free
    if free < needed:
        raise SetupError(
            f"expected {needed / 1e9:.1f} GB of free disk space in {root}, found {free / 1e9:.1f} GB; "
            "make room, or copy this folder to a larger disk and run it there"
        )


def reason_of(error: OSError, root: Path) -> str:
    """An operating system's error as a sentence with a remedy."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full while writing in {root}; make room and run the same command again"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"cannot write in {root} ({error.strerror}); copy the folder to a place of your own and run it there"
    return f"{error}; put that right and run the same command again"


def reason_of_pip(what: str, lines: list[str]) -> str:
    """Why pip failed, in one line: the kind of trouble, pip's own last line, the remedy."""
    text = "\n".join(lines)
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
    if re.search(r"No space left on device|Disk quota exceeded|Errno (28|122)\b", text):
        kind, remedy = "the disk is full", "make room (the temporary folder counts too) and run the same command again"
    elif re.search(r"NewConnection|NameResolution|name resolution|ConnectTimeout|Max retries|ProxyError", text):
        kind = "the package index cannot be reached"
        remedy = "check the network or proxy, or point PIP_FIND_LINKS at a folder with the packages"
    elif "No matching distribution" in text:
        kind = "the package index lacks a package for this Python and system"
        remedy = "use Python 3.11 to 3.13, or point PIP_INDEX_URL or PIP_FIND_LINKS at a place that has it"
    else:
        kind, remedy = "pip failed", "run it again with --verbose to read all that pip says"
    return f"{what}: {kind}; pip's last line: {last}; {remedy}"


# ---------------------------------------------------------------- what is there already


def read_stamp(root: Path) -> dict[str, object]:
    """What an earlier run noted in .venv; empty when there is none or it cannot be read."""
    try:
        noted = json.loads((root / ".venv" / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}


def write_stamp(root: Path, **notes: object) -> None:
    """Add notes to the stamp; written beside and renamed, so that a full disk leaves no half stamp."""
    path = root / ".venv" / STAMP
    beside = path.with_suffix(".tmp")
    beside.write_text(json.dumps({**read_stamp(root), **notes}, indent=1), encoding="utf-8")
    os.replace(beside, path)


def digest(*texts: str) -> str:
    """One short name for all these texts."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def lock_lines(path: Path) -> list[str]:
    """The pins of a lock and of the locks it includes, those left out that are for other machines."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        pin, _, marker = (part.strip() for part in line.partition("#")[0].partition(";"))
        if pin.startswith("-r "):
            lines += lock_lines(path.parent / pin[3:].strip())
        elif pin and (not marker or marker_holds(marker)):
            lines.append(pin)
    return lines


def marker_holds(marker: str) -> bool:
    """Whether a pin is for this machine; of markers only NAME == "VALUE", joined by `and`, are known here."""
    here = {"sys_platform": sys.platform, "platform_machine": platform.machine()}
    here["python_version"] = "{}.{}".format(*sys.version_info[:2])
    wanted = [re.fullmatch(r"(\w+) == \"([^\"]*)\"", one.strip()) for one in marker.split(" and ")]
    return all(found is not None and here.get(found.group(1)) == found.group(2) for found in wanted)


def plain_name(name: str) -> str:
    """The spelling of a package's name under which all its spellings meet."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed_versions(root: Path) -> dict[str, str]:
    """Versions in the environment without build suffixes such as +cpu; read from folder names, which is quick."""
    found = {}
    for pattern in ("lib/python3*/site-packages/*.dist-info", "Lib/site-packages/*.dist-info"):
        for folder in (root / ".venv").glob(pattern):
            name, _, version = folder.name[: -len(".dist-info")].partition("-")
            found[plain_name(name)] = version.partition("+")[0]
    return found


def missing_packages(root: Path, pins: list[str]) -> list[str]:
    """The pins that the environment does not hold at that version."""
    present = installed_versions(root)
    wanted = [(pin, *pin.split("==")) for pin in pins]
    return [pin for pin, name, version in wanted if present.get(plain_name(name)) != version]


def module_files(root: Path) -> list[str]:
    """Every file of the packages by its path: an editable installation links each one, so a new one must be linked."""
    found = [path for folder in PACKAGE_FOLDERS for path in (root / folder).rglob("*") if path.is_file()]
    return sorted(path.relative_to(root).as_posix() for path in found if "__pycache__" not in path.parts)


def link_trees(root: Path) -> list[Path]:
    """The folders of links that editable installations made."""
    return sorted((root / "build").glob("__editable__.stpn-*"))


# ---------------------------------------------------------------- setting up

CUDA_PROBE = (
    "import sys, torch; ok = torch.cuda.is_available(); "
    "print(torch.cuda.get_device_name() if ok else 'it is ' + torch.__version__); sys.exit(not ok)"
)
PROBE = "import json, pip, sys; print(json.dumps([*sys.version_info[:3], sys.prefix]))"


def environment_state(root: Path, runner: Runner) -> tuple[str, str]:
    """The Python version of .venv and why it cannot be used; the reason is empty when it can."""
    folder = root / ".venv"
    if not (folder / "pyvenv.cfg").is_file():
        return "", "it is no Python environment" if os.path.lexists(folder) else "there is none"
    try:
        code, lines = runner.captured([str(executable(root, "python")), "-B", "-P", "-c", PROBE])
        *version, prefix = json.loads(lines[-1]) if code == 0 else []
    except (OSError, ValueError, IndexError):
        return "", "its Python does not run, is older than 3.11 or has no pip"
    if tuple(version[:2]) < OLDEST_PYTHON:
        return "", f"it has Python {version[0]}.{version[1]}"
    # Commands in an environment hold its absolute path: a copied or moved one would run the original's modules.
    made_for = re.search(r"^command = .* -m venv (?:--\S+ )*(.+)$", (folder / "pyvenv.cfg").read_text("utf-8"), re.M)
    places = [prefix] + ([made_for.group(1)] if made_for else [])
    if any(os.path.realpath(place) != os.path.realpath(folder) for place in places):
        return "", "it was made for another folder"
    return ".".join(str(number) for number in version), ""


def check_replaceable(root: Path, fault: str) -> None:
    """Raise a SetupError where an unusable .venv was not made by install.py: it is a person's, and never deleted."""
    folder = root / ".venv"
    ours = read_stamp(root).get("made") or (folder.is_dir() and not any(folder.iterdir()))
    if os.path.lexists(folder) and (folder.is_symlink() or not ours):
        raise SetupError(
            f"{folder} cannot be used ({fault}) and was not made by install.py; move it away and run this again"
        )


def make_environment(root: Path, runner: Runner) -> None:
    """Make .venv anew, in place of an unusable one that `check_replaceable` has let pass."""
    folder = root / ".venv"
    if importlib.util.find_spec("venv") is None:
        raise SetupError(f"{sys.executable} has no venv module; install it (Debian, Ubuntu: apt install python3-venv)")
    bundled_pip = importlib.util.find_spec("ensurepip") is not None
    if not bundled_pip and importlib.util.find_spec("pip") is None:
        raise SetupError(f"{sys.executable} has neither ensurepip nor pip; install one (apt install python3-venv)")
    if folder.is_dir():
        shutil.rmtree(folder)
    folder.mkdir()
    write_stamp(root, made=True)  # first of all, so that what a stopped run leaves is known to be ours
    make = [sys.executable, "-m", "venv", *([] if bundled_pip else ["--without-pip"]), str(folder)]
    code, lines = runner.captured(make)
    if code == 0 and not bundled_pip:
        # Debian's Python without python3-venv: its own pip can put one into the environment.
        outside = [sys.executable, "-m", "pip", "--python", str(executable(root, "python"))]
        code, lines = runner.captured([*outside, "install", "--disable-pip-version-check", "--no-input", "pip"])
    if code:
        raise SetupError(reason_of_pip(f"could not make {folder}", lines))


def pip_install(root: Path, runner: Runner, what: str, arguments: list[str]) -> None:
    """Run pip in the environment; a failure becomes one line."""
    pip = [str(executable(root, "python")), "-P", "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    code, lines = runner.captured([*pip, *arguments])
    if code:
        raise SetupError(reason_of_pip(f"could not install {what}", lines))


def package_arguments(root: Path) -> list[str]:
    """How the package itself is installed.

    Editable, for `demo` as for `test`: both then share one state, what was tested is what renders, and an edited or
    pulled file counts at once. Strict, because only then does `import engine` fail and mypy see the packages.
    setuptools is in the lock, so no build environment has to be fetched.
    """
    editable = ["--config-settings", "editable_mode=strict", "--editable", str(root)]
    return ["--no-deps", "--no-build-isolation", *editable]


def set_up(root: Path, runner: Runner, kind: str, *, dry_run: bool) -> None:
    """Bring .venv to what the locks and this folder ask for, doing only what is missing.

    Args:
        kind: "run" or "test", a key of LOCKS.
    """
    if not dry_run:
        check_writable(root)
    version, fault = environment_state(root, runner)
    if fault:
        check_replaceable(root, fault)
    if fault and dry_run:
        say(f".venv: would be made with Python {sys.version_info[0]}.{sys.version_info[1]} ({fault})")
        say(f"{LOCKS[kind]}: {len(lock_lines(root / LOCKS[kind]))} packages would be installed")
        say("stpn: would be installed from this folder, editable")
        return
    if fault:
        check_space(root, SPACE_FOR_ENVIRONMENT)
        with timed(f".venv: being made ({fault})"):
            make_environment(root, runner)
        version, fault = environment_state(root, runner)
        if fault:
            raise SetupError(f"{root / '.venv'} was made but cannot be used: {fault}; try another Python")
    else:
        say(f".venv: kept, Python {version}")
    install_dependencies(root, runner, kind, version, dry_run=dry_run)
    install_package(root, runner, version, dry_run=dry_run)


def install_dependencies(root: Path, runner: Runner, kind: str, version: str, *, dry_run: bool) -> None:
    """Install a lock, unless it is known to be installed already."""
    pins = lock_lines(root / LOCKS[kind])
    missing, name = missing_packages(root, pins), digest(version, *pins)
    if not missing and read_stamp(root).get(kind) == name:
        say(f"{LOCKS[kind]}: {len(pins)} packages in place")
    elif dry_run:
        say(f"{LOCKS[kind]}: {len(missing)} of {len(pins)} packages would be installed")
    else:
        check_space(root, SPACE_FOR_ENVIRONMENT if len(missing) > len(pins) // 2 else SPACE_FOR_UPDATE)
        with timed(f"{LOCKS[kind]}: installing {len(missing)} of {len(pins)} packages (minutes the first time)"):
            pip_install(root, runner, LOCKS[kind], ["--requirement", str(root / LOCKS[kind])])
        write_stamp(root, **{kind: name})


def install_package(root: Path, runner: Runner, version: str, *, dry_run: bool) -> None:
    """Install stpn itself, unless nothing that its installation depends on has changed."""
    name = digest(version, str(root), (root / "pyproject.toml").read_text(encoding="utf-8"), *module_files(root))
    present = "stpn" in installed_versions(root) and executable(root, "stpn").is_file() and link_trees(root)
    if present and read_stamp(root).get("package") == name:
        say("stpn: in place")
    elif dry_run:
        say("stpn: would be installed from this folder, editable")
    else:
        with timed("stpn: installing from this folder, editable"):
            for tree in link_trees(root):
                shutil.rmtree(tree)  # or the links of deleted modules would stay importable
            pip_install(root, runner, "stpn", package_arguments(root))
        write_stamp(root, package=name)


class timed:
    """Say what is being done, and how long it took when it is done."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __enter__(self) -> None:
        say(self.text + " ...")
        self.start = time.monotonic()

    def __exit__(self, *failure: object) -> None:
        if failure[0] is None:
            say(f"    done in {time.monotonic() - self.start:.0f} s")


# ---------------------------------------------------------------- the commands


def demo_commands(root: Path) -> list[list[str]]:
    """Render the example shot, then make its contact sheet; paths as in the example's README."""
    stpn = str(executable(root, "stpn"))
    plate, keys, result, confidence = (
        f"{EXAMPLE}/{name}/{name}.####.exr" for name in ("plate", "keys", "result", "confidence")
    )
    shot = ["--plate", plate, "--keys", keys, "--property", "color", "--interval", "20"]
    compared = ["--keys", keys, "--confidence", confidence, "--output", f"{EXAMPLE}/contact_sheet.png"]
    return [
        [stpn, "propagate", *shot, "--output", result, "--confidence", confidence],
        [stpn, "compare", plate, result, *compared],
    ]


def check_commands(root: Path, pytest_arguments: list[str]) -> dict[str, list[str]]:
    """The checks of `test`. -P keeps this folder off the path, where it would hide a wrong import."""
    python = [str(executable(root, "python")), "-P", "-m"]
    return {
        "ruff check": [*python, "ruff", "check", "."],
        "mypy": [*python, "mypy"],
        "pytest": [*python, "pytest", *pytest_arguments],
    }


def run_demo(root: Path, runner: Runner, *, dry_run: bool) -> int:
    """`install.py demo`."""
    if not any((root / EXAMPLE / "plate").glob("*.exr")):
        raise SetupError(f"{root / EXAMPLE} has no plate; this copy of the project is incomplete, fetch it again")
    set_up(root, runner, "run", dry_run=dry_run)
    for command in demo_commands(root):
        shown = " ".join(["stpn", *command[1:]])
        say(f"{'would run' if dry_run else 'running'}: {shown}")
        code = 0 if dry_run else runner.shown(command)
        if code:
            say_error(f"stpn {command[1]} ended with exit code {code}; what it said stands above")
            return 130 if code == 130 else 1
    if not dry_run:
        say("\nDone. Look at")
        say(f"  contact sheet   {root / EXAMPLE / 'contact_sheet.png'}")
        say(f"  result          {root / EXAMPLE}/result/result.####.exr")
        say(f"  confidence      {root / EXAMPLE}/confidence/confidence.####.exr")
        say(f"For a shot of your own: {executable(root, 'stpn')} propagate --help")
    return 0


def run_test(root: Path, runner: Runner, pytest_arguments: list[str], *, dry_run: bool) -> int:
    """`install.py test`: all three checks run even when one fails; the first failure's exit code is returned."""
    set_up(root, runner, "test", dry_run=dry_run)
    results = []
    for name, command in check_commands(root, pytest_arguments).items():
        say(f"{'would run' if dry_run else 'running'}: {' '.join(command[3:])}")
        if not dry_run:
            start = time.monotonic()
            results.append((name, runner.shown(command), time.monotonic() - start))
    for name, code, seconds in results:
        say(f"  {name:12s} {'passed' if code == 0 else f'FAILED, exit code {code}':24s} {seconds:6.1f} s")
    return next((code for _, code, _ in results if code), 0)


def run_gpu(root: Path, runner: Runner, *, dry_run: bool) -> int:
    """`install.py gpu`: what a computer with an NVIDIA GPU can use besides; its driver must be there."""
    check_driver()
    set_up(root, runner, "gpu", dry_run=dry_run)
    if dry_run:
        return 0
    code, lines = runner.captured([str(executable(root, "python")), "-P", "-c", CUDA_PROBE])
    if code:
        raise SetupError(
            f"torch in {root / '.venv'} cannot use the GPU: {lines[-1] if lines else 'it said nothing'}; where pip's "
            "settings name an index with the CPU build alone, take that out of PIP_INDEX_URL, PIP_EXTRA_INDEX_URL and "
            "PIP_FIND_LINKS, run install.py uninstall, and then this again"
        )
    say(lines[-1])
    return 0


def check_driver() -> None:
    """Raise a SetupError where no NVIDIA driver is; nothing was changed then."""
    name = "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"
    try:
        ctypes.CDLL(name)
    except OSError:
        raise SetupError(
            f"expected an NVIDIA driver, there is no {name}; install the driver first; stpn runs on the CPU without: "
            "python3 install.py demo"
        ) from None


def run_host(root: Path, runner: Runner, host: str, to: str | None, *, dry_run: bool) -> int:
    """`install.py ofx` and the other hosts: what they look for goes where they look for it."""
    set_up(root, runner, "run", dry_run=dry_run)
    if dry_run and environment_state(root, runner)[1]:
        say(f"{HOSTS[host]}: would be put {'into ' + to if to else 'where they look'}")
        return 0
    return host_command(root, runner, [host], to, dry_run=dry_run)


def host_command(root: Path, runner: Runner, what: list[str], to: str | None, *, dry_run: bool) -> int:
    """Have the package itself put its plugins somewhere, or take them away; it knows what and where."""
    command = [str(executable(root, "python")), "-P", "-m", "stpn.plugin.hosts", *what]
    code = runner.shown([*command, *(["--to", to] if to else []), *(["--dry-run"] if dry_run else [])])
    return code if code in (2, 130) else min(code, 1)


def run_uninstall(root: Path, runner: Runner, hosts: list[str], to: str | None, *, dry_run: bool) -> int:
    """`install.py uninstall`: what install.py made goes, a person's own environment stays."""
    if (root / ".venv" / HOST_NOTE).is_file():
        code = host_command(root, runner, ["uninstall", *hosts], to, dry_run=dry_run)
        if code:
            return code
    elif hosts:
        say("nothing to remove")
    if hosts or to:
        return 0
    folder, stamp = root / ".venv", read_stamp(root)
    made = [*link_trees(root), *root.glob("stpn.egg-info"), *(root / EXAMPLE / name for name in DEMO_RESULTS)]
    if stamp.get("made") and not folder.is_symlink():
        made.insert(0, folder)
    elif stamp:
        command = [str(executable(root, "python")), "-P", "-m", "pip", "uninstall", "--yes", "stpn"]
        say(f"{folder}: not made by install.py and kept; stpn {'would leave' if dry_run else 'leaves'} it")
        if not dry_run and runner.captured(command)[0] == 0:
            (folder / STAMP).unlink()
    made = [path for path in made if os.path.lexists(path)]
    for path in made:
        say(f"{'would remove' if dry_run else 'removing'} {path}")
        if not dry_run:
            remove(path)
    if (root / "build").is_dir() and not any((root / "build").iterdir()) and not dry_run:
        (root / "build").rmdir()
    if not made:
        say("nothing to remove")
    return 0


def remove(path: Path) -> None:
    """Delete a file, a link or a folder; links inside a folder go, what they point to stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def say_error(text: str) -> None:
    """One line on the error stream."""
    sys.stdout.flush()
    print(f"install.py: error: {text}", file=sys.stderr, flush=True)


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """The command line; a wrong one ends with exit code 2."""
    parser = argparse.ArgumentParser(
        prog="install.py", description=__doc__, epilog=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    common.add_argument("--verbose", action="store_true", help="show all that pip says")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, summary: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, parents=[common], help=summary, description=summary)

    command("demo", "set up stpn, render the example shot and make a contact sheet")
    test = command("test", "set up stpn with the test tools, then run ruff check, mypy and pytest")
    test.add_argument("pytest_arguments", nargs="*", metavar="ARGUMENT", help="after --, passed on to pytest")
    command("gpu", "set up stpn with TensorRT and pycuda, on a computer with an NVIDIA GPU")
    for name, title in HOSTS.items():
        host = command(name, f"set up stpn, and put the node STPN Propagate where {title} looks for it")
        host.add_argument("--to", metavar="DIR", help="the folder to put it into (default: where the host looks)")
    uninstall = command("uninstall", "take the node out of all hosts, remove .venv, links in build/, demo's results")
    uninstall.add_argument("hosts", nargs="*", metavar="HOST", help="take the node out of these alone, keep the rest")
    uninstall.add_argument("--to", metavar="DIR", help="take it out of this folder alone, keep the rest")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None, *, root: Path | None = None, runner: Runner | None = None) -> int:
    """Do what the command line asks; returns the exit code."""
    asked = parse_arguments(arguments)
    root = root or ROOT
    runner = runner or Runner(root, verbose=asked.verbose)
    try:
        if asked.command == "demo":
            return run_demo(root, runner, dry_run=asked.dry_run)
        if asked.command == "test":
            return run_test(root, runner, asked.pytest_arguments, dry_run=asked.dry_run)
        if asked.command == "gpu":
            return run_gpu(root, runner, dry_run=asked.dry_run)
        if asked.command in HOSTS:
            return run_host(root, runner, asked.command, asked.to, dry_run=asked.dry_run)
        return run_uninstall(root, runner, asked.hosts, asked.to, dry_run=asked.dry_run)
    except SetupError as error:
        say_error(str(error))
        return 1
    except OSError as error:
        say_error(reason_of(error, root))
        return 1
    except KeyboardInterrupt:
        say_error("stopped; run the same command again to go on")
        return 130


if __name__ == "__main__":
    sys.exit(main())
