"""Formulas for the GPU: the same numbers as OCIO's CPU, every space of the config, every operation, every refusal."""

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import PyOpenColorIO as ocio
import pytest
import torch

from stpn.ocio.analytic import Analytic, analytic, conversion, decoding, encoding, from_processor, working
from stpn.ocio.config import BUILTIN_CONFIG, ColorError, Config, load_config
from stpn.ocio.spaces import PlateSpace, working_curve

Image = npt.NDArray[np.float32]

TOLERANCE = 1e-5
#: Four steps of float32: where a matrix cancels, a last digit of the largest channel is all that a small one has.
STEPS = 2.0**-22
ANALYTIC = {
    "MatrixTransform",
    "LogTransform",
    "LogAffineTransform",
    "LogCameraTransform",
    "ExponentTransform",
    "ExponentWithLinearTransform",
    "RangeTransform",
    "CDLTransform",
}
#: Spaces of the built-in config with a table in them.
TABLES = {
    "Rec.2100-HLG - Display",
    "Rec.2100-PQ - Display",
    "ST2084-P3-D65 - Display",
    "ACEScc",
    "ADX10",
    "ADX16",
    "Apple Log",
    "Apple Log 2",
    "CanonLog2 CinemaGamut D55",
    "CanonLog3 CinemaGamut D55",
}
FORWARD, INVERSE = ocio.TransformDirection.TRANSFORM_DIR_FORWARD, ocio.TransformDirection.TRANSFORM_DIR_INVERSE


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config(f"ocio://{BUILTIN_CONFIG}")


def cube(*values: float) -> npt.NDArray[np.float64]:
    return np.stack(np.meshgrid(values, values, values), -1).reshape(-1, 3)


def samples(*, odd: bool = True) -> Image:
    """(1, N, 3): greys and colors of -0.5..65504, breaks of curves, tiny numbers; with `odd` infinities and NaN."""
    random = np.random.default_rng(7)
    ramp = np.concatenate([np.linspace(-0.5, 1.5, 1001), np.geomspace(1e-8, 65504.0, 1001)])
    parts = [
        np.repeat(ramp[:, None], 3, axis=1),
        random.uniform(-0.5, 1.5, (3000, 3)),
        random.uniform(-0.5, 65504.0, (1000, 3)),
        np.exp(random.uniform(np.log(1e-8), np.log(65504.0), (3000, 3))),
        cube(0.0, -0.0, -1e-8, 1e-8, -1e-38, -1e-45, 0.0031308, 0.04045, -0.5, 1.0, 65504.0),
    ]
    if odd:
        parts.append(cube(np.nan, np.inf, -np.inf, -0.1, 0.0, 0.5, 1.0))
    return np.ascontiguousarray(np.concatenate(parts).astype(np.float32)[None])


def applied(formulas: Analytic, image: Image) -> Image:
    """(H, W, 3) through (B, 3, H, W)."""
    result = formulas.apply(torch.from_numpy(image.copy()).permute(2, 0, 1)[None])
    assert result.dtype == torch.float32
    assert result.shape == (1, 3, *image.shape[:2])
    return np.ascontiguousarray(result[0].permute(1, 2, 0).numpy())


def by_ocio(processor: Any, image: Image) -> Image:
    result = image.copy()
    cpu = processor.getOptimizedCPUProcessor(ocio.OPTIMIZATION_LOSSLESS)
    cpu.apply(ocio.PackedImageDesc(result, result.shape[1], result.shape[0], 3))
    return result


def check(found: Image, expected: Image, what: str, *, steps: float = STEPS) -> float:
    """Asserts that both agree, infinities and NaN too; the worst error, absolute to 1 and relative above."""
    with np.errstate(invalid="ignore", over="ignore"):
        assert np.array_equal(np.isfinite(found), np.isfinite(expected)), what
        odd = ~np.isfinite(expected)
        assert np.array_equal(found[odd], expected[odd], equal_nan=True), what
        size = np.where(odd, 0.0, np.abs(expected)).astype(np.float64)
        error = np.where(odd, 0.0, np.abs(found.astype(np.float64) - expected))
        allowed = np.maximum(TOLERANCE * np.maximum(1.0, size), steps * size.max(axis=-1, keepdims=True))
        where = np.unravel_index(np.argmax(error / allowed), error.shape)
        assert np.all(error <= allowed), f"{what}: {found[where]!r}, not {expected[where]!r}"
        return float((error / np.maximum(1.0, size.max(axis=-1, keepdims=True))).max())


def operation_names(processor: Any) -> set[str]:
    transforms = processor.getOptimizedProcessor(ocio.OPTIMIZATION_LOSSLESS).createGroupTransform()
    return {type(transform).__name__ for transform in transforms}


def test_every_space_of_the_config_is_ocios_or_refused(
    config: Config, record_property: Callable[[str, object], None]
) -> None:
    image = samples()
    done, refused, data, worst = set(), set(), set(), 0.0
    for info in config.spaces():
        if info.is_data:
            data.add(info.name)
            with pytest.raises(ColorError, match="holds data"):
                analytic(config, info.name, "scene_linear")
            continue
        for source, target in ((info.name, "scene_linear"), ("scene_linear", info.name)):
            processor = config.native.getProcessor(source, target)
            if operation_names(processor) <= ANALYTIC:
                formulas = analytic(config, source, target)
                worst = max(worst, check(applied(formulas, image), by_ocio(processor, image), formulas.described()))
                done.add(info.name)
            else:
                with pytest.raises(ColorError, match=r"; pass --device cpu$"):
                    analytic(config, source, target)
                refused.add(info.name)
    assert not done & refused
    assert refused == TABLES
    assert data == {"Raw"}
    assert len(done) == len(config.spaces()) - len(TABLES) - 1 == 48
    assert worst < 1e-6
    record_property("analytic spaces", len(done))
    record_property("refused spaces", len(refused))
    record_property("worst error", worst)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("ARRI LogC4", "sRGB Encoded Rec.709 (sRGB)"),
        ("S-Log3 S-Gamut3.Cine", "ACEScct"),
        ("ACEScct", "Rec.1886 Rec.709 - Display"),
        ("DaVinci Intermediate WideGamut", "ARRI LogC3 (EI800)"),
    ],
)
def test_code_to_code(config: Config, source: str, target: str) -> None:
    # No strong colors: where a matrix leaves almost nothing of one, a curve steep at black shows its last digit.
    grey = np.random.default_rng(3).uniform(-0.1, 1.1, (1, 4000, 1))
    image = np.ascontiguousarray((grey + np.random.default_rng(4).uniform(0.0, 0.02, (1, 4000, 3))).astype(np.float32))
    formulas = analytic(config, source, target)
    expected = by_ocio(config.native.getProcessor(source, target), image)
    check(applied(formulas, image), expected, formulas.described())


def test_round_trips_come_back(config: Config) -> None:
    # Relative to the largest channel: the primaries' matrices mix it into the others.
    image = samples(odd=False)
    size = np.maximum(1.0, np.abs(image).max(axis=-1, keepdims=True))
    for info in config.spaces():
        if info.is_data or info.name in TABLES:
            continue
        there = applied(analytic(config, "scene_linear", info.name), image)
        back = applied(analytic(config, info.name, "scene_linear"), there)
        assert (np.abs(back - image) / size).max() < TOLERANCE, info.name


def test_plate_spaces_decode_and_encode_alike(config: Config) -> None:
    image = samples()
    for info in config.spaces():
        if info.is_data:
            continue
        space = PlateSpace(config, info.name)
        if info.name in TABLES:
            for refused in (decoding, encoding):
                with pytest.raises(ColorError, match="pass --device cpu"):
                    refused(config, info.name)
            continue
        for formulas, apply in (
            (decoding(config, info.name), space.decode),
            (encoding(config, info.name), space.encode),
        ):
            expected = image.copy()
            apply(expected)
            check(applied(formulas, image), expected, formulas.described())
            assert bool(formulas.operations) != space.is_linear


def test_light_goes_from_space_to_space_alike(config: Config) -> None:
    image = samples(odd=False)
    for source, target in (
        ("ARRI LogC4", "S-Log3 S-Gamut3"),
        ("ACEScg", "srgb_rec709_scene"),
        ("Apple Log", "ACEScct"),
    ):
        first, last = PlateSpace(config, source), PlateSpace(config, target)
        expected = image.copy()
        last.convert_from(first, expected)
        check(applied(conversion(first, last), image), expected, f"{source} to {target}")
    same = conversion(PlateSpace(config, "ACEScg"), PlateSpace(config, "ACEScct"))
    assert same.described() == "linear light of ACEScg to linear light of ACEScct: nothing to do"


def test_every_working_curve_is_alike_and_comes_back_or_is_refused(config: Config) -> None:
    light = samples()
    seen = np.abs(light) >= 1e-6
    seen &= np.isfinite(light)
    logs = set()
    assert working(working_curve(config, "linear"), encode=True).operations == ()
    for info in config.spaces():
        if info.is_data or info.encoding != "log":
            continue
        if info.name.startswith("ADX"):
            with pytest.raises(ColorError, match="which mixes channels"):
                working_curve(config, info.name)
            continue
        curve = working_curve(config, info.name)
        if info.name in TABLES:
            for encode in (True, False):
                with pytest.raises(ColorError, match="pass --device cpu"):
                    working(curve, encode=encode)
            continue
        logs.add(info.name)
        codes = light.copy()
        curve.encode(codes)
        found = applied(working(curve, encode=True), light)
        check(found, codes, info.name)
        back = codes.copy()
        curve.decode(back)
        check(applied(working(curve, encode=False), codes), back, info.name)
        # As the curve itself: to the value's own digits, down to light of a millionth.
        again = applied(working(curve, encode=False), found)
        assert (np.abs(again[seen] - light[seen]) / np.abs(light[seen])).max() < TOLERANCE, info.name
    assert len(logs) == 12


def test_a_working_curve_that_is_a_table_is_refused(config: Config) -> None:
    with pytest.raises(ColorError) as error:
        working(working_curve(config, "ACEScc"), encode=True)
    assert str(error.value) == (
        "expected a conversion of formulas, which the GPU can do, got a table, from 'linear light' to"
        " 'ACEScc less black' in working curve 'ACEScc'; pass --device cpu"
    )


MATRIX = [0.7, 0.2, 0.1, 0.0, -0.3, 1.4, -0.1, 0.0, 0.05, -0.6, 1.55, 0.0, 0.0, 0.0, 0.0, 1.0]
SCALE = [2.0, 0.0, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]
CAMERA = {
    "linSideBreak": [0.01, 0.02, -0.03],
    "logSideSlope": [0.25, 0.3, 0.2],
    "logSideOffset": [0.4, 0.1, 0.2],
    "linSideSlope": [5.5, 4.0, 6.0],
    "linSideOffset": [0.05, 0.01, 0.2],
}


def log_affine(base: float) -> Any:
    transform = ocio.LogAffineTransform(
        logSideSlope=[0.2, 0.3, -0.2],
        logSideOffset=[0.6, 0.1, 0.3],
        linSideSlope=[1.0, 2.0, 1.5],
        linSideOffset=[0.01, 0.0, 0.1],
    )
    transform.setBase(base)
    return transform


def camera_log(*, slope: bool) -> Any:
    transform = ocio.LogCameraTransform(**CAMERA, base=10.0)
    if slope:
        transform.setLinearSlopeValue([5.0, 3.5, 1.0])
    return transform


def free_range() -> Any:
    transform = ocio.RangeTransform(minInValue=0.0, maxInValue=1.0, minOutValue=0.1, maxOutValue=0.7)
    transform.setStyle(ocio.RangeStyle.RANGE_NO_CLAMP)
    return transform


def cdl(style: Any, saturation: float) -> Any:
    transform = ocio.CDLTransform()
    transform.setSlope([1.2, 0.8, 0.005])
    transform.setOffset([0.05, -0.1, 0.2])
    transform.setPower([1.1, 0.7, 2.0])
    transform.setSat(saturation)
    transform.setStyle(style)
    return transform


TRANSFORMS = {
    "matrix": ocio.MatrixTransform(matrix=MATRIX),
    "matrix and offset": ocio.MatrixTransform(matrix=MATRIX, offset=[0.1, -0.2, 0.3, 0.0]),
    "scale": ocio.MatrixTransform(matrix=SCALE),
    "scale and offset": ocio.MatrixTransform(matrix=SCALE, offset=[0.1, 0.0, -0.3, 0.0]),
    "log 2": ocio.LogTransform(2.0),
    "log 10": ocio.LogTransform(10.0),
    "log e": ocio.LogTransform(2.718281828459045),
    "log affine 2": log_affine(2.0),
    "log affine 10": log_affine(10.0),
    "camera log": camera_log(slope=False),
    "camera log with a slope": camera_log(slope=True),
    "exponent": ocio.ExponentTransform([2.2, 1.8, 0.5, 1.0], ocio.NegativeStyle.NEGATIVE_CLAMP),
    "exponent mirrored": ocio.ExponentTransform([2.4, 2.4, 2.4, 1.0], ocio.NegativeStyle.NEGATIVE_MIRROR),
    "exponent passed": ocio.ExponentTransform([2.6, 2.0, 3.0, 1.0], ocio.NegativeStyle.NEGATIVE_PASS_THRU),
    "moncurve": ocio.ExponentWithLinearTransform([2.4, 2.2, 1.0, 1.0], [0.055, 0.099, 0.0, 0.0]),
    "moncurve mirrored": ocio.ExponentWithLinearTransform(
        [2.4, 2.4, 2.4, 1.0], [0.055, 0.055, 0.055, 0.0], ocio.NegativeStyle.NEGATIVE_MIRROR
    ),
    "range": ocio.RangeTransform(minInValue=0.0, maxInValue=1.0, minOutValue=0.0, maxOutValue=1.0),
    "range scaled": ocio.RangeTransform(minInValue=-0.1, maxInValue=0.9, minOutValue=0.2, maxOutValue=2.0),
    "range from below": ocio.RangeTransform(minInValue=0.25, minOutValue=0.25),
    "range from above": ocio.RangeTransform(maxInValue=60000.0, maxOutValue=60000.0),
    "range without clamp": free_range(),
    "CDL": cdl(ocio.CDLStyle.CDL_ASC, 1.3),
    "CDL without clamp": cdl(ocio.CDLStyle.CDL_NO_CLAMP, 0.6),
    "surround": ocio.FixedFunctionTransform(ocio.FixedFunctionStyle.FIXED_FUNCTION_REC2100_SURROUND, [1.2]),
    "group": ocio.GroupTransform([ocio.MatrixTransform(matrix=SCALE), camera_log(slope=True), ocio.LogTransform(2.0)]),
}


@pytest.mark.parametrize("direction", [FORWARD, INVERSE], ids=["forward", "inverse"])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_every_operation_is_ocios(name: str, direction: Any) -> None:
    processor = ocio.Config.CreateRaw().getProcessor(TRANSFORMS[name], direction)
    formulas = from_processor(processor, source="in", target="out", where="a test")
    assert formulas.operations
    image = samples()
    check(applied(formulas, image), by_ocio(processor, image), name)


@pytest.mark.parametrize(
    ("transform", "named"),
    [
        (ocio.FixedFunctionTransform(ocio.FixedFunctionStyle.FIXED_FUNCTION_LIN_TO_PQ), "LIN_TO_PQ"),
        (ocio.ExposureContrastTransform(exposure=1.0), "an ExposureContrast"),
        (ocio.Lut3DTransform(2), "a Lut3D"),
        (ocio.MatrixTransform(matrix=[1.0, 0, 0, 0.5, 0, 1.0, 0, 0, 0, 0, 1.0, 0, 0, 0, 0, 1.0]), "a Matrix"),
    ],
    ids=["PQ", "exposure", "3D LUT", "alpha in color"],
)
def test_what_is_no_formula_is_refused(transform: Any, named: str) -> None:
    if isinstance(transform, ocio.Lut3DTransform):
        transform.setValue(0, 0, 0, 0.5, 0.0, 0.0)
    processor = ocio.Config.CreateRaw().getProcessor(transform)
    with pytest.raises(ColorError, match=named):
        from_processor(processor, source="in", target="out", where="a test")


def test_a_refusal_says_what_between_which_spaces_and_what_to_do(config: Config) -> None:
    with pytest.raises(ColorError) as error:
        analytic(config, "Apple Log", "scene_linear")
    assert str(error.value) == (
        "expected a conversion of formulas, which the GPU can do, got a Lut1D, from 'Apple Log' to 'ACEScg' in"
        f" --ocio ocio://{BUILTIN_CONFIG}; pass --device cpu"
    )
    with pytest.raises(ColorError, match="did you mean 'ACEScg'"):
        analytic(config, "ACEScgg", "scene_linear")


def test_other_types_and_shapes_are_refused(config: Config) -> None:
    formulas = analytic(config, "ARRI LogC4", "scene_linear")
    with pytest.raises(ValueError, match=r"got float64 \(1, 3, 2, 2\), for 'ARRI LogC4' to 'ACEScg'; convert"):
        formulas.apply(torch.zeros(1, 3, 2, 2, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"got float16 \(1, 3, 2, 2\)"):
        formulas.apply(torch.zeros(1, 3, 2, 2, dtype=torch.float16))
    for shape in ((3, 2, 2), (1, 4, 2, 2)):
        with pytest.raises(ValueError, match="expected a float32 image of shape"):
            formulas.apply(torch.zeros(shape))


def test_formulas_outlive_the_config_and_leave_the_image_alone(config: Config) -> None:
    formulas = analytic(config, "ARRI LogC4", "sRGB Encoded Rec.709 (sRGB)")
    assert (
        formulas.described()
        == "ARRI LogC4 to sRGB Encoded Rec.709 (sRGB): camera antilog, matrix, exponent with a linear part"
    )
    again = pickle.loads(pickle.dumps(formulas))
    assert again == formulas
    image = 0.5 * torch.rand(2, 3, 5, 4)
    before = image.clone()
    result = again.apply(image)
    assert torch.equal(image, before)
    # Place in the batch and layout in memory make no difference but in the last digit, which torch's CPU does not keep.
    flipped = again.apply(image.flip(0).to(memory_format=torch.channels_last))
    assert torch.allclose(flipped.flip(0), result, rtol=TOLERANCE, atol=TOLERANCE)
    alone = result[1].permute(1, 2, 0).numpy()
    assert np.abs(applied(again, image[1].permute(1, 2, 0).contiguous().numpy()) - alone).max() < TOLERANCE
    assert again.apply(torch.zeros(0, 3, 0, 4)).shape == (0, 3, 0, 4)


@pytest.mark.gpu
def test_a_gpu_computes_alike(config: Config) -> None:
    image = samples()
    for name in ("ARRI LogC4", "ACEScct", "srgb_rec709_scene", "Gamma 2.2 Encoded Rec.709", "sRGB - Display"):
        for source, target in ((name, "scene_linear"), ("scene_linear", name)):
            formulas = analytic(config, source, target)
            there = torch.from_numpy(image).permute(2, 0, 1)[None].cuda()
            found = formulas.apply(there)
            assert found.device == there.device
            result = np.ascontiguousarray(found[0].permute(1, 2, 0).cpu().numpy())
            expected = by_ocio(config.native.getProcessor(source, target), image)
            # CUDA's exp2 and pow are right to two and to four steps, not to one.
            check(result, expected, formulas.described(), steps=2.0**-19)
