# SPDX-License-Identifier: Apache-2.0
"""Scenes of known truth for train_vbench_networks.py: a coloured ball or box over grey waves, 16 frames of 112 x 112.

tests/metrics/learned_scenes.h draws scenes of the same kind; the numbers differ, so its clips are new to the networks.
"""
import numpy as np
import torch

FRAMES, SIDE = 16, 112
COLORS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "yellow": (1, 1, 0), "cyan": (0, 1, 1), "purple": (1, 0, 1)}
SHAPES, TEXTURES = ("ball", "box"), ("plain", "striped", "dotted")
MOTIONS = ("left", "right", "up", "down", "still", "jumps", "nothing")  # the last: no object at all
BY_CHANNELS = {channels: index for index, channels in enumerate(COLORS.values())}
STEPS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


def waves(rng):
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    a, b = rng.uniform(20, 50, 2)
    p, q = rng.uniform(6, 11, 2)
    grey = rng.uniform(105, 150) + a * np.sin(x / p + rng.uniform(0, 7)) + b * np.cos(y / q + rng.uniform(0, 7))
    return np.clip(np.round(grey), 0, 255)


def corners(rng, motion, size):
    """Left and top of the object in every frame."""
    free, travel = SIDE - size - 4, rng.uniform(2.5, 3.4) * (FRAMES - 1)
    dx, dy = STEPS.get(motion, (0, 0) if motion == "still" else (1, 0) if rng.random() < 0.5 else (0, 1))
    start = rng.uniform(2, free + 2, 2)
    for axis, step in enumerate((dx, dy)):
        if step:
            start[axis] = rng.uniform(2, free + 2 - travel) + (travel if step < 0 else 0)
    path = start + np.arange(FRAMES)[:, None] * np.array((dx, dy)) * travel / (FRAMES - 1)
    return rng.permutation(path) if motion == "jumps" else path


def sprite(truth, size):
    """The object on a square of whole pixels: colours [3, S, S], and where it is."""
    side = int(np.ceil(size))
    v, u = np.mgrid[0:side, 0:side].astype(np.float32)
    inside = (u - size / 2) ** 2 + (v - size / 2) ** 2 < size * size / 4 if truth["shape"] == 0 else (u < size) & (v < size)
    dark = (np.zeros_like(inside), v % 10 < 5, (u % 11 - 5) ** 2 + (v % 11 - 5) ** 2 < 11)[truth["texture"]]
    color = 30 + 190 * np.array(tuple(COLORS.values())[truth["color"]], np.float32)
    return np.round(color[:, None, None] * np.where(dark, 0.3, 1.0)).astype(np.uint8), inside


def scene(rng, motion):
    """uint8 [16, 3, 112, 112] and its truth {color, shape, texture, motion}: indices."""
    truth = {"color": rng.integers(len(COLORS)), "shape": rng.integers(2), "texture": rng.integers(3), "motion": MOTIONS.index(motion)}
    frames = np.tile(waves(rng).astype(np.uint8), (FRAMES, 3, 1, 1))
    if motion != "nothing":
        size = rng.uniform(34, 46)
        pixels, inside = sprite(truth, size)
        side = len(inside)
        for frame, (left, top) in zip(frames, np.round(corners(rng, motion, size)).astype(int)):
            window = frame[:, top:top + side, left:left + side]
            window[:] = np.where(inside, pixels, window)
    return torch.from_numpy(frames), truth


def scenes(seed, count, moving=0.7):
    """`count` clips, `moving` of them with a direction: uint8 [N, 16, 3, 112, 112], truth as int64 tensors [N]."""
    rng = np.random.default_rng(seed)
    kinds = [MOTIONS[rng.integers(4)] if rng.random() < moving else MOTIONS[4 + rng.integers(3)] for _ in range(count)]
    made = [scene(rng, kind) for kind in kinds]
    return torch.stack([clip for clip, _ in made]), {key: torch.tensor([int(t[key]) for _, t in made]) for key in made[0][1]}


def _turned(truth, chosen, pairs):
    motion = truth["motion"]
    for one, other in pairs:
        i, j = MOTIONS.index(one), MOTIONS.index(other)
        motion[chosen & (truth["was"] == i)], motion[chosen & (truth["was"] == j)] = j, i
    truth["was"] = motion.clone()


def varied(clips, truth, generator):
    """Mirrored, transposed, reversed in time and with other colours: truth that holds. clips [B, T, 3, Y, X] float."""
    clips, truth = clips.clone(), {key: value.clone() for key, value in truth.items()}
    truth["was"] = truth["motion"].clone()
    for turn, pairs in ((lambda c: c.flip(-1), [("left", "right")]), (lambda c: c.flip(-2), [("up", "down")]),
                        (lambda c: c.flip(1), [("left", "right"), ("up", "down")]),
                        (lambda c: c.transpose(-1, -2), [("left", "up"), ("right", "down")])):
        chosen = torch.rand(len(clips), generator=generator) < 0.5
        clips[chosen] = turn(clips[chosen])
        _turned(truth, chosen, pairs)
    channels = torch.tensor(tuple(COLORS.values()))
    for i in range(len(clips)):
        order = torch.randperm(3, generator=generator)
        clips[i] = clips[i][:, order]
        truth["color"][i] = BY_CHANNELS[tuple(channels[truth["color"][i]][order].tolist())]
    return clips, truth


def _kernel(sigma):
    x = torch.arange(-12, 13, dtype=torch.float32)
    k = torch.exp(-x * x / (2 * sigma * sigma))
    return k / k.sum()


def damaged(images, generator):
    """Three of five images [B, 3, Y, X] 0..1 blurred, noisy or dark, by a severity 0..1 -> images, kinds (0: none), severities."""
    images = images.clone()
    kinds = torch.randint(-1, 4, (len(images),), generator=generator).clamp_min(0)
    severity = torch.rand(len(images), generator=generator)
    for i, (kind, share) in enumerate(zip(kinds.tolist(), severity.tolist())):
        if kind == 1:
            k, padded = _kernel(max(4 * share, 0.05)), torch.nn.functional.pad(images[i][None], (12,) * 4, mode="reflect")
            flat = torch.nn.functional.conv2d(padded.transpose(0, 1), k.view(1, 1, 1, -1))
            images[i] = torch.nn.functional.conv2d(flat, k.view(1, 1, -1, 1)).transpose(0, 1)[0]
        elif kind == 2:
            images[i] += 0.2 * share * torch.randn(images[i].shape, generator=generator)
        elif kind == 3:
            images[i] *= 1 - share
    severity[kinds == 0] = 0
    return (images.clamp(0, 1) * 255).round() / 255, kinds, severity
