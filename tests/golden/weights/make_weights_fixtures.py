# SPDX-License-Identifier: Apache-2.0
"""Writes the fixtures of engine/weights: files by safetensors and torch.save that our readers must read.

Run: python tests/golden/weights/make_weights_fixtures.py   (torch 2.11, safetensors 0.5)
All tensors count upwards, so the tests know the values without the writer.
"""
import collections
import pathlib

import torch
from safetensors.torch import save_file

OUT = pathlib.Path(__file__).parent


def counting(shape, dtype):
    return torch.arange(int(torch.tensor(shape).prod()) if shape else 1).reshape(shape).to(dtype)


dtypes = {"f64": torch.float64, "f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16, "i64": torch.int64,
          "i32": torch.int32, "i16": torch.int16, "i8": torch.int8, "u8": torch.uint8}
tensors = {name: counting((2, 3), dtype) for name, dtype in dtypes.items()}
tensors |= {"bool": torch.tensor([True, False]), "scalar": counting((), torch.float32), "empty": torch.zeros(0, 4)}
save_file(tensors, OUT / "dtypes.safetensors", {"format": "pt"})

base = torch.arange(20.0)
router = {"blocks.0.router.weight": counting((2, 3), torch.bfloat16), "single": counting((3,), torch.float32),
          "double": counting((2,), torch.float64), "half": counting((4,), torch.float16),
          "transposed": base[2:8].view(2, 3).t(), "slice": base[3:5], "parameter": torch.nn.Parameter(torch.ones(2))}
torch.save(router, OUT / "dict.pt")
torch.save(collections.OrderedDict(router), OUT / "ordered.pt")
torch.save(torch.nn.Linear(2, 2).state_dict(), OUT / "module.pt")
torch.save(router, OUT / "legacy.pt", _use_new_zipfile_serialization=False)
torch.save({"a": torch.device("cpu")}, OUT / "device.pt")
torch.save({"a": 1}, OUT / "number.pt")
torch.save({"a": torch.ones(1).expand(1000, 1000)}, OUT / "expanded.pt")
torch.save(router, OUT / "protocol4.pt", pickle_protocol=4)
