# SPDX-License-Identifier: Apache-2.0
"""Golden scores of tests/golden/metrics/scores.json. Needs scikit-image 0.25.2 and numpy; writes the file in place.

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


def main():
    a, b = clip(4, 24, 30, 0), clip(4, 24, 30, 5)
    scores = {
        "made_with": {"scikit-image": skimage.__version__, "numpy": np.__version__},
        "psnr": float(peak_signal_noise_ratio(a, b, data_range=255)),
        "ssim": mean_ssim(a, b),
        "temporal_flickering": flickering(a),
    }
    path = pathlib.Path(__file__).parent / "metrics" / "scores.json"
    path.write_text(json.dumps(scores, indent=2) + "\n")


if __name__ == "__main__":
    main()
