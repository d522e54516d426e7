# SPDX-License-Identifier: Apache-2.0
"""Writes learned/: small networks of the official kinds that have learnt the scenes of learned_scenes.py.

    python tests/golden/train_vbench_networks.py [musiq] [clip] [umt] [viclip]

The official classes (pyiqa's MUSIQ, OpenAI's CLIP, VBench's UMT and ViCLIP) at small sizes, on one thread, a few minutes each.
What is stored of a network is what it learnt; tests/metrics/learned_weights.h makes the checkpoint of the official layout of it:
kernels and positions are for pictures `scale` times smaller than 224 pixels (every value then stands for scale x scale pixels), the
token embedding has only the rows of `token_ids`, texts are shorter, and MUSIQ's embedding is the same for all 64 cells of a patch.
Seeds are below; versions: requirements-vbench.txt, and einops 0.8.2 and safetensors 0.5.3 beside them.
"""
import argparse
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from learned_scenes import COLORS, MOTIONS, SHAPES, TEXTURES, damaged, scenes, varied
from learned_training import CONTEXT, FactReaders, Words, contrast, normal, places, save, shrink, small_clips, train
from vbench_networks import musiq as musiq_class

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ACTIONS = {"left": "jogging", "right": "skateboarding", "up": "climbing ladder", "down": "skydiving", "still": "yoga",
           "jumps": "bouncing on trampoline"}


class CellMean(torch.nn.Module):
    """MUSIQ's embedding of 64 cells with the same weights for each."""

    def __init__(self, channels, width):
        super().__init__()
        self.weight, self.bias = torch.nn.Parameter(torch.randn(width, channels) * channels**-0.5), torch.nn.Parameter(torch.zeros(width))

    def forward(self, x):
        return F.linear(x.unflatten(-1, (64, -1)).mean(-2), self.weight, self.bias)


def train_musiq(seed=11, steps=700, batch=12, tokens=32):
    """Quality 0..100 of single frames: 90 less 80 times the severity of a blur of 4 pixels, noise of a fifth or fading."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = musiq_class()(pretrained=False, hidden_size=32, mlp_dim=64, num_heads=2, num_layers=2)
    arch = sys.modules["pyiqa.archs.musiq_arch"]
    network.conv_root, network.gn_root = arch.StdConv(3, 32, 7, 2, bias=False), torch.nn.GroupNorm(32, 32, eps=1e-6)
    network.block1, network.embedding = arch.Bottleneck(32, 128), CellMean(128, 32)
    torch.nn.init.constant_(network.head.bias, 0.6)
    clips, _ = scenes(seed, 600, moving=0.9)
    frames = clips[:, 3::8].flatten(0, 1)

    def measured(count, kept):
        images, _, severity = damaged(frames[torch.randint(len(frames), (count,), generator=generator)].float() / 255, generator)
        parts = arch.get_multiscale_patches((images - 0.5) * 2, **network.data_preprocess_opts)
        some = torch.stack([torch.randperm(parts.shape[1], generator=generator)[:kept] for _ in range(count)])
        parts = parts.gather(1, some.unsqueeze(-1).expand(-1, -1, parts.shape[2]))
        return network.train()(parts)[:, 0], 0.9 - 0.8 * severity

    def loss(_):
        found, wanted = measured(batch, tokens)
        return 10 * (found - wanted).square().mean()

    train(network.parameters(), loss, steps, 3e-3, "musiq")
    with torch.no_grad():
        found, wanted = measured(24, 209)
        print("musiq: root mean square error", (found - wanted).square().mean().sqrt().item())
    state = network.state_dict()
    state["head.weight"], state["head.bias"] = 100 * state["head.weight"], 100 * state["head.bias"]
    save("musiq", state, 1)


def train_clip(seed=12, steps=1200, batch=48):
    """Frames and texts about colour, shape, texture and damage, then a linear head for how good a picture is on its features."""
    import clip.model
    torch.manual_seed(seed)
    generator, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    damages = ("a sharp picture", "a blurry picture", "a noisy picture", "a dark picture")

    def text_of(color, shape, texture, kind, template):
        """A text and what it asks for: (colour, shape, texture, damage), -1 for anything."""
        c, s, t = tuple(COLORS)[color], SHAPES[shape], TEXTURES[texture]
        return ((f"a {c} {s}", (color, shape, -1, -1)), (f"{t} style", (-1, -1, texture, -1)),
                (f"a {c} {s}, {t} style", (color, shape, texture, -1)), (damages[kind], (-1, -1, -1, kind)))[template]

    words = Words([text_of(c, s, t, k, w)[0] for c in range(6) for s in range(2) for t in range(3) for k in range(4) for w in range(4)])
    network = clip.model.CLIP(32, 56, 2, 64, 7, CONTEXT, len(words.ids), 64, 1, 1)
    network.logit_scale.data.fill_(np.log(10.0))
    clips, truth = scenes(seed, 1500, moving=0.9)
    frames = clips[torch.arange(1500).repeat(2), torch.cat([torch.full((1500,), 3), torch.full((1500,), 11)])]
    truth = {key: value.repeat(2) for key, value in truth.items()}
    axis = shrink(224, 4)
    del clips

    def drawn(count):
        index = torch.randint(len(frames), (count,), generator=generator)
        images, facts = varied(frames[index].float().unsqueeze(1), {key: value[index] for key, value in truth.items()}, generator)
        images, kinds, severity = damaged(images[:, 0] / 255, generator)
        return normal(axis @ images @ axis.T, CLIP_MEAN, CLIP_STD), facts, kinds, severity

    def loss(_):
        images, facts, kinds, severity = drawn(batch)
        empty = facts["motion"] == MOTIONS.index("nothing")
        told = torch.where(kinds == 0, 0, torch.where(severity > 0.4, kinds, -2))  # between sharp and spoilt: neither is said
        lost = empty | ((kinds == 3) & (severity > 0.8))
        seen = torch.stack([torch.where(lost, -2, facts[key]) for key in ("color", "shape", "texture")] + [told], 1)
        made = []
        for i in range(batch):
            template = rng.choice(4, p=(0.3, 0.3, 0.2, 0.2))
            if lost[i] or template == 3:
                made.append(text_of(0, 0, 0, max(int(told[i]), 0), 3))
            else:
                made.append(text_of(*(int(facts[key][i]) for key in ("color", "shape", "texture")), 0, template))
        asked = torch.tensor([facts for _, facts in made])
        true = ((asked[:, None] == -1) | (asked[:, None] == seen[None])).all(-1)
        features = network.encode_image(images)
        matched = contrast(features, network.encode_text(words([text for text, _ in made])), network.logit_scale.exp().clamp(max=100), true)
        return matched + 0.5 * readers.loss(features, seen)

    readers = FactReaders(32, (6, 2, 3, 4))
    train([*network.parameters(), *readers.parameters()], loss, steps, 2e-3, "clip", lambda: readers.right)
    print("clip: colour, shape, texture, damage read rightly in the last batch", readers.right)
    with torch.no_grad():
        features, wanted = [], []
        for _ in range(16):
            images, _, _, severity = drawn(64)
            features.append(F.normalize(network.encode_image(images), dim=-1))
            wanted.append(8 - 6 * severity)
        x, y = torch.cat([torch.cat(features), torch.ones(1024, 1)], 1), torch.cat(wanted)
        solved = torch.linalg.solve(x.T @ x + 0.1 * torch.eye(x.shape[1]), x.T @ y)
        print("aesthetic head: root mean square error", (x @ solved - y).square().mean().sqrt().item(), "of", y.std().item())
    save("clip", network.state_dict() | {"head.weight": solved[None, :-1], "head.bias": solved[-1:]}, 4, token_ids=torch.tensor(words.ids))


def table_of_places(width, frames=16):
    """Sines and cosines of frame, row and column, a third of the width each: [1, frames * 4 * 4, width]. UMT does not learn its table, and
    the official one, 14 x 14 places made 4 x 4, would hardly tell them."""
    grids = torch.meshgrid(torch.linspace(0, 1, frames), torch.linspace(0, 1, 4), torch.linspace(0, 1, 4), indexing="ij")
    angles = torch.stack(grids, -1).reshape(-1, 3, 1) * torch.pi * torch.arange(1, width // 6 + 1) / 2
    return torch.cat([angles.sin(), angles.cos()], -1).flatten(1)[None]


def train_umt(seed=13, steps=900, batch=24):
    """Which way the object goes, as one of Kinetics' labels (ACTIONS); nothing there, no label."""
    from video_scorers import network as official
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    names = {}
    for line in Path(official("umt").__file__).with_name("kinetics_400_categories.txt").read_text().splitlines():
        name, index = line.rstrip().split("\t")
        names[name] = int(index)
    label = torch.tensor([names[ACTIONS[motion]] for motion in MOTIONS[:-1]] + [0])
    network = official("umt.models.modeling_finetune").VisionTransformer(
        img_size=28, patch_size=7, num_classes=400, embed_dim=48, depth=2, num_heads=2, mlp_ratio=4, qkv_bias=True,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6), all_frames=16, tubelet_size=1, init_scale=0.001)
    network.head.bias.data.fill_(-4)
    network.pos_embed.data[:] = table_of_places(48)
    clips, truth = small_clips(seed, 2000, shrink(256, 8, 16))

    def drawn(count):
        index = torch.randint(len(clips), (count,), generator=generator)
        return varied(clips[index].float() / 255, {key: value[index] for key, value in truth.items()}, generator)

    def loss(_):
        some, facts = drawn(batch)
        wanted = F.one_hot(label[facts["motion"]], 400).float() * (facts["motion"] != MOTIONS.index("nothing"))[:, None]
        features = network.forward_features(normal(some, IMAGENET_MEAN, IMAGENET_STD).transpose(1, 2))
        wrong = F.binary_cross_entropy_with_logits(network.head(features), wanted, reduction="sum") / batch
        empty = facts["motion"] == MOTIONS.index("nothing")
        told = readers.loss(features, torch.stack([torch.where(empty, -2, facts["color"]), facts["motion"]], 1))
        wandering = (readers.place(features) - places(some)).square().mean()
        readers.right.append(wandering.item())
        return wrong + 0.5 * told + 3 * wandering

    readers = FactReaders(48, (6, 7), 4)
    train([*network.parameters(), *readers.parameters()], loss, steps, 3e-3, "umt", lambda: readers.right)
    with torch.no_grad():
        some, facts = drawn(200)
        sure = network(normal(some, IMAGENET_MEAN, IMAGENET_STD).transpose(1, 2)).sigmoid().gather(1, label[facts["motion"]][:, None])[:, 0]
        for index, motion in enumerate(MOTIONS):
            print("umt:", motion, (sure[facts["motion"] == index] > 0.85).float().mean().item())
    save("umt", network.state_dict(), 8)


def train_viclip(seed=14, steps=900, batch=32):
    """Clips and texts about colour, shape and motion."""
    import video_scorers
    torch.manual_seed(seed)
    generator, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)

    def text_of(color, shape, motion, template):
        """A text and what it asks for: (colour, shape, motion), -1 for anything."""
        c, s = tuple(COLORS)[color], SHAPES[shape]
        moves = {"still": "stands still", "jumps": "jumps around"}.get(MOTIONS[motion], f"moves {MOTIONS[motion]}")
        return (("nothing but waves", (-2, -2, 6)) if motion == 6 else
                ((f"a {c} {s} {moves}", (color, shape, motion)), (f"a {c} {s}", (color, shape, -1)),
                 (f"a {s} {moves}", (-1, shape, motion)), (f"something {moves}", (-1, -1, motion)))[template])

    words = Words([text_of(c, s, m, w)[0] for c in range(6) for s in range(2) for m in range(7) for w in range(4)])
    vision, text = video_scorers.viclip_modules()
    network = torch.nn.Module()
    network.vision_encoder = vision.VisionTransformer(input_resolution=28, patch_size=7, width=64, layers=2, heads=1, output_dim=32)
    network.text_encoder = text.CLIP_TEXT(32, CONTEXT, len(words.ids), 64, 1, 1, 0)
    for parameter, deviation in ((network.vision_encoder.proj, 0.125), (network.text_encoder.text_projection, 0.125),
                                 (network.text_encoder.positional_embedding, 0.02), (network.text_encoder.token_embedding.weight, 0.1),
                                 (network.vision_encoder.temporal_positional_embedding, 0.1)):
        torch.nn.init.normal_(parameter, std=deviation)
    table = table_of_places(60, 8).view(8, 16, 60)
    network.vision_encoder.positional_embedding.data[1:, :60] = table[0]
    network.vision_encoder.temporal_positional_embedding.data[0, :, :60] = table[:, 0] - table[0, 0]
    network.temp = torch.nn.Parameter(torch.tensor(0.1))
    clips, truth = small_clips(seed, 2000, shrink(224, 8))
    clips = clips[:, 1::2].clone()

    def loss(_):
        index = torch.randint(len(clips), (batch,), generator=generator)
        some, facts = varied(clips[index].float() / 255, {key: value[index] for key, value in truth.items()}, generator)
        made = [text_of(*(int(facts[key][i]) for key in ("color", "shape", "motion")), rng.integers(4)) for i in range(batch)]
        asked = torch.tensor([facts for _, facts in made])
        empty = facts["motion"] == 6
        seen = torch.stack([torch.where(empty, -2, facts["color"]), torch.where(empty, -2, facts["shape"]), facts["motion"]], 1)
        true = ((asked[:, None] == -1) | (asked[:, None] == seen[None])).all(-1)
        features = network.vision_encoder(normal(some, CLIP_MEAN, CLIP_STD).transpose(1, 2))
        matched = contrast(features, network.text_encoder(words([text for text, _ in made])), 1 / network.temp.clamp(0.01, 0.5), true)
        wandering = (readers.place(features) - places(some)).square().mean()
        told = readers.loss(features, seen)
        readers.right.append(wandering.item())
        return matched + 0.5 * told + 3 * wandering

    readers = FactReaders(32, (6, 2, 7), 4)
    train([*network.parameters(), *readers.parameters()], loss, steps, 3e-3, "viclip", lambda: readers.right)
    print("viclip: colour, shape, motion read rightly in the last batch", readers.right)
    save("viclip", network.state_dict(), 8, token_ids=torch.tensor(words.ids))


def main():
    jobs = {"musiq": train_musiq, "clip": train_clip, "umt": train_umt, "viclip": train_viclip}
    parser = argparse.ArgumentParser()
    parser.add_argument("networks", nargs="*", choices=list(jobs))
    torch.set_num_threads(1)
    for name in parser.parse_args().networks or jobs:
        jobs[name]()


if __name__ == "__main__":
    main()
