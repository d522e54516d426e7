# SPDX-License-Identifier: Apache-2.0
"""What train_vbench_networks.py trains every network with: pictures as the networks see them, texts, losses, the loop, the file."""
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from learned_scenes import scenes
from safetensors.torch import save_file

OUT = Path(__file__).parent / "learned"
CONTEXT = 16  # tokens of the longest text and more


def shrink(resized, scale, crop=0):
    """The matrix [(224 / scale), 112] of an axis: resized to `resized` pixels, `crop` cut off, means of `scale` pixels."""
    mode = "bilinear" if crop else "bicubic"
    line = F.interpolate(torch.eye(112)[:, None, :, None], size=(resized, 1), mode=mode)[:, :, :, 0]
    return F.avg_pool1d(line[:, :, crop:crop + 224], scale)[:, 0].T.contiguous()


def normal(images, mean, std):
    """[.., 3, Y, X] 0..1."""
    return (images - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


def train(parameters, loss_of, steps, rate, what, told=lambda: ""):
    """AdamW with warm-up and a cosine."""
    parameters = list(parameters)
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, pct_start=0.1)
    begin, mean = time.time(), None
    for step in range(steps):
        loss = loss_of(step)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        mean = loss.item() if mean is None else 0.97 * mean + 0.03 * loss.item()
        if step % 50 == 49:
            print(f"{what} step {step + 1} loss {mean:.4f} {time.time() - begin:.0f} s", told(), flush=True)


def save(name, state, scale, **more):
    OUT.mkdir(exist_ok=True)
    state = {key: value.detach().to(torch.float16).contiguous() for key, value in state.items() if value.is_floating_point()}
    save_file(dict(sorted((state | {"scale": torch.tensor(scale)} | more).items())), OUT / f"{name}.safetensors",
              {"script": "tests/golden/train_vbench_networks.py", "torch": torch.__version__})


class Words:
    """Texts as CLIP's tokens, renumbered so that only those in use have rows: their order stays, so the end is the largest."""

    def __init__(self, texts):
        from clip.simple_tokenizer import SimpleTokenizer
        self.coder = SimpleTokenizer()
        self.start, self.end = self.coder.encoder["<|startoftext|>"], self.coder.encoder["<|endoftext|>"]
        self.ids = sorted({0, self.start, self.end}.union(*(self.coder.encode(text) for text in texts)))
        self.row = {token: row for row, token in enumerate(self.ids)}

    def __call__(self, texts):
        out = torch.zeros(len(texts), CONTEXT, dtype=torch.long)
        for line, text in zip(out, texts):
            rows = [self.row[token] for token in (self.start, *self.coder.encode(text), self.end)]
            line[: len(rows)] = torch.tensor(rows)
        return out


def contrast(images, texts, scale, true):
    """Images [I, E], texts [S, E], which texts are true of which images [S, I]: each among all others, both ways."""
    logits = scale * F.normalize(texts, dim=-1) @ F.normalize(images, dim=-1).T

    def side(values, right):
        some = right.any(1)
        return -(values.log_softmax(1) * right).sum(1)[some].div(right.sum(1)[some]).mean()

    return (side(logits, true) + side(logits.T, true.T)) / 2


class FactReaders(torch.nn.Module):
    """What a feature says of each fact (and of places()), by linear readers thrown away after training: they only hasten it."""

    def __init__(self, width, counts, of_places=0):
        super().__init__()
        self.place = torch.nn.Linear(width, of_places) if of_places else None
        self.readers = torch.nn.ModuleList(torch.nn.Linear(width, count) for count in counts)

    def loss(self, features, seen):
        """seen [B, facts]: indices, negative ones are not asked for."""
        asked = [(reader(features[row >= 0]), row[row >= 0]) for reader, row in zip(self.readers, seen.T)]
        self.right = [(found.argmax(1) == row).float().mean().item() for found, row in asked]
        return sum(F.cross_entropy(found, row) for found, row in asked)


def places(clips):
    """Where the coloured thing is and which way it goes, -1..1 each: clips [B, T, 3, Y, X] -> [B, 4]; 0 where nothing is."""
    strong = (clips.amax(2) - clips.amin(2)).clamp_min(0.1) - 0.1
    line = torch.linspace(-1, 1, clips.shape[-1])
    place = torch.stack([(strong * line).sum((-1, -2)), (strong * line[:, None]).sum((-1, -2))], -1)
    place = place / strong.sum((-1, -2)).clamp_min(1e-3)[..., None]
    time = torch.linspace(-1, 1, clips.shape[1])[:, None]
    return torch.cat([place.mean(1), 2 * (time * place).sum(1) / time.square().sum()], -1)


def small_clips(seed, count, axis):
    """Clips brought to the networks' pictures, as bytes; truth."""
    small, truths = [], []
    for part in range(0, count, 100):
        clips, truth = scenes(seed * 1000 + part, 100)
        small.append((axis @ clips.float() @ axis.T).round().clamp(0, 255).byte())
        truths.append(truth)
    return torch.cat(small), {key: torch.cat([t[key] for t in truths]) for key in truths[0]}
