"""Words as tensors, and embeddings of words that need no vocabulary file.

A word is known by a hash of its own and by those of its trigrams of letters;
a word that training never met lives by the trigrams it shares with others.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

# Letters and digits of any script; punctuation separates words.
WORD = re.compile(r"[^\W_]+")


def split_words(text: str) -> list[str]:
    """The words of a text, lower-cased and without punctuation.

    >>> split_words("Listen: a DOG barks, cock-a-doodle!")
    ['listen', 'a', 'dog', 'barks', 'cock', 'a', 'doodle']
    """
    return WORD.findall(unicodedata.normalize("NFKC", text).lower())


def trigrams(word: str) -> list[str]:
    """The trigrams of letters of a word, its ends marked.

    >>> trigrams("bark")
    ['#ba', 'bar', 'ark', 'rk#']
    """
    marked = f"#{word}#"
    return [marked[k : k + 3] for k in range(len(word))]


def stable_hash(text: str) -> int:
    """A number from 1 to 2**32 that is the same in every process."""
    return zlib.crc32(text.encode()) + 1


def hashed(
    texts: Sequence[str], device: str | torch.device = "cpu"
) -> tuple[Tensor, Tensor]:
    """Hashes of the words of texts and of the words' trigrams.

    (texts, words) and (texts, words, trigrams), int64, as wide as the longest
    needs; 0 where there is nothing.

    >>> words, grams = hashed(["a dog barks", "rain"])
    >>> words.shape, grams.shape
    (torch.Size([2, 3]), torch.Size([2, 3, 5]))
    """
    split = [split_words(text) for text in texts]
    width = max(map(len, split), default=0)
    depth = max((len(word) for words in split for word in words), default=0)
    words = np.zeros((len(split), width), np.int64)
    grams = np.zeros((len(split), width, depth), np.int64)
    for i, text in enumerate(split):
        for j, word in enumerate(text):
            words[i, j] = stable_hash(word)
            grams[i, j, : len(word)] = list(map(stable_hash, trigrams(word)))
    return torch.from_numpy(words).to(device), torch.from_numpy(grams).to(
        device
    )


class HashedEmbedding(nn.Module):
    """A table of embeddings whose rows belong to the hashes that came first.

    A row is found by ``hash % rows``. Its owner is noted, so that a hash that
    nobody has learnt gets zeros and not the meaning of another.

    >>> table = HashedEmbedding(rows=8, dim=4)
    >>> table.claim([3, 11, 5])  # 11 has the row of 3
    >>> vectors, known = table(torch.tensor([3, 11, 5, 0]))
    >>> known.tolist()
    [True, False, True, False]
    """

    def __init__(self, rows: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(rows, dim) * dim**-0.5)
        self.owner: Tensor
        self.register_buffer("owner", torch.zeros(rows, dtype=torch.long))

    def claim(self, hashes: Iterable[int]) -> None:
        """Give free rows to hashes (positive), the first ones first."""
        owner = self.owner.tolist()
        for number in hashes:
            row = number % len(owner)
            owner[row] = owner[row] or number
        self.owner.copy_(torch.tensor(owner))

    def forward(
        self, hashes: Tensor, dropout: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """Embeddings (..., dim) of hashes (...), and which of them are known.

        ``dropout`` is the share of the known that is taken for unknown.
        """
        rows = hashes % len(self.owner)
        known = (self.owner[rows] == hashes) & (hashes > 0)
        if dropout:
            keep = torch.rand(hashes.shape, device=hashes.device) >= dropout
            known = known & keep
        return self.weight[rows] * known.unsqueeze(-1), known


class TextTower(nn.Module):
    """Embeddings of texts: words and trigrams, attention pooling, projection.

    Words of which nothing is known are passed over.

    Arguments
    ---------
    embed_dim : int
        Length of the result.
    n_words, n_trigrams : int
        Rows of the tables.
    dim : int
        Length of a word's embedding.
    dropout : float
        In training, the share of the words that is known by trigrams alone,
        and of the trigrams that are left out: so that words that are new can
        be told by the trigrams.

    Example
    -------
    >>> tower = TextTower(embed_dim=16)
    >>> tower.learn_words(["a dog barks", "rain"])
    >>> tower(*hashed(["barking dogs", "heavy rain"])).shape
    torch.Size([2, 16])
    """

    def __init__(
        self,
        embed_dim: int,
        n_words: int = 1024,
        n_trigrams: int = 2048,
        dim: int = 96,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.words = HashedEmbedding(n_words, dim)
        self.trigrams = HashedEmbedding(n_trigrams, dim)
        self.attention = nn.Linear(dim, 1)
        self.project = nn.Linear(dim, embed_dim)
        self.dropout = dropout

    def learn_words(self, texts: Iterable[str]) -> None:
        """Give rows of the tables to words of texts, frequent ones first."""
        words = Counter(word for text in texts for word in split_words(text))
        grams: Counter = Counter()
        for word, count in words.items():
            grams.update(dict.fromkeys(trigrams(word), count))
        for table, counts in ((self.words, words), (self.trigrams, grams)):
            # Equal counts in the order of the letters, not of the texts.
            ranked = sorted(counts, key=lambda item: (-counts[item], item))
            table.claim(map(stable_hash, ranked))

    @torch.no_grad()
    def unknown(self, texts: Sequence[str]) -> list[str]:
        """Texts of which nothing is known: in another language, say.

        Those without a word that was learnt, and with less than two fifths of
        their trigrams from such words; none before any was learnt.

        >>> tower = TextTower(embed_dim=16)
        >>> tower.learn_words(["a dog barks", "rain"])
        >>> tower.unknown(["barking", "ein Hund bellt", "heavy rain"])
        ['ein Hund bellt']
        """
        if not self.words.owner.any():
            return []
        words, grams = hashed(texts, self.words.owner.device)
        known, letters = self.words(words)[1], self.trigrams(grams)[1]
        share = letters.sum((1, 2)) / (grams > 0).sum((1, 2)).clamp_min(1)
        understood = (known.any(1) | (share >= 0.4)).tolist()
        return [t for t, ok in zip(texts, understood, strict=True) if not ok]

    def forward(self, words: Tensor, grams: Tensor) -> Tensor:
        """Embed the texts of :func:`hashed`: (texts, embed_dim), any length."""
        dropout = self.dropout if self.training else 0.0
        vectors, known = self.words(words, dropout)
        letters, known_letters = self.trigrams(grams, dropout)
        count = known_letters.sum(-1, keepdim=True)
        vectors = vectors + letters.sum(-2) / count.clamp_min(1)
        known = known | (count.squeeze(-1) > 0)
        scores = self.attention(vectors).squeeze(-1)
        # Finite, so that a text of which nothing is known gives no NaN.
        scores = scores.masked_fill(~known, torch.finfo(scores.dtype).min)
        weights = scores.softmax(1) * known
        return self.project((weights.unsqueeze(-1) * vectors).sum(1))
