"""A small Whisper in PyTorch whose weights bear the names that transformers gives them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from features import MELS
from torch import Tensor, nn
from torch.nn import functional

_ANCHOR_SCALE = 0.25


@dataclass(frozen=True)
class Size:
    """The dimensions of the model."""

    vocabulary: int
    text_tokens: int
    width: int = 128
    heads: int = 4
    encoder_layers: int = 3
    decoder_layers: int = 2
    audio_positions: int = 1500
    text_positions: int = 448


def sinusoids(length: int, width: int) -> Tensor:
    """Compute Whisper's fixed position encoding.

    Args:
        length: Positions.
        width: Channels, an even number.

    Returns:
        Length x width.
    """
    scale = math.log(10000) / (width // 2 - 1)
    inverse = torch.exp(-scale * torch.arange(width // 2))
    angles = torch.arange(length)[:, None] * inverse[None]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class Attention(nn.Module):
    """Multi-head attention of Whisper."""

    def __init__(self, width: int, heads: int) -> None:
        """Make the four projections."""
        super().__init__()
        self.heads = heads
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def _split(self, hidden: Tensor) -> Tensor:
        batch, length, width = hidden.shape
        return hidden.view(batch, length, self.heads, width // self.heads).transpose(1, 2)

    def forward(self, hidden: Tensor, source: Tensor, causal: bool = False) -> Tensor:
        """Attend from `hidden` to `source`."""
        query, key = self._split(self.q_proj(hidden)), self._split(self.k_proj(source))
        value = self._split(self.v_proj(source))
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=causal)
        return torch.as_tensor(self.out_proj(mixed.transpose(1, 2).flatten(2)))

    def weights(self, hidden: Tensor, source: Tensor, heads: int) -> Tensor:
        """Give the log attention weights of the first `heads` heads."""
        query, key = self._split(self.q_proj(hidden))[:, :heads], self._split(self.k_proj(source))[:, :heads]
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        return functional.log_softmax(scores.float(), dim=-1)


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward block, normalised first."""

    def __init__(self, size: Size) -> None:
        """Make the parts."""
        super().__init__()
        self.self_attn = Attention(size.width, size.heads)
        self.self_attn_layer_norm = nn.LayerNorm(size.width)
        self.fc1 = nn.Linear(size.width, 4 * size.width)
        self.fc2 = nn.Linear(4 * size.width, size.width)
        self.final_layer_norm = nn.LayerNorm(size.width)

    def forward(self, hidden: Tensor) -> Tensor:
        """Transform batch x frames x width."""
        normal = self.self_attn_layer_norm(hidden)
        hidden = hidden + self.self_attn(normal, normal)
        return torch.as_tensor(hidden + self.fc2(functional.gelu(self.fc1(self.final_layer_norm(hidden)))))


class DecoderLayer(nn.Module):
    """Causal self-attention, attention to the audio and a feed-forward block."""

    def __init__(self, size: Size) -> None:
        """Make the parts."""
        super().__init__()
        self.self_attn = Attention(size.width, size.heads)
        self.self_attn_layer_norm = nn.LayerNorm(size.width)
        self.encoder_attn = Attention(size.width, size.heads)
        self.encoder_attn_layer_norm = nn.LayerNorm(size.width)
        self.fc1 = nn.Linear(size.width, 4 * size.width)
        self.fc2 = nn.Linear(4 * size.width, size.width)
        self.final_layer_norm = nn.LayerNorm(size.width)

    def forward(self, hidden: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Transform the text; give it with the query of the attention to the audio."""
        normal = self.self_attn_layer_norm(hidden)
        hidden = hidden + self.self_attn(normal, normal, causal=True)
        query = self.encoder_attn_layer_norm(hidden)
        hidden = hidden + self.encoder_attn(query, audio)
        return hidden + self.fc2(functional.gelu(self.fc1(self.final_layer_norm(hidden)))), query


class Encoder(nn.Module):
    """Two convolutions, positions, and layers of self-attention."""

    def __init__(self, size: Size) -> None:
        """Make the parts."""
        super().__init__()
        self.conv1 = nn.Conv1d(MELS, size.width, 3, padding=1)
        self.conv2 = nn.Conv1d(size.width, size.width, 3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(size.audio_positions, size.width)
        self.embed_positions.weight.data = sinusoids(size.audio_positions, size.width)
        self.embed_positions.weight.requires_grad_(False)
        self.layers = nn.ModuleList(EncoderLayer(size) for _ in range(size.encoder_layers))
        self.layer_norm = nn.LayerNorm(size.width)

    def embed_positions_of(self, count: int) -> Tensor:
        """Give the position encoding of the first `count` places, the last repeated beyond the end."""
        places = torch.arange(count).clamp_max(self.embed_positions.num_embeddings - 1)
        return torch.as_tensor(self.embed_positions(places))

    def forward(self, features: Tensor, offsets: Tensor) -> Tensor:
        """Encode batch x 80 x frames, the first frame lying at position `offsets`."""
        hidden = functional.gelu(self.conv2(functional.gelu(self.conv1(features)))).transpose(1, 2)
        places = offsets[:, None] + torch.arange(hidden.shape[1])[None]
        hidden = hidden + self.embed_positions(places)
        for layer in self.layers:
            hidden = layer(hidden)
        return torch.as_tensor(self.layer_norm(hidden))


class Decoder(nn.Module):
    """Token and position embeddings and layers that read the audio."""

    def __init__(self, size: Size) -> None:
        """Make the parts."""
        super().__init__()
        self.embed_tokens = nn.Embedding(size.vocabulary, size.width)
        self.embed_positions = nn.Embedding(size.text_positions, size.width)
        self.layers = nn.ModuleList(DecoderLayer(size) for _ in range(size.decoder_layers))
        self.layer_norm = nn.LayerNorm(size.width)
        nn.init.normal_(self.embed_tokens.weight, std=0.05)
        nn.init.normal_(self.embed_positions.weight, std=0.02)

    def forward(self, tokens: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Give the hidden text and the last layer's query to the audio."""
        hidden = self.embed_tokens(tokens) + self.embed_positions.weight[: tokens.shape[1]]
        query = hidden
        for layer in self.layers:
            hidden, query = layer(hidden, audio)
        return self.layer_norm(hidden), query


class Whisper(nn.Module):
    """The model, with a CTC head on the encoder that serves training alone."""

    guided_heads = 2

    def __init__(self, size: Size) -> None:
        """Make the parts."""
        super().__init__()
        self.encoder = Encoder(size)
        self.decoder = Decoder(size)
        self.ctc = nn.Linear(size.width, size.text_tokens + 1)

    @torch.no_grad()
    def anchor_times(self, first_time: int) -> None:
        """Give every timestamp token the encoder's own encoding of its position, about the tokens' mean."""
        times = self.decoder.embed_tokens.weight[first_time:]
        times.copy_(times.mean(dim=0) + _ANCHOR_SCALE * self.encoder.embed_positions_of(len(times)))

    def logits(self, hidden: Tensor) -> Tensor:
        """Score the next tokens with the embedding's own weights."""
        return hidden @ self.decoder.embed_tokens.weight.T

    def attention(self, query: Tensor, audio: Tensor) -> Tensor:
        """Give the log weights with which the last layer's guided heads read the audio."""
        layer = self.decoder.layers[-1]
        assert isinstance(layer, DecoderLayer)
        return layer.encoder_attn.weights(query, audio, self.guided_heads)
