#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes FILE.safetensors beside a PyTorch checkpoint, for those that vorta-bench cannot read itself.

python metrics/convert_checkpoint.py FILE [FILE ...]

vorta-bench reads torch.save files (the zip format and the one before PyTorch 1.6), TorchScript archives and safetensors
without this script. It is for what is left: the tar files of PyTorch 0.1, and checkpoints of whole pickled modules.
FILE.safetensors is looked for first. Needs Python with torch and numpy. A checkpoint is a program: files that
torch.load(weights_only=True) refuses are opened only with --trust, which runs what is in them. Files that cannot be converted
are said and the rest goes on; exit code 1 then.
"""
import argparse
import json
import pickle
import struct
import sys
from pathlib import Path

import torch

NAMES = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
         torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL"}


class DataError(Exception):
    """A file is not what it should be."""


def load(path, trust):
    if not path.is_file():
        raise DataError("no such file")
    try:
        return torch.jit.load(str(path), map_location="cpu").state_dict()
    except RuntimeError:
        pass
    try:
        return torch.load(path, map_location="cpu", weights_only=not trust)
    except pickle.UnpicklingError as error:
        more = [line.strip() for line in str(error).splitlines() if "WeightsUnpickler error" in line and "GLOBAL" in line]
        if not more:
            raise DataError("expected a checkpoint of torch.save, found something else") from None
        raise DataError(f"holds more than tensors: {more[0].split('. ')[0]}; --trust runs what is in it") from None
    except (RuntimeError, EOFError, AttributeError, ImportError) as error:
        raise DataError(f"cannot be read by torch.load: {str(error).splitlines()[0] if str(error) else 'it is cut off'}") from None
    except Exception:  # a text read as a pickle ends in any error
        raise DataError("expected a checkpoint of torch.save, found something else") from None


def flatten(value, prefix, out):
    """Tensors by the dotted way to them; whole modules count as their state dicts."""
    if isinstance(value, torch.nn.Module):
        value = value.state_dict()
    if isinstance(value, torch.Tensor):
        out[prefix] = value.detach().cpu().contiguous()
    elif isinstance(value, dict):
        for key, item in value.items():
            flatten(item, f"{prefix}.{key}" if prefix else str(key), out)
    return out


def save(tensors, path):
    header, offset = {}, 0
    for name, tensor in sorted(tensors.items()):
        size = tensor.numel() * tensor.element_size()
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    temporary = path.with_name(path.name + ".part")
    with open(temporary, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, tensor in sorted(tensors.items()):
            file.write(tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    temporary.replace(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--trust", action="store_true", help="run the pickle of files that are more than tensors")
    options = parser.parse_args()
    wrong = 0
    for path in options.files:
        try:
            tensors = flatten(load(path, options.trust), "", {})
            strange = [f"{name} of {tensor.dtype}" for name, tensor in tensors.items() if tensor.dtype not in NAMES]
            if not tensors or strange:
                raise DataError(f"expected tensors of real numbers, found {strange[0] if strange else 'none'}")
            target = path.with_name(path.name + ".safetensors")
            save(tensors, target)
        except (DataError, OSError) as error:
            wrong += 1
            print(f"[{path}] {error}", file=sys.stderr)
            continue
        print(f"{target}: {len(tensors)} tensors")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
