"""The networks of the learner `text`: numbers of tokens `(B, L)` to logits `(B, classes)`."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from metaflow_hpo.learners.networks.blocks import Dropout
from metaflow_hpo.learners.text.encoder import CHARACTERS_A_WORD, PADDING


class Bag(nn.Module):
    """The sum of the embeddings of all tokens, the rare ones heavier, n-grams of words and of characters alike.

    References:
        Joulin et al. 2017, Bag of tricks for efficient text classification, arXiv:1607.01759.
    """

    def __init__(self, weights: torch.Tensor, kinds: torch.Tensor, width: int, dropout: float, classes: int) -> None:
        super().__init__()
        self.rarity: torch.Tensor  # (V + 2, 2), one column a kind
        rarity = torch.zeros(len(weights) + 2, 2)
        rarity[torch.arange(len(weights)) + 2, kinds] = weights
        self.register_buffer("rarity", rarity, persistent=False)
        self.table = nn.Parameter(torch.empty(len(weights) + 2, width).normal_(std=0.1))
        self.dropout = Dropout(dropout)
        self.out = nn.Linear(width, classes)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        shares = functional.normalize(self.rarity[tokens], dim=1).sum(dim=2)  # each kind has length 1
        x = functional.embedding_bag(tokens, self.table, per_sample_weights=shares, mode="sum")
        logits: torch.Tensor = self.out(self.dropout(x))
        return logits


class Embedding(nn.Module):
    """Embeddings of tokens in order `(B, L, width)`, and which of them are there `(B, L)`."""

    def __init__(self, size: int, width: int, dropout: float) -> None:
        super().__init__()
        self.table = nn.Embedding(size, width, padding_idx=PADDING)
        self.dropout = Dropout(dropout)

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return embeddings and presence; the first place counts as present, so that no text is without one."""
        present = tokens != PADDING
        present[:, 0] = True
        return self.dropout(self.table(tokens)), present


class Convolutions(nn.Module):
    """Convolutions of several sizes, each with its maximum over the text.

    References:
        Kim 2014, Convolutional neural networks for sentence classification, arXiv:1408.5882.
    """

    def __init__(self, embedding: Embedding, width: int, kernels: Sequence[int], dropout: float, classes: int) -> None:
        super().__init__()
        self.embedding = embedding
        self.convolutions = nn.ModuleList(nn.Conv1d(width, width, size, padding=size // 2) for size in kernels)
        self.dropout = Dropout(dropout)
        self.out = nn.Linear(len(kernels) * width, classes)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        x, _ = self.embedding(tokens)
        x = x.transpose(1, 2)  # (B, width, L)
        found = [convolution(x).relu().amax(dim=2) for convolution in self.convolutions]
        logits: torch.Tensor = self.out(self.dropout(torch.cat(found, dim=1)))
        return logits


class Shorten(nn.Module):
    """A convolution that makes one step of several characters; passes words on as they are."""

    def __init__(self, width: int, of_characters: bool) -> None:
        super().__init__()
        step = CHARACTERS_A_WORD
        self.convolution = nn.Conv1d(width, width, 2 * step - 1, step, padding=step - 1) if of_characters else None

    def forward(self, x: torch.Tensor, present: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return fewer steps `(B, L', width)`, and which are there."""
        if self.convolution is None:
            return x, present
        shorter = self.convolution(x.transpose(1, 2)).relu().transpose(1, 2)
        return shorter, present[:, ::CHARACTERS_A_WORD]


class Recurrent(nn.Module):
    """Gated recurrent units in both directions, their mean and maximum over the text."""

    def __init__(self, embedding: Embedding, shorten: Shorten, width: int, dropout: float, classes: int) -> None:
        super().__init__()
        self.embedding, self.shorten = embedding, shorten
        self.units = nn.GRU(width, width, batch_first=True, bidirectional=True)
        self.dropout = Dropout(dropout)
        self.out = nn.Linear(4 * width, classes)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        x, present = self.shorten(*self.embedding(tokens))
        states, _ = self.units(x)
        logits: torch.Tensor = self.out(self.dropout(pool(states, present)))
        return logits


class Transformer(nn.Module):
    """Self-attention with learned places, normalised before each part; mean and maximum over the text."""

    def __init__(
        self,
        embedding: Embedding,
        shorten: Shorten,
        width: int,
        length: int,
        heads: int,
        dropout: float,
        classes: int,
    ) -> None:
        super().__init__()
        self.embedding, self.shorten = embedding, shorten
        self.places = nn.Parameter(torch.empty(length, width).normal_(std=0.1))
        self.attention = Attention(width, heads, dropout)
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(2 * width, classes)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        x, present = self.shorten(*self.embedding(tokens))
        x = x + self.places[: x.shape[1]]
        x = self.attention(x, present)
        logits: torch.Tensor = self.out(pool(self.norm(x), present))
        return logits


class Attention(nn.Module):
    """One layer of a transformer: attention, then a small network, each added to what came in.

    References:
        Vaswani et al. 2017, Attention is all you need, arXiv:1706.03762; Xiong et al. 2020, arXiv:2002.04745.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.asked = nn.Linear(width, 3 * width)
        self.answer = nn.Linear(width, width)
        self.network = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.dropout = Dropout(dropout)

    def forward(self, x: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Return `(B, L, width)`."""
        rows, length, width = x.shape
        parts = self.asked(self.before(x)).view(rows, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # (B, heads, L, width / heads) each
        seen = functional.scaled_dot_product_attention(query, key, value, attn_mask=present[:, None, None, :])
        x = x + self.dropout(self.answer(seen.transpose(1, 2).reshape(rows, length, width)))
        out: torch.Tensor = x + self.dropout(self.network(self.between(x)))
        return out


def pool(states: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Return mean and maximum of the states that are there, `(B, 2 * width)`."""
    there = present.unsqueeze(2)
    mean = (states * there).sum(dim=1) / there.sum(dim=1)
    highest = states.masked_fill(~there, -torch.inf).amax(dim=1)
    return torch.cat([mean, highest], dim=1)


def drop_tokens(tokens: torch.Tensor, share: float, instead: int, generator: torch.Generator) -> torch.Tensor:
    """Put `instead` in the place of a share of the tokens that are there."""
    drawn = torch.rand(tokens.shape, generator=generator, device=tokens.device)
    return tokens.masked_fill_((drawn < share) & (tokens != PADDING), instead)
