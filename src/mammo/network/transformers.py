"""Blocks of transformers: whatever is between them has its channels first, as in any other network.

So every cut gives (B, C, H, W) or (B, C), and one pool serves all. Channels first in channels-last
memory are the tokens as they lie, so the permutations move nothing.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torchvision.models import SwinTransformer, VisionTransformer


class ChannelsLast(nn.Module):
    """Run layers that want (B, H, W, C) between maps of (B, C, H, W)."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Compute (B, C, H, W) -> (B, C', H', W')."""
        y: Tensor = self.layers(x.permute(0, 2, 3, 1))  # (B, H', W', C')
        return y.permute(0, 3, 1, 2)


class FromPixels(nn.Module):
    """Run layers that take pixels, (B, 3, H, W), and give (B, H', W', C)."""

    def __init__(self, layers: nn.Module):
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        """Compute (B, 3, H, W) -> (B, C, H', W')."""
        y: Tensor = self.layers(x)
        return y.permute(0, 3, 1, 2)


def swin_blocks(network: SwinTransformer) -> OrderedDict[str, nn.Module]:
    """List a Swin Transformer's stages, each with the merging of patches that leads to it."""
    parts = list(network.features)
    return OrderedDict(
        stem=FromPixels(parts[0]),
        stage1=ChannelsLast(parts[1]),
        stage2=ChannelsLast(*parts[2:4]),
        stage3=ChannelsLast(*parts[4:6]),
        stage4=ChannelsLast(*parts[6:8], network.norm),
    )


class Patches(nn.Module):
    """Turn pixels into tokens with their places, the class token first."""

    def __init__(self, network: VisionTransformer):
        super().__init__()
        self.projection = network.conv_proj
        self.class_token = network.class_token
        self.places = network.encoder.pos_embedding
        self.dropout = network.encoder.dropout

    def forward(self, x: Tensor) -> Tensor:
        """Compute (B, 3, 16 h, 16 w) -> (B, C, 1, 1 + h w)."""
        patches = self.projection(x).flatten(2).transpose(1, 2)  # (B, h w, C)
        first = self.class_token.expand(len(x), -1, -1)
        return _as_map(self.dropout(torch.cat([first, patches], dim=1) + self.places))


class Tokens(nn.Module):
    """Run a layer that wants (B, N, C) between maps of one row."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Compute (B, C, 1, N) -> (B, C, 1, N)."""
        return _as_map(self.layer(_as_tokens(x)))


class LastTokens(nn.Module):
    """Run the last layer and its norm, and keep the class token, which the classifier reads."""

    def __init__(self, layer: nn.Module, norm: nn.Module):
        super().__init__()
        self.layer, self.norm = layer, norm

    def forward(self, x: Tensor) -> Tensor:
        """Compute (B, C, 1, N) -> (B, C)."""
        tokens: Tensor = self.norm(self.layer(_as_tokens(x)))
        return tokens[:, 0]


def vit_blocks(network: VisionTransformer) -> OrderedDict[str, nn.Module]:
    """List a Vision Transformer's layers."""
    *layers, last = list(network.encoder.layers)
    blocks: OrderedDict[str, nn.Module] = OrderedDict(stem=Patches(network))
    blocks |= {f"layer{number}": Tokens(layer) for number, layer in enumerate(layers)}
    blocks[f"layer{len(layers)}"] = LastTokens(last, network.encoder.ln)
    return blocks


def _as_map(tokens: Tensor) -> Tensor:
    return tokens.transpose(1, 2).unsqueeze(2)


def _as_tokens(x: Tensor) -> Tensor:
    return x.squeeze(2).transpose(1, 2)
