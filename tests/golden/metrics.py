# SPDX-License-Identifier: Apache-2.0
"""Golden scores of tests/golden/metrics/scores.json and perceptual.json. Needs scikit-image 0.25.2, numpy, torch 2.11.0,
torchvision 0.26.0, pytorch-msssim 1.0.0 and lpips 0.1.4 (the last two with --no-deps); writes the files in place.

The clips are given by a formula (see clip()), so that the C++ test builds the same bytes without a fixture.
"""
import json
import pathlib

import numpy as np
import skimage
from skimage.metrics import peak_signal_noise_ratio, structural_similarity


def clip(frames, height, width, salt):
    f, c, y, x = np.meshgrid(*(np.arange(n) for n in (frames, 3, height, width)), indexing="ij")
    smooth = 96 + 4 * x + 3 * y + 5 * f + 20 * c
    detail = (x * y * 3 + f * 7 + c * 11) % 29 if salt == 0 else (x * y * 3 + f * 7 + c * 11 + x * salt) % 29
    return ((smooth + detail) % 256).astype(np.uint8)  # [F, 3, Y, X]


def mean_ssim(a, b):
    values = [
        structural_similarity(p, q, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
        for p, q in zip(a.reshape(-1, *a.shape[2:]).astype(np.float64), b.reshape(-1, *b.shape[2:]).astype(np.float64))
    ]
    return float(np.mean(values))


def flickering(a):
    pairs = zip(a[1:].astype(np.float32), a[:-1].astype(np.float32))
    return float((255.0 - np.mean([np.mean(np.abs(p - q)) for p, q in pairs])) / 255.0)


def ms_ssim(a, b):
    import torch
    from pytorch_msssim import ms_ssim as public
    return float(public(torch.from_numpy(a).double(), torch.from_numpy(b).double(), data_range=255))


def perceptual():
    """lpips on weights by rule (heads made positive, as the published ones are), cosines, and errors along flows by rule."""
    import counter_weights
    import lpips
    import torch
    torch.set_grad_enabled(False)
    model = lpips.LPIPS(net="alex", pretrained=False, pnet_rand=True, verbose=False).eval()
    folder = pathlib.Path(__file__).parent / "metrics"
    layers = [(0, 64, 3, 11), (3, 192, 64, 5), (6, 384, 192, 3), (8, 256, 384, 3), (10, 256, 256, 3)]
    lines = []
    for (index, out, inner, kernel), part in zip(layers, (model.net.slice1, model.net.slice2, model.net.slice3, model.net.slice4, model.net.slice5)):
        conv = getattr(part, str(index))
        for name, shape in (("weight", (out, inner, kernel, kernel)), ("bias", (out,))):
            key = f"features.{index}.{name}"
            getattr(conv, name).copy_(counter_weights.tensor(key, shape))
            lines.append(f"{key}\t({', '.join(map(str, shape))},)\n" if len(shape) == 1 else f"{key}\t({', '.join(map(str, shape))})\n")
    (folder / "alexnet_keys.txt").write_text("".join(lines))
    lines = []
    for i, layer in enumerate(model.lins):
        key, shape = f"lin{i}.model.1.weight", tuple(layer.model[1].weight.shape)
        layer.model[1].weight.copy_(counter_weights.tensor(key, shape).abs())
        lines.append(f"{key}\t({', '.join(map(str, shape))})\n")
    (folder / "lpips_heads_keys.txt").write_text("".join(lines))
    a, b = (torch.from_numpy(clip(2, 65, 77, salt)).float() / 255 for salt in (0, 5))
    distances = model(2 * a - 1, 2 * b - 1).flatten().tolist()
    one, two = counter_weights.tensor("a", (3, 40)), counter_weights.tensor("b", (3, 40))
    cosine = torch.nn.functional.cosine_similarity(one.double(), two.double(), dim=-1).mean().item()
    there = 40 * counter_weights.tensor("flow", (1, 2, 65, 77))
    back = -there + 8 * counter_weights.tensor("slip", (1, 2, 65, 77))
    y, x = torch.meshgrid(torch.arange(65.0), torch.arange(77.0), indexing="ij")
    to_x, to_y = x + there[:, 0], y + there[:, 1]
    grid = torch.stack([2 * to_x / 76 - 1, 2 * to_y / 64 - 1], -1)
    draw = lambda image: torch.nn.functional.grid_sample(image, grid, padding_mode="border", align_corners=True)
    returned = draw(back)
    limit = 0.01 * (there.square().sum(1) + returned.square().sum(1)) + 0.5
    mask = ((there + returned).square().sum(1) < limit) & (to_x >= 0) & (to_x <= 76) & (to_y >= 0) & (to_y <= 64)
    difference = (a[:1] - draw(b[1:])).double().square().mean(1)
    return {"made_with": {"lpips": "0.1.4", "torch": torch.__version__}, "lpips": distances, "feature_distance": 1 - cosine,
            "warped_pixels": int(mask.sum()), "warped_difference": (difference * mask).sum().item() / int(mask.sum())}


def main():
    a, b = clip(4, 24, 30, 0), clip(4, 24, 30, 5)
    scores = {
        "made_with": {"scikit-image": skimage.__version__, "numpy": np.__version__},
        "psnr": float(peak_signal_noise_ratio(a, b, data_range=255)),
        "ssim": mean_ssim(a, b),
        "ms_ssim": ms_ssim(clip(2, 170, 191, 0), clip(2, 170, 191, 5)),
        "temporal_flickering": flickering(a),
    }
    path = pathlib.Path(__file__).parent / "metrics" / "scores.json"
    path.write_text(json.dumps(scores, indent=2) + "\n")
    (path.parent / "perceptual.json").write_text(json.dumps(perceptual(), indent=2) + "\n")


if __name__ == "__main__":
    main()
