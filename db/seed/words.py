"""A language that nobody speaks: words of syllables, as frequent as words are (Zipf), in lengths as people write."""

import itertools
import random
from collections.abc import Sequence

COMMON = (
    *("the", "of", "and", "to", "a", "in", "is", "it", "you", "that", "he", "was", "for", "on", "are", "with", "as"),
    *("I", "his", "they", "be", "at", "one", "have", "this", "from", "or", "had", "by", "not", "but", "what", "all"),
    *("were", "we", "when", "your", "can", "there", "an", "which", "she", "do", "how", "their", "if", "will", "up"),
    *("sword", "door", "gold", "dark", "attack", "dragon", "roll", "castle", "spell", "run", "fight", "forest"),
)
"""English words that come before the made-up ones, so that search has its stop words."""
WORDS = 6000
_STARTS = (
    *("b", "br", "c", "d", "dr", "el", "f", "g", "gr", "h", "k"),
    *("l", "m", "n", "or", "p", "r", "s", "th", "v", "z"),
)
_MIDDLES = ("a", "ae", "e", "i", "ia", "o", "ou", "u")
_ENDS = ("", "d", "l", "n", "r", "rn", "s", "th", "x")
_STREAM = 1 << 18
_LENGTHS = 1 << 12
_LONGEST = 400


class Tongue:
    """Texts of one seed. A text is a piece of a long stream of words, so that it costs no dice for each word."""

    def __init__(self, dice: random.Random) -> None:
        words = vocabulary(dice)
        self._rare = words[len(COMMON) :]
        self._stream = _stream(dice, words)
        self._said, self._told = _lengths(dice, median=8), _lengths(dice, median=18)

    def said(self, dice: random.Random) -> str:
        """What a player writes: 8 words in the median."""
        return self._text(dice, self._said[dice.getrandbits(12)])

    def told(self, dice: random.Random) -> str:
        """What the game answers: 18 words in the median."""
        return self._text(dice, self._told[dice.getrandbits(12)])

    def _text(self, dice: random.Random, length: int) -> str:
        start = dice.getrandbits(18)
        text = " ".join(self._stream[start : start + length])
        return f"{text[0].upper()}{text[1:].rstrip(',.')}."

    def name(self, dice: random.Random, length: int = 1) -> str:
        """So many made-up words, each with a capital."""
        return " ".join(dice.choice(self._rare).capitalize() for _ in range(length))


def vocabulary(dice: random.Random) -> tuple[str, ...]:
    """Different words, from the most frequent to the rarest."""
    found = dict.fromkeys(COMMON)
    while len(found) < WORDS:
        syllables = dice.choice((1, 2, 2, 2, 3))
        found["".join(dice.choice(_STARTS) + dice.choice(_MIDDLES) + dice.choice(_ENDS) for _ in range(syllables))] = (
            None
        )
    return tuple(found)


def _stream(dice: random.Random, words: Sequence[str]) -> list[str]:
    ranks = itertools.accumulate(1 / (rank + 2.7) for rank in range(len(words)))  # Mandelbrot's form of Zipf's law
    drawn = dice.choices(words, cum_weights=list(ranks), k=_STREAM)
    for place in range(0, _STREAM, 9):
        drawn[place] += dice.choice((",", ",", "."))
    for place in range(1, _STREAM):
        if drawn[place - 1].endswith("."):
            drawn[place] = drawn[place].capitalize()
    return [*drawn, *drawn[:_LONGEST]]  # a piece that starts at the end


def _lengths(dice: random.Random, *, median: int) -> list[int]:
    return [min(_LONGEST, max(1, round(median * dice.lognormvariate(0, 0.8)))) for _ in range(_LENGTHS)]
