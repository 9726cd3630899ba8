"""`stpn farm openjd`: its bundle is run by `openjd run` in chunks, and read by the tools of AWS Deadline Cloud."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from farm_tools import REPOSITORY, STPN, clean, farm_python, farmed, shot_files, studio_of

from stpn.ocio.config import BUILTIN_CONFIG
from stpn.plugin.farm.job import job_of
from stpn.plugin.farm.opencue import layers
from stpn.plugin.farm.openjd import bundle
from stpn.plugin.render import render
from stpn.plugin.request import Request
from stpn.plugin.shot import check

# what shells, the template's own syntax, and readers of JSON and YAML could take for theirs
ODD = """it's "a" $(touch oh) `b` {{Param.Frames}} {{ 1 + 1 }} & ; | < > * ~ !x %y% \\n"""


@pytest.fixture(scope="module")
def openjd() -> Path:
    """The command openjd."""
    return farm_python("openjd").with_name("openjd")


def opened(openjd: Path, *arguments: str, folder: Path, **options: Any) -> subprocess.Popen[str]:
    """`openjd` under way."""
    return subprocess.Popen(
        [str(openjd), *arguments], cwd=folder, env=clean(), text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, **options,
    )  # fmt: skip


def run(openjd: Path, bundle: Path, step: str, *arguments: str) -> tuple[int, str]:
    """`openjd run` of one step; its exit code and what it said."""
    values = f"file://{bundle / 'job_parameters.json'}"
    words = ["run", str(bundle / "template.json"), "--step", step, "-p", values, *arguments]
    process = opened(openjd, *words, folder=bundle)
    said, _ = process.communicate(timeout=300)
    return process.returncode, said


def told(bundle: Path) -> dict[str, Any]:
    """What the libraries of openjd and Deadline Cloud make of a bundle."""
    script = REPOSITORY / "tests" / "farm" / "openjd_told.py"
    home = str(bundle.parent)
    done = subprocess.run(
        [farm_python("openjd"), script, bundle], capture_output=True, text=True, timeout=300, env=clean(HOME=home)
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def rendered_at_once(studio: Any, **options: Any) -> dict[str, bytes]:
    """What one run writes, by frame number and extension."""
    request = Request(
        f"{studio.folder}/plate.####.exr", f"{studio.folder}/key.####.exr", f"{studio.folder}/one.####.exr",
        method="flow", confidence=f"{studio.folder}/onesure.####.exr", **options,
    )  # fmt: skip
    for _ in render(check(request)):
        pass
    return dict(studio.contents("one."))


@pytest.mark.parametrize("count", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_chunks_side_by_side_are_one_run(tmp_path: Path, openjd: Path, count: int) -> None:
    studio = studio_of(tmp_path / ODD)
    frames = range(1001, 1001 + 2 * count)
    studio.plate(frames)
    studio.keys((1001, 1015, 1021, 1033) if count == 20 else (1001, 1005))
    bundle = tmp_path / "bundle"
    files = shot_files(studio)
    options = ["--confidence", f"{studio.folder}/sure.####.exr", "--method", "flow", "--chunk", "2"]
    assert farmed("openjd", *files, *options, "--to", str(bundle), "--name", ODD) == 0
    found = told(bundle)
    assert found["name"] == ODD
    tasks = found["tasks"]
    assert list(tasks) == ["Analyse", "Propagate", "ContactSheet"]
    assert tasks["Propagate"] == [f"{frame}-{frame + 1}" for frame in frames[::2]]
    code, said = run(openjd, bundle, "Analyse")
    assert code == 0, said
    values = f"file://{bundle / 'job_parameters.json'}"
    halves = [json.dumps([{"Frame": chunk} for chunk in tasks["Propagate"][start::2]]) for start in (0, 1)]
    side_by_side = [
        opened(
            openjd, "run", str(bundle / "template.json"), "--step", "Propagate", "-p", values, "--tasks", half,
            folder=bundle,
        )
        for half in halves
    ]  # fmt: skip
    for process in side_by_side:
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
        assert f"Chunks run: {count // 2}" in said
        assert "is of this plate, which is not searched again" in said
        assert "openjd_progress: 50" in said
    code, said = run(openjd, bundle, "ContactSheet")
    assert code == 0, said
    assert (studio.folder / "out.sheet.png").stat().st_size > 1000
    assert {path.name for path in tmp_path.iterdir()} == {"bundle", ODD}
    whole = rendered_at_once(studio)
    chunks = {name: data for name, data in studio.contents("out.").items() if name.endswith(".exr")}
    assert sorted(chunks) == [f"{frame}.exr" for frame in frames]
    assert chunks == whole
    assert studio.contents("sure.") == studio.contents("onesure.")


def test_a_task_that_failed_is_tried_again_and_leaves_what_is_there(tmp_path: Path, openjd: Path) -> None:
    studio = studio_of(tmp_path / "shot")
    studio.plate(range(1, 13))
    studio.keys((1, 5, 9))
    bundle, broken = tmp_path / "bundle", tmp_path / "broken"
    # a machine that breaks down in the middle of its second task, until it is repaired
    machine = tmp_path / "machine"
    machine.write_text(
        f'#!/bin/sh\ncase "$*" in *--frames=5-8*) test -e "{broken}" && set -- "$@" --frames 5-6;; esac\n'
        f'"{STPN}" "$@" || exit\ncase "$*" in *" --frames 5-6") exit 7;; esac\n'
    )
    machine.chmod(0o755)
    broken.touch()
    options = ["--method", "flow", "--to", str(bundle), "--reports", "--no-sheet", "--stpn", str(machine)]
    assert farmed("openjd", *shot_files(studio, "results/out.####.exr"), *options) == 0
    results = studio.folder / "results"
    code, said = run(openjd, bundle, "Propagate", "--run-dependencies")
    assert code == 1, said
    assert "exited with code: 7" in said
    before = {path.name: path.stat().st_mtime_ns for path in results.glob("out.0*.exr")}
    assert sorted(before) == [f"out.000{frame}.exr" for frame in range(1, 7)]
    broken.unlink()
    code, said = run(openjd, bundle, "Propagate", "--task-param", "Frame=5-8")
    assert code == 0, said
    assert "openjd_progress: 100" in said
    after = {path.name: path.stat().st_mtime_ns for path in results.glob("out.0*.exr")}
    assert {name: after[name] for name in before} == before
    assert sorted(set(after) - set(before)) == ["out.0007.exr", "out.0008.exr"]
    report = json.loads((results / "out.report.5-8.json").read_text())
    assert [frame["status"] for frame in report["frames"]] == ["skipped", "skipped", "carried", "carried"]
    code, said = run(openjd, bundle, "Propagate")
    assert code == 0, said
    chunks = {name: data for name, data in studio.contents("results/out.").items() if name.endswith(".exr")}
    assert chunks == rendered_at_once(studio)


def test_a_wrong_request_fails_its_task_with_the_reason(tmp_path: Path, openjd: Path) -> None:
    studio = studio_of(tmp_path / "shot")
    studio.plate(range(1, 5))
    studio.keys((1,))
    assert farmed("openjd", *shot_files(studio), "--method", "flow", "--to", str(tmp_path / "bundle")) == 0
    (studio.folder / "plate.0003.exr").unlink()
    code, said = run(openjd, tmp_path / "bundle", "Analyse")
    assert code == 1
    assert "openjd_fail: " in said
    assert "expected plate frames 3, not found" in said


def test_tasks_begin_on_keys_that_are_not_spaced_evenly(tmp_path: Path, openjd: Path) -> None:
    studio = studio_of(tmp_path / "shot")
    studio.plate(range(1, 31))
    studio.keys((4, 9, 20, 21))
    bundle = tmp_path / "bundle"
    assert farmed("openjd", *shot_files(studio), "--method", "flow", "--to", str(bundle)) == 0
    assert told(bundle)["tasks"] == {
        "Analyse": [], "Propagate": ["1-3", "9-19", "21-30"], "PropagateBetween": ["4-8", "20-20"], "ContactSheet": []
    }  # fmt: skip
    assert farmed("openjd", *shot_files(studio), "--method", "flow", "--to", str(bundle), "--chunk", "6") == 0
    assert told(bundle)["tasks"]["Propagate"] == ["1-3", "9-14", "15-19", "21-25", "26-30"]
    given = ["--frames=4-8,20-25", "--chunk=3", "--to", str(bundle)]
    assert farmed("openjd", *shot_files(studio), "--method", "flow", *given) == 0
    assert told(bundle)["tasks"]["Propagate"] == ["4-6", "7-8", "21-23", "24-25"]
    done = run(openjd, bundle, "Analyse")
    assert done[0] == 0, done[1]
    said = json.loads((studio.folder / "out.analysis.json").read_text())
    assert said["chunks"][0] == [4, 8]


def test_deadline_cloud_takes_the_bundle_and_finds_every_file(tmp_path: Path, openjd: Path) -> None:
    studio = studio_of(tmp_path / ODD)
    studio.plate(range(-2, 3))
    studio.keys((-2, 2))
    weights = shutil.copy(REPOSITORY / "engine" / "weights" / "aligned.safetensors", studio.folder / "w.safetensors")
    bundle = tmp_path / "bundle"
    options = ["--weights", str(weights), "--device", "cpu", "--threads", "3", "--chunk-seconds", "60", "--stpn", ODD]
    confidence = ["--confidence", f"{tmp_path}/sure/c.####.exr"]
    assert farmed("openjd", *shot_files(studio), *options, *confidence, "--to", str(bundle)) == 0
    found = told(bundle)["deadline"]
    assert found["parameters"]["PlateFolder"] == {"path": str(studio.folder)}
    assert found["parameters"]["PlateName"] == {"string": "plate.####.exr"}
    assert found["parameters"]["Stpn"] == {"string": ODD}
    assert found["parameters"]["ChunkSeconds"] == {"int": "60"}
    assert found["parameters"]["Threads"] == {"int": "3"}
    plate = [f"{studio.folder}/plate.{frame:04d}.exr" for frame in range(-2, 3)]
    keys = [f"{studio.folder}/key.{frame:04d}.exr" for frame in (-2, 2)]
    assert found["uploaded"] == sorted([*plate, *keys, str(weights)])
    assert found["brought_back"] == sorted([str(studio.folder), f"{tmp_path}/sure"])
    checked = opened(openjd, "check", str(bundle / "template.json"), folder=tmp_path)
    said, _ = checked.communicate(timeout=300)
    assert checked.returncode == 0, said
    template = (bundle / "template.json").read_text()
    assert "touch oh" not in template
    assert str(tmp_path) not in template


def test_parameters_are_typed(tmp_path: Path) -> None:
    studio = studio_of(tmp_path / "shot")
    studio.plate(range(1, 5))
    studio.keys((1,))
    bundle = tmp_path / "bundle"
    assert farmed("openjd", *shot_files(studio), "--to", str(bundle), "--device", "cpu", "--frames", "1-3") == 0
    template = json.loads((bundle / "template.json").read_text())
    kinds = {one["name"]: one for one in template["parameterDefinitions"]}
    assert kinds["Property"]["allowedValues"] == ["color", "hdr", "mask", "channels"]
    assert kinds["Method"]["allowedValues"] == ["aligned", "flow", "stpn"]
    assert (kinds["OutputFolder"]["type"], kinds["OutputFolder"]["dataFlow"]) == ("PATH", "OUT")
    assert (kinds["ChunkSize"]["type"], kinds["ChunkSize"]["minValue"]) == ("INT", 1)
    steps = {step["name"]: step for step in template["steps"]}
    assert steps["Propagate"]["dependencies"] == [{"dependsOn": "Analyse"}]
    assert steps["ContactSheet"]["dependencies"] == [{"dependsOn": "Propagate"}]
    chunks = steps["Propagate"]["parameterSpace"]["taskParameterDefinitions"][0]["chunks"]
    assert chunks["rangeConstraint"] == "CONTIGUOUS"
    assert "--frames={{Param.Frames}}" in steps["Analyse"]["script"]["actions"]["onRun"]["args"]
    assert "hostRequirements" not in steps["Propagate"]


def test_jobs_for_a_gpu_want_machines_with_one(tmp_path: Path) -> None:
    studio = studio_of(tmp_path / "shot")
    studio.plate(range(1, 5))
    studio.keys((1,))
    request = Request(*(f"{studio.folder}/{name}.####.exr" for name in ("plate", "key", "out")), method="flow")
    job = job_of(check(request, look=False), name="", command="", size=None, sheet=True)
    for device, wants in (("cpu", False), ("cuda", True)):
        asked = replace(job, request=replace(job.request, device=device))
        steps = {step["name"]: step for step in json.loads(bundle(asked)["template.json"])["steps"]}
        assert [name for name, step in steps.items() if "hostRequirements" in step] == ["Analyse", "Propagate"] * wants
        assert [layer["name"] for layer in layers(asked) if layer["more"]] == ["analyse", "propagate"] * wants
    # what is the default here is said, since it may be another one elsewhere
    assert job.request.ocio == f"ocio://{BUILTIN_CONFIG}"


@pytest.mark.parametrize("farm", ["openjd", "opencue", "deadline"])
@pytest.mark.parametrize("odd", ["line\nbreak", "bell\a", b"\xff".decode("utf-8", "surrogateescape")])
def test_names_that_no_job_can_hold_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], farm: str, odd: str
) -> None:
    studio = studio_of(tmp_path / "shot")
    studio.plate(range(1, 5))
    studio.keys((1,))
    options = ["--method", "flow", "--to", str(tmp_path / "job")]
    assert farmed(farm, *shot_files(studio), *options, "--name", odd, "--stpn", odd) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert said[0].startswith(
        "stpn farm: --name: expected a name without line breaks, other control characters and bytes that are no UTF-8, "
        "which a farm's job cannot hold, got '"
    )
    studio.folder = studio.folder.rename(tmp_path / odd)
    assert farmed(farm, *shot_files(studio), *options) == 2
    assert "expected a name without" in capsys.readouterr().err
    assert not (tmp_path / "job").exists()


def test_what_a_parameter_cannot_hold_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    studio = studio_of(tmp_path / "shot")
    studio.plate(range(1, 5))
    studio.keys((1,))
    files = [*shot_files(studio), "--method", "flow", "--to", str(tmp_path / "job")]
    assert farmed("openjd", *files, "--stpn", "x" * 1025) == 2
    assert capsys.readouterr().err == (
        "stpn farm: Stpn: expected up to 1024 characters, which is all that a parameter of Open Job Description holds, "
        "got 1025; name it shorter\n"
    )
    assert farmed("openjd", *files, "--analysis", "x") == 2
    assert farmed("openjd", *files, "--chunk", "0") == 2
    assert farmed("openjd", *files, "--chunk-seconds", "-1") == 2
    assert farmed("openjd", *files, "--interval", "0") == 2
    capsys.readouterr()
    assert farmed("openjd", *files[:-1], str(studio.folder)) == 2
    assert "expected a new or empty folder, or one of such a job, found key.0001.exr in it" in capsys.readouterr().err
    assert not (tmp_path / "job").exists()
