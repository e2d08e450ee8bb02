"""Text, pictures and sounds: what the contract suite cannot know."""

from __future__ import annotations

import contextlib
import io
import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import tokenizers
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from lamina.errors import InputError, MissingDependencyError
from lamina.modalities import audio, image, text
from lamina.modalities._files import objects, sample
from lamina.modalities._mel import log_mel, resample

Array = np.ndarray[Any, Any]


def png(pixels: Array, **options: Any) -> bytes:
    return saved(Image.fromarray(pixels), "PNG", **options)


def saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def fit(module: Any, items: list[Any], root: Path | None = None, **options: Any) -> Any:
    return module.Encoder.fit(lambda: [objects(items)], options, root)


def test_sample_is_even_and_streams() -> None:
    chunks = lambda: iter([objects([*range(start, start + 10), None]) for start in range(0, 1000, 10)])  # noqa: E731
    picked = [value for some in sample(chunks, 1000, 100) for value in some]
    assert len(picked) == len(set(picked)) == 100
    assert picked == sorted(picked)
    assert 400 < np.mean(picked) < 600


@given(height=st.integers(1, 40), width=st.integers(1, 40), channels=st.sampled_from([1, 3]), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_pictures_of_one_size_come_back_exactly(height: int, width: int, channels: int, seed: int) -> None:
    pixels = [noise(height, width, channels, seed=seed + number) for number in range(3)]
    files = [png(each[:, :, 0] if channels == 1 else each) for each in pixels]
    encoder = fit(image, files, channels=channels)
    encoded = encoder.encode(objects(files))
    assert encoder.feature.shape == (height, width, channels)
    assert not encoded.errors
    np.testing.assert_array_equal(encoded.array, pixels)
    np.testing.assert_array_equal(encoder.encode(encoder.decode(encoded.array)).array, encoded.array)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(28, 28)] * 3, (28, 28)),
        ([(20, 60)] * 3, (20, 60)),
        ([(65, 65)] * 3, (64, 64)),
        ([(30, 30), (34, 34), (33, 33)], (32, 32)),
        ([(500, 400), (300, 300), (800, 600)], (96, 96)),
    ],
)
def test_the_size_follows_the_training_pictures(sizes: list[tuple[int, int]], expected: tuple[int, int]) -> None:
    assert fit(image, [noise(*size) for size in sizes]).feature.shape[:2] == expected


def test_options_fix_size_and_channels() -> None:
    assert fit(image, [noise(30, 30)], size=[16, 24], channels=3).feature.shape == (16, 24, 3)
    for options in ({"size": 0}, {"size": "big"}, {"size": True}, {"channels": 2}, {"resize": "squash"}, {"sise": 3}):
        with pytest.raises(InputError):
            fit(image, [noise(30, 30)], **options)


def test_grey_is_found_in_color_files_and_statistics_are_exact() -> None:
    grey = [np.repeat(noise(10, 10, 1, seed=seed), 3, axis=2) for seed in range(4)]
    encoder = fit(image, [png(pixels) for pixels in grey])
    assert encoder.channels == 1
    assert encoder.mean[0] == pytest.approx(np.mean(grey))
    assert encoder.std[0] == pytest.approx(np.std(grey))
    colored = fit(image, [png(noise(10, 10, 3))])
    np.testing.assert_allclose(colored.mean, noise(10, 10, 3).mean(axis=(0, 1)))


def test_transparent_parts_are_white() -> None:
    pixels = np.zeros((10, 20, 4), dtype=np.uint8)
    pixels[:, :10] = (255, 0, 0, 255)
    encoder = fit(image, [png(noise(20, 20, 3))], resize="pad")
    row = encoder.encode(objects([png(pixels)])).array[0]
    assert tuple(row[10, 2]) == (255, 0, 0)
    assert tuple(row[10, 17]) == (255, 255, 255)
    assert tuple(row[0, 0]) == (255, 255, 255)
    palette = Image.fromarray(pixels).convert("P", palette=Image.Palette.ADAPTIVE)
    index = int(np.asarray(palette)[0, 15])
    seen = encoder.encode(objects([saved(palette, "PNG", transparency=index)])).array[0]
    assert tuple(seen[10, 17]) == (255, 255, 255)


def test_padding_takes_the_border_and_cropping_the_middle() -> None:
    wide = np.full((10, 30, 3), 100, dtype=np.uint8)
    wide[:, 10:20] = 200
    padded = fit(image, [wide], size=30, resize="pad").encode(objects([wide])).array[0]
    assert abs(int(padded[0, 0, 0]) - 100) <= 30
    assert padded[15, 15, 0] == 200
    cropped = fit(image, [wide], size=10, resize="crop").encode(objects([wide])).array[0]
    assert cropped[5, 5, 0] == 200
    assert (cropped[:, 1:-1] == 200).all()


def test_pictures_are_turned_upright() -> None:
    pixels = np.zeros((8, 16, 3), dtype=np.uint8)
    pixels[:, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = saved(Image.fromarray(pixels), "JPEG", exif=exif, quality=95)
    assert (image.header(turned).width, image.header(turned).height) == (8, 16)
    encoder = fit(image, [turned], channels=1)
    upright = encoder.encode(objects([turned])).array[0, :, :, 0]
    assert upright.shape == (16, 8)
    assert upright[:6].mean() > 240
    assert upright[10:].mean() < 15


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_a_header_tells_the_size_of_the_picture_turned_upright(kind: str) -> None:
    """Boxes and masks are laid on what is decoded, by the size that the header tells."""
    exif = Image.Exif()
    exif[0x0112] = 8
    content = saved(Image.new("RGB", (16, 8)), kind, exif=exif)
    for value in (content, Image.open(io.BytesIO(content))):
        found = image.header(value)
        assert (found.height, found.width) == image.decoded(value, 3).shape[:2] == (16, 8)


def test_deep_and_odd_modes_are_read() -> None:
    ramp = np.linspace(0, 65535, 100).reshape(10, 10).astype(np.uint16)
    expected = np.rint(ramp / 257).astype(np.uint8)
    encoder = fit(image, [expected])
    floats = (ramp / 65535).astype(np.float32)
    for value in (saved(Image.fromarray(ramp), "PNG"), ramp, saved(Image.fromarray(floats), "TIFF"), floats):
        encoded = encoder.encode(objects([value]))
        assert not encoded.errors
        np.testing.assert_array_equal(encoded.array[0, :, :, 0], expected)
    bits = Image.fromarray(expected > 100)
    for value in (saved(bits, "PNG"), expected > 100, bits):
        np.testing.assert_array_equal(encoder.encode(objects([value])).array[0, :, :, 0], (expected > 100) * 255)


@pytest.mark.parametrize("form", ["files", "arrays"])
def test_what_uses_few_of_sixteen_bits_keeps_its_shades(form: str) -> None:
    """Twelve bits of an X-ray, divided by 257, would be 17 shades of grey."""
    ramp = np.linspace(100, 4095, 256).reshape(16, 16).astype(np.uint16)
    both = [ramp, ramp.T.copy()]
    values = both if form == "arrays" else [saved(Image.fromarray(each), "PNG") for each in both]
    encoder = fit(image, values)
    encoded = encoder.encode(objects(values)).array
    assert len(np.unique(encoded)) > 200
    assert (encoded.min(), encoded.max()) == (0, 255)
    again = image.Encoder.restore(json.loads(json.dumps(encoder.state())))
    assert again == encoder
    np.testing.assert_array_equal(again.whole(values[0])[:, :, 0], encoded[0, :, :, 0])
    assert len(np.unique(fit(image, values, window="full").encode(objects(values)).array)) <= 17
    half = fit(image, values, window=[0, 8190]).encode(objects(values)).array
    assert half.max() == round(4095 / 8190 * 255)
    with pytest.raises(InputError, match="window"):
        fit(image, values, window=[9, 3])


def test_sixteen_bits_that_are_used_are_left_as_they_are() -> None:
    whole = np.linspace(0, 65535, 100).reshape(10, 10).astype(np.uint16)
    assert fit(image, [whole, whole]).window is None
    assert fit(image, [np.full((4, 4), 3000, np.uint16)]).window is None
    assert fit(image, [whole // 16, np.zeros((8, 8), np.uint8)]).window is None


def test_of_an_animation_the_first_picture_counts() -> None:
    first, second = (Image.fromarray(np.full((8, 8), value, dtype=np.uint8)) for value in (10, 200))
    movie = saved(first, "GIF", save_all=True, append_images=[second])
    assert fit(image, [movie]).encode(objects([movie])).array.max() == 10


def test_a_large_jpeg_is_nearly_the_same_when_read_at_a_fraction() -> None:
    smooth = np.clip(np.add.outer(np.arange(800), np.arange(800)) / 7, 0, 255).astype(np.uint8)
    file = saved(Image.fromarray(smooth), "JPEG", quality=95)
    encoder = fit(image, [smooth], size=32)
    small = encoder.encode(objects([file, smooth])).array.astype(int)
    assert np.abs(small[0] - small[1]).max() <= 4


def test_bad_pictures_give_reasons_and_the_mean_color(tmp_path: Path) -> None:
    good = png(noise(40, 40, 3))
    (tmp_path / "cut.png").write_bytes(good[: len(good) // 2])
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "folder.png").mkdir()
    encoder = fit(image, [good])
    values = ["cut.png", "text.png", "folder.png", "none.png", None, b"x", np.zeros((3, 4, 5)), "a\x00b", good]
    encoded = encoder.encode(objects(values), tmp_path)
    assert sorted(encoded.errors) == list(range(8))
    words = ("truncated", "not a picture", "folder", "no file 'none.png'", "no picture", "not a picture", "shape")
    assert all(word in encoded.errors[row] for row, word in enumerate(words))
    assert (encoded.array[:8] == np.rint(encoder.mean).astype(np.uint8)).all()
    accepting = fit(image, [good], missing="fill")
    assert not accepting.encode(objects([None])).errors


def test_decompression_bombs_are_refused() -> None:
    bomb = bytearray(png(np.zeros((1, 1), dtype=np.uint8)))
    header = bomb.index(b"IHDR") + 4
    encoder = fit(image, [noise(8, 8)])
    for side in (9_500, 60_000):
        bomb[header : header + 8] = struct.pack(">II", side, side)
        bomb[header + 13 : header + 17] = struct.pack(">I", zlib.crc32(bytes(bomb[header - 4 : header + 13])))
        with pytest.warns(Image.DecompressionBombWarning) if side == 9_500 else contextlib.nullcontext():
            reason = encoder.encode(objects([bytes(bomb)])).errors[0]
        assert "limit" in reason


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@given(
    kind=st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA", "ICO"]),
    where=st.floats(0, 1),
    byte=st.integers(0, 255),
    cut=st.floats(0.1, 1.5),
)
@settings(max_examples=150, deadline=None)
def test_damaged_pictures_never_raise(kind: str, where: float, byte: int, cut: float) -> None:
    data = bytearray(saved(Image.fromarray(noise(12, 12, 3)), kind))
    data[int(where * (len(data) - 1))] = byte
    encoded = image.Encoder(8, 8, 3, "pad", (0.0,) * 3, (1.0,) * 3, 0.0).encode(
        objects([bytes(data[: int(cut * len(data))])])
    )
    assert encoded.array.shape == (1, 8, 8, 3)


def test_recognition_of_files_looks_whether_they_exist(tmp_path: Path) -> None:
    names = objects([f"{number}.PNG" for number in range(10)])
    assert image.recognise(names, "file").confidence == 0.9  # type: ignore[union-attr]
    assert image.recognise(names, "file", tmp_path).confidence == 0.5  # type: ignore[union-attr]
    (tmp_path / "3.PNG").write_bytes(png(noise(4, 4)))
    assert image.recognise(names, "file", tmp_path).confidence > 0.9  # type: ignore[union-attr]
    assert image.recognise(objects(["I like a.png", "or not"]), "file") is None
    assert image.recognise(objects([png(noise(4, 4))] * 3), "file") is not None
    assert audio.recognise(names, "file") is None
    assert audio.recognise(objects([wav(np.zeros(99))] * 3), "file") is not None


@pytest.mark.parametrize(
    ("library", "module", "value"), [("PIL", image, "a.png"), ("soundfile", audio, "a.wav"), ("tokenizers", text, "a")]
)
def test_a_missing_library_is_named(
    library: str, module: Any, value: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / value).write_bytes(b"content")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingDependencyError, match="not installed") as caught:
        fit(module, [value], tmp_path)
    assert "pip install" in caught.value.fix


def wav(samples: Array, rate: int = 16_000, kind: str = "WAV") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind)
    return buffer.getvalue()


def tone(frequency: float, seconds: float = 0.5, rate: int = 16_000, loud: float = 0.5) -> Array:
    return (loud * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def slow_log_mel(samples: Array, rate: int, bands: int, size: int) -> Array:
    """The definition, one frame, band and bin at a time."""
    window, hop = round(0.025 * rate), round(0.010 * rate)
    taper = np.array([0.5 - 0.5 * np.cos(2 * np.pi * n / window) for n in range(window)])

    def mel(hertz: float) -> float:
        return hertz * 3 / 200 if hertz < 1000 else 15 + np.log(hertz / 1000) * 27 / np.log(6.4)

    edges = np.linspace(0, mel(rate / 2), bands + 2)
    rows = []
    for start in range(0, len(samples) - window + 1, hop):
        spectrum = np.fft.fft(samples[start : start + window].astype(np.float64) * taper, size)
        power = np.abs(spectrum[: size // 2 + 1] / (taper.sum() / 2)) ** 2
        row = []
        hertz = np.array([_inverse(edge) for edge in edges])
        for band in range(bands):
            low, middle, high = hertz[band : band + 3]
            total = 0.0
            for number, value in enumerate(power):
                place = number * rate / size
                weight = min((place - low) / (middle - low), (high - place) / (high - middle))
                total += max(0.0, weight) * value
            row.append(10 * np.log10(max(total, 1e-10)))
        rows.append(row)
    return np.array(rows)


def _inverse(mel: float) -> float:
    return mel * 200 / 3 if mel < 15 else 1000 * np.exp((mel - 15) * np.log(6.4) / 27)


@pytest.mark.parametrize(("rate", "bands", "size"), [(16_000, 64, 512), (8_000, 40, 256), (11_025, 32, 512)])
def test_log_mel_is_its_definition(rate: int, bands: int, size: int) -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, rate // 5).astype(np.float32)
    np.testing.assert_allclose(log_mel(samples, rate, bands), slow_log_mel(samples, rate, bands, size), atol=0.01)


@pytest.mark.parametrize("bands", [4, 64, 128, 256])
def test_every_band_hears_something(bands: int) -> None:
    clicks = np.zeros(400, dtype=np.float32)
    clicks[200] = 1
    assert (log_mel(clicks, 16_000, bands) > -99).all()


def test_a_full_scale_tone_is_about_zero_decibels() -> None:
    mel = log_mel(tone(1000, loud=1.0), 16_000, 64)
    assert abs(mel.max() - 0) < 3.5
    assert (log_mel(np.zeros(4000), 16_000, 64) == -100).all()


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 32_000, 44_100, 48_000, 16_001])
def test_resampling_keeps_what_fits_and_removes_what_does_not(rate: int) -> None:
    kept = resample(tone(1000, rate=rate, loud=0.8), rate, 16_000)
    assert abs(len(kept) - 8000) <= 1
    middle = slice(1000, 7000)
    expected = tone(1000, loud=0.8)[: len(kept)]
    if rate != 16_001:
        assert np.abs(kept[middle] - expected[middle]).max() < 2e-3
    if rate > 20_000:
        gone = resample(tone(9_500, rate=rate, loud=0.8), rate, 16_000)
        assert np.abs(gone[middle]).max() < 1e-3


@given(length=st.integers(0, 3000), rate=st.sampled_from([8_000, 22_050, 44_100, 48_000, 7_919]))
@settings(max_examples=40, deadline=None)
def test_resampling_gives_the_expected_length_and_keeps_a_constant(length: int, rate: int) -> None:
    output = resample(np.ones(length, dtype=np.float32), rate, 16_000)
    assert abs(len(output) - length * 16_000 / rate) <= max(1, length / 500)
    assert np.isfinite(output).all()
    if len(output) > 1000:
        middle = output[len(output) // 2 - 10 : len(output) // 2 + 10]
        np.testing.assert_allclose(middle, 1, atol=1e-3)


def test_one_sound_in_many_formats_and_rates_is_one_encoding() -> None:
    values: list[Any] = [wav(tone(440, rate=rate), rate, kind) for rate in (16_000, 44_100) for kind in ("WAV", "FLAC")]
    stereo = np.stack([tone(440), tone(440)], axis=1)
    values += [wav(stereo), tone(440), stereo, (tone(440) * 32767).astype(np.int16)]
    encoder = fit(audio, values)
    encoded = encoder.encode(objects(values))
    assert not encoded.errors
    heard = encoder.decode(encoded.array)
    for other in heard[1:]:
        loud = heard[0] > -60
        assert np.abs(other[: len(heard[0])][loud] - heard[0][loud]).max() < 0.5
    for kind in ("OGG", "MP3"):
        assert not encoder.encode(objects([wav(tone(440), kind=kind)])).errors


def test_standardised_padded_and_in_decibels() -> None:
    sounds = [np.random.default_rng(seed).normal(0, 0.1, 8000 + 2000 * seed).astype(np.float32) for seed in range(4)]
    encoder = fit(audio, sounds, seconds=1.0)
    encoded = encoder.encode(objects(sounds))
    assert encoded.array.shape == (4, 98, 64)
    lengths = [len(log_mel(sound, 16_000, 64)) for sound in sounds]
    for row, length in enumerate(lengths):
        assert (encoded.array[row, :length] != 0).any(axis=1).all()
        assert (encoded.array[row, length:] == 0).all()
        np.testing.assert_allclose(encoder.decode(encoded.array)[row], log_mel(sounds[row], 16_000, 64), atol=0.1)
    frames = np.concatenate([encoded.array[row, :length] for row, length in enumerate(lengths)]).astype(float)
    np.testing.assert_allclose(frames.mean(axis=0), 0, atol=0.02)


def test_a_header_that_points_before_the_beginning_is_survived() -> None:
    content = audio._Content(b"abcdef")
    assert content.seek(-3) == 0
    assert content.seek(-2, 2) == 4
    assert content.seek(-9, 1) == 0
    assert content.read(2) == b"ab"


def test_of_a_long_sound_the_loudest_part_is_kept() -> None:
    long = np.concatenate([tone(300, 2, loud=0.05), tone(3000, 1, loud=0.5), tone(300, 2, loud=0.05)])
    encoder = fit(audio, [long], seconds=1.0)
    heard = encoder.decode(encoder.encode(objects([long])).array)[0]
    expected = log_mel(tone(3000, 1), 16_000, 64)
    assert (heard.argmax(axis=1) == expected.argmax(axis=1)[0]).mean() > 0.95


def test_where_the_whole_is_asked_for_longer_sounds_are_refused_not_cut() -> None:
    sounds = [wav(tone(440, 12)), *[wav(tone(440, 0.5))] * 9]
    encoder = fit(audio, sounds, long="refuse")
    assert encoder.seconds == 12
    assert not encoder.encode(objects(sounds)).errors
    many = fit(audio, [wav(tone(440, 2)), *[wav(tone(440, 0.5))] * 400], long="refuse")
    assert many.seconds == 0.5
    shorter = fit(audio, sounds, long="refuse", seconds=0.6)
    encoded = shorter.encode(objects(sounds))
    assert list(encoded.errors) == [0]
    assert "12.0 s long" in encoded.errors[0]
    assert "up to 0.6 s only" in encoded.errors[0]
    assert not shorter.encode(objects([wav(tone(440, 0.61))])).errors
    assert audio.Encoder.restore(shorter.state()) == shorter


def test_a_sound_of_which_only_the_beginning_is_read_is_no_whole_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "SEARCHED_SECONDS", 2)
    encoder = fit(audio, [wav(tone(440, 1))], long="refuse", seconds=2)
    encoded = encoder.encode(objects([wav(tone(440, 3)), wav(tone(440, 2)), tone(440, 2)]))
    assert list(encoded.errors) == [0]
    assert "3.0 s long" in encoded.errors[0]


def test_rate_and_length_follow_the_training_sounds() -> None:
    low = fit(audio, [wav(tone(440, seconds, 8_000), 8_000) for seconds in (0.5, 0.7, 1.0)])
    assert low.rate == 8_000
    assert 0.95 <= low.seconds <= 1.0
    assert fit(audio, [wav(tone(440, 0.5, 48_000), 48_000)]).rate == 16_000
    assert fit(audio, [wav(tone(440, 12))]).seconds == 10.0
    loud, quiet = (fit(audio, [tone(440)], level="equal").mel(tone(440, loud=level)) for level in (0.5, 0.05))
    np.testing.assert_allclose(loud, quiet, atol=0.1)
    for options in ({"rate": 10}, {"seconds": -1}, {"bands": 2.5}, {"level": "loud"}, {"long": "cut"}, {"second": 1}):
        with pytest.raises(InputError):
            fit(audio, [tone(440)], **options)


def test_bad_sounds_give_reasons_and_silence_none(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav(tone(440)))
    (tmp_path / "cut.ogg").write_bytes(wav(tone(440), kind="OGG")[:60])
    (tmp_path / "text.wav").write_text("no sound")
    (tmp_path / "empty.wav").write_bytes(wav(np.zeros(0)))
    encoder = fit(audio, ["a.wav"], tmp_path)
    broken, shrill = np.array([0.0, np.nan]), np.array([0.0, 3e38], dtype=np.float32)
    encoded = encoder.encode(
        objects(["cut.ogg", "text.wav", "empty.wav", "b.wav", None, broken, np.zeros(8000), shrill]), tmp_path
    )
    assert sorted(encoded.errors) == [0, 1, 2, 3, 4, 5, 7]
    assert "full scale" in encoded.errors[7]
    for row, word in enumerate(("damaged", "known format", "empty", "no file", "no sound", "finite")):
        assert word in encoded.errors[row]
    assert np.isfinite(encoded.array).all()
    np.testing.assert_array_equal(encoded.array[6], encoded.array[4])
    assert (encoded.array[6] < 0).any()


@given(where=st.floats(0, 1), byte=st.integers(0, 255), kind=st.sampled_from(["WAV", "FLAC", "OGG", "MP3", "AIFF"]))
@example(where=0.03, byte=255, kind="MP3")
@settings(max_examples=150, deadline=None)
def test_damaged_sounds_never_raise(where: float, byte: int, kind: str) -> None:
    data = bytearray(wav(tone(440, 0.2), kind=kind))
    data[int(where * min(len(data) - 1, 200))] = byte
    encoder = audio.Encoder(16_000, 0.2, 16, "keep", (0.0,) * 16, (1.0,) * 16)
    assert np.isfinite(encoder.encode(objects([bytes(data)])).array).all()


WORDS = ["the", "film", "was", "good", "bad", "long", "short", "and", "very", "not", "a", "story", "about", "people"]
WORDS += ["in", "town"]


def sentences(count: int = 300, seed: int = 0) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, random.integers(3, 12))) for _ in range(count)]


@pytest.fixture(scope="module")
def reader() -> text.Encoder:
    return fit(text, sentences(), length=64)  # type: ignore[no-any-return]


@given(st.text(alphabet=st.characters(codec="ascii", categories=["Lu", "Ll", "Nd", "Po", "Zs"]), max_size=40))
@settings(max_examples=200, deadline=None)
def test_short_texts_come_back_but_for_letter_case_and_outer_space(written: str) -> None:
    encoder = _READER
    back = encoder.decode(encoder.encode(objects([written])).array)[0]
    assert back.strip() == (text.as_text(written) or "").lower().strip()


@given(st.lists(st.text(max_size=60), max_size=5))
@settings(max_examples=100, deadline=None)
def test_any_text_has_a_token_and_padding_only_at_the_end(texts: list[str]) -> None:
    encoded = _READER.encode(objects(texts))
    assert not encoded.errors
    used = encoded.array != 0
    assert used[:, 0].all()
    assert (used[:, 1:] <= used[:, :-1]).all()
    assert encoded.array.min(initial=0) >= 0
    assert encoded.array.max(initial=0) < _READER.feature.size


_READER = fit(text, sentences(), length=64)


def test_long_texts_keep_head_and_tail(reader: text.Encoder) -> None:
    short = text.Encoder(reader.kind, 16, reader.tokenizer)
    words = sentences(1, seed=3)[0].split() * 20
    whole = text.Encoder(reader.kind, 4096, reader.tokenizer).encode(objects([" ".join(words)])).array[0]
    whole = whole[whole != 0]
    kept = short.encode(objects([" ".join(words)])).array[0]
    np.testing.assert_array_equal(kept, [*whole[:12], *whole[-4:]])


def test_huge_texts_are_cut_before_they_are_read(reader: text.Encoder) -> None:
    huge = "good " * 1_000_000 + "town"
    ids = reader.encode(objects([huge, "good", "town"])).array
    assert ids[0, 0] == ids[1, 0]
    assert ids[0, -1] == ids[2, 0]


def test_typed_and_written_numbers_are_the_same_text(reader: text.Encoder) -> None:
    rows = reader.encode(objects([3, 3.0, "3", "3.0", np.int64(3), b"3"])).array
    assert (rows == rows[0]).all()


def test_missing_text_is_one_unknown_token_and_odd_values_are_errors(reader: text.Encoder) -> None:
    encoded = reader.encode(objects([None, "", float("nan"), ["a"], {"a": 1}, b"\xff", "\ud800"]))
    assert sorted(encoded.errors) == [3, 4, 5]
    assert (encoded.array[:6, 0] == 1).all()
    assert (encoded.array[:6, 1:] == 0).all()
    assert reader.encode(objects(["<pad> <unk> <start>"])).array.min(where=[True] * 3 + [False] * 61, initial=9) > 2


def test_length_and_vocabulary_follow_the_texts() -> None:
    small = fit(text, ["good film"] * 50)
    assert small.length == 8
    assert small.feature.size <= 512
    assert fit(text, ["word " * 2900] * 20).length == 1536
    assert fit(text, sentences(), length=20).feature.shape == (20,)
    started = fit(text, sentences(), start=True)
    assert (started.encode(objects(["good", None])).array[:, 0] == 2).all()
    assert fit(text, ["Good BAD"] * 9, lowercase=False).decode(np.array([[40, 41]], dtype=np.int32)).shape == (1,)
    for options in ({"length": 0}, {"vocabulary": "many"}, {"tokenizer": "nowhere.json"}, {"lowercase": "no"}):
        with pytest.raises(InputError):
            fit(text, sentences(), **options)


def test_training_is_the_same_in_every_process() -> None:
    code = (
        "import sys, json; sys.path.insert(0, 'tests/unit'); from test_modalities_media import *;"
        "import hashlib; print(hashlib.sha256(fit(text, sentences()).tokenizer.encode()).hexdigest())"
    )
    folder = Path(__file__).parents[2]
    marks = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=folder,
            env={**os.environ, "RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": threads},
        ).stdout
        for threads in ("1", "2")
    }
    assert len(marks) == 1


def bert_like(folder: Path) -> tokenizers.Tokenizer:
    vocabulary = {word: number for number, word in enumerate(["[CLS]", "[SEP]", "[UNK]", *WORDS, "[PAD]", "[MASK]"])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.add_special_tokens(["[CLS]", "[SEP]", "[UNK]", "[PAD]", "[MASK]"])
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 1), ("[CLS]", 0))
    padding = vocabulary["[PAD]"]
    tokenizer.enable_padding(length=99, pad_id=padding, pad_token="[PAD]")
    tokenizer.enable_truncation(5)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"model_type": "bert", "max_position_embeddings": 12, "pad_token_id": padding}
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def test_a_pretrained_tokenizer_gives_its_own_ids(tmp_path: Path) -> None:
    theirs = bert_like(tmp_path)
    for given_path in (str(tmp_path), str(tmp_path / "tokenizer.json")):
        encoder = fit(text, sentences(), tokenizer=given_path)
        padding = theirs.token_to_id("[PAD]")
        assert encoder.feature.size == theirs.get_vocab_size()
        assert encoder.feature.details["padding"] == padding
        assert encoder.feature.details["mask"] == theirs.token_to_id("[MASK]")
        assert encoder.feature.details["tokenizer"] == "huggingface"
        written = ["the film was good", "strange film", "", None]
        expected = [theirs.encode(each or "").ids for each in written]
        rows = encoder.encode(objects(written)).array
        for row, ids in zip(rows, expected, strict=True):
            assert list(row) == ids + [padding] * (encoder.length - len(ids))
    ids = theirs.encode(" ".join(WORDS[:15])).ids
    long = encoder.encode(objects([" ".join(WORDS[:15])])).array[0]
    room = encoder.length - 2
    head = -(-room * 3 // 4)
    assert list(long) == [ids[0], *ids[1 : 1 + head], *ids[-1 - (room - head) : -1], ids[-1]]
    longer = fit(text, sentences(), tokenizer=str(tmp_path), length=13)
    assert longer.length == 13, "what a network has no positions for, another beside it may read"
    restored = text.Encoder.restore(json.loads(json.dumps(encoder.state())))
    np.testing.assert_array_equal(restored.encode(objects(written)).array, rows)


def test_a_broken_tokenizer_file_is_named(tmp_path: Path) -> None:
    for content in ("{", "[]", '{"model": {"type": "nothing"}}'):
        (tmp_path / "tokenizer.json").write_text(content)
        with pytest.raises(InputError) as caught:
            fit(text, sentences(), tokenizer=str(tmp_path))
        assert "tokenizer" in str(caught.value)


@pytest.mark.parametrize(
    ("values", "least", "most"),
    [
        (sentences(), 0.9, 1.0),
        (["ham", "spam"] * 50, 0.0, 0.3),
        ([f"2020-01-{day:02d} 10:00" for day in range(1, 29)], 0.0, 0.0),
        ([str(number / 7) for number in range(50)], 0.0, 0.0),
        ([f"[{number}, 2, 3]" for number in range(50)], 0.0, 0.0),
        ([f"https://example.org/page/{number}" for number in range(50)], 0.0, 0.0),
        (["今天天气很好我们去公园散步吧" + chr(0x4E00 + number) for number in range(50)], 0.9, 1.0),
    ],
)
def test_recognition_of_text(values: list[str], least: float, most: float) -> None:
    found = text.recognise(objects(values), "column")
    assert least <= (found.confidence if found else 0.0) <= most


def test_deep_pictures_are_scaled_whatever_their_bytes_order_and_transparent_grey(tmp_path: Path) -> None:
    grey = np.full((4, 4), 40_000, np.uint16)
    grey[0] = 7
    Image.fromarray(grey).save(tmp_path / "clear.png", transparency=7)
    found = image.decoded(str(tmp_path / "clear.png"), 1)[:, 0, 0]
    assert found.tolist() == [255, 156, 156, 156]
    dark = np.full((4, 4), 200, np.uint16)
    swapped = dark.astype(">u2")
    np.testing.assert_array_equal(image.decoded(swapped, 1), image.decoded(dark, 1))
    assert image.decoded(dark, 1).max() == 1
