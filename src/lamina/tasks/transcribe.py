"""What was said? A text for a sound, by connectionist temporal classification (Graves et al. 2006)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from lamina.data.examples import blocks
from lamina.data.schema import Field, Json, Values
from lamina.errors import InputError
from lamina.modalities import Chunks, Encoded, Encoder, Feature, Recognition
from lamina.modalities._canonical import object_array
from lamina.modalities._files import Unreadable
from lamina.modalities._mel import frame_count
from lamina.modalities.audio import DEFAULT_RATE, header
from lamina.tasks import Layout, Score, Sight
from lamina.tasks._agreement import Agreement
from lamina.tasks._calibrate import FEWEST
from lamina.tasks._ctc import BLANK, PADDING, Weights, align, lengths, needed
from lamina.tasks._edits import edit_distances, marked
from lamina.tasks._language import best_weights, texts_of
from lamina.tasks._ngrams import Ngrams
from lamina.tasks._options import check_names, choice
from lamina.tasks._scores import Scorer, mean_of, plain, ratio_of, together
from lamina.tasks._transcripts import as_symbols, as_texts, normalised

if TYPE_CHECKING:
    from torch import Tensor

Array = np.ndarray[Any, Any]

SCORES = ("word_error", "character_error", "exact_match")
READS = ("audio",)
"""Modalities of the inputs that this task reads."""
INPUTS: Mapping[str, Mapping[str, Json]] = {"audio": {"long": "refuse"}}
"""What it asks of their encoders: a part of a sound has a part of its text."""
STRIDE = 4
ORDER = 5
WIDTH = 12
TIE = 1e-4
"""Two networks whose chances of every symbol are so near may still be decoded to different texts."""
MOST_CHARACTERS = 10_000
MOST_BYTES = 20_000_000
"""Of a file of texts: counting them takes some seconds for every million."""
SIGHTS = 8
"""Sounds that the report plays besides the worst answers."""
SHOWN_CHARACTERS = 80


def suits(field: Field, description: Mapping[str, Json]) -> Recognition | None:
    """Never by itself: a column of texts beside sounds may hold anything; it is asked for by name."""
    return None


@dataclass(frozen=True)
class Task:
    """A text of `characters`; outputs are log-chances of the blank and each character, flat [row, step * symbol].

    Attributes:
        name: the target's column.
        characters: of the training texts, sorted; symbol 1 is the first, 0 the blank.
        steps: of the network's answer.
        seconds: from one step to the next.
        field: the input that is listened to.
        frames: of that input's encoding in one step.
        rate: samples a second of that input.
        rows: training texts that are not empty.
        case, punctuation: what `normalised` does to texts.
        primary: the score to report and to stop on.
        beam: beginnings of texts that the search keeps; 1 takes the most likely path.
        ngrams: of the training texts, and of more where a file of them was given; or None.
        weights: of the language model, from the validation part; None where the most likely path is as good.
        lines: of the file of texts, those that are among the n-grams, and those left out for their characters.
    """

    task: ClassVar[str] = "transcribe"

    name: str
    characters: str
    steps: int
    seconds: float
    field: str
    frames: int
    rate: int
    rows: int
    case: str = "lower"
    punctuation: str = "drop"
    primary: str = SCORES[0]
    beam: int = WIDTH
    ngrams: Ngrams | None = None
    weights: Weights | None = None
    lines: tuple[int, int] = (0, 0)

    @property
    def layout(self) -> Layout:
        """Log-chances of every symbol at every step."""
        return Layout("steps", (self.steps, len(self.characters) + 1))

    @property
    def width(self) -> int:
        return self.steps * (len(self.characters) + 1)

    @classmethod
    def fit(
        cls,
        field: Field,
        chunks: Chunks,
        options: Mapping[str, Json],
        inputs: Mapping[str, Encoder],
        root: Path | None = None,
    ) -> Self:
        """Learn the characters and their n-grams.

        Options: "case" ("lower" or "keep"), "punctuation" ("drop" or "keep"), "primary" (a score's name), "stride"
        (frames of the sound in a step of the answer, 4), "language" (characters of the language model's n-grams, 5; 0
        for none), "text" (a file of lines that the n-grams are of as well) and "beam" (beginnings of texts that the
        search keeps, 12; 1 for none but the most likely path).

        Raises:
            InputError: no sound to listen to, no text, numbers in place of texts, or a wrong option.
        """
        check_names(options, ("case", "punctuation", "primary", "stride", "language", "beam", "text"), field.name)
        case = choice(options, "case", ("lower", "keep"), "lower", field.name)
        punctuation = choice(options, "punctuation", ("drop", "keep"), "drop", field.name)
        primary = choice(options, "primary", SCORES, SCORES[0], field.name)
        stride = _whole(options, "stride", STRIDE, 1, 64, field.name)
        order = _whole(options, "language", ORDER, 0, 8, field.name)
        beam = _whole(options, "beam", WIDTH, 1, 1000, field.name)
        if field.modality == "number":
            raise InputError(
                f"The target {field.name!r} holds numbers only, which are no transcripts.",
                where=f"column {field.name}",
                fix=f"Predict numbers with --task regress. If they are what was said, digit by digit, say so with "
                f"--set schema.{field.name}.modality=text",
            )
        name, feature = _listened_to(field.name, inputs)
        texts = [
            text for values in chunks() for value in values if (text := normalised(value, case, punctuation))
        ]  # fmt: skip
        if not texts:
            raise InputError(
                f"None of the training rows has a text in {field.name!r} (after punctuation is dropped).",
                where=f"column {field.name}",
                fix="Choose another column with --target, or keep punctuation with --set "
                f"task.{field.name}.punctuation=keep",
            )
        characters = "".join(sorted(set("".join(texts))))
        if len(characters) > MOST_CHARACTERS:
            raise InputError(
                f"The texts of {field.name!r} hold {len(characters):,} different characters, over {MOST_CHARACTERS:,}.",
                where=f"column {field.name}",
                fix="Check that the column holds what is said; every character is a class at every step.",
            )
        uses = order > 0 and beam > 1
        more, left = list[str](), 0
        if "text" in options:
            more, left = _lines(options["text"], characters, case, punctuation, field.name, uses)
        ngrams = Ngrams.fit([*texts, *more], characters, order) if uses else None
        steps = -(-feature.shape[0] // stride)
        seconds = float(feature.details.get("step", 0.01)) * stride
        rate = int(getattr(inputs[name], "rate", DEFAULT_RATE))
        return cls(
            field.name, characters, steps, seconds, name, stride, rate, len(texts), case, punctuation, primary, beam,
            ngrams, lines=(len(more), left),
        )  # fmt: skip

    def normalised(self, values: Values) -> list[str]:
        """Texts as they are learned and scored; "" where there is none."""
        return [normalised(value, self.case, self.punctuation) for value in values]

    def encode(self, values: Values, root: Path | None = None, inputs: Mapping[str, Values] | None = None) -> Encoded:
        """int32 [row, step]: symbols, -1 after the end; an error where there is no text, or one too long for its sound.

        Args:
            inputs: the raw sounds, by field; without them every text only has to fit into the longest.
        """
        texts = self.normalised(values)
        sounds = None if inputs is None else inputs.get(self.field)
        errors = {}
        for row, text in enumerate(texts):
            least = needed([ord(character) for character in text])
            steps = self.steps if sounds is None else self._steps_of(sounds[row], root)
            if not text:
                errors[row] = "there is no text"
            elif least > steps:
                errors[row] = (
                    f"the text is longer than its sound: it needs {least} steps of {self.seconds * 1000:.0f} ms, and "
                    f"there are {steps}"
                )
        return Encoded(as_symbols(texts, self.characters, self.steps), errors)

    def _steps_of(self, sound: object, root: Path | None) -> int:
        """The steps of a sound by its header; of one that cannot be read, which is an error of its own, all of them."""
        try:
            samples = round(header(sound, root, self.rate).seconds * self.rate)
        except Unreadable:
            return self.steps
        return min(self.steps, -(-frame_count(samples, self.rate) // self.frames))

    def unknown(self, target: Array) -> int:
        """How many characters of encoded texts are in no training text: they can only be answered wrongly."""
        return int((target == len(self.characters) + 1).sum())

    def loss(self, output: Tensor, target: Tensor, options: Mapping[str, Json]) -> Tensor:
        """Minus the log-chance of the text over all its paths, for each of its symbols: [row]."""
        import torch
        from torch.nn.functional import ctc_loss

        chances = output.float().mean(dim=1).reshape(-1, *self.layout.shape)
        symbols = target.long()
        count = (symbols >= 0).sum(dim=1)
        repeats = ((symbols[:, 1:] == symbols[:, :-1]) & (symbols[:, 1:] >= 0)).sum(dim=1)
        place = torch.arange(1, self.steps + 1, device=output.device)
        heard = ((chances[:, :, 1] != PADDING) * place).amax(dim=1)
        # Sounds that augmentation made too short for their texts go on into the padding, where every symbol costs
        # much: their loss is high but finite.
        steps = heard.maximum(count + repeats).clamp(1, self.steps)
        longest = int(steps.max())
        lost = ctc_loss(
            chances[:, :longest].transpose(0, 1), symbols[:, : max(1, int(count.max()))].clamp_min(BLANK), steps, count,
            blank=BLANK, reduction="none", zero_infinity=False,
        )  # fmt: skip
        return lost / count.clamp_min(1)

    def combine(self, output: Tensor) -> Tensor:
        """[row, member, width] to [row, width]: there is one member."""
        return output.float().mean(dim=1)

    def calibrated(self, output: Array, target: Array) -> Self:
        """With the weights of the language model that make the fewest word errors on validation rows, if any helps."""
        if self.beam == 1 or len(target) < FEWEST:
            return self.uncalibrated()
        truths = self.truths(target)
        weights = best_weights(self._shaped(output), truths.tolist(), self.characters, self.beam, self.ngrams)
        return replace(self, weights=weights)

    def uncalibrated(self) -> Self:
        """Without what `calibrated` learned: the most likely path."""
        return replace(self, weights=None)

    def _shaped(self, output: Array) -> Array:
        return np.asarray(output).reshape(-1, *self.layout.shape)

    @cached_property
    def _remembered(self) -> list[Any]:
        """The last outputs and their texts: the fifth step asks for those of the test rows again and again."""
        return [None, None]

    def answers(self, output: Array) -> Values:
        """object [row] of str: the texts."""
        last = self._remembered
        if last[0] is not output:
            last[:] = output, texts_of(self._shaped(output), self.characters, self.beam, self.ngrams, self.weights)
        return np.asarray(last[1])

    def truths(self, target: Array) -> Values:
        """object [row] of str: encoded texts as texts."""
        return as_texts(target.tolist(), self.characters)

    def decode(self, output: Array) -> dict[str, Values]:
        """{"": texts, ".times": a JSON list of the words with the seconds at which they begin and end}."""
        texts = self.answers(output)
        times = (
            json.dumps(self._times(row, text), ensure_ascii=False)
            for row, text in zip(self._shaped(output), texts, strict=True)
        )
        return {"": texts, ".times": object_array(times)}

    def _times(self, chances: Array, text: str) -> list[dict[str, Json]]:
        """[{"word", "start", "end"}, ...] from the most likely alignment."""
        symbols = [self.characters.index(character) + 1 for character in text]
        heard = max(int(lengths(chances[None])[0]), needed(symbols))
        places = align(chances[:heard], symbols)
        found: list[dict[str, Json]] = []
        start = 0
        for word in text.split(" ") if text else ():
            # Punctuation that is kept may leave a text that begins with a space.
            if word:
                first, last = places[start][0], places[start + len(word) - 1][1]
                found.append(
                    {"word": word, "start": round(first * self.seconds, 3), "end": round(last * self.seconds, 3)}
                )
            start += len(word) + 1
        return found

    def right(self, output: Array, target: Array) -> Array:
        """bool [row]: is the text without any error?"""
        return np.asarray(self.truths(target) == self.answers(output), dtype=bool)

    def scorer(self, output: Array, target: Array, only: str = "") -> Scorer:
        """The scores, or `only` one, as a function of how often each row counts; the primary one comes first.

        Error rates are those of the corpus: all edits by all words (characters) of the truth.
        """
        answers, truths = self.answers(output).tolist(), self.truths(target).tolist()
        words, said = [text.split() for text in truths], [text.split() for text in answers]
        scores = {
            "word_error": ratio_of(edit_distances(words, said), np.array([len(row) for row in words])),
            "character_error": ratio_of(edit_distances(truths, answers), np.array([len(row) for row in truths])),
            "exact_match": mean_of(self.right(output, target)),
        }
        return together(scores, self.primary, only)

    def scores(self, output: Array, target: Array) -> dict[str, Score]:
        """Word and character error rate (lower is better), share of texts without any error."""
        values = plain(self.scorer(output, target), len(target))
        return {name: Score(value, name == "exact_match") for name, value in values.items()}

    def row_losses(self, output: Array, target: Array) -> Array:
        """Characters to be changed, by those of the truth, [row]."""
        truths = self.truths(target).tolist()
        length = np.array([max(1, len(text)) for text in truths])
        return np.asarray(edit_distances(truths, self.answers(output).tolist()) / length)

    def described(self, output: Array, target: Array) -> tuple[str, str]:
        """(What was said, what was understood) of one row."""
        return str(self.truths(target[None])[0]), str(self.answers(output[None])[0])

    def stated(self) -> tuple[str, ...]:
        """How texts are read, and what of."""
        letters = self.characters.replace(" ", "")
        shown = letters if len(letters) <= SHOWN_CHARACTERS else letters[:SHOWN_CHARACTERS] + " ..."
        case = "as they are written" if self.case == "keep" else "in lower case"
        marks = "with punctuation" if self.punctuation == "keep" else "without punctuation"
        used, left = self.lines
        more = (
            f"{self.name}: n-grams also of {used:,} lines of text; {left:,} hold characters that no training text has"
        )
        return (
            *([more] if used else []),
            f"{self.name}: texts {case}, {marks}, digits as they are written; {len(letters)} characters: {shown}",
            f"{self.name}: one step every {self.seconds * 1000:.0f} ms, sounds up to {self.steps * self.seconds:.1f} s",
        )

    def sights(self, output: Array, target: Array, inputs: Callable[[Array], Mapping[str, Array]]) -> tuple[Sight, ...]:
        """Some test sounds, evenly spaced, with what was said and what was understood."""
        chosen = np.unique(np.linspace(0, len(target) - 1, min(SIGHTS, len(target))).round().astype(np.int64))
        truths, answers = self.truths(target), self.answers(output)
        found = [
            Sight(
                f"Sound {number}",
                lines=(f"Said: {truths[row]}", f"Understood: {marked(truths[row], answers[row])}"),
                rows=(int(row),),
            )
            for number, row in enumerate(chosen, 1)
        ]
        if strange := self.unknown(target):
            text = f"{strange} characters of the test texts are in no training text; each counts as an error."
            found.append(Sight("Characters never met", text))
        return tuple(found)

    def agreement(self, before: Array, after: Array) -> Agreement:
        """By chances of symbols; another text is a tie where no chance differs by more than rounding brings."""
        if not len(before):
            return Agreement(np.zeros(0, dtype=bool), 0, 0.0, 0)
        difference = np.concatenate(
            [np.abs(np.exp(before[part]) - np.exp(after[part])).max(axis=1) for part in blocks(before)]
        )
        same = np.asarray(self.answers(before) == self.answers(after), dtype=bool)
        worst = int(np.argmax(difference))
        return Agreement(same, int((~same & (difference <= TIE)).sum()), float(difference[worst]), worst)

    def state(self) -> dict[str, Json]:
        ngrams, weights = self.ngrams, self.weights
        return {
            **{item: getattr(self, item) for item in _PLAIN},
            "ngrams": None if ngrams is None else ngrams.state(),
            "weights": None if weights is None else [weights.language, weights.symbol],
            "lines": list(self.lines),
        }

    @classmethod
    def restore(cls, state: Mapping[str, Json]) -> Self:
        ngrams, weights, lines = state["ngrams"], state["weights"], state.get("lines", (0, 0))
        return cls(
            **{item: state[item] for item in _PLAIN},
            ngrams=None if ngrams is None else Ngrams.restore(ngrams),
            weights=None if weights is None else Weights(*map(float, weights)),
            # Older files have none.
            lines=(int(lines[0]), int(lines[1])),
        )


_PLAIN = (
    "name", "characters", "steps", "seconds", "field", "frames", "rate", "rows", "case", "punctuation", "primary",
    "beam",
)  # fmt: skip


def _listened_to(target: str, inputs: Mapping[str, Encoder]) -> tuple[str, Feature]:
    """The one input that is a sound."""
    sounds = {name: encoder.feature for name, encoder in inputs.items() if encoder.feature.kind == "spectrogram"}
    if len(sounds) != 1:
        what = "there is none" if not sounds else f"there are {len(sounds)}: {', '.join(sounds)}"
        raise InputError(
            f"The target {target!r} is what is said in a sound, and {what} among the inputs.",
            where="--task transcribe",
            fix="Name the column of sounds with --set schema.COLUMN.modality=audio"
            if not sounds
            else "Leave out all but one: --set schema.COLUMN.role=ignore",
        )
    return next(iter(sounds.items()))


def _lines(given: Json, characters: str, case: str, punctuation: str, target: str, uses: bool) -> tuple[list[str], int]:
    """The lines of a file of texts that hold nothing but known characters, normalised, and how many others there are.

    Raises:
        InputError: it is no file of texts, is too large, has no such line, or there is no language model.
    """
    # The sealed model reads no such file.
    from lamina.data.texts import content, decoded

    where = f"task.{target}.options.text"
    if not isinstance(given, str) or not given:
        raise InputError(f"Option 'text' of target {target!r} is {given!r}.", where=where, fix="Name a file of texts.")
    if not uses:
        raise InputError(
            "A file of texts is for the language model, and there is none.",
            where=where,
            fix="Leave out task.language=0 and task.beam=1, or task.text.",
        )
    file = Path(given).expanduser()
    raw = content(file)
    if len(raw) > MOST_BYTES:
        raise InputError(
            f"{file} has {len(raw):,} bytes.", where=where, fix=f"Give at most {MOST_BYTES:,}: what is said most."
        )
    known = set(characters)
    texts = [text for line in decoded(raw, file).splitlines() if (text := normalised(line, case, punctuation))]
    kept = [text for text in texts if set(text) <= known]
    if not kept:
        raise InputError(
            f"No line of {file} consists of characters of the training texts.",
            where=where,
            fix="Give a file in UTF-8 with one text a line, in the language of the transcripts.",
        )
    return kept, len(texts) - len(kept)


def _whole(options: Mapping[str, Json], name: str, default: int, least: int, most: int, target: str) -> int:
    value = options.get(name, default)
    if type(value) is not int or not least <= value <= most:
        raise InputError(
            f"Option {name!r} of target {target!r} is {value!r}.",
            where=f"task.{target}.options.{name}",
            fix=f"Give a whole number from {least} to {most}.",
        )
    return value
