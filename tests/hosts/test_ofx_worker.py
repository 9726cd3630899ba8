"""How the OpenFX plugin deals with its worker: starting, sharing, giving up, and a worker that fails. By a stand-in."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ofx_host import Array, Effect, Host, loaded
from ofx_images import pictures
from ofx_shots import connect

FRAMES = (1001, 1041)

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the stand-in worker needs memfd and /proc"
)


@pytest.fixture
def bundle_here(configured: Callable[..., Path], stand: Any) -> Path:
    return configured(stand.python)


@pytest.fixture
def host(bundle_here: Path) -> Iterator[Host]:
    with loaded(bundle_here) as found:
        yield found


@pytest.fixture
def node(host: Host) -> Effect:
    return connect(host.create(), frames=FRAMES)


def wanted(frame: int) -> Array:
    """What the stand-in makes of a frame."""
    colors, alpha = pictures(2)(1001 if frame < 1021 else 1021), pictures(1)(frame)[..., 3:]
    return np.concatenate([colors[..., :3], alpha], axis=2)


def render(node: Effect, frame: int = 1010) -> Array | None:
    """A frame, which is right or None."""
    found = node.render(frame, pictures(1)(frame))
    assert found is None or found.tobytes() == wanted(frame).tobytes()
    return found


def complaint(node: Effect, frame: int = 1010) -> str:
    """The sentence of a frame that fails."""
    assert render(node, frame) is None
    return node.host.complaint or ""


def wait_until(condition: Callable[[], object], seconds: float = 5) -> bool:
    """Waits for a condition; whether it came."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


# ---------------------------------------------------------------- starting


def test_the_worker_is_started_as_agreed(node: Effect, stand: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMETHING_ELSE", "not for the worker")
    monkeypatch.setenv("OCIO", "/a/config")
    with open(os.devnull) as inherited:
        os.set_inheritable(inherited.fileno(), True)
        assert render(node) is not None, node.host.complaint
    (started,) = stand.record("started")
    socket = stand.folder / "auto-0.1.0-test.sock"
    assert started["started"] == [
        *("-P", "-m", "stpn.plugin.cli", "worker", "--socket"),
        *(str(socket), "--device", "auto"),
    ]
    passed = {"HOME", "USER", "LOGNAME", "PATH", "LANG", "LC_ALL", "TMPDIR", "TZ", "OCIO"}
    passed |= {"XDG_RUNTIME_DIR", "XDG_CACHE_HOME", "CUDA_VISIBLE_DEVICES", "NUMBA_CACHE_DIR"}
    given = {name for name in os.environ if name in passed or name.startswith("STPN_")}
    assert set(started["environment"]) - {"PWD", "SHLVL", "_", "OLDPWD", "LC_CTYPE"} == given
    assert "OCIO" in given
    assert started["folder"] == "/"
    assert started["leader"]
    log = str(socket.with_suffix(".log"))
    opened = [path for path in started["descriptors"] if not path.startswith(("/memfd:", "/proc/"))]
    assert opened[:3] == ["/dev/null", log, log]
    assert not [path for path in opened[3:] if path == "/dev/null"], "the host's files are closed"
    assert os.stat(log).st_mode & 0o777 == 0o600


def test_each_device_has_a_worker(node: Effect, stand: Any) -> None:
    assert render(node) is not None
    node["device"] = 1
    assert render(node) is not None
    assert [found["started"][-1] for found in stand.record("started")] == ["auto", "cpu"]


def test_two_nodes_and_a_reload_share_the_worker(host: Host, node: Effect, stand: Any, bundle_here: Path) -> None:
    assert render(node) is not None
    assert render(connect(host.create(), frames=FRAMES), 1030) is not None
    host.close()
    with loaded(bundle_here) as again:
        assert render(connect(again.create(), frames=FRAMES), 1030) is not None
    assert len(stand.pids()) == 1


def test_threads_render_at_once_with_one_worker(host: Host, stand: Any) -> None:
    nodes = [connect(host.create(), frames=FRAMES) for _ in range(2)]
    failures: list[object] = []

    def work(part: int) -> None:
        for frame in range(1002 + part, 1041, 4):
            if render(nodes[part % 2], frame) is None:
                failures.append(host.complaint)

    threads = [threading.Thread(target=work, args=(part,)) for part in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert failures == []
    assert len(stand.pids()) == 1
    assert len({found["thread"] for found in stand.record("job")}) <= 4


def test_a_worker_that_cannot_start_says_why(node: Effect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STPN_FAKE", "exit 3")
    assert "could not start: RuntimeError: no such device" in complaint(node)


def test_a_worker_that_does_not_come_up(node: Effect, stand: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STPN_FAKE", "exit 0")
    monkeypatch.setenv("STPN_WORKER_SILENCE", "1")
    assert "has not come up" in complaint(node)


def test_a_worker_that_refuses(node: Effect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STPN_FAKE", "refuse")
    assert complaint(node) == "The worker refuses the plugin: another version; run install.py"


def test_an_installation_that_has_gone(node: Effect, stand: Any) -> None:
    stand.python.unlink()
    assert re.search(r"cannot be started with .*/python: No such file or directory. Run install.py", complaint(node))


def test_a_folder_that_cannot_be_trusted(node: Effect, stand: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stand.folder.chmod(0o750)
    assert "open to others; chmod 700" in complaint(node)
    link = stand.folder.parent / "link"
    link.symlink_to(stand.folder)
    monkeypatch.setenv("STPN_RUNTIME_DIR", str(link))
    assert "got a link" in complaint(node)
    monkeypatch.setenv("STPN_RUNTIME_DIR", "relative")
    assert "begins with /" in complaint(node)
    monkeypatch.setenv("STPN_RUNTIME_DIR", str(stand.folder.parent / ("long" * 30)))
    assert "too long for a socket" in complaint(node)
    monkeypatch.setenv("STPN_RUNTIME_DIR", str(stand.folder.parent / "new"))
    assert render(node) is not None
    assert os.stat(stand.folder.parent / "new").st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user(node: Effect, stand: Any) -> None:
    os.chown(stand.folder, 12345, 12345)
    assert "got one of user 12345" in complaint(node)


def test_a_bad_installation_file(host: Host, node: Effect, bundle_here: Path) -> None:
    conf = bundle_here / "Contents/Resources/stpn.conf"
    for text in ("python /p\n", "name n\n", "python /p\nname ../n\n"):
        conf.write_text(text)
        assert "Run install.py ofx" in complaint(node)


# ---------------------------------------------------------------- failing


def test_a_worker_that_ended_between_frames_is_replaced_without_a_word(host: Host, node: Effect, stand: Any) -> None:
    assert render(node) is not None
    (first,) = stand.pids()
    os.kill(first, signal.SIGKILL)
    assert wait_until(lambda: stand.state(first) in ("Z", ""))
    assert render(node) is not None
    assert host.messages == []
    assert len(stand.running()) == 1
    assert stand.state(first) == "", "no zombie is left after the next frame"


def test_a_worker_that_ends_within_a_frame_fails_that_frame(host: Host, node: Effect, stand: Any) -> None:
    node["weights"] = "crash"
    said = complaint(node)
    assert said.startswith("The worker has ended while it made this frame")
    assert said.endswith("Its log: /the/log")
    node["weights"] = ""
    assert render(node) is not None
    assert host.complaint is None
    assert len(stand.pids()) == 2


def test_a_worker_that_ends_without_a_word_is_replaced_once(host: Host, node: Effect, stand: Any) -> None:
    assert render(node) is not None
    node["weights"] = "vanish"
    assert "has ended as soon as it was given this frame" in complaint(node)
    assert len(stand.pids()) == 2
    node["weights"] = ""
    assert render(node) is not None


def test_a_silent_worker_is_ended(host: Host, node: Effect, stand: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STPN_WORKER_SILENCE", "1")
    node["weights"] = "hang"
    begun = time.monotonic()
    assert "has said nothing for 1 s and was ended" in complaint(node)
    assert time.monotonic() - begun < 3
    (first,) = stand.pids()
    assert wait_until(lambda: stand.state(first) in ("Z", ""))
    node["weights"] = "slow 1.5"
    assert render(node) is not None, host.complaint


def test_a_deaf_worker_is_not_waited_for_for_ever(node: Effect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STPN_WORKER_SILENCE", "1")
    monkeypatch.setenv("STPN_FAKE", "deaf")
    assert "has said nothing for 1 s." in complaint(node)


@pytest.mark.parametrize(
    ("order", "sentence"),
    [
        ("offset", "need of '"),
        ("unasked", "need of 'somebody-elses 0'"),
        ("layout", "where 37 24 float RGBA was wanted"),
        ("length", "a message of 1073741824 bytes"),
    ],
)
def test_nonsense_is_told_and_nothing_is_touched(host: Host, node: Effect, order: str, sentence: str) -> None:
    node["weights"] = order
    said = complaint(node)
    assert sentence in said
    assert "does not understand" in said
    node["weights"] = ""
    assert render(node) is not None, host.complaint


def test_a_refused_job_is_told_in_the_workers_words(host: Host, node: Effect, stand: Any) -> None:
    node["weights"] = "fail request The keys show something else."
    assert complaint(node) == "The keys show something else."
    node["weights"] = "fail render It broke."
    assert complaint(node) == "It broke. The worker's log: /the/log"
    node["weights"] = ""
    assert render(node) is not None
    assert len({found["thread"] for found in stand.record("job")}) == 1, "the connection is kept"


def test_notes_go_to_the_log_once(host: Host, node: Effect) -> None:
    node["weights"] = "note device cpu"
    assert render(node) is not None
    assert render(node) is not None
    assert host.messages == [("message", "OfxMessageLog", "STPN Propagate: device cpu")]


def test_what_another_action_complains_of_goes_with_the_next_success(host: Host, node: Effect) -> None:
    node["property"] = 99
    assert host.call("OfxImageEffectActionGetClipPreferences", node, None, {})[0] == 1
    assert host.complaint == "Property: choose one of the values it offers."
    node["property"] = 0
    assert render(node) is not None
    assert host.complaint is None


def test_a_mistyped_key_far_away_is_told(host: Host, node: Effect) -> None:
    node["key_frames"] = "1001-1041x20,900000000"
    said = complaint(node, 1050)
    assert "served by keys from 1041 to 900000000: expected at most 10000 frames" in said
    assert render(node) is not None


# ---------------------------------------------------------------- two hosts


HOST = """
import os, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from ofx_host import loaded
from ofx_images import pictures
from ofx_shots import connect
with loaded(Path(sys.argv[2])) as host:
    node = connect(host.create(), frames=(1001, 1041))
    for clip in node.clips.values():
        clip.identifier = lambda time: f"image {time}"
    if "closed" in sys.argv:
        os.close(0)
    if node.render(1010, pictures(1)(1010)) is None:
        sys.exit(host.complaint)
"""


def in_another_host(bundle: Path, *more: str) -> None:
    command = [sys.executable, "-c", HOST, str(Path(__file__).parent), str(bundle), *more]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert finished.returncode == 0, finished.stderr


def test_names_of_one_host_s_images_are_not_those_of_another(bundle_here: Path, stand: Any) -> None:
    in_another_host(bundle_here)
    in_another_host(bundle_here)
    one, other = [{value for name, value in job["job"] if name == "picture"} for job in stand.record("job")]
    assert not one & other


def test_a_host_without_standard_input(bundle_here: Path, stand: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    in_another_host(bundle_here, "closed")
    log = str(stand.folder / "auto-0.1.0-test.log")
    assert stand.record("started")[0]["descriptors"][:3] == ["/dev/null", log, log]


# ---------------------------------------------------------------- nothing is left behind


def held() -> tuple[int, int, int]:
    """Descriptors, mappings of shared memory, threads of this process."""
    maps = Path("/proc/self/maps").read_text()
    return len(os.listdir("/proc/self/fd")), maps.count("memfd:fake"), len(os.listdir("/proc/self/task"))


def test_nothing_is_left_open(bundle_here: Path, stand: Any) -> None:
    before = held()
    for _ in range(2):
        with loaded(bundle_here) as host:
            nodes = [connect(host.create(), frames=FRAMES) for _ in range(3)]
            for order in ("", "fail request no", "crash", "", "offset", "length", "", "none 1004"):
                for node in nodes:
                    node["weights"] = order
                    node.render(1010, pictures(1)(1010))
            threads = [threading.Thread(target=render, args=(node, 1030)) for node in nodes]
            for node in nodes:
                node["weights"] = ""
            for one in threads:
                one.start()
            for one in threads:
                one.join()
            open_now, mapped, _ = held()
            assert mapped == 1, "mapped once, however many connections"
            assert open_now - before[0] <= 3
        assert held() == before
    host = Host(bundle_here)
    host.close()
    assert wait_until(lambda: not stand.running())
    with loaded(bundle_here) as host:
        connect(host.create(), frames=FRAMES).render(1010, pictures(1)(1010))
        left = [pid for pid in stand.pids() if stand.state(pid) == "Z"]
        assert left == []
