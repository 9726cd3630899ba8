"""Training material: decoded once, what is for measuring never gets in, damaged sources are named and skipped."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import OpenEXR
import pytest

from stpn.engine.training.data import DataError, DataFolders
from stpn.engine.training.decoding import decode_picture, numbered_pictures, to_display, white_of
from stpn.engine.training.recipe import DataChoice

Array = np.ndarray[Any, Any]


def picture(shift: int = 0, height: int = 96, width: int = 128) -> Array:
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x = x - shift
    waves = [np.sin(x / 7) + np.cos(y / 9), np.sin((x + y) / 11), np.cos(x / 13) * np.sin(y / 5)]
    return np.clip(127 + 60 * np.dstack(waves), 0, 255).astype(np.uint8)


def write_clip(path: Path, frames: int = 5) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 24, (128, 96))
    for t in range(frames):
        video.write(picture(t))
    video.release()


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def write_exr(path: Path, light: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, {"RGB": light.astype(np.float32)}).write(str(path))


def jpeg(image: Array) -> bytes:
    return bytes(cv2.imencode(".jpg", image)[1].tobytes())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with two clips and a tar file of two photographs, and lists beside it."""
    folder = tmp_path / "data"
    for name in ("train", "measure"):
        write_clip(folder / f"clips/{name}.mp4")
    write_tar(folder / "photos/photos-000.tar", {"a/one.jpg": jpeg(picture()), "two.jpg": jpeg(picture(9))})
    (tmp_path / "validation.json").write_text(json.dumps({"color": ["clips/measure.mp4"], "mask": ["masks/cat"]}))
    return folder


def folders(data: Path, *sources: str, warn: list[str] | None = None, **choice: Any) -> DataFolders:
    say = (lambda _: None) if warn is None else warn.append
    return DataFolders(data, data.parent / "cache", DataChoice(sources, **choice), say)


def test_decoded_once_into_the_cache(data: Path) -> None:
    material = folders(data, "clips/*.mp4", "photos/*.tar")
    clips, photos = material.load("clips"), material.load("photos")
    assert [clip.shape for clip in clips] == [(5, 96, 128, 3)] * 2
    assert [photo.shape for photo in photos] == [(96, 128, 3)] * 2
    assert all(array.dtype == np.uint8 and isinstance(array, np.memmap) for array in (*clips, *photos))
    assert np.abs(photos[0].astype(int) - picture()).mean() < 4
    cache = data.parent / "cache"
    names = sorted(p.relative_to(cache).as_posix() for p in cache.rglob("*.*"))
    assert names == ["clips/measure.npy", "clips/train.npy", "photos/one.npy", "photos/two.npy"]
    (data / "clips/train.mp4").write_bytes(b"")
    times = [p.stat().st_mtime_ns for p in material.paths("clips")]
    assert [p.stat().st_mtime_ns for p in folders(data, "clips/*.mp4").paths("clips")] == times


@pytest.mark.parametrize(
    "choice",
    [
        {"exclude": ("clips/measure.mp4",)},
        {"exclude": ("clips/mea*",)},
        {"exclude_lists": ("../validation.json",)},
    ],
    ids=["by name", "by glob", "by list"],
)
def test_what_is_for_measuring_never_gets_in(data: Path, choice: dict[str, Any]) -> None:
    assert len(folders(data, "clips/*.mp4").load("clips")) == 2, "an earlier recipe has it in the cache"
    assert [p.stem for p in folders(data, "clips/*.mp4", **choice).paths("clips")] == ["train"]
    # the same clips through a data folder further down
    deeper = DataFolders(data / "clips", data.parent / "fresh", DataChoice(("*.mp4",), exclude=("clips/measure.mp4",)))
    assert [p.stem for p in deeper.paths("clips")] == ["train"]


def test_a_folder_and_a_photograph_in_a_tar_file_can_be_excluded(data: Path) -> None:
    write_clip(data / "masks/cat/frames.mp4")
    write_clip(data / "masks/dog/frames.mp4")
    choice = {"exclude": ("masks/cat", "photos-000.tar/two.jpg")}
    material = folders(data, "masks/*/*.mp4", "photos/*.tar", **choice)
    assert [p.stem for p in material.paths("clips")] == ["masks__dog__frames"]
    assert [p.stem for p in material.paths("photos")] == ["one"]


def test_lists_that_cannot_be_read_are_an_error_and_misspelt_exclusions_a_warning(data: Path) -> None:
    with pytest.raises(DataError, match=r"exclude_lists: expected JSON lists of sources in .*none\.json, got: "):
        folders(data, "clips/*.mp4", exclude_lists=("none.json",)).load("clips")
    (data / "lists.json").write_text("[1]")
    with pytest.raises(DataError, match="expected names in lists"):
        folders(data, "clips/*.mp4", exclude_lists=("lists.json",)).load("clips")
    said: list[str] = []
    folders(data, "clips/*.mp4", exclude=("clips/mesure.mp4",), warn=said).load("clips")
    assert said == [f"exclude: clips/mesure.mp4 is not in {data}"]


def test_damaged_sources_are_named_and_skipped(data: Path) -> None:
    (data / "clips/broken.mp4").write_bytes(b"no video")
    write_clip(data / "clips/still.mp4", frames=1)
    write_tar(data / "photos/broken.tar", {"bad.jpg": b"no picture", "worse.jpg": b"", "good.jpg": jpeg(picture())})
    (data / "photos/none.tar").write_bytes(b"no tar file")
    (data / "photos/notes.txt").write_text("not a picture")
    said: list[str] = []
    material = folders(data, "clips/*.mp4", "photos/*", warn=said)
    assert [p.stem for p in material.paths("clips")] == ["measure", "train"]
    assert [p.stem for p in material.paths("photos")] == ["good", "one", "two"]
    assert len(said) == 6
    for words in ("broken.mp4: skipped", "still.mp4: skipped: expected two frames or more, could decode 1"):
        assert any(words in line for line in said)
    for words in ("broken.tar: bad.jpg: skipped", "broken.tar: worse.jpg", "none.tar: skipped", "notes.txt: skipped"):
        assert any(words in line for line in said)
    assert not list((data.parent / "cache").rglob("*.part"))


def test_nothing_left_is_an_error(data: Path) -> None:
    with pytest.raises(DataError, match=r"no clips to train on in .*data: expected some from clips/\*, photos/\*"):
        folders(data, "clips/*", "photos/*", exclude=("clips",)).load("clips")
    with pytest.raises(DataError, match=r"expected sources films/\*\.mov, found none"):
        folders(data, "films/*.mov").load("clips")
    with pytest.raises(DataError, match=r"nowhere: expected the folder of training data, found none"):
        folders(data / "nowhere", "clips/*.mp4").load("clips")


def test_a_folder_of_numbered_pictures_is_a_clip(data: Path) -> None:
    shot = data / "shots/walk"
    shot.mkdir(parents=True)
    for number in (8, 9, 10):
        cv2.imwrite(str(shot / f"walk.{number}.png"), picture(number, 300, 1000))
    (shot / "notes.txt").touch()
    cv2.imwrite(str(shot / "walk.1.jpg"), picture())
    assert [p.name for p in numbered_pictures(shot)] == ["walk.8.png", "walk.9.png", "walk.10.png"]
    (clip,) = folders(data, "shots/*").load("clips")
    assert clip.shape == (3, 154, 512, 3)
    expected = cv2.resize(picture(9, 300, 1000), (512, 154), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(clip[1], expected)


def test_scene_linear_pictures_are_exposed_for_display(data: Path) -> None:
    light = np.full((40, 60, 3), 0.18)
    light[:10, :10] = [3.0, 0.0, -1.0]
    light[0, 0] = [np.nan, np.inf, 1e9]
    light[20:] = 1.0
    write_exr(data / "hdr/photos/lamp.exr", light * 50)
    (photo,) = folders(data, "hdr/photos/*.exr").load("photos")
    assert photo.shape == (40, 60, 3)
    # sRGB of 0.18 is 0.461, whatever the exposure was
    assert (photo[30, 30] == 255).all()
    assert np.abs(photo[15, 30].astype(int) - 118).max() <= 1
    assert photo[5, 5].tolist() == [0, 0, 255], "BGR"


def test_one_exposure_for_a_whole_scene_linear_clip(data: Path) -> None:
    for number, gain in enumerate((1.0, 0.25), 1):
        write_exr(data / f"hdr/video/dusk/dusk.{number:04d}.exr", np.full((8, 12, 3), gain))
    (clip,) = folders(data, "hdr/video/*").load("clips")
    assert clip.shape == (2, 8, 12, 3)
    assert (clip[0] == 255).all()
    assert (clip[1] == 137).all(), "sRGB of 0.25"


def test_panoramas_keep_what_is_near_the_horizon(tmp_path: Path) -> None:
    light = np.repeat(np.linspace(0, 1, 64)[:, None, None], 128, axis=1).repeat(3, axis=2)
    light[:, 64:] *= 0.5
    write_exr(tmp_path / "sky.exr", light)
    view = decode_picture(tmp_path / "sky.exr")
    assert view.shape == (64, 64, 3)
    display = to_display(light.astype(np.float32), white_of(light.astype(np.float32)))
    np.testing.assert_array_equal(view[:32], display[16:48, :64])
    np.testing.assert_array_equal(view[32:], display[16:48, 64:])


def test_provenance_follows_from_the_names(data: Path) -> None:
    one, two = folders(data, "clips/*.mp4"), folders(data, "clips/*.mp4", exclude=("clips/measure.mp4",))
    assert one.provenance()["sources"].startswith("2 clips, 0 photos, names ")
    assert one.provenance() == folders(data, "clips/*.mp4").provenance()
    assert one.provenance() != two.provenance()
