"""Golden numbers of the video networks of VBench: its own Python code on weights by the rule of counter_weights.py.

    pip install vbench==0.1.5 --no-deps; pip install torch==2.11.0 numpy==1.26.4 easydict einops timm==1.0.12 ...
    python tests/golden/video_scorers.py [SUBJECT...]

Writes metrics/<subject>.json and metrics/<subject>_keys.txt (names and shapes of the state dict) for each subject.
"""
import importlib
import importlib.util
import json
import os
import sys
import types

import numpy as np
import torch

import counter_weights

HERE = os.path.dirname(os.path.abspath(__file__))


def network(name):
    """A module of vbench.third_party without what `import vbench` would pull in."""
    if not getattr(sys.modules.get("vbench"), "bare", False):
        bare = types.ModuleType("vbench")
        bare.__path__, bare.bare = [os.path.dirname(importlib.util.find_spec("vbench").origin)], True
        sys.modules["vbench"] = bare
        for unused in ("scipy", "scipy.interpolate", "imageio"):  # imported for functions that are not called here
            sys.modules.setdefault(unused, types.ModuleType(unused))
        sys.modules["scipy"].interpolate = sys.modules["scipy.interpolate"]
        sys.modules["imageio"].imread = sys.modules["imageio"].imwrite = None
    return importlib.import_module("vbench.third_party." + name)


def formula_clip(frames, height, width, salt=0):
    """uint8 [frames, 3, height, width]; tests/support/formula_clip.h has the same."""
    f, c, y, x = np.meshgrid(np.arange(frames), np.arange(3), np.arange(height), np.arange(width), indexing="ij")
    smooth = 96 + 4 * x + 3 * y + 5 * f + 20 * c
    detail = (x * y * 3 + f * 7 + c * 11 + x * salt) % 29
    return torch.from_numpy(((smooth + detail) % 256).astype(np.uint8))


def write(subject, shapes, golden):
    folder = os.path.join(HERE, "metrics")
    if shapes:
        with open(os.path.join(folder, subject + "_keys.txt"), "w") as file:
            for name, shape in shapes.items():
                kind = "\tint64" if name.endswith("num_batches_tracked") else ""
                file.write(f"{name}\t({', '.join(map(str, shape))}){kind}\n")
    golden["versions"] = {"torch": torch.__version__, "vbench": "0.1.5"}
    with open(os.path.join(folder, subject + ".json"), "w") as file:
        lines = (f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in golden.items())
        file.write("{\n" + ",\n".join(lines) + "\n}\n")


def samples(tensor, count=24):
    """Evenly spread elements and the mean of absolute values."""
    flat = tensor.detach().flatten().double()
    index = torch.linspace(0, flat.numel() - 1, count).long()
    return {"shape": list(tensor.shape), "index": index.tolist(), "values": flat[index].tolist(),
            "mean_abs": flat.abs().mean().item()}


def strength(flow, share):
    radius = np.sqrt(np.square(flow[0, 0].numpy()) + np.square(flow[0, 1].numpy()))
    count = int(radius.shape[0] * radius.shape[1] * share)
    return np.mean(abs(np.sort(-radius.flatten()))[:count]).item()


def raft():
    from easydict import EasyDict
    padder = network("RAFT.core.utils_core.utils").InputPadder
    model = network("RAFT.core.raft").RAFT(EasyDict(small=False, mixed_precision=False, alternate_corr=False)).eval()
    shapes = counter_weights.fill(model)
    frames = formula_clip(3, 130, 141).float()
    pairs = []
    for one, two in ((0, 1), (2, 0)):
        first, second = padder(frames[:1].shape).pad(frames[one:one + 1], frames[two:two + 1])
        _, flow = model(first, second, iters=20, test_mode=True)
        pairs.append({"from": one, "to": two, "flow": samples(flow), "top 5 %": strength(flow, 0.05),
                      "top 2 %": strength(flow, 0.02)})
    write("raft", shapes, {"clip": [3, 130, 141], "pairs": pairs})


def amt():
    utils = network("amt.utils.utils")
    model = network("amt.networks.AMT-S").Model().eval()
    shapes = counter_weights.fill(model)
    clip = formula_clip(6, 125, 141).permute(0, 2, 3, 1).numpy()
    inputs = [utils.img2tensor(frame) for frame in clip[0::2]]
    padder = utils.InputPadder(inputs[0].shape, 16)
    inputs = padder.pad(*inputs)
    errors, image = [], None
    for k, (first, second) in enumerate(zip(inputs[:-1], inputs[1:])):
        out = model(first, second, torch.tensor(0.5).view(1, 1, 1, 1), eval=True)["imgt_pred"]
        image = out if image is None else image
        predicted = utils.tensor2img(padder.unpad(out))
        errors.append(np.mean(np.abs(predicted.astype(np.int32) - clip[2 * k + 1])).item())
    write("amt", shapes, {"clip": [6, 125, 141], "between 0 and 2": samples(image), "errors": errors,
                          "motion_smoothness": (255.0 - np.mean(errors).item()) / 255.0})


SUBJECTS = {"raft": raft, "amt": amt}

if __name__ == "__main__":
    with torch.no_grad():
        for subject in sys.argv[1:] or SUBJECTS:
            SUBJECTS[subject]()
