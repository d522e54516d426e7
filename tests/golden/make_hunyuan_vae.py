# SPDX-License-Identifier: Apache-2.0
"""Makes tests/golden/hunyuan_vae/expected.safetensors: what the tiny AutoencoderKLHunyuanVideo of tests/golden/hunyuan
decodes and encodes, whole, in temporal tiles and in spatial tiles.

Run after make_hunyuan.py: python make_hunyuan_vae.py   (torch 2.11.0, diffusers 0.33.1; CPU, float32)
Inputs are randn of a CPU generator with the case's seed; of large outputs every STRIDE-th pixel is kept.
"""

import pathlib

import torch
from diffusers import AutoencoderKLHunyuanVideo
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
TILE, STRIDE_PIXELS = 32, 24  # spatial tiles, in pixels
STRIDE = 3
# name: latents (T, H, W), in spatial tiles?
DECODES = {"one": ((1, 3, 5), False), "short": ((3, 4, 3), False), "times6": ((6, 3, 2), False),
           "times8": ((8, 2, 3), False), "times4": ((4, 2, 2), False), "times7": ((7, 2, 2), False),
           "places": ((2, 7, 9), True), "wide": ((1, 3, 4), True), "both": ((6, 5, 6), True)}
# name: pixels (F, Y, X), in spatial tiles?
ENCODES = {"one": ((1, 16, 24), False), "short": ((9, 16, 24), False), "times": ((29, 16, 16), False),
           "places": ((5, 56, 72), True), "both": ((21, 40, 48), True)}


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(2)
    vae = AutoencoderKLHunyuanVideo.from_pretrained(HERE / "hunyuan" / "model" / "vae", torch_dtype=torch.float32).eval()
    out = {}
    for seed, (name, (shape, tiled)) in enumerate(DECODES.items()):
        set_tiling(vae, tiled)
        z = torch.randn((1, 4, *shape), generator=torch.Generator().manual_seed(seed))
        pixels = vae.decode(z, return_dict=False)[0]
        out[f"decoded.{name}"] = pixels[:, :, :, ::STRIDE, ::STRIDE]
        print(name, tuple(pixels.shape), f"std {pixels.std():.3f}")
    for seed, (name, (shape, tiled)) in enumerate(ENCODES.items()):
        set_tiling(vae, tiled)
        x = torch.randn((1, 3, *shape), generator=torch.Generator().manual_seed(100 + seed))
        out[f"encoded.{name}"] = vae._encode(x)
    folder = HERE / "hunyuan_vae"
    folder.mkdir(exist_ok=True)
    save_file({k: v.contiguous() for k, v in out.items()}, folder / "expected.safetensors",
              metadata={"torch": torch.__version__, "diffusers": "0.33.1"})


def set_tiling(vae: AutoencoderKLHunyuanVideo, tiled: bool) -> None:
    if tiled:
        vae.enable_tiling(TILE, TILE, None, STRIDE_PIXELS, STRIDE_PIXELS, None)
    else:
        vae.disable_tiling()


if __name__ == "__main__":
    main()
