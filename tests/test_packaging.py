"""What is shipped: the packages, their data files, the locks, and wheels that work away from the repository."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDERS = ("engine", "ocio", "plugin")
SHIPPED_BESIDE_MODULES = (
    "py.typed",
    "*.safetensors",
    "engine/weights/*.md",
    "engine/propagation/README.md",
    "engine/propagation/*.cuh",
    "engine/training/recipes/*.toml",
    "plugin/hosts/ofx/*.cpp",
    "plugin/hosts/ofx/*.h",
    "plugin/hosts/ofx/*.in",
    "plugin/hosts/ofx/CMakeLists.txt",
    "plugin/hosts/ofx/exports.map",
    "plugin/hosts/blender/*",
    "plugin/hosts/comfyui/*",
    "plugin/hosts/nuke/*",
    "plugin/hosts/nuke/icons/*",
)
# For the Python of other programs: copied into them, never imported here.
FACES = ("plugin/hosts/blender", "plugin/hosts/comfyui", "plugin/hosts/nuke")
# Hosts bring these themselves, and a GPU machine has these besides: imported where they are used, never required.
OPTIONAL_IMPORTS = {"tensorrt", "pycuda", "onnx", "cuda", "triton", "bpy", "nuke"}
IMPORT_NAMES = {"cv2": "opencv-python-headless", "PyOpenColorIO": "opencolorio"}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    """pyproject.toml."""
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))


def run(*command: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run this Python away from the repository, with nothing on the path but what is named."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables
    return subprocess.run([sys.executable, *command], cwd=cwd, env=environment, capture_output=True, text=True)


def modules(root: Path = REPOSITORY) -> list[Path]:
    """Every module of the three packages, relative to the root."""
    found = [path.relative_to(root) for folder in FOLDERS for path in (root / folder).rglob("*.py")]
    return sorted(p for p in found if "__pycache__" not in p.parts and p.parent.as_posix() not in FACES)


def data_files(root: Path = REPOSITORY) -> list[Path]:
    """Every file that must be shipped beside the modules, relative to the root."""
    found = [path.relative_to(root) for folder in FOLDERS for path in (root / folder).rglob("*")]
    files = [path for path in found if (root / path).is_file() and "__pycache__" not in path.parts]
    return sorted(path for path in files if any(path.match(pattern) for pattern in SHIPPED_BESIDE_MODULES))


# ---------------------------------------------------------------- the lists


def test_every_folder_with_modules_is_a_listed_package(project: dict[str, Any]) -> None:
    wanted = {".".join(("stpn", *path.parent.parts)) for path in modules()}
    listed = project["tool"]["setuptools"]["packages"]
    assert sorted(wanted) == sorted(listed), "[tool.setuptools] packages in pyproject.toml must be the first of the two"


def test_every_package_has_an_init() -> None:
    lacking = {path.parent.as_posix() for path in modules() if not (REPOSITORY / path.parent / "__init__.py").is_file()}
    assert not lacking, "without __init__.py a folder is a namespace package, which mypy and setuptools see differently"


def test_every_imported_package_is_a_dependency(project: dict[str, Any]) -> None:
    declared = {canonicalize_name(Requirement(line).name) for line in project["project"]["dependencies"]}
    imported = {name for path in modules() for name in imported_names(REPOSITORY / path)}
    foreign = imported - set(sys.stdlib_module_names) - OPTIONAL_IMPORTS - {"stpn"}
    assert {canonicalize_name(IMPORT_NAMES.get(name, name)) for name in foreign} <= declared


def imported_names(path: Path) -> set[str]:
    """The top names of what a file imports anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


# ---------------------------------------------------------------- the locks


def pins(name: str) -> dict[str, str]:
    """Names and versions of one lock, without what it includes."""
    lines = (REPOSITORY / "requirements" / name).read_text(encoding="utf-8").splitlines()
    lines = [line for line in lines if line and not line.startswith(("#", "-r "))]
    # some have wheels for some machines alone; install.py reads markers of this form
    lines = [re.sub(r'; (\w+ == "[\w.]+"( and )?)+$', "", line) for line in lines]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9.]+", line) for line in lines), "only plain pins: name==version"
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


def with_all_they_need(names: set[str]) -> set[str]:
    """These packages and, as they are installed here, everything they need."""
    found: set[str] = set()
    while names - found:
        name = (names - found).pop()
        found.add(name)
        try:
            needed = [Requirement(line) for line in distribution(name).requires or ()]
        except PackageNotFoundError:  # the exact-set comparison below then names it
            continue
        here = [need for need in needed if need.marker is None or need.marker.evaluate({"extra": ""})]
        names = names | {canonicalize_name(need.name) for need in here}
    return found


def test_run_lock_holds_the_dependencies_and_all_they_need(project: dict[str, Any]) -> None:
    lock = pins("cpu.txt")
    wanted = [Requirement(line) for line in project["project"]["dependencies"]]
    assert set(lock) == with_all_they_need({canonicalize_name(need.name) for need in wanted})
    assert all(need.specifier.contains(lock[canonicalize_name(need.name)]) for need in wanted)


def test_test_lock_holds_the_tools_and_all_they_need() -> None:
    tools = {"atheris", "build", "hypothesis", "mypy", "onnx", "packaging", "pytest", "ruff", "setuptools", "wheel"}
    assert set(pins("test.txt")) == with_all_they_need(tools) - set(pins("cpu.txt"))
    assert "-r cpu.txt" in (REPOSITORY / "requirements/test.txt").read_text(encoding="utf-8").splitlines()


def test_locks_can_build_the_package(project: dict[str, Any]) -> None:
    for line in project["build-system"]["requires"]:
        need = Requirement(line)
        assert need.specifier.contains(pins("cpu.txt")[need.name]), "install.py builds without fetching anything"


# ---------------------------------------------------------------- in the environment


def test_packages_import_anywhere_without_the_heavy_ones(tmp_path: Path) -> None:
    code = (
        "import stpn.engine, stpn.ocio, stpn.plugin, stpn.plugin.cli, sys; "
        "print(*sorted({'torch', 'tensorrt', 'numba', 'cv2'} & set(sys.modules)))"
    )
    finished = run("-c", code, cwd=tmp_path)
    assert (finished.returncode, finished.stderr, finished.stdout.strip()) == (0, "", "")


@pytest.mark.parametrize("folder", FOLDERS)
def test_bare_folder_names_do_not_import(folder: str, tmp_path: Path) -> None:
    finished = run("-c", f"import {folder}", cwd=tmp_path)
    assert f"ModuleNotFoundError: No module named '{folder}'" in finished.stderr


# ---------------------------------------------------------------- wheels


@pytest.fixture(scope="module")
def copy_of_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files a build reads, copied, so that building leaves nothing in the repository."""
    copy = tmp_path_factory.mktemp("source") / "stpn"
    for folder in (*FOLDERS, "tests"):
        shutil.copytree(REPOSITORY / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("LICENSE", "README.md", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, copy)
    return copy


@pytest.fixture(scope="module")
def built(copy_of_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A wheel from the tree, a source distribution, and a wheel from that."""
    output = tmp_path_factory.mktemp("built")
    direct = output / "direct"
    # Without --wheel, build makes a source distribution and then a wheel from that.
    for options in (["--wheel", "--outdir", str(direct)], ["--outdir", str(output)]):
        finished = run("-m", "build", "--no-isolation", *options, str(copy_of_tree), cwd=output)
        assert finished.returncode == 0, finished.stdout + finished.stderr
    return {
        "wheel": next(direct.glob("*.whl")),
        "source": next(output.glob("*.tar.gz")),
        "wheel from source": next(output.glob("*.whl")),
    }


@pytest.mark.parametrize("kind", ["wheel", "wheel from source"])
def test_wheel_holds_exactly_what_is_shipped(built: dict[str, Path], copy_of_tree: Path, kind: str) -> None:
    with zipfile.ZipFile(built[kind]) as wheel:
        content = {name for name in wheel.namelist() if ".dist-info/" not in name}
        notes = {Path(name).name for name in wheel.namelist() if ".dist-info/" in name}
    assert content == {f"stpn/{path.as_posix()}" for path in (*modules(copy_of_tree), *data_files(copy_of_tree))}
    assert {"LICENSE", "METADATA", "entry_points.txt"} <= notes


def test_weights_and_type_marks_are_shipped() -> None:
    shipped = {path.as_posix() for path in data_files()}
    assert {f"{folder}/py.typed" for folder in FOLDERS} <= shipped
    weights = [path for path in data_files() if path.suffix == ".safetensors"]
    assert weights, "engine/weights has no weights"
    assert all(path.with_suffix(".md") in data_files() for path in weights), "every weights file needs a card beside it"


@pytest.mark.parametrize("kind", ["wheel", "wheel from source"])
def test_wheel_works_away_from_the_repository(built: dict[str, Path], kind: str, tmp_path: Path) -> None:
    target = tmp_path / "installed"
    pip = ("-m", "pip", "install", "--no-deps", "--no-index", "--disable-pip-version-check", "--quiet")
    finished = run(*pip, "--target", str(target), str(built[kind]), cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    code = (
        "import stpn.engine, stpn.ocio, stpn.plugin.cli as cli; "
        "[print(module.__file__) for module in (stpn.engine, stpn.ocio, cli)]; assert callable(cli.main)"
    )
    # The environment's own editable stpn is on the path too; what is named on PYTHONPATH comes first.
    finished = run("-c", code, cwd=tmp_path, PYTHONPATH=str(target))
    assert finished.returncode == 0, finished.stderr
    assert all(line.startswith(str(target)) for line in finished.stdout.splitlines())
    assert (target / "bin" / "stpn").is_file() or (target / "Scripts" / "stpn.exe").is_file()
