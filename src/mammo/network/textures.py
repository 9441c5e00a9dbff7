"""Supervised pretraining on procedural textures: a source of transfer without any download.

A texture is power-law noise inside a breast-like outline, with a brighter, smoothly bounded part;
its class is its spectral exponent (4 levels) times the bright part's share of the outline (4).

Source: Baradad 2021, arXiv:2106.05963 (networks learn useful features from noise processes);
Burgess 1999, doi:10.1117/12.349648 (mammographic texture follows a power law of exponent 3).
"""

import logging
import math

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchvision.models.resnet import Bottleneck
from tqdm import trange

from mammo.network.backbones import GlobalPool, architecture_of, make_head
from mammo.network.compute import seed_everything
from mammo.network.inputs import IMAGENET_MEAN, IMAGENET_STD
from mammo.network.params import BackboneParams
from mammo.network.weights import State, body, random_network

logger = logging.getLogger(__name__)

EXPONENTS = (1.5, 2.25, 3.0, 3.75)
SHARES = (0.125, 0.375, 0.625, 0.875)  # the middles of the four quarters
REACH = ((0.55, 1), (0.7, 1.05))  # of an outline: its width, and its half height
CLASSES = len(EXPONENTS) * len(SHARES)


def power_law_noise(exponents: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Draw noise whose power falls as 1 / f^exponent: (B,) -> (B, size, size), mean 0, std 1."""
    white = torch.randn(len(exponents), size, size, generator=generator)
    fy = torch.fft.fftfreq(size)[:, None]
    fx = torch.fft.rfftfreq(size)[None, :]
    frequency = torch.sqrt(fy**2 + fx**2)
    frequency[0, 0] = math.inf  # no mean
    amplitude = frequency[None] ** (-exponents[:, None, None] / 2)
    noise = torch.fft.irfft2(torch.fft.rfft2(white) * amplitude, s=(size, size))
    return noise / noise.std(dim=(1, 2), keepdim=True)


def draw_depths(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Draw breast-like outlines against the left border: (count, size, size).

    1 in the middle of the chest wall, 0 on the skin, negative in the air.
    """
    y = torch.linspace(-1, 1, size)[None, :, None]
    x = torch.linspace(0, 1, size)[None, None, :]
    width, height = (_uniform(count, low, high, generator) for low, high in REACH)
    centre = _uniform(count, -0.1, 0.1, generator)
    return 1 - torch.sqrt((x / width) ** 2 + ((y - centre) / height) ** 2)


def draw_textures(count: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw textures of random classes: (count, size, size) in [0, 1], (count,) int64.

    Exposure varies, so that grey levels alone don't tell the classes apart.
    """
    labels = torch.randint(CLASSES, (count,), generator=generator)
    exponents = torch.tensor(EXPONENTS)[labels // len(SHARES)]
    shares = (
        torch.tensor(SHARES)[labels % len(SHARES)] + _uniform(count, -0.1, 0.1, generator)[:, 0, 0]
    )
    depths = draw_depths(count, size, generator)
    inside = depths > 0
    smooth = power_law_noise(torch.full((count,), 3.0), size, generator) + 1.5 * depths.clamp(0, 1)
    bounds = torch.stack(
        [f[i].quantile(1 - s) for f, i, s in zip(smooth, inside, shares, strict=True)]
    )
    dense = torch.sigmoid((smooth - bounds[:, None, None]) * 6)
    level, lift = (_uniform(count, 0.15, 0.45, generator) for _ in range(2))
    gain = _uniform(count, 0.05, 0.15, generator)
    tissue = level + lift * dense + gain * power_law_noise(exponents, size, generator)
    thickness = torch.sqrt((4 * depths).clamp(0, 1))
    return (tissue * thickness * inside).clamp(0, 1), labels


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """Draw one number an image: (count, 1, 1)."""
    return low + (high - low) * torch.rand(count, 1, 1, generator=generator)


def zero_init_residual(network: nn.Module) -> None:
    """Let every residual branch of a ResNet begin as nothing: it then learns much faster.

    Source: Goyal 2017, arXiv:1706.02677, section 5.1.
    """
    for module in network.modules():
        if isinstance(module, Bottleneck):
            nn.init.zeros_(module.bn3.weight)


def pretrain(params: BackboneParams, fabric: Fabric) -> State:
    """Train the whole backbone to tell textures apart; return its parameters (no classifier)."""
    budget, architecture = params.procedural, architecture_of(params)
    seed_everything(params.seed)
    torchvision_network = random_network(params)
    zero_init_residual(torchvision_network)
    blocks = architecture.blocks(torchvision_network)  # the same modules, as an ordered list
    head = make_head(architecture.features, CLASSES, dropout=0.0)
    network = nn.Sequential(*blocks.values(), GlobalPool(), head)
    network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=budget.lr, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, budget.lr, total_steps=budget.steps)
    model, optimizer = fabric.setup(network, optimizer)
    mean, std = sum(IMAGENET_MEAN) / 3, sum(IMAGENET_STD) / 3
    generator = torch.Generator().manual_seed(params.seed)
    model.train()
    correct = 0
    bar = trange(budget.steps, desc=f"pretrain {params.arch}", unit="step", mininterval=1)
    for step in bar:
        images, labels = draw_textures(budget.batch_size, budget.size_px, generator)
        x = ((images - mean) / std)[:, None].expand(-1, 3, -1, -1)  # (B, H, W) -> (B, 3, H, W)
        x = x.contiguous(memory_format=torch.channels_last).to(fabric.device)
        logits = model(x)
        loss = cross_entropy(logits, labels.to(fabric.device))
        optimizer.zero_grad(set_to_none=True)
        fabric.backward(loss)
        optimizer.step()
        schedule.step()
        if step >= budget.steps - 20:
            correct += int((logits.argmax(1).cpu() == labels).sum())
    seen = min(20, budget.steps) * budget.batch_size
    logger.info("textures told apart in the last steps: %.0f %% of %d", 100 * correct / seen, seen)
    return body(torchvision_network.state_dict(), architecture)
