"""The model's tokens: byte-level BPE over the vocabulary, then Whisper's English-only special tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from vocabulary import WORDS

SPECIAL_TOKENS = (
    "<|endoftext|>", "<|startoftranscript|>", "<|translate|>", "<|transcribe|>",
    "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>",
)  # fmt: skip
TIME_STEP = 0.02
TIMESTAMPS = 1501


def build_tokenizer() -> Tokenizer:
    """Build the byte-level BPE in which every word of the vocabulary is one token.

    Returns:
        The tokenizer, special tokens last.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1000,
        min_frequency=1,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([f" {word}" for word in WORDS], trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL_TOKENS])
    return tokenizer


@dataclass
class Tokens:
    """The numbers of the tokens."""

    tokenizer: Tokenizer = field(default_factory=build_tokenizer)
    end: int = field(init=False)
    start: int = field(init=False)
    previous: int = field(init=False)
    no_speech: int = field(init=False)
    no_timestamps: int = field(init=False)
    first_time: int = field(init=False)
    size: int = field(init=False)
    blank_text: int = field(init=False)
    word: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        """Look every number up once."""
        number = self._number
        self.end, self.start = number("<|endoftext|>"), number("<|startoftranscript|>")
        self.previous, self.no_speech = number("<|startofprev|>"), number("<|nospeech|>")
        self.no_timestamps = number("<|notimestamps|>")
        self.first_time = self.no_timestamps + 1
        self.size = self.first_time + TIMESTAMPS
        self.blank_text = self.tokenizer.encode("\n").ids[0]
        self.word = {}
        for word in WORDS:
            ids = self.tokenizer.encode(f" {word}").ids
            if len(ids) != 1:
                raise ValueError(f"the word {word!r} takes {len(ids)} tokens, expected 1")
            self.word[word] = ids[0]

    def _number(self, token: str) -> int:
        number = self.tokenizer.token_to_id(token)
        if number is None:
            raise ValueError(f"the tokenizer lacks {token}, expected every special token")
        return number

    def time(self, seconds: float) -> int:
        """Give the timestamp token nearest to a time within the window."""
        return self.first_time + min(max(round(seconds / TIME_STEP), 0), TIMESTAMPS - 1)

    def text(self, words: Sequence[str]) -> list[int]:
        """Give the tokens of words of the vocabulary."""
        return [self.word[word] for word in words]

    def vocabulary(self) -> list[str]:
        """List every token's text in the order of their numbers, timestamps included."""
        named = sorted(self.tokenizer.get_vocab().items(), key=lambda item: item[1])
        return [name for name, _ in named] + [f"<|{TIME_STEP * i:.2f}|>" for i in range(TIMESTAMPS)]
