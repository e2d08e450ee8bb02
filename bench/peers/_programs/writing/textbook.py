"""A small GPT over bytes, as nanoGPT has it for Shakespeare on a processor (config/train_shakespeare_char.py, README).

    python textbook.py TRAIN TEST SECONDS SEED THREADS

Four layers of width 128, a context of 64, batches of 12, AdamW with a cosine over the time there is. Prints one line of
JSON: bits per byte of the test text, every byte told from at least 32 before it, steps, seconds of training.
"""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

CONTEXT, BATCH, WIDTH, LAYERS, HEADS = 64, 12, 128, 4, 4
RATE, LEAST_RATE, WARMUP = 1e-3, 1e-4, 100


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = nn.LayerNorm(WIDTH, bias=False), nn.LayerNorm(WIDTH, bias=False)
        self.joint, self.out = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.feed = nn.Sequential(
            nn.Linear(WIDTH, 4 * WIDTH, bias=False), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        rows, steps, _ = x.shape
        heads = self.joint(self.before(x)).reshape(rows, steps, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(*heads, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(rows, steps, WIDTH))
        added: Tensor = x + self.feed(self.after(x))
        return added


class GPT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(256, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks, self.norm = nn.Sequential(*(Block() for _ in range(LAYERS))), nn.LayerNorm(WIDTH, bias=False)
        self.apply(self._fresh)
        for name, weight in self.named_parameters():
            if name.endswith(("out.weight", "feed.2.weight")):
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * LAYERS))

    def _fresh(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.blocks(self.tokens(x) + self.places(torch.arange(x.shape[1])))
        return functional.linear(self.norm(hidden), self.tokens.weight)


def bits_per_byte(network: GPT, text: Tensor) -> float:
    network.eval()
    half, total = CONTEXT // 2, 0.0
    windows = text[: (len(text) - 1) // half * half + 1].unfold(0, CONTEXT + 1, half)
    with torch.no_grad():
        for part in windows.split(256):
            losses = functional.cross_entropy(network(part[:, :-1]).transpose(1, 2), part[:, 1:], reduction="none")
            total += float(losses[:, half:].sum())
    return total / math.log(2) / (len(windows) * half)


def main() -> None:
    train, test = (torch.tensor(list(Path(file).read_bytes())) for file in sys.argv[1:3])
    seconds, seed, threads = float(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    network = GPT()
    matrices = [weight for weight in network.parameters() if weight.ndim > 1]
    others = [weight for weight in network.parameters() if weight.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.99), fused=True)
    begin, steps = time.perf_counter(), 0
    while (passed := time.perf_counter() - begin) < seconds:
        cosine = 0.5 * (1 + math.cos(math.pi * passed / seconds))
        for group in optimizer.param_groups:
            group["lr"] = (LEAST_RATE + cosine * (RATE - LEAST_RATE)) * min(1.0, (steps + 1) / WARMUP)
        places = torch.randint(len(train) - CONTEXT, (BATCH,))
        windows = torch.stack([train[place : place + CONTEXT + 1] for place in places.tolist()])
        optimizer.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(network(windows[:, :-1]).flatten(0, 1), windows[:, 1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        steps += 1
    found = {"bits per byte": bits_per_byte(network, test), "steps": steps, "seconds": passed}
    print(json.dumps(found))


main()
