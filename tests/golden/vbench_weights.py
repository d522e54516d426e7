# SPDX-License-Identifier: Apache-2.0
"""Weights by rule: every value follows from its tensor's name and its index, so that no fixture holds any.

tests/metrics/hashed_weights.h is the same rule in C++.
"""
import math

import numpy as np
import torch

EMBEDDINGS = ("pos_embed", "cls_token", "positional_embedding", "class_embedding", "position_emb", "scale_emb", ".cls",
              "token_embedding")


def uniform(name, count):
    """`count` float32 in [-1, 1), multiples of 2^-23: SplitMix64 of the FNV-1a hash of the name plus the index."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return ((z >> np.uint64(40)).astype(np.float64) / 2**23 - 1.0).astype(np.float32)


def tensor(name, shape):
    shape = tuple(shape)
    if name == "logit_scale":
        return torch.tensor(math.log(100.0), dtype=torch.float32)
    values = torch.from_numpy(uniform(name, int(np.prod(shape)))).reshape(shape)
    if any(word in name for word in EMBEDDINGS):
        return values * 0.25
    if len(shape) >= 2:
        fan_in = int(np.prod(shape[1:]))
        return values * np.float32(math.sqrt(3.0 / fan_in))
    if name.endswith("weight"):
        return 1.0 + values * 0.25
    return values * 0.125

