"""Sounds: a column of file names, of files' bytes, or of arrays of samples.

Encoded as log-mel spectrograms, float16 [row, time, band], each band standardised with the training
sounds' mean and standard deviation, padded with zeros at the end.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from lamina.data.schema import Json, Values
from lamina.errors import InputError, MissingDependencyError
from lamina.modalities import Chunks, Encoded, Feature, Recognition
from lamina.modalities._auto import settings, whole, within
from lamina.modalities._files import (
    Array,
    Unreadable,
    each,
    is_missing,
    objects,
    present,
    recognise_files,
    sample,
    some_of,
    source,
    spread,
)
from lamina.modalities._mel import SILENCE, frame_count, frame_sizes, log_mel, resample
from lamina.modalities._options import choice

EXTENSIONS = frozenset(
    {".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc", ".au", ".snd", ".caf", ".w64"}
)
MAGIC = (b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2", b".snd", b"caff")

DEFAULT_RATE = 16_000
RATES = (1_000, 768_000)
LONGEST_DEFAULT = 10.0
LONGEST_WHOLE = 30.0
"""Seconds that are encoded at most by default where longer sounds are refused."""
SEARCHED_SECONDS = 300
"""Of a longer file only so much is read: a small compressed file can hold hours."""
SPARE = 0.02
"""Seconds that a sound may be too long without being refused: two frames."""
HEADERS = 2000
STATISTICS = 500
LOUDEST = 1_000_000
"""Full scale is 1; floats in the range of 16-bit integers are still taken, what would overflow is not."""
LIMIT = 10.0
"""Standardised values are kept within this: a rare click must not outweigh everything else."""
DEFAULTS: dict[str, Json] = {
    "rate": "auto", "seconds": "auto", "bands": 64, "level": "keep", "missing": "error", "long": "loudest",
}  # fmt: skip


@dataclass(frozen=True)
class Header:
    """What a sound file says of itself."""

    seconds: float
    rate: int
    channels: int
    format: str


def recognise(values: Values, name: str, root: Path | None = None) -> Recognition | None:
    """Sounds by the ends of their names or their first bytes."""
    return recognise_files(values, root, EXTENSIONS, _is_content, "sound")


def describe(values: Values, root: Path | None = None) -> dict[str, Json]:
    """Duration, rates, channels and formats of at most 500 sounds, evenly spaced."""
    headers, unreadable = [], 0
    some = some_of(values, 500)
    for value in some:
        try:
            headers.append(header(value, root))
        except Unreadable:
            unreadable += 1
    return {
        "count": len(values),
        "missing": sum(is_missing(value) for value in values),
        "looked_at": len(some),
        "unreadable": unreadable,
        "seconds": spread([item.seconds for item in headers]),
        "rates": {str(rate): count for rate, count in Counter(item.rate for item in headers).most_common()},
        "channels": {str(number): count for number, count in Counter(item.channels for item in headers).most_common()},
        "formats": dict(Counter(item.format for item in headers).most_common()),
    }


def header(value: object, root: Path | None = None, rate: int = DEFAULT_RATE) -> Header:
    """Duration, rate and channels of a sound without decoding it; an array of samples is taken to have `rate`.

    Raises:
        Unreadable: it is no sound, and why.
    """
    if isinstance(value, np.ndarray):
        _mono(value)
        return Header(len(value) / rate, rate, 1 if value.ndim == 1 else value.shape[1], "array")
    with _Opened(value, root) as file:
        return Header(file.frames / file.samplerate, int(file.samplerate), int(file.channels), str(file.format))


@dataclass(frozen=True)
class Encoder:
    """float16 [row, time, band]; fitted on the training sounds.

    Options:
        rate: samples a second to which all is brought. Default: 16,000, or the highest rate of the training
            files where all are lower. Arrays of samples are taken to have this rate already.
        seconds: length of the encoding. Default: the 95th percentile of the training sounds' lengths, at most
            10; where longer sounds are refused, what at least 99.5% of them fit into, at most 30. A shorter one is
            padded.
        long: of a longer sound, "loudest" (default) keeps the loudest stretch of that length (the first, where several
            are equally loud; of a very long file its first five minutes are searched); "refuse" makes it an error
            entry, for tasks that ask for all that is in a sound.
        bands: mel bands, default 64.
        level: "keep" (default), or "equal" to bring every sound to the same root mean square.
        missing: "error" (a row without a sound gets an error entry) or "fill" (it is accepted).

    Channels are mixed to one. Silence is no error. A missing or unreadable sound is encoded as silence.
    """

    modality: ClassVar[str] = "audio"
    rate: int
    seconds: float
    bands: int
    level: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    missing: str = "error"
    long: str = "loudest"

    @property
    def frames(self) -> int:
        """Time steps of the encoding."""
        return frame_count(round(self.seconds * self.rate), self.rate)

    @property
    def feature(self) -> Feature:
        """`details`: mean and std of each band in dB, seconds from one time step to the next, samples a second."""
        details = {"mean": list(self.mean), "std": list(self.std), "step": frame_sizes(self.rate)[1] / self.rate}
        details["rate"] = self.rate
        return Feature("spectrogram", (self.frames, self.bands), "float16", details=details)

    @classmethod
    def fit(cls, chunks: Chunks, options: Mapping[str, Json], root: Path | None = None) -> Self:
        """Look at the headers of at most 2,000 training sounds and listen to at most 500."""
        chosen = settings("audio", options, DEFAULTS)
        missing = choice("audio", "missing", chosen["missing"], ("error", "fill"))
        level = choice("audio", "level", chosen["level"], ("keep", "equal"))
        long = choice("audio", "long", chosen["long"], ("loudest", "refuse"))
        bands = whole("audio", "bands", chosen["bands"], 4, 256)
        total = present(chunks)
        auto = chosen["rate"] == "auto"
        rate = DEFAULT_RATE if auto else whole("audio", "rate", chosen["rate"], *RATES)
        headers = _headers(chunks, total, root, rate)
        if auto:
            rate = min(DEFAULT_RATE, max(item.rate for item in headers))
        if chosen["seconds"] == "auto":
            lengths = [item.seconds for item in headers]
            # Between two lengths lies one that refuses the longer sound: of few sounds that is far more than 0.5%.
            usual, most = (
                (float(np.quantile(lengths, 0.995, method="higher")), LONGEST_WHOLE)
                if long == "refuse"
                else (float(np.quantile(lengths, 0.95)), LONGEST_DEFAULT)
            )
            seconds = min(most, max(0.1, float(np.ceil(usual * 100) / 100)))
        else:
            seconds = float(within("audio", "seconds", chosen["seconds"], 0.025, SEARCHED_SECONDS))
        blank = (0.0,) * bands
        draft = cls(rate, seconds, bands, level, blank, blank, missing, long)
        mean, std = draft._statistics(chunks, total, root)
        return replace(draft, mean=mean, std=std)

    def encode(self, values: Values, root: Path | None = None) -> Encoded:
        """Read, mix, resample and analyse on all cores; an unreadable sound gives an error entry."""
        array = np.zeros((len(values), self.frames, self.bands), dtype=np.float16)
        errors: dict[int, str] = {}
        mean, std = np.array(self.mean, dtype=np.float32), np.array(self.std, dtype=np.float32)

        def one(row: int) -> None:
            try:
                if not is_missing(values[row]):
                    mel = self.mel(values[row], root)
                    array[row, : len(mel)] = np.clip((mel - mean) / std, -LIMIT, LIMIT)
                    return
                if self.missing == "error":
                    errors[row] = "there is no sound (accept such rows with the field's option missing = fill)"
            except Unreadable as error:
                errors[row] = str(error)
            array[row] = np.clip((SILENCE - mean) / std, -LIMIT, LIMIT)

        each(one, len(values), group=4)
        return Encoded(array, dict(sorted(errors.items())))

    def decode(self, array: Array) -> Values:
        """The spectrograms in dB of a full-scale sine, float32 [time, band], without the padding."""
        mean, std = np.array(self.mean, dtype=np.float32), np.array(self.std, dtype=np.float32)
        lengths = (np.any(array != 0, axis=2) * np.arange(1, array.shape[1] + 1)).max(axis=1, initial=0)
        decoded = [row[:length].astype(np.float32) * std + mean for row, length in zip(array, lengths, strict=True)]
        return objects(decoded)

    def mel(self, value: object, root: Path | None = None) -> Array:
        """float32 [time, band] in dB, at most `frames` long.

        Raises:
            Unreadable: the value is no sound, and why.
        """
        samples, rate = (_mono(value), self.rate) if isinstance(value, np.ndarray) else _read(value, root)
        if not len(samples):
            raise Unreadable("the sound is empty (no samples)")
        if not np.isfinite(samples).all():
            raise Unreadable("the sound holds samples that are no finite numbers")
        if np.abs(samples).max() > LOUDEST:
            raise Unreadable(f"the sound holds samples beyond {LOUDEST:,} times full scale")
        if self.long == "refuse" and (length := _whole_length(value, root, len(samples) / rate)) > self.seconds + SPARE:
            raise Unreadable(
                f"the sound is {length:.1f} s long, and sounds are heard as a whole up to {self.seconds:g} s only: cut "
                "it at pauses"
            )
        # Cut before resampling with a little to spare: most of a long file is never analysed.
        wanted = round(self.seconds * self.rate)
        samples = resample(_loudest(samples, _kept_of(self.seconds, rate)), rate, self.rate)
        samples = samples[:wanted] if len(samples) > wanted else samples
        if self.level == "equal":
            samples = samples * (0.1 / max(1e-4, float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))))
        return log_mel(samples, self.rate, self.bands)

    def state(self) -> dict[str, Json]:
        """All of it as JSON."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def restore(cls, state: Mapping[str, Json]) -> Self:
        """The inverse of `state`."""
        return cls(**{**state, "mean": tuple(state["mean"]), "std": tuple(state["std"])})

    def _statistics(self, chunks: Chunks, total: int, root: Path | None) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and std of each band in dB over the frames of at most 500 sounds."""
        count, reason = 0, ""
        sums = np.zeros((2, self.bands))
        for values in sample(chunks, total, STATISTICS, seed=1):
            mels: list[Array | None] = [None] * len(values)
            reasons = [""] * len(values)

            def one(row: int, some: list[Any] = values, mels: Any = mels, reasons: list[str] = reasons) -> None:
                try:
                    mels[row] = self.mel(some[row], root)
                except Unreadable as error:
                    reasons[row] = str(error)

            each(one, len(values), group=4)
            # Added one by one: the same bits however the column is cut into chunks.
            for mel in mels:
                if mel is not None:
                    exact = mel.astype(np.float64)
                    sums += np.stack([exact.sum(axis=0), np.square(exact).sum(axis=0)])
                    count += len(mel)
            reason = reason or next((text for text in reasons if text), "")
        if not count:
            raise InputError(
                f"None of the sounds looked at can be read; the first: {reason}.",
                fix="check that the files are whole sounds in WAV, FLAC, OGG or MP3",
            )
        mean = sums[0] / count
        std = np.sqrt(np.maximum(sums[1] / count - mean**2, 0))
        # A band that hardly changes is the recorder's floor; it is not stretched.
        return tuple(mean.tolist()), tuple(np.maximum(std, 1.0).tolist())


def _headers(chunks: Chunks, total: int, root: Path | None, rate: int) -> list[Header]:
    headers: list[Header] = []
    reason = ""
    for values in sample(chunks, total, HEADERS):
        for value in values:
            try:
                headers.append(header(value, root, rate))
            except Unreadable as error:
                reason = reason or str(error)
    if not headers:
        raise InputError(
            f"None of the sounds looked at can be read; the first: {reason}.",
            where=f"root folder {root}" if root else None,
            fix="check that the file names are relative to the table's folder; WAV, FLAC, OGG and MP3 are read",
        )
    return headers


class _Content(io.BytesIO):
    """A file's bytes; a damaged header may ask for a place before their beginning."""

    def seek(self, offset: int, whence: int = 0) -> int:
        start = (0, self.tell(), self.getbuffer().nbytes)[whence]
        return super().seek(max(0, start + offset))


class _Opened:
    """A sound file open for reading; what the library raises becomes Unreadable."""

    def __init__(self, value: object, root: Path | None) -> None:
        self._source = source(value, root)
        self._file: Any = None

    def __enter__(self) -> Any:
        library = _library()
        opened = _Content(self._source) if isinstance(self._source, bytes) else self._source
        try:
            self._file = library.SoundFile(opened)
        except _reading_errors() as error:
            raise Unreadable(f"not a sound in a known format, or damaged: {_reason(error)}") from error
        if not RATES[0] <= self._file.samplerate <= RATES[1]:
            self._file.close()
            raise Unreadable(f"the file claims {self._file.samplerate} samples a second")
        return self._file

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._file.close()


def _read(value: object, root: Path | None) -> tuple[Array, int]:
    """float32 [sample], channels mixed, and their rate; at most the first five minutes."""
    with _Opened(value, root) as file:
        rate = int(file.samplerate)
        parts: list[Array] = []
        left = SEARCHED_SECONDS * rate
        try:
            # In blocks, because a damaged header can claim any length.
            while left > 0 and len(block := file.read(min(left, 1 << 18), dtype="float32", always_2d=True)):
                parts.append(_mixed(block))
                left -= len(block)
        except _reading_errors() as error:
            raise Unreadable(f"the sound cannot be decoded: {_reason(error)}") from error
        return (np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)), rate


def _whole_length(value: object, root: Path | None, read: float) -> float:
    """Seconds of a sound of which so many were read: of a longer file, which was read in part, what its header says."""
    partly = read >= SEARCHED_SECONDS and not isinstance(value, np.ndarray)
    return max(read, header(value, root).seconds) if partly else read


def _mono(array: Array) -> Array:
    """float32 [sample] from [sample] or [sample, channel]; integers are scaled by their type's range."""
    if array.ndim not in (1, 2) or array.dtype.kind not in "iuf" or (array.ndim == 2 and array.shape[1] > 64):
        raise Unreadable(
            f"an array of {array.dtype.name} of shape {array.shape} is no sound: [sample] or [sample, channel]"
        )
    if array.ndim == 2 and not array.shape[1]:
        raise Unreadable("the sound has no channels")
    if array.dtype.kind == "f":
        samples = array.astype(np.float32)
    else:
        bits = np.iinfo(array.dtype).bits
        middle = 1.0 if array.dtype.kind == "u" else 0.0
        samples = (array.astype(np.float64) / 2.0 ** (bits - 1) - middle).astype(np.float32)
    return samples if samples.ndim == 1 else _mixed(samples)


def _mixed(samples: Array) -> Array:
    """float32 [sample], the mean of the channels; as a product, ten times as fast as `mean` over two channels."""
    channels = samples.shape[1]
    return samples[:, 0] if channels == 1 else samples @ np.full(channels, 1 / channels, dtype=np.float32)


def heard_from(value: object, seconds: float, rate: int, root: Path | None = None) -> float:
    """At which second of a sound the stretch begins that an encoder of so many seconds keeps ("loudest").

    Args:
        rate: of samples that are given as an array.

    Raises:
        Unreadable: it is no sound, and why.
    """
    samples, own = (_mono(value), rate) if isinstance(value, np.ndarray) else _read(value, root)
    return _begin_of_loudest(samples, _kept_of(seconds, own)) / own


def _kept_of(seconds: float, rate: int) -> int:
    """Samples of a longer sound that are analysed: a little to spare, for resampling."""
    return int(seconds * rate) + rate // 10


def _loudest(samples: Array, length: int) -> Array:
    """The stretch of `length` samples with the most energy; the first of equals."""
    start = _begin_of_loudest(samples, length)
    return samples[start : start + length]


def _begin_of_loudest(samples: Array, length: int) -> int:
    if len(samples) <= length:
        return 0
    energy = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
    step = max(1, length // 100)
    starts = np.arange(0, len(samples) - length + 1, step)
    return int(starts[np.argmax(energy[starts + length] - energy[starts])])


def _is_content(start: bytes) -> bool:
    known = (start[:4] == b"RIFF" and start[8:12] == b"WAVE") or (start[:4] == b"FORM" and start[8:11] == b"AIF")
    return known or start.startswith(MAGIC)


def _library() -> Any:
    try:
        import soundfile
    except (ImportError, OSError) as error:
        raise MissingDependencyError("soundfile", "Reading sounds", "sound") from error
    return soundfile


@cache
def _reading_errors() -> tuple[type[Exception], ...]:
    return (_library().SoundFileError, OSError, ValueError, TypeError, RuntimeError, MemoryError)


def _reason(error: Exception) -> str:
    return str(getattr(error, "error_string", "") or error or type(error).__name__)
