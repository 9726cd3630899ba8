"""Run in the environment of requirements/opencue.txt: launches an outline on a small stand-in of Cuebot.

The stand-in reads the job as pyoutline serializes it, divides layers into frames and puts tokens in place as Cuebot
does, has rqd run each frame over gRPC once what it waits for is done, tries a frame that failed again, and prints what
happened as JSON. rqd itself runs as it is, in a process of its own.
"""

from __future__ import annotations

import json
import queue
import socket
import subprocess
import sys
import time
import xml.etree.ElementTree as Xml
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import FileSequence
import grpc
from opencue_proto import report_pb2, report_pb2_grpc, rqd_pb2, rqd_pb2_grpc

SECONDS = 300
TRIES = 2


@dataclass
class Layer:
    """A layer of a job: its command, and the frames that begin its chunks."""

    name: str
    command: str
    chunk: int
    frames: list[int]
    needs: set[str] = field(default_factory=set)
    done: set[int] = field(default_factory=set)

    def spec(self, frame: int) -> str:
        """The frames of the chunk that begins at one, as Cuebot says them."""
        place = self.frames.index(frame)
        return ranges(self.frames[place : place + self.chunk])

    @property
    def starts(self) -> list[int]:
        """First frames of the chunks."""
        return self.frames[:: self.chunk]


def ranges(frames: list[int]) -> str:
    """Frames as ranges: 1-4, or 1-4,9."""
    runs: list[list[int]] = []
    for frame in frames:
        if runs and runs[-1][1] + 1 == frame:
            runs[-1][1] = frame
        else:
            runs.append([frame, frame])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


class Reports(report_pb2_grpc.RqdReportInterfaceServicer):
    """What rqd tells Cuebot."""

    def __init__(self) -> None:
        self.started: queue.Queue[None] = queue.Queue()
        self.completed: queue.Queue[Any] = queue.Queue()

    def ReportRqdStartup(self, request: Any, context: Any) -> Any:
        self.started.put(None)
        return report_pb2.RqdReportRqdStartupResponse()

    def ReportStatus(self, request: Any, context: Any) -> Any:
        return report_pb2.RqdReportStatusResponse()

    def ReportRunningFrameCompletion(self, request: Any, context: Any) -> Any:
        self.completed.put(request.frame_complete_report)
        return report_pb2.RqdReportRunningFrameCompletionResponse()


def job_of(outline_file: str) -> tuple[str, dict[str, Layer]]:
    """The job's name and its layers, as the outline's own --serialize prints them."""
    printed = subprocess.run(
        [sys.executable, outline_file, "--serialize", "--show", "testing", "--shot", "sh010", "--user", "somebody"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert printed.returncode == 0, printed.stderr
    spec = Xml.fromstring(printed.stdout[printed.stdout.index("<spec>") :])
    job = spec.find("job")
    assert job is not None
    layers = {}
    for found in job.iter("layer"):
        said = {name: found.findtext(name) or "" for name in ("cmd", "range", "chunk")}
        frames = FileSequence.FrameSet(said["range"]).getAll()
        layer = Layer(found.attrib["name"], said["cmd"], int(said["chunk"]), list(frames))
        layers[layer.name] = layer
    for depend in spec.iter("depend"):
        assert depend.attrib["type"] == "LAYER_ON_LAYER", depend.attrib
        layers[depend.findtext("deplayer") or ""].needs.add(depend.findtext("onlayer") or "")
    return job.attrib["name"], layers


def run_frame(layer: Layer, frame: int, job: str, logs: Path) -> Any:
    """What Cuebot sends to rqd for a frame."""
    name = f"{frame:04d}-{layer.name}"
    spec = layer.spec(frame)
    tokens = {
        "#ZFRAME#": f"{frame:04d}", "#IFRAME#": str(frame), "#FRAME_START#": str(frame), "#FRAME_END#": "0",
        "#FRAME_CHUNK#": str(layer.chunk), "#LAYER#": layer.name, "#JOB#": job, "#FRAMESPEC#": spec, "#FRAME#": name,
    }  # fmt: skip
    command = layer.command
    for token, value in tokens.items():
        command = command.replace(token, value)
    return rqd_pb2.RunFrame(
        resource_id="r", job_id="j", job_name=job, frame_id=f"{layer.name}.{frame}", frame_name=name,
        layer_id=layer.name,
        command=command, user_name="root", log_dir=str(logs), show="testing", shot="sh010", num_cores=100,
        ignore_nimby=True, environment={"CUE_THREADS": "1", "CUE_THREADABLE": "0"},
    )  # fmt: skip


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as found:
        found.bind(("", 0))
        return int(found.getsockname()[1])


def started_rqd(folder: Path, cuebot: int, port: int) -> subprocess.Popen[bytes]:
    """rqd, told where the stand-in is."""
    (folder / "rqd.conf").write_text(
        f"[Override]\nOVERRIDE_CUEBOT = localhost\nCUEBOT_GRPC_PORT = {cuebot}\nRQD_GRPC_PORT = {port}\n"
        "OVERRIDE_NIMBY = false\nRQD_BECOME_JOB_USER = false\nOVERRIDE_CORES = 2\nOVERRIDE_HOSTNAME = localhost\n"
        "OVERRIDE_IS_DESKTOP = false\nRQD_PREPEND_TIMESTAMP = false\n"
    )
    log = (folder / "rqd.log").open("wb")
    command = [sys.executable, "-m", "rqd", "-c", str(folder / "rqd.conf"), "--nimbyoff"]
    return subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)


def main(outline_file: str, folder: Path) -> None:
    """Runs the job to its end."""
    job, layers = job_of(outline_file)
    reports, cuebot, port = Reports(), free_port(), free_port()
    server = grpc.server(ThreadPoolExecutor(4))
    report_pb2_grpc.add_RqdReportInterfaceServicer_to_server(reports, server)
    server.add_insecure_port(f"localhost:{cuebot}")
    server.start()
    rqd = started_rqd(folder, cuebot, port)
    try:
        reports.started.get(timeout=SECONDS)
        stub = rqd_pb2_grpc.RqdInterfaceStub(grpc.insecure_channel(f"localhost:{port}"))
        happened = dispatched(stub, reports, job, layers, folder / "logs")
    finally:
        rqd.terminate()
        rqd.wait(timeout=30)
        server.stop(0)
    told = {name: {"chunk": layer.chunk, "needs": sorted(layer.needs)} for name, layer in layers.items()}
    print(json.dumps({"job": job, "layers": told, "happened": happened}))


def dispatched(stub: Any, reports: Reports, job: str, layers: dict[str, Layer], logs: Path) -> list[list[Any]]:
    """Two frames at once, in any order that dependencies allow; layer, frames and exit code of each that ended."""
    happened: list[list[Any]] = []
    running: dict[str, tuple[Layer, int]] = {}
    tries: dict[str, int] = {}
    end = time.monotonic() + SECONDS
    while any(set(layer.starts) - layer.done for layer in layers.values()):
        ready = [
            (layer, frame)
            for layer in layers.values()
            if all(not set(layers[need].starts) - layers[need].done for need in layer.needs)
            for frame in layer.starts
            if frame not in layer.done and f"{layer.name}.{frame}" not in running
        ]
        for layer, frame in ready[: 2 - len(running)]:
            running[f"{layer.name}.{frame}"] = layer, frame
            tries[f"{layer.name}.{frame}"] = tries.get(f"{layer.name}.{frame}", 0) + 1
            stub.LaunchFrame(rqd_pb2.RqdStaticLaunchFrameRequest(run_frame=run_frame(layer, frame, job, logs)))
        ended = reports.completed.get(timeout=max(end - time.monotonic(), 1))
        layer, frame = running.pop(ended.frame.frame_id)
        happened.append([layer.name, layer.spec(frame), ended.exit_status])
        if ended.exit_status == 0:
            layer.done.add(frame)
        elif tries[ended.frame.frame_id] >= TRIES:
            break
    return happened


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
