"""Making pictures worse, making them better, and how alike two pictures are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from memory_table import column
from PIL import Image
from scipy.ndimage import gaussian_filter, median_filter

from lamina.baselines import _restoring
from lamina.data.content import equal_rows
from lamina.data.degrade import STRENGTHS, Degrading, blurred, grey
from lamina.data.pairs import RESTORED, Making, Pairs
from lamina.data.schema import Field
from lamina.data.tables import open_table
from lamina.data.target_values import read_target
from lamina.errors import InputError
from lamina.modalities import image
from lamina.networks import edsr, resnet
from lamina.networks.blocks.simple_picture import SimplePicture, colored, enlarging, scale_between
from lamina.networks.heads import build_head
from lamina.tasks import Layout
from lamina.tasks._fidelity import MOST_DECIBELS, decibels, similarity

WAYS = [("super-resolution", ""), ("colourise", ""), *STRENGTHS]


def random_picture(*shape: int, seed: int = 0) -> np.ndarray:
    """Smooth colors with some detail: what a photograph looks like to a filter."""
    random = np.random.default_rng(seed)
    rough = gaussian_filter(random.normal(0, 1, shape), [2.0] * 2 + [0.0] * (len(shape) - 2))
    return np.clip(128 + 60 * rough / rough.std(), 0, 255).astype(np.uint8)


def degrading(kind: str, way: str) -> Degrading:
    strength = STRENGTHS[kind, way][0] if way else 0.0
    return Degrading(kind, way, strength, 2 if kind == "super-resolution" else 1)


@pytest.mark.parametrize(("kind", "way"), WAYS)
@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_made_worse_is_the_same_for_the_same_seed_and_other_for_another(
    kind: str, way: str, channels: int
) -> None:
    picture = random_picture(32, 24, channels)
    before = picture.copy()
    one, again, other = (degrading(kind, way).apply(picture, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.dtype == np.uint8
    assert np.array_equal(one, again)
    assert np.array_equal(picture, before), "the picture itself stays"
    if way:
        assert not np.array_equal(one, other)
    side = (16, 12) if kind == "super-resolution" else (32, 24)
    expected = 1 if kind == "colourise" else channels + (kind == "inpaint")
    assert one.shape == (*side, expected)


def test_noise_is_as_strong_as_it_says() -> None:
    flat = np.full((400, 400, 1), 128, np.uint8)
    for way in ("gaussian", "poisson"):
        spreads = [
            Degrading("denoise", way, 20.0).apply(flat, np.random.default_rng(seed)).astype(float).std()
            for seed in range(20)
        ]
        assert 9.8 < min(spreads) < 13 < 17 < max(spreads) < 20.2, "each draws from half of the strength on"
    dark = np.full((400, 400, 1), 32, np.uint8)
    bright, dim = (
        Degrading("denoise", "poisson", 20.0).apply(pixels, np.random.default_rng(0)).astype(float).std()
        for pixels in (flat, dark)
    )
    assert bright / dim == pytest.approx(2.0, rel=0.05), "shot noise grows with the root of the brightness"


def test_blur_is_the_one_of_scipy() -> None:
    picture = random_picture(40, 30, 3).astype(np.float64)
    ours = blurred(picture, 1.5)
    expected = gaussian_filter(picture, (1.5, 1.5, 0), mode="nearest", radius=(5, 5, 0))
    assert np.allclose(ours, expected, atol=1e-9)


def test_a_point_in_motion_is_a_line_of_the_same_light() -> None:
    picture = np.zeros((41, 41, 1), np.uint8)
    picture[20, 20] = 255
    found = Degrading("deblur", "motion", 16.0).apply(picture, np.random.default_rng(3)).astype(float)
    lit = np.argwhere(found[:, :, 0] > 0)
    assert found.sum() == pytest.approx(255, rel=0.1)
    length = np.linalg.norm(lit.max(axis=0) - lit.min(axis=0))
    assert 7 <= length <= 17
    centered = lit - lit.mean(axis=0)
    assert np.linalg.svd(centered, compute_uv=False)[1] < 0.2 * np.linalg.svd(centered, compute_uv=False)[0]


def test_grey_is_what_pillow_calls_grey() -> None:
    picture = random_picture(20, 20, 3)
    pillow = np.asarray(Image.fromarray(picture).convert("L")).astype(int)
    assert np.abs(grey(picture)[:, :, 0].astype(int) - pillow).max() <= 1


def test_holes_are_as_large_as_asked_and_nothing_else_changes() -> None:
    picture = random_picture(64, 64, 3)
    for way in ("strokes", "boxes"):
        found = Degrading("inpaint", way, 0.3).apply(picture, np.random.default_rng(0))
        missing = found[:, :, 3] == 0
        assert 0.15 <= missing.mean() <= 0.45
        assert np.array_equal(found[~missing][:, :3], picture[~missing])
        assert set(np.unique(found[:, :, 3])) == {0, 255}


def test_an_encoder_tells_holes_from_white(tmp_path: Path) -> None:
    clear = np.full((10, 10, 4), 255, np.uint8)
    clear[2:5, 3:6] = 0
    Image.fromarray(clear).save(tmp_path / "a.png")
    encoder = image.Encoder(10, 10, 3, "stretch", (0.0,) * 3, (1.0,) * 3, 0.0, transparent="hole")
    assert encoder.feature.details["hole"] == 255
    from_file, from_array = (encoder.encode(column([value]), tmp_path).array[0] for value in ("a.png", clear))
    assert np.array_equal(from_file, from_array)
    assert ((from_file == 255).all(axis=2) == (clear[:, :, 3] == 0)).all()
    assert set(np.unique(from_file)) == {254, 255}
    larger = image.Encoder(20, 20, 1, "stretch", (0.0,), (1.0,), 0.0, transparent="hole")
    enlarged = larger.encode(column([clear])).array[0]
    assert (enlarged[5:9, 7:11] == 255).all(), "the hole stays a hole"
    assert (enlarged[12:] == 254).all(), "and does not darken what is around it"


def pictures(folder: Path, number: int = 6, size: tuple[int, int] = (40, 50)) -> Path:
    folder.mkdir()
    for place in range(number):
        Image.fromarray(random_picture(*size, 3, seed=place)).save(folder / f"{place}.png")
    return folder


def test_pairs_read_the_same_in_any_order_and_differ_by_seed(tmp_path: Path) -> None:
    table = open_table(str(pictures(tmp_path / "photos")), tmp_path / "cache")
    making = Making("path", degrading("denoise", "gaussian"), 16, 24, 3, "cut", "stretch", seed=5)
    one, other = Pairs(table, making), Pairs(table, Making("path", making.degrading, 16, 24, 3, "cut", "stretch", 6))
    assert one.columns == ("path", RESTORED)
    assert one.fingerprint != table.fingerprint != other.fingerprint != one.fingerprint
    whole = one.take(np.arange(6))
    backwards = one.take([4, 1], [RESTORED, "path"])
    assert list(backwards) == [RESTORED, "path"]
    for position, row in enumerate((4, 1)):
        for name in ("path", RESTORED):
            assert np.array_equal(backwards[name][position], whole[name][row])
    assert not np.array_equal(other.take([0])["path"][0], whole["path"][0])
    original = np.asarray(Image.open(tmp_path / "photos" / "0.png"))
    part = whole[RESTORED][0]
    assert part.shape == (16, 24, 3)
    found = [
        np.array_equal(original[top : top + 16, left : left + 24], part) for top in range(25) for left in range(27)
    ]
    assert any(found), "a part is cut out as it is"


def test_equal_pictures_are_seen_to_be_equal_whatever_is_drawn(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "photos", 4)
    (folder / "9.png").write_bytes((folder / "2.png").read_bytes())
    table = open_table(str(folder), tmp_path / "cache")
    pairs = Pairs(table, Making("path", degrading("denoise", "gaussian"), 16, 16, 3, "whole", "stretch", 0))
    assert equal_rows(pairs, [Field("path", "image")]).tolist() == [0, 1, 2, 3, 2]
    found = read_target(pairs, Field(RESTORED, "image", "target"))
    assert not found.missing.any()
    assert found.field.name == RESTORED


def test_whole_pictures_are_brought_to_size_and_what_cannot_be_read_stays(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "photos", 2)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    table = open_table(str(folder), tmp_path / "cache")
    pairs = Pairs(table, Making("path", degrading("super-resolution", ""), 20, 20, 1, "whole", "stretch", 0))
    found = pairs.take(np.arange(len(pairs)))
    shapes = [getattr(value, "shape", value) for value in found["path"]]
    assert shapes.count((10, 10)) == 2
    assert [value for value in shapes if isinstance(value, str)] == ["broken.png"]
    encoded = image.Encoder(10, 10, 1, "stretch", (0.0,), (1.0,), 0.0).encode(found["path"], pairs.root)
    assert len(encoded.errors) == 1


def test_a_picture_smaller_than_the_part_is_widened(tmp_path: Path) -> None:
    making = Making("path", degrading("denoise", "gaussian"), 64, 64, 3, "cut", "stretch", 0)
    ((_, better),) = making.pairs([random_picture(40, 70, 3)], 0, [0])
    assert better.shape == (64, 64, 3)
    assert (better[:12] == better[12]).all()


@pytest.mark.parametrize(("height", "width", "scale"), [(14, 14, 2), (7, 11, 4), (9, 5, 3)])
def test_enlarging_is_pillows_bicubic(height: int, width: int, scale: int) -> None:
    values = np.random.default_rng(0).uniform(0, 1, (height, width)).astype(np.float32)
    expected = np.asarray(Image.fromarray(values).resize((width * scale, height * scale), Image.Resampling.BICUBIC))
    simple = SimplePicture((1, height, width), (1, height * scale, width * scale), 2.0)
    found = simple(torch.from_numpy(values)[None, None])[0, 0].numpy()
    assert np.abs(found - expected).max() < 1e-5
    assert np.allclose(enlarging(height, scale).sum(dim=1).numpy(), 1)


def test_a_hole_is_filled_with_its_surroundings_and_the_rest_stays() -> None:
    values = torch.full((1, 3, 32, 32), 0.2)
    values[:, :, :, 16:] = 0.6
    holed = values.clone()
    holed[:, :, 4:8, 4:8] = 1.0
    holed[:, :, 20:24, 26:30] = 1.0
    simple = SimplePicture((3, 32, 32), (3, 32, 32), 0.998)
    assert torch.allclose(simple(holed), values, atol=1e-6)
    assert float(simple.missing(holed).sum()) == 32
    everything = simple(torch.ones(1, 3, 32, 32))
    assert torch.isfinite(everything).all(), "even where nothing is known"


def test_color_keeps_the_luminance() -> None:
    luminance = torch.rand(2, 1, 8, 8)
    found = colored(luminance.expand(-1, 3, -1, -1), 0.1 * torch.randn(2, 2, 8, 8))
    weights = torch.tensor([0.299, 0.587, 0.114]).reshape(1, 3, 1, 1)
    assert torch.allclose((found * weights).sum(dim=1, keepdim=True), luminance, atol=1e-5)


def test_sizes_that_do_not_fit_are_refused() -> None:
    assert scale_between((3, 10, 8), (3, 30, 24)) == 3
    for wanted in ((3, 20, 24), (3, 5, 4), (3, 25, 20)):
        with pytest.raises(InputError, match="times the input"):
            scale_between((3, 10, 8), wanted)
    with pytest.raises(InputError, match="channels"):
        SimplePicture((3, 8, 8), (1, 8, 8), 2.0)


def feature(height: int, width: int, channels: int, **details: object) -> image.Feature:
    shape = (height, width, channels)
    return image.Feature(
        "image", shape, "uint8", details={"mean": [100.0] * channels, "std": [50.0] * channels, **details}
    )


@pytest.mark.parametrize("enlarging_way", ["subpixel", "transposed"])
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_the_head_gives_the_simple_answer_and_a_change_of_the_right_size(enlarging_way: str, scale: int) -> None:
    torch.manual_seed(0)
    network = edsr.build({"photo": feature(8, 10, 3)}, edsr.Options(width=8, depth=2))
    layout = Layout("picture", (3, 8 * scale, 10 * scale), {"enlarging": enlarging_way})
    head = build_head("restored", layout, network)
    pictures = torch.randint(0, 256, (2, 8, 10, 3), dtype=torch.uint8)
    found = head(network.pyramid({"photo": pictures}))
    assert found.shape == (2, 1, layout.size)
    with torch.no_grad():
        head.exit.weight.zero_()
    simple = SimplePicture((3, 8, 10), layout.shape, 2.0)(pictures.permute(0, 3, 1, 2) / 255)
    plain = head(network.pyramid({"photo": pictures})).reshape(2, *layout.shape)
    assert torch.allclose(plain, simple, atol=1e-4)


def test_options_reach_the_decoder_and_are_refused_where_there_is_none() -> None:
    pictures = {"photo": feature(16, 16, 3)}
    asked = {"upsampling": "transposed", "decoder_width": 5, "decoder_dropout": 0.25}
    layout = Layout("picture", (3, 16, 16), asked)
    coarse = resnet.build(pictures, resnet.Options(width=8, stages=2, halvings=1))
    head = build_head("restored", layout, coarse)
    assert head.exit.in_channels == 5
    assert any(isinstance(part, torch.nn.ConvTranspose2d) for part in head.decoder.modules())
    assert head.decoder.dropout.p == 0.25
    with pytest.raises(InputError, match="no decoder") as caught:
        build_head("restored", layout, edsr.build(pictures, edsr.Options(width=8, depth=1)))
    assert "task.upsampling" in str(caught.value.where)


def test_a_hole_alone_is_changed() -> None:
    torch.manual_seed(0)
    network = edsr.build({"photo": feature(12, 12, 3, hole=255)}, edsr.Options(width=8, depth=1))
    head = build_head("restored", Layout("picture", (3, 12, 12), {"hole": 255}), network)
    pictures = torch.randint(0, 255, (2, 12, 12, 3), dtype=torch.uint8)
    pictures[:, 3:6, 3:6] = 255
    answer = head(network.pyramid({"photo": pictures})).reshape(2, 3, 12, 12)
    known = torch.ones(12, 12, dtype=torch.bool)
    known[3:6, 3:6] = False
    given = pictures.permute(0, 3, 1, 2) / 255
    assert torch.allclose(answer[:, :, known], given[:, :, known], atol=1e-4)
    assert not torch.allclose(answer[:, :, ~known], given[:, :, ~known], atol=1e-2)


def test_decibels_by_hand() -> None:
    truth = np.zeros((3, 4, 4, 1), np.uint8)
    answer = truth.copy()
    answer[1] = 10
    answer[2, 0, 0] = 255
    expected = [MOST_DECIBELS, 20 * np.log10(255 / 10), 10 * np.log10(16)]
    assert decibels(answer, truth) == pytest.approx(expected)


@pytest.mark.parametrize("size", [(32, 40, 3), (11, 11, 1), (7, 9, 1)])
def test_similarity_by_filters_of_scipy(size: tuple[int, int, int]) -> None:
    """With the same window by a general convolution over every whole window."""
    from scipy.signal import convolve2d

    truth = np.stack([random_picture(*size, seed=row) for row in range(3)])
    noise = np.random.default_rng(9).normal(0, 15, truth.shape)
    answer = np.clip(truth + noise, 0, 255).astype(np.uint8)
    side = min(11, *size[:2])
    line = np.exp(-0.5 * ((np.arange(side) - (side - 1) / 2) / 1.5) ** 2)
    window = np.outer(line, line) / line.sum() ** 2

    def local(values: np.ndarray) -> np.ndarray:
        return convolve2d(values, window, mode="valid")

    expected = []
    for one, other in zip(truth.astype(float), answer.astype(float), strict=True):
        channels = []
        for number in range(size[2]):
            x, y = one[:, :, number], other[:, :, number]
            mx, my = local(x), local(y)
            vx, vy, vxy = local(x * x) - mx**2, local(y * y) - my**2, local(x * y) - mx * my
            first, second = 6.5025, 58.5225
            channels.append(
                np.mean((2 * mx * my + first) * (2 * vxy + second) / ((mx**2 + my**2 + first) * (vx + vy + second)))
            )
        expected.append(np.mean(channels))
    assert similarity(answer, truth) == pytest.approx(expected, abs=1e-9)
    assert similarity(truth, truth) == pytest.approx(np.ones(3))


def test_simple_filters() -> None:
    pictures = np.stack([random_picture(24, 20, 3, seed=row) for row in range(3)])
    expected = median_filter(pictures, size=(1, 3, 3, 1), mode="nearest")
    assert np.array_equal(_restoring.median(pictures), expected)
    noisy = np.clip(pictures + np.random.default_rng(0).normal(0, 20, pictures.shape), 0, 255).astype(np.uint8)
    assert _restoring.noise_of(noisy) == pytest.approx(20, rel=0.15)
    better = _restoring.non_local_means(noisy, 20.0)
    assert decibels(better, pictures).mean() > decibels(noisy, pictures).mean() + 2
    soft = np.stack([blurred(one.astype(float), 1.0) for one in pictures]).round().astype(np.uint8)
    assert decibels(_restoring.unsharp(soft, 1.0, 1.0), pictures).mean() > decibels(soft, pictures).mean()


def test_diffusion_finds_a_slope_again() -> None:
    slope = np.broadcast_to(np.arange(0, 240, 10, dtype=np.uint8)[None, :, None], (24, 24, 1))[None]
    holed = slope.copy()
    holed[:, 6:14, 8:16] = 255
    found = _restoring.diffused(holed, 255)
    assert np.abs(found.astype(int) - slope).max() <= 1, "a plane solves Laplace's equation"
    assert np.array_equal(found[holed < 255], slope[holed < 255])
    assert np.unique(_restoring.mean_filled(holed, 255)[0, 6:14, 8:16]).tolist() == [
        round(float(slope[holed < 255].mean()))
    ]


def test_color_by_luminance() -> None:
    random = np.random.default_rng(0)
    levels = random.integers(60, 180, (4, 10, 10)).astype(np.uint8)
    truth = np.stack([levels + 30, levels, levels - 20], axis=3).astype(np.uint8)
    luminance = np.stack([grey(one) for one in truth])
    found = _restoring.colored(luminance, _restoring.mean_chroma(luminance, truth))
    assert np.abs(found.astype(int) - truth).max() <= 2, "here the luminance tells the color"


def test_what_suits_which_task() -> None:
    grey_ones = np.stack([random_picture(16, 16, 1, seed=row) for row in range(4)])
    color = np.repeat(grey_ones, 3, axis=3)

    def titles(worse: np.ndarray, better: np.ndarray, **more: object) -> list[str]:
        known = {"kind": "given", "scale": 1, "hole": -1, "seed": 0, **more}
        found = _restoring.suited(worse, better, **known)  # type: ignore[arg-type]
        assert all(one.improve(worse).shape == better.shape for one in found)
        return [one.title for one in found]

    large = np.repeat(np.repeat(grey_ones, 2, axis=1), 2, axis=2)
    assert titles(grey_ones, large, scale=2) == ["bicubic enlargement", "Lanczos enlargement"]
    assert titles(grey_ones, color) == ["left grey", "mean color by luminance"]
    assert titles(color, color, hole=255) == ["mean color in the holes", "diffusion into the holes"]
    assert titles(color, color, kind="denoise") == ["left as it is", "median filter", "non-local means"]
    assert titles(color, color, kind="deblur") == ["left as it is", "unsharp mask"]
    assert len(titles(color, color)) == 4
