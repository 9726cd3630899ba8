"""A job bundle of Open Job Description, as AWS Deadline Cloud takes it and `openjd run` runs it.

Every text that a person typed is the value of a typed parameter, in a file beside the template; the template itself
holds none of them, so that no name can be mistaken for its syntax. Commands are run without a shell.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stpn.plugin.farm.chunks import Division, evenly, in_words, runs
from stpn.plugin.farm.job import (
    BESIDE,
    PATTERNS,
    SINGLE_FILES,
    Job,
    analyse_step,
    needs_gpu,
    propagate_step,
    shared_values,
    sheet_step,
)
from stpn.plugin.request import DEVICES, KEYS_USED, METHODS, PROPERTIES, RequestError

FILES = ("template.json", "parameter_values.json", "asset_references.json", "job_parameters.json")
"""What a bundle holds: the first three are Deadline Cloud's; the last has the values once more, for `openjd run`."""

_LONGEST_VALUE = 1024
_LONGEST_NAME = 128
_SECONDS_TO_STOP = 30
_ALLOWED = {
    "property": PROPERTIES,
    "method": METHODS,
    "device": DEVICES,
    "keys_used": KEYS_USED,
}
_MEANS = {
    "stpn": "The command stpn on the machines that render, on their PATH or by its whole path",
    "analysis": "Where the first step puts what it finds in the plate",
    "sheet": "The contact sheet",
    "report": "Beginning of the names of the reports",
    "plate": "The guidance plate",
    "keys": "The key frames",
    "output": "The results",
    "confidence": "How sure each pixel is",
}


def bundle(job: Job, seconds: int = 0) -> dict[str, str]:
    """The files of a job bundle, by name.

    Args:
        job: the job.
        seconds: how long a chunk should take; 0: chunks keep their edges; else the scheduler moves them as it learns.

    Raises:
        RequestError: a value is longer than the specification allows.
    """
    steps = ranges(job.division, job.frames)
    definitions, values = _parameters(job, steps, seconds)
    _refuse_long(values)
    template = {
        "specificationVersion": "jobtemplate-2023-09",
        "extensions": ["TASK_CHUNKING"],
        "name": "{{Param.JobName}}",
        "parameterDefinitions": definitions,
        "steps": _steps(job, [name for name, _ in steps]),
    }
    given = {"parameterValues": [{"name": name, "value": value} for name, value in values.items()]}
    inputs = {"filenames": sorted({str(path) for path in job.inputs}), "directories": []}
    assets = {"assetReferences": {"inputs": inputs, "outputs": {"directories": _folders(job)}, "referencedPaths": []}}
    contents: tuple[Any, ...] = (template, given, assets, values)
    return {name: json.dumps(content, indent=2) + "\n" for name, content in zip(FILES, contents, strict=True)}


def run_here(job: Job, folder: Path) -> list[str]:
    """The command that runs the whole bundle in a folder on this machine, its last step and all that it needs."""
    last = "ContactSheet" if job.sheet is not None else "Propagate"
    given = f"file://{folder / FILES[3]}"
    return ["openjd", "run", str(folder / FILES[0]), "--step", last, "--run-dependencies", "-p", given]


def ranges(division: Division, frames: Sequence[int]) -> list[tuple[str, str]]:
    """Frame ranges of the chunked steps by the name of their parameter: one, or two where chunks shall begin on keys.

    Open Job Description divides each run of neighbouring frames evenly, so where keys are not spaced evenly every other
    group of frames goes into a step of its own: the gaps keep chunks apart. Where that is too long to be said, chunks
    begin where they may.
    """
    whole = ("Frames", _said(runs(frames)))
    even = [chunk for run in runs(frames) for chunk in evenly(run, division.size)]
    if list(division.chunks) == even:
        return [whole]
    two = [("Frames", _said(division.groups[::2])), ("FramesBetween", _said(division.groups[1::2]))]
    return two if all(len(text) <= _LONGEST_VALUE for _, text in two) else [whole]


def _said(groups: Sequence[range]) -> str:
    return ",".join(in_words(group) for group in groups)


def _steps(job: Job, chunked: list[str]) -> list[dict[str, Any]]:
    """Analyse first, then every chunk, then the contact sheet."""
    only = ",".join(f"{{{{Param.{name}}}}}" for name in chunked) if job.request.frames is not None else None
    gpu = {"hostRequirements": {"amounts": [{"name": "amount.worker.gpu", "min": 1}]}} if needs_gpu(job) else {}
    steps: list[dict[str, Any]] = [
        {"name": "Analyse", **gpu, "script": _script(analyse_step(job, _say, "openjd", only))}
    ]
    rendering = []
    for name in chunked:
        chunks = {
            "defaultTaskCount": "{{Param.ChunkSize}}",
            "targetRuntimeSeconds": "{{Param.ChunkSeconds}}",
            "rangeConstraint": "CONTIGUOUS",
        }
        frame = {"name": "Frame", "type": "CHUNK[INT]", "range": f"{{{{Param.{name}}}}}", "chunks": chunks}
        step = {
            "name": name.replace("Frames", "Propagate"),
            **gpu,
            "dependencies": [{"dependsOn": "Analyse"}],
            "parameterSpace": {"taskParameterDefinitions": [frame]},
            "script": _script(propagate_step(job, _say, "openjd", "{{Task.Param.Frame}}")),
        }
        rendering.append(step)
    if job.sheet is not None:
        needs = [{"dependsOn": step["name"]} for step in rendering]
        steps_after = [{"name": "ContactSheet", "dependencies": needs, "script": _script(sheet_step(job, _say))}]
        return [*steps, *rendering, *steps_after]
    return [*steps, *rendering]


def _script(arguments: list[str]) -> dict[str, Any]:
    # a farm that takes a machine back asks first: the frame that is worked on is finished or dropped
    asks = {"mode": "NOTIFY_THEN_TERMINATE", "notifyPeriodInSeconds": _SECONDS_TO_STOP}
    return {"actions": {"onRun": {"command": "{{Param.Stpn}}", "args": arguments, "cancelation": asks}}}


def _say(name: str) -> str:
    """What stands for a value in the template."""
    if name in PATTERNS:
        return f"{{{{Param.{_named(name)}Folder}}}}/{{{{Param.{_named(name)}Name}}}}"
    if name in BESIDE:
        return f"{{{{Param.OutputFolder}}}}/{{{{Param.{_named(name)}Name}}}}"
    return f"{{{{Param.{_named(name)}}}}}"


def _named(name: str) -> str:
    """keys_colorspace is KeysColorspace."""
    return "".join(word.capitalize() for word in name.split("_"))


def _parameters(job: Job, steps: list[tuple[str, str]], seconds: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Definitions of all parameters, and their values."""
    known = _Known()
    known.text("JobName", job.name[:_LONGEST_NAME], "Name of the job", maxLength=_LONGEST_NAME)
    known.text("Stpn", job.command, _MEANS["stpn"])
    for name, text in steps:
        known.text(name, text, "Frames to render, such as 1001-1100")
    known.number("ChunkSize", job.division.size, 1, "Frames of a task at most")
    known.number("ChunkSeconds", seconds, 0, "Seconds that a task should take; 0: tasks begin on keys where they can")
    for name in PATTERNS:
        if getattr(job.request, name):
            path = Path(job.value(name))
            made = name in ("output", "confidence")
            known.folder(f"{_named(name)}Folder", path.parent, "OUT" if made else "NONE", f"{_MEANS[name]}: folder")
            known.text(f"{_named(name)}Name", path.name, f"{_MEANS[name]}: name, with #### for the frame")
    for name in BESIDE:
        if getattr(job, name) is not None:
            known.text(f"{_named(name)}Name", Path(job.value(name)).name, _MEANS[name])
    for name in shared_values(job):
        value, means = getattr(job.request, name), f"stpn propagate --{name.replace('_', '-')}"
        if isinstance(value, int):
            known.number(_named(name), value, None, means)
        elif name in SINGLE_FILES and Path(value).is_file():
            known.file(_named(name), Path(value), means)
        else:
            known.text(_named(name), value, means, allowedValues=list(_ALLOWED[name]) if name in _ALLOWED else None)
    return known.definitions, known.values


class _Known:
    """Parameters so far."""

    def __init__(self) -> None:
        self.definitions: list[dict[str, Any]] = []
        self.values: dict[str, Any] = {}

    def text(self, name: str, value: str, means: str, **more: Any) -> None:
        self._add(name, value, {"type": "STRING", "description": means, **more})

    def number(self, name: str, value: int, least: int | None, means: str) -> None:
        self._add(name, value, {"type": "INT", "description": means, "minValue": least})

    def folder(self, name: str, value: Path, flow: str, means: str) -> None:
        kind = {"type": "PATH", "objectType": "DIRECTORY", "dataFlow": flow, "description": means}
        self._add(name, str(value), kind)

    def file(self, name: str, value: Path, means: str) -> None:
        kind = {"type": "PATH", "objectType": "FILE", "dataFlow": "IN", "description": means}
        self._add(name, str(value), kind)

    def _add(self, name: str, value: Any, kind: dict[str, Any]) -> None:
        self.definitions.append({"name": name, **{key: what for key, what in kind.items() if what is not None}})
        self.values[name] = value


def _folders(job: Job) -> list[str]:
    made = [job.request.output, *([job.request.confidence] if job.request.confidence else [])]
    return sorted({str(Path(path).parent) for path in made})


def _refuse_long(values: dict[str, Any]) -> None:
    problems = [
        f"{name}: expected up to {_LONGEST_VALUE} characters, which is all that a parameter of Open Job Description "
        f"holds, got {len(value)}; name it shorter"
        for name, value in values.items()
        if isinstance(value, str) and len(value) > _LONGEST_VALUE
    ]
    if problems:
        raise RequestError(*problems)
