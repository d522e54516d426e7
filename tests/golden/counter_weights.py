"""Weights by a rule instead of a file: the same numbers from Python and from tests/support/counter_weights.h.

Element i of the tensor called NAME is a function of (NAME, i) alone, so a network of any size needs no stored fixture.
    u(NAME, i) = top 24 bits of splitmix64(fnv1a64(NAME) + i) as a number in [-1, 1), exact in float32
    shape ():                        1 + u / 8
    shape (n,) and NAME ends in      weight: 3/4 + u / 4    running_var: 1 + u / 2    else: u / 8
    more axes:                       gain * u * sqrt(3 / number of elements of one row)
Integer tensors are zero. Tables that a network computes when it is made (TABLES) keep their values.
"""
import numpy as np
import torch

MASK = (1 << 64) - 1
TABLES = ("relative_position_index", "attn_mask", "position_ids")


def fnv1a64(text):
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = ((value ^ byte) * 0x100000001B3) & MASK
    return value


def uniform(name, count):
    """float32 [count] in [-1, 1)."""
    with np.errstate(over="ignore"):
        x = np.arange(count, dtype=np.uint64) + np.uint64(fnv1a64(name))
        x += np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
    return ((x >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-23)) - np.float32(1)


def tensor(name, shape, gain=1.0):
    count = int(np.prod(shape, dtype=np.int64))
    u = uniform(name, count)
    if len(shape) == 0:
        values = 1 + u / np.float32(8)
    elif len(shape) == 1 and name.endswith("weight"):
        values = np.float32(0.75) + u / np.float32(4)
    elif len(shape) == 1 and name.endswith("running_var"):
        values = 1 + u / np.float32(2)
    elif len(shape) == 1:
        values = u / np.float32(8)
    else:
        values = u * np.float32(gain * np.sqrt(3.0 * shape[0] / count))
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).reshape(tuple(shape))


def fill(module, gain=1.0):
    """Replaces the whole state dict of `module`; returns {name: shape} in its order."""
    state = module.state_dict()
    for name, old in state.items():
        if not name.endswith(TABLES):
            old.copy_(tensor(name, list(old.shape), gain) if old.is_floating_point() else torch.zeros_like(old))
    module.load_state_dict(state)
    return {name: list(old.shape) for name, old in state.items() if not name.endswith(TABLES)}
