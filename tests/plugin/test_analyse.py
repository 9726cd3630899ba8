"""`stpn analyse` and `--analysis`: what is found once is what chunks find, and what does not fit is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from typing import Any

import numpy as np
import pytest

from stpn.engine.aligned_network import AlignedConfig, AlignedFusion
from stpn.engine.weights import save_network
from stpn.plugin import analysis, frame_source, shot
from stpn.plugin.cli import main
from stpn.plugin.request import RequestError
from stpn.plugin.shot import check

Array = np.ndarray[Any, Any]


@pytest.fixture
def cut(studio: Any) -> Any:
    """Frames 1-6 of one scene, 7-12 of another, a flash at 10; keys 3, 5, 9."""
    for frame in range(1, 13):
        other = frame + 64 * (frame > 6) + 32 * (frame == 10)
        studio.write(f"plate.{frame:04d}.exr", studio.channels(studio.light(other)))
        if frame in (3, 5, 9):
            studio.write(f"key.{frame:04d}.exr", studio.channels(studio.rgb(other)))
    return studio


def analysed(studio: Any, *options: str) -> Any:
    """Runs `stpn analyse` and gives what it did."""
    studio._capture.readouterr()
    code = main(["analyse", *studio.arguments(*options)[1:]])
    said = studio._capture.readouterr()
    return code, said.out, said.err


def test_chunks_with_an_analysis_are_the_files_of_one_run_and_search_no_plate(
    cut: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut.render(method="flow", confidence="sure.####.exr")
    whole, sure = cut.contents("out."), cut.contents("sure.")
    code, out, err = analysed(cut, "--method", "flow")
    assert code == 0
    assert out.splitlines() == [
        "chunks: 1-2 3-4 5-6 7-8 9-12",
        "4 of 5 begin on a key or a cut",
        f"analysis: {cut.folder}/out.analysis.json",
    ]
    assert "cuts: new shots begin at 7" in err
    assert "flashes: 10, unlike the frames on both sides" in err

    def searched(*_: object) -> None:
        raise AssertionError("the plate is searched")

    monkeypatch.setattr(shot, "find_cuts", searched)
    for chunk in ("1-2", "3-4", "5-6", "7-8", "9-12"):
        cut.render(
            method="flow", frames=chunk, output="c.####.exr", confidence="surec.####.exr",
            analysis=str(cut.folder / "out.analysis.json"),
        )  # fmt: skip
    assert cut.contents("c.") == whole
    assert cut.contents("surec.") == sure


@pytest.mark.parametrize("chunk", ["1-2", "4", "6-8", "9-11", "10", "12", "3-12"])
def test_an_analysis_says_of_any_chunk_what_looking_at_it_alone_says(cut: Any, chunk: str) -> None:
    analysed(cut, "--method", "flow")
    alone = check(cut.request(method="flow", frames=chunk))
    told = check(cut.request(method="flow", frames=chunk, analysis=str(cut.folder / "out.analysis.json")))
    assert (told.cuts, told.flashes, told.key_frames, told.spans()) == (
        alone.cuts, alone.flashes, alone.key_frames, alone.spans()
    )  # fmt: skip


def test_the_file_holds_what_was_found_and_no_place(cut: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert analysed(cut, "--method", "flow", "--chunk", "4")[0] == 0
    written = (cut.folder / "out.analysis.json").read_text()
    said = json.loads(written)
    assert (said["stpn_analysis"], said["cuts"], said["flashes"]) == (1, [7], [10])
    assert said["chunks"] == [[1, 4], [5, 8], [9, 12]]
    assert sorted(map(int, said["plate"])) == list(range(1, 13))
    assert str(cut.folder) not in json.dumps({**said, "decisions": []})
    # of the same shot somewhere else, it is the same
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for path in cut.folder.glob("*.exr"):
        shutil.copy(path, elsewhere)
    told = analysis.read_analysis(cut.folder / "out.analysis.json")
    cut.folder = elsewhere
    analysed(cut, "--method", "flow", "--chunk", "4", "--analysis", str(elsewhere / "sub" / "a.json"))
    again = analysis.read_analysis(elsewhere / "sub" / "a.json")
    assert (again.seen, again.plate, again.found) == (told.seen, told.plate, told.found)


def test_a_plate_that_changed_is_refused_where_the_chunk_takes_it(cut: Any) -> None:
    analysed(cut, "--method", "flow")
    path = str(cut.folder / "out.analysis.json")
    cut.write("plate.0008.exr", cut.channels(cut.light(205)))
    (problem,) = cut.refused(method="flow", frames="7", analysis=path)
    assert problem == (
        "--analysis out.analysis.json: expected the plate it was made of, frames 8 of plate.####.exr are other files "
        "now; analyse again"
    )
    assert check(cut.request(method="flow", frames="1-4", analysis=path)).cuts == ()


def test_an_analysis_of_another_request_is_refused(cut: Any) -> None:
    analysed(cut, "--method", "flow", "--frames", "1-4")
    path = str(cut.folder / "out.analysis.json")
    (problem,) = cut.refused(method="flow", analysis=path)
    assert problem == (
        "--analysis out.analysis.json: expected one of plate frames 6-12 too, got frames 1-5; analyse the whole shot"
    )
    assert cut.refused(method="flow", frames="1-4", cuts="none", analysis=path) == (
        "--analysis out.analysis.json: expected one made with --cuts none, got auto; analyse again",
    )
    (problem,) = cut.refused(method="flow", frames="1-4", colorspace="ACEScg", analysis=path)
    assert problem.startswith("--analysis out.analysis.json: expected one made with --colorspace ACEScg (")
    # keys, method and output may be others
    assert check(cut.request(method="flow", frames="4", key_frames="3", output="o.####.exr", analysis=path)).cuts == ()


def test_files_that_are_no_analysis_are_refused(cut: Any) -> None:
    analysed(cut, "--method", "flow")
    good = cut.folder / "out.analysis.json"
    text = good.read_text()
    for content, problem in (
        (None, "got: No such file or directory; run it, or leave --analysis out"),
        ("{", "got: Expecting property name enclosed in double quotes: line 1 column 2 (char 1); run it, or leave"),
        ("[" * 100_000, "; run it, or leave --analysis out"),
        ("[1, 2]", "got something else; name another file, or leave --analysis out"),
        (text.replace('"stpn_analysis": 1', '"stpn_analysis": 2'), "of version 1, got 2; analyse again"),
        (text.replace(" 7\n", " 8\n", 1), "got a damaged one (its digest is another one); analyse again"),
    ):
        path = cut.folder / "other.json"
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_text(content)
        (found,) = cut.refused(method="flow", frames="1-2", analysis=str(path))
        assert found.startswith("--analysis other.json: expected a file that `stpn analyse` wrote")
        assert problem in found
    os.mkfifo(cut.folder / "pipe")
    with pytest.raises(RequestError, match="got no file; name another one, or leave --analysis out"):
        check(cut.request(method="flow", frames="1-2", analysis=str(cut.folder / "pipe")))


def test_a_wrong_request_writes_nothing(cut: Any) -> None:
    before = cut.files()
    assert analysed(cut, "--method", "flow", "--interval", "0")[0] == 2
    assert analysed(cut, "--method", "flow", "--chunk", "some")[2] == (
        "stpn analyse: --chunk: expected a number of frames, such as 20, or keys, got 'some'\n"
    )
    assert cut.files() == before


def test_a_folder_that_cannot_be_written_is_told(cut: Any) -> None:
    (cut.folder / "taken").write_text("")
    code, out, err = analysed(
        cut, "--method", "flow", "--frames", "3", "--analysis", f"{cut.folder}/taken/a.json", "--progress", "openjd"
    )
    assert code == 1
    assert "openjd_fail: " in out
    assert "taken" in err.splitlines()[-1]


def test_one_object_as_json(cut: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = analysed(cut, "--method", "flow", "--json", "--progress", "openjd", "--chunk", "100")
    said = json.loads(out)
    assert code == 0
    assert said.pop("decisions")
    assert said == {
        "analysis": f"{cut.folder}/out.analysis.json", "cuts": [7], "flashes": [10], "chunks": ["1-12"], "on_keys": 0
    }  # fmt: skip
    # where nothing is carried nothing is looked at
    monkeypatch.setattr(frame_source, "read_plate", None)
    assert json.loads(analysed(cut, "--method", "flow", "--frames", "3,9", "--json")[1])["chunks"] == ["3", "9"]


def test_the_network_is_adapted_once_and_chunks_find_it(studio: Any) -> None:
    studio.plate(range(1, 5))
    studio.keys((1, 2, 4))
    small = studio.folder / "small.safetensors"
    save_network(small, AlignedFusion(AlignedConfig(4, (8, 8, 8, 8), spreads=2, heads=2, match_channels=4)), {})
    options = ["--adapt", "1steps", "--weights", str(small), "--threads", "1"]
    code, _, err = analysed(studio, *options)
    assert code == 0, err
    adapted = studio.folder / "out.adapted.safetensors"
    made = adapted.stat().st_mtime_ns
    done = studio.run(*options, "--frames", "3", "--analysis", f"{studio.folder}/out.analysis.json")
    assert done.code == 0
    assert "adapt: out.adapted.safetensors fits and is used" in done.err
    assert adapted.stat().st_mtime_ns == made


def test_a_chunk_reads_the_frames_that_it_takes_and_no_others(studio: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    studio.plate(range(1, 22))
    studio.keys((1, 6, 11, 16, 21))
    analysed(studio, "--method", "flow")
    path = str(studio.folder / "out.analysis.json")
    read: set[str] = set()
    honest = frame_source.read_plate

    def noted(name: Any) -> Any:
        read.add(name.name)
        return honest(name)

    monkeypatch.setattr(frame_source, "read_plate", noted)
    for chunk, plates, keys in (("7-10", range(6, 12), (6, 11)), ("8", range(6, 12), (6, 11)), ("11", (11,), (11,))):
        read.clear()
        studio.render(method="flow", frames=chunk, analysis=path)
        assert read == {f"plate.{frame:04d}.exr" for frame in plates} | {f"key.{frame:04d}.exr" for frame in keys}
    # what no chunk takes need not be there
    for frame in (*range(1, 6), *range(12, 22)):
        (studio.folder / f"plate.{frame:04d}.exr").unlink()
    studio.render(method="flow", frames="6-10", analysis=path)


def test_sigterm_ends_it_and_leaves_nothing(cut: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def terminated(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)

    before = cut.files()
    monkeypatch.setattr(shot, "check", terminated)
    code, _, err = analysed(cut, "--method", "flow")
    assert (code, err.splitlines()[-1]) == (143, "stpn analyse: cancelled")
    assert cut.files() == before
