"""A job of OpenCue: an outline for pyoutline, whose layers run `stpn` itself.

Cuebot puts frames into a command where a token such as #FRAMESPEC# stands, and rqd gives the result to a shell. So each
word is quoted, and where a name looks like a token the quotes are closed and opened again within it.
"""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

from stpn.plugin.farm.chunks import in_words, regular
from stpn.plugin.farm.job import Job, analyse_step, frames_asked, needs_gpu, propagate_step, sheet_step

# not outline.py, which would be imported in place of the package
FILE = "stpn_outline.py"

_CHUNK = "#FRAMESPEC#"
# stands for it until words are quoted; no name holds it
_MARK = "\0"
_ODD = re.compile(r"[^A-Za-z0-9_-]+")

_OUTLINE = '''\
"""A shot for OpenCue, written by `stpn farm opencue`.

    python {file}                launches it; needs pyoutline, and CUEBOT_HOSTS where Cuebot is
    python {file} --serialize    prints the job that Cuebot would get
    python {file} --pause        launches it paused
"""

import argparse
import json

import outline
import outline.cuerun
import outline.modules.shell

JOB = json.loads({job})


def shot(**where):
    """The outline: every layer, and what it waits for."""
    made = outline.Outline(name=JOB["name"], **where)
    layers = {{}}
    for told in JOB["layers"]:
        layer = outline.modules.shell.Shell(
            told["name"], command=told["command"], range=told["range"], chunk=told["chunk"], type=told["type"],
            **told["more"]
        )
        for needed in told["needs"]:
            layer.depend_all(layers[needed])
        layers[told["name"]] = layer
        made.add_layer(layer)
    return made


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serialize", action="store_true", help="print the job in place of launching it")
    parser.add_argument("--pause", action="store_true", help="launch it paused")
    parser.add_argument("--show", help="the show (default: $SHOW)")
    parser.add_argument("--shot", help="the shot (default: $SHOT)")
    parser.add_argument("--user", help="whose job it is (default: who runs this)")
    args = parser.parse_args()
    launcher = outline.cuerun.OutlineLauncher(shot(show=args.show, shot=args.shot, user=args.user), pause=args.pause)
    if args.serialize:
        print(launcher.serialize(use_pycuerun=False))
    else:
        launcher.launch(use_pycuerun=False)
'''


def outline_file(job: Job) -> str:
    """The outline as a Python file."""
    told = json.dumps({"name": layer_name(job.name), "layers": layers(job)})
    return _OUTLINE.format(file=FILE, job=repr(told))


def layers(job: Job) -> list[dict[str, Any]]:
    """The layers: name, command (a list of quoted words), range, chunk, type, needs (names of other layers) and more.

    A layer has chunks of one length, counted from its first frame; where keys are not spaced evenly it takes several,
    and from nine on chunks begin where they may.
    """
    more = {"gpus": 1} if needs_gpu(job) else {}
    analyse = _quoted(job, analyse_step(job, job.value, "lines", frames_asked(job)))
    first = _layer("analyse", analyse, "1", 1, "Util", more=more)
    rendering = []
    for index, (frames, size) in enumerate(regular(job.division.chunks)):
        command = _quoted(job, propagate_step(job, job.value, "lines", _MARK))
        if job.request.threads == 0:
            # of a machine that renders several frames at once, a chunk takes the processors it was given
            command = ['--threads="${CUE_THREADS:-0}"' if word == "--threads=0" else word for word in command]
        name = f"propagate{index + 1 if index else ''}"
        text = ",".join(in_words(run) for run in frames)
        rendering.append(_layer(name, command, text, size, "Render", "analyse", more=more))
    if job.sheet is None:
        return [first, *rendering]
    needs = [layer["name"] for layer in rendering]
    return [first, *rendering, _layer("sheet", _quoted(job, sheet_step(job, job.value)), "1", 1, "Util", *needs)]


def layer_name(text: str) -> str:
    """A name as OpenCue takes it: letters, digits, hyphens and underscores, 3 to 48 of them."""
    name = _ODD.sub("_", text).strip("_-")[:48]
    return name if len(name) >= 3 else f"stpn_{name}".rstrip("_")


def _layer(
    name: str, command: list[str], frames: str, chunk: int, kind: str, *needs: str, more: dict[str, int] | None = None
) -> dict[str, Any]:
    told = {"name": name, "command": command, "range": frames, "chunk": chunk, "type": kind}
    return {**told, "needs": list(needs), "more": more or {}}


def _quoted(job: Job, arguments: list[str]) -> list[str]:
    return [quoted(word) for word in (job.command, *arguments)]


def quoted(word: str) -> str:
    """A word for a shell, in which Cuebot finds no token but that for the frames of a chunk.

    A token stands between number signs. What `shlex.quote` makes of a word with one of them is in single quotes, so
    closing and opening these after each sign changes nothing but the text that Cuebot searches.
    """
    before, chunk, after = word.rpartition(_MARK)
    if chunk:
        return f"{quoted(before)}{_CHUNK}{quoted(after) if after else ''}"
    return shlex.quote(word).replace("#", "#''") if "#" in word else shlex.quote(word)
