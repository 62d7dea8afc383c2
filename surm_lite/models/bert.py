"""A small BERT with transformers' parameter names, so that its checkpoints load by `load_state_dict`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from surm_lite.data.arguments import check_count


@dataclass(frozen=True)
class BertConfig:
    """The shape of a `Bert`.

    Args:
        vocab: number of tokens; token 0 is padding.
        length: most tokens of a sentence, its two marks included.
        width: length of a token's vector.
        depth: number of layers.
        heads: attention heads, a divisor of `width`.
        hidden: width of the MLP.
        num_classes: outputs of the head; 0 leaves the head out.

    Raises:
        ValueError: a size that is no whole number of at least 1, or heads that do not divide the width.

    Example:
        >>> BertConfig(width=64, heads=4).hidden
        1536

    Taught in:
        42_your_own_data
    """

    vocab: int = 30_522
    length: int = 512
    width: int = 384
    depth: int = 6
    heads: int = 12
    hidden: int = 1536
    num_classes: int = 2

    def __post_init__(self) -> None:
        for name in ("vocab", "length", "width", "depth", "heads", "hidden"):
            check_count(name, getattr(self, name), most=2**31)
        check_count("num_classes", self.num_classes, least=0)
        if self.width % self.heads:
            raise ValueError(f"heads: got {self.heads}, need a divisor of width = {self.width}")


class Embeddings(nn.Module):
    """What a token is, where it stands, and one constant vector (BERT's first of two kinds of sentence)."""

    def __init__(self, c: BertConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(c.vocab, c.width, padding_idx=0)
        self.position_embeddings = nn.Embedding(c.length, c.width)
        self.token_type_embeddings = nn.Embedding(2, c.width)
        self.LayerNorm = nn.LayerNorm(c.width, eps=1e-12)

    def forward(self, ids: Int[Tensor, "b t"]) -> Float[Tensor, "b t d"]:
        where = self.position_embeddings.weight[: ids.shape[1]]  # (t, d)
        return self.LayerNorm(self.word_embeddings(ids) + where + self.token_type_embeddings.weight[0])


class SelfAttention(nn.Module):
    """Queries, keys and values from three linear layers; padded tokens are not looked at."""

    def __init__(self, c: BertConfig) -> None:
        super().__init__()
        self.heads = c.heads
        self.query: nn.Module = nn.Linear(c.width, c.width)
        self.key: nn.Module = nn.Linear(c.width, c.width)
        self.value: nn.Module = nn.Linear(c.width, c.width)

    def forward(self, x: Float[Tensor, "b t d"], real: Bool[Tensor, "b 1 1 t"]) -> Float[Tensor, "b t d"]:
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.query, self.key, self.value))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=real)  # (b, heads, t, d/heads)
        return y.transpose(1, 2).flatten(2)  # (b, t, d)


class Output(nn.Module):
    """norm(x + dense(y)): how a branch comes back to its residual."""

    def __init__(self, inner: int, width: int) -> None:
        super().__init__()
        self.dense: nn.Module = nn.Linear(inner, width)
        self.LayerNorm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, y: Float[Tensor, "b t h"], x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        return self.LayerNorm(x + self.dense(y))


class Attention(nn.Module):
    """Self-attention and its output: BERT's `attention.self` and `attention.output`."""

    def __init__(self, c: BertConfig) -> None:
        super().__init__()
        self.self = SelfAttention(c)
        self.output = Output(c.width, c.width)

    def forward(self, x: Float[Tensor, "b t d"], real: Bool[Tensor, "b 1 1 t"]) -> Float[Tensor, "b t d"]:
        return self.output(self.self(x, real), x)


class Intermediate(nn.Module):
    """The wide half of the MLP."""

    def __init__(self, c: BertConfig) -> None:
        super().__init__()
        self.dense: nn.Module = nn.Linear(c.width, c.hidden)

    def forward(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t h"]:
        return F.gelu(self.dense(x))


class Layer(nn.Module):
    """Attention, then the MLP, each normed after its residual sum."""

    def __init__(self, c: BertConfig) -> None:
        super().__init__()
        self.attention = Attention(c)
        self.intermediate = Intermediate(c)
        self.output = Output(c.hidden, c.width)

    def forward(self, x: Float[Tensor, "b t d"], real: Bool[Tensor, "b 1 1 t"]) -> Float[Tensor, "b t d"]:
        x = self.attention(x, real)
        return self.output(self.intermediate(x), x)


class Encoder(nn.Module):
    """The layers, one after the other."""

    def __init__(self, c: BertConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Layer(c) for _ in range(c.depth))

    def forward(self, x: Float[Tensor, "b t d"], real: Bool[Tensor, "b 1 1 t"]) -> Float[Tensor, "b t d"]:
        for layer in self.layer:
            x = layer(x, real)
        return x


class Bert(nn.Module):
    """A BERT encoder, and a linear head on the mean of a sentence's tokens.

    Token ids are one int64 tensor (b, t), padded with 0 at the right.

    Args:
        config: sizes.
        generator: draws the start weights; None uses torch's own.

    Example:
        >>> small = BertConfig(vocab=50, length=8, width=16, depth=1, heads=2, hidden=32, num_classes=3)
        >>> Bert(small, generator=torch.Generator().manual_seed(0))(torch.tensor([[5, 7, 0], [4, 0, 0]])).shape
        torch.Size([2, 3])

    Source:
        Devlin et al. (2019), arXiv:1810.04805; names as in `transformers.BertModel`, mean as in sentence-transformers.

    Taught in:
        42_your_own_data
    """

    name = "bert"
    reads = "sentences"

    def __init__(self, config: BertConfig, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)
        self.head: nn.Module = nn.Linear(config.width, config.num_classes) if config.num_classes else nn.Identity()
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                nn.init.trunc_normal_(parameter, std=0.02, generator=generator)
            elif name.endswith("bias"):  # the weights of norms are 1 from the start
                nn.init.zeros_(parameter)

    def fresh(self, generator: torch.Generator) -> Bert:
        """Another of the same shape, untrained."""
        return Bert(self.config, generator=generator)

    def features(self, ids: Int[Tensor, "b t"]) -> Float[Tensor, "b d"]:
        """The mean of the last layer over the tokens that are no padding: what the head sees."""
        if ids.ndim != 2 or ids.dtype != torch.int64:
            raise ValueError(f"ids: got {ids.dtype} of shape {tuple(ids.shape)}, need torch.int64 of shape (b, t)")
        if ids.shape[1] > self.config.length:
            raise ValueError(f"ids: got {ids.shape[1]} tokens a sentence, the model takes {self.config.length} at most")
        real = ids != 0  # (b, t)
        x = self.encoder(self.embeddings(ids), real[:, None, None])  # (b, t, d)
        weights = real.unsqueeze(-1).to(x.dtype)  # (b, t, 1)
        return (x * weights).sum(1) / weights.sum(1).clamp_min(1)

    def forward(self, ids: Int[Tensor, "b t"]) -> Float[Tensor, "b c"]:
        return self.head(self.features(ids))
