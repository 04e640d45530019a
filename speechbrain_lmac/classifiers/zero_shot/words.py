"""Words as tensors, and embeddings of words that need no vocabulary file.

A word is known by a hash of its own and by those of its trigrams of letters;
a word that training never met lives by the trigrams it shares with others.

Authors
 * The speechbrain_lmac authors 2026
"""

import re
import unicodedata
import zlib
from collections import Counter

import torch
from torch import nn

# Letters and digits of any script; punctuation separates words.
WORD = re.compile(r"[^\W_]+")


def split_words(text):
    """The words of a text, lower-cased and without punctuation.

    Arguments
    ---------
    text : str
        Any text.

    Returns
    -------
    list of str

    Example
    -------
    >>> split_words("Listen: a DOG barks, cock-a-doodle!")
    ['listen', 'a', 'dog', 'barks', 'cock', 'a', 'doodle']
    """
    return WORD.findall(unicodedata.normalize("NFKC", text).lower())


def trigrams(word):
    """The trigrams of letters of a word, its ends marked.

    Arguments
    ---------
    word : str
        From :func:`split_words`.

    Returns
    -------
    list of str
        As many as the word has letters.

    Example
    -------
    >>> trigrams("bark")
    ['#ba', 'bar', 'ark', 'rk#']
    """
    marked = f"#{word}#"
    return [marked[k : k + 3] for k in range(len(word))]


def stable_hash(text):
    """A number from 1 to 2**32 that is the same in every process.

    Example
    -------
    >>> stable_hash("dog")
    2167159166
    """
    return zlib.crc32(text.encode()) + 1


def hashed(texts, device="cpu"):
    """Hashes of the words of texts and of the words' trigrams.

    Arguments
    ---------
    texts : sequence of str
        The texts.
    device : str or torch.device
        Where the result goes.

    Returns
    -------
    tuple of torch.Tensor
        (texts, words) and (texts, words, trigrams), int64, as wide as the
        longest needs; 0 where there is nothing.

    Example
    -------
    >>> words, grams = hashed(["a dog barks", "rain"])
    >>> words.shape, grams.shape
    (torch.Size([2, 3]), torch.Size([2, 3, 5]))
    """
    split = [split_words(text) for text in texts]
    grams = [[trigrams(word) for word in words] for words in split]
    width = max(map(len, split), default=0)
    depth = max((len(g) for words in grams for g in words), default=0)

    def row(items, length):
        return [stable_hash(item) for item in items] + [0] * (
            length - len(items)
        )

    nothing = [0] * depth
    words = [row(words, width) for words in split]
    letters = [
        [row(g, depth) for g in words] + [nothing] * (width - len(words))
        for words in grams
    ]
    size = len(split)
    return (
        torch.tensor(words, dtype=torch.long, device=device).view(size, width),
        torch.tensor(letters, dtype=torch.long, device=device).view(
            size, width, depth
        ),
    )


class HashedEmbedding(nn.Module):
    """A table of embeddings whose rows belong to the hashes that came first.

    A row is found by ``hash % rows``. Its owner is noted, so that a hash that
    nobody has learnt gets zeros and not the meaning of another.

    Arguments
    ---------
    rows : int
        Length of the table.
    dim : int
        Length of an embedding.

    Example
    -------
    >>> table = HashedEmbedding(8, 4)
    >>> table.claim([3, 11, 5])  # 11 has the row of 3
    >>> vectors, known = table(torch.tensor([3, 11, 5, 0]))
    >>> known.tolist()
    [True, False, True, False]
    """

    def __init__(self, rows, dim):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(rows, dim) * dim**-0.5)
        self.register_buffer("owner", torch.zeros(rows, dtype=torch.long))

    def claim(self, hashes):
        """Give free rows to hashes, the first ones first.

        Arguments
        ---------
        hashes : iterable of int
            Positive.
        """
        owner = self.owner.tolist()
        for number in hashes:
            row = number % len(owner)
            owner[row] = owner[row] or number
        self.owner.copy_(torch.tensor(owner))

    def forward(self, hashes, dropout=0.0):
        """Embeddings of hashes, and which of them are known.

        Arguments
        ---------
        hashes : torch.Tensor
            int64, any shape; 0 is nothing.
        dropout : float
            Share of the known that is taken for unknown.

        Returns
        -------
        tuple of torch.Tensor
            (..., dim), zeros where unknown, and booleans (...).
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
        self, embed_dim, n_words=1024, n_trigrams=2048, dim=96, dropout=0.3
    ):
        super().__init__()
        self.words = HashedEmbedding(n_words, dim)
        self.trigrams = HashedEmbedding(n_trigrams, dim)
        self.attention = nn.Linear(dim, 1)
        self.project = nn.Linear(dim, embed_dim)
        self.dropout = dropout

    def learn_words(self, texts):
        """Give rows of the tables to the words of texts, frequent ones first.

        Arguments
        ---------
        texts : iterable of str
            The training texts.
        """
        words = Counter(word for text in texts for word in split_words(text))
        grams = Counter()
        for word, count in words.items():
            grams.update(dict.fromkeys(trigrams(word), count))
        for table, found in ((self.words, words), (self.trigrams, grams)):
            # Equal counts in the order of the letters, not of the texts.
            ranked = sorted(found, key=lambda item: (-found[item], item))
            table.claim(map(stable_hash, ranked))

    def strange(self, texts):
        """Texts of which nothing is known: in another language, say.

        Arguments
        ---------
        texts : sequence of str
            The texts.

        Returns
        -------
        list of str
            Those without a word that was learnt, and with less than two fifths
            of their trigrams from such words; none before any was learnt.

        Example
        -------
        >>> tower = TextTower(embed_dim=16)
        >>> tower.learn_words(["a dog barks", "rain"])
        >>> tower.strange(["barking", "ein Hund bellt", "heavy rain"])
        ['ein Hund bellt']
        """
        if not self.words.owner.any():
            return []
        words, grams = hashed(texts, self.words.owner.device)
        with torch.no_grad():
            known = self.words(words)[1]
            letters = self.trigrams(grams)[1]
        share = letters.sum((1, 2)) / (grams > 0).sum((1, 2)).clamp_min(1)
        understood = (known.any(1) | (share >= 0.4)).tolist()
        return [t for t, ok in zip(texts, understood, strict=True) if not ok]

    def forward(self, words, grams):
        """Embed the texts of :func:`hashed`.

        Arguments
        ---------
        words, grams : torch.Tensor
            Hashes, (texts, words) and (texts, words, trigrams).

        Returns
        -------
        torch.Tensor
            Shape (texts, embed_dim), not normalised.
        """
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
