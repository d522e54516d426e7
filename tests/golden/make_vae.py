# SPDX-License-Identifier: Apache-2.0
"""Makes tests/golden/vae/: a tiny random AutoencoderKLWan of diffusers and what it encodes and decodes.

Run: python tests/golden/make_vae.py   (torch 2.11.0, diffusers 0.33.1, safetensors; CPU, float32, seed 20)
Two configs: "wan" has the four stages of Wan 2.1, "short" has two. attn_scales stays empty: diffusers 0.33.1 accepts
other values but its encoder then fails when called.
"""

import json
import pathlib

import torch
from diffusers import AutoencoderKLWan
from safetensors.torch import save_file

OUT = pathlib.Path(__file__).parent / "vae"
SEED = 20
CONFIGS = {
    "wan": dict(base_dim=4, z_dim=4, dim_mult=[1, 2, 2, 2], num_res_blocks=1, temperal_downsample=[False, True, True]),
    "short": dict(base_dim=4, z_dim=2, dim_mult=[1, 2], num_res_blocks=2, temperal_downsample=[True]),
}
FRAMES = {"wan": (1, 5, 9, 13), "short": (1, 5, 9)}
SIZE = {"wan": (16, 24), "short": (6, 10)}


def randomise(model: torch.nn.Module, generator: torch.Generator) -> None:
    """Every tensor random, gammas around one, so that no term of the network vanishes."""
    with torch.no_grad():
        for name, value in model.named_parameters():
            noise = torch.randn(value.shape, generator=generator)
            if name.endswith("gamma"):
                value.copy_(1 + 0.2 * noise)
            elif name.endswith("bias"):
                value.copy_(0.2 * noise)
            else:
                value.copy_(noise / value[0].numel() ** 0.5)
            value.copy_(value.bfloat16().float())  # so that the file may hold bfloat16


def main() -> None:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(SEED)
    for name, config in CONFIGS.items():
        z_dim = config["z_dim"]
        mean = [round(0.3 * (i - 1), 4) for i in range(z_dim)]
        std = [round(1.1 + 0.37 * i, 4) for i in range(z_dim)]
        model = AutoencoderKLWan(**config, latents_mean=mean, latents_std=std).eval()
        randomise(model, generator)
        folder = OUT / name
        model.save_pretrained(folder)
        save_file({key: value.bfloat16() for key, value in model.state_dict().items()},
                  folder / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})
        config_path = folder / "config.json"
        config_path.write_text(json.dumps(json.loads(config_path.read_text()), sort_keys=True) + "\n")
        height, width = SIZE[name]
        factor = 2 ** (len(config["dim_mult"]) - 1)
        time = 2 ** sum(config["temperal_downsample"])
        tensors = {}
        with torch.no_grad():
            for frames in FRAMES[name]:
                video = torch.rand((1, 3, frames, height, width), generator=generator) * 2 - 1
                # Few bits, so that the file is small after the same rounding in the test: float16 is exact here.
                video = video.to(torch.float16).float()
                tensors[f"video.{frames}"] = video.to(torch.float16)
                tensors[f"moments.{frames}"] = model._encode(video)
                latents = torch.randn(
                    (1, z_dim, 1 + (frames - 1) // time, height // factor, width // factor), generator=generator)
                tensors[f"latents.{frames}"] = latents
                inverse = 1.0 / torch.tensor(std).view(1, z_dim, 1, 1, 1)
                raw = latents / inverse + torch.tensor(mean).view(1, z_dim, 1, 1, 1)
                if frames == 5:
                    tensors["denormalized.5"] = raw
                tensors[f"decoded.{frames}"] = model.decode(raw, return_dict=False)[0]
        tensors = {key: value.contiguous() for key, value in tensors.items()}
        save_file(tensors, OUT / f"{name}.safetensors", metadata={
            "seed": str(SEED), "torch": torch.__version__, "diffusers": "0.33.1"})


if __name__ == "__main__":
    main()
