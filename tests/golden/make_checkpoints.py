# SPDX-License-Identifier: Apache-2.0
"""Writes checkpoints/: one small state dict in every container that read_checkpoint knows, and two that it refuses.

python make_checkpoints.py    (torch 2.11.0; values: tensor k counts up from 100 k)
"""
from argparse import Namespace
from collections import OrderedDict
from pathlib import Path

import torch

HERE = Path(__file__).parent / "checkpoints"


class Inner(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.arange(6, dtype=torch.float32).reshape(2, 3))
        self.register_buffer("steps", torch.tensor([100, 101]))

    def forward(self, x):
        return x @ self.weight.t() + float(self.steps[0])


class Outer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(Inner(), torch.nn.ReLU())
        self.scale = torch.nn.Parameter((torch.arange(4) + 200).half())
        self.depth = 3

    def forward(self, x):
        return self.layers(x) * self.scale[0]


def main():
    HERE.mkdir(exist_ok=True)
    state = Outer().state_dict()
    view = torch.arange(12, dtype=torch.float32).reshape(3, 4) + 300
    wrapped = {"model": OrderedDict(("module." + k, v) for k, v in state.items()), "epoch": 7, "lr": 0.5, "args": Namespace(a=1, b=[2]),
               "optimizer": {"state": {0: {"step": torch.tensor(9.0)}}, "param_groups": [{"params": [0, 1]}]}, "view": view.t()}
    torch.save(state, HERE / "plain.pth")
    torch.save(wrapped, HERE / "wrapped.pth")
    torch.save(wrapped, HERE / "before_zip.pth", _use_new_zipfile_serialization=False)
    torch.jit.script(Outer()).save(str(HERE / "script.pt"))
    (HERE / "not_a_checkpoint.pth").write_bytes(b"hello")
    (HERE / "cut.pth").write_bytes((HERE / "before_zip.pth").read_bytes()[:-20])


if __name__ == "__main__":
    main()
