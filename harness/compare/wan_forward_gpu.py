#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Time of one transformer forward of Wan 2.1 at a published size on a GPU, random bfloat16 weights: vorta-bench against
diffusers' transformer, dense and with VORTA's sparse branches made of the operators that the published code uses
(FlexAttention over tiles, eager pooling), half of the heads each. One process after the other on the same card.
"""
import argparse
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import WanTransformer3DModel
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

ROOT = Path(__file__).resolve().parents[2]
KEPT_IN_FLOAT32 = ("time_embedder", "scale_shift_table", "norm1", "norm2", "norm3")  # as from_pretrained does
TEXT_TOKENS = 512
FRACTIONS = "0,0.5,0.5"  # dense, coreset, sliding


class VortaProcessor:
    """Self attention: the first half of the heads coreset, the second half sliding tile."""

    def __init__(self, geometry, device):
        self.grid, self.tile = geometry["latent_shape"], geometry["tile_size"]
        self.window, self.coreset = geometry["window_size"], geometry["lowres_window_size"]
        members = self.coreset[0] * self.coreset[1] * self.coreset[2]
        self.kept = int(members * (1 - geometry["lowres_reduction_rate"])) - 1
        a, b, c = self.coreset
        self.center = ((a // 2) * b + b // 2) * c + c // 2
        self.others = [i for i in range(members) if i != self.center]
        self.compiled = torch.compile(flex_attention) if device.type == "cuda" else flex_attention
        begin = time.perf_counter()
        self.mask = self.block_mask(device)
        self.mask_seconds = time.perf_counter() - begin

    def block_mask(self, device):
        counts = [g // t for g, t in zip(self.grid, self.tile)]
        size = self.tile[0] * self.tile[1] * self.tile[2]
        tokens = self.grid[0] * self.grid[1] * self.grid[2]

        def sees(_batch, _head, query, key):
            inside = None
            place, other = query // size, key // size
            for axis in (2, 1, 0):
                half = self.window[axis] // 2
                middle = (place % counts[axis]).clamp(half, counts[axis] - 1 - half)
                near = (middle - other % counts[axis]).abs() <= half
                inside = near if inside is None else inside & near
                place, other = place // counts[axis], other // counts[axis]
            return inside

        return create_block_mask(sees, None, None, tokens, tokens, device=device, _compile=device.type == "cuda")

    def cut(self, x, parts):
        """[B, N, L, D] in raster order -> [B, N, blocks, members, D]."""
        t, h, w = (g // p for g, p in zip(self.grid, parts))
        blocks = x.unflatten(2, (t, parts[0], h, parts[1], w, parts[2])).permute(0, 1, 2, 4, 6, 3, 5, 7, 8)
        return blocks.flatten(5, 7).flatten(2, 4)

    def joined(self, blocks, parts):
        t, h, w = (g // p for g, p in zip(self.grid, parts))
        x = blocks.unflatten(2, (t, h, w)).unflatten(5, tuple(parts)).permute(0, 1, 2, 5, 3, 6, 4, 7, 8)
        return x.flatten(2, 7)

    def sliding(self, q, k, v):
        q, k, v = (self.cut(x, self.tile).flatten(2, 3) for x in (q, k, v))
        out = self.compiled(q, k, v, block_mask=self.mask)
        return self.joined(out.unflatten(2, (-1, self.tile[0] * self.tile[1] * self.tile[2])), self.tile)

    def merged(self, q, k, v):
        q, k, v = (self.cut(x, self.coreset) for x in (q, k, v))
        center = q[:, :, :, self.center : self.center + 1]
        others = q[:, :, :, self.others]
        similarity = (F.normalize(others, dim=-1) * F.normalize(center, dim=-1)).sum(-1)  # [B, N, G, members - 1]
        order = similarity.argsort(-1)
        index = order[..., : self.kept, None].expand(*order.shape[:-1], self.kept, q.shape[-1])

        def pooled(x):
            kept = x[:, :, :, self.others].gather(3, index)
            return torch.cat([x[:, :, :, self.center : self.center + 1], kept], 3)

        survivors = [pooled(x) for x in (q, k, v)]
        out = F.scaled_dot_product_attention(*(x.flatten(2, 3) for x in survivors)).view_as(survivors[0])
        rest = out[:, :, :, :1].expand_as(others).scatter(3, index, out[:, :, :, 1:])
        whole = torch.cat([rest[:, :, :, : self.center], out[:, :, :, :1], rest[:, :, :, self.center :]], 3)
        return self.joined(whole, self.coreset)

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, rotary_emb=None):
        q, k = attn.norm_q(attn.to_q(hidden_states)), attn.norm_k(attn.to_k(hidden_states))
        q, k, v = (x.unflatten(2, (attn.heads, -1)).transpose(1, 2) for x in (q, k, attn.to_v(hidden_states)))
        q, k = (rotated(x, rotary_emb) for x in (q, k))
        half = attn.heads // 2
        low = self.merged(q[:, :half], k[:, :half], v[:, :half])
        high = self.sliding(q[:, half:], k[:, half:], v[:, half:])
        return attn.to_out[0](torch.cat([low, high], 1).transpose(1, 2).flatten(2))


def rotated(x, table):
    pairs = torch.view_as_complex(x.to(torch.float64).unflatten(3, (-1, 2)))
    return torch.view_as_real(pairs * table).flatten(3, 4).type_as(x)


def make_model(folder, device, layers):
    config = json.loads((folder / "transformer/config.json").read_text())
    if layers:
        config["num_layers"] = layers
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        model = WanTransformer3DModel.from_config(config).eval()
    torch.set_default_dtype(torch.float32)
    for name, parameter in model.named_parameters():
        if any(part in name for part in KEPT_IN_FLOAT32):
            parameter.data = parameter.data.float()
    return model


def seconds_of(model, inputs, forwards):
    """Each forward after one over the first two blocks, which loads kernels and workspaces."""
    all_blocks, model.blocks = model.blocks, model.blocks[:2]
    model(**inputs)
    model.blocks = all_blocks
    times = []
    for _ in range(forwards):
        synchronize()
        begin = time.perf_counter()
        out = model(**inputs, return_dict=False)[0]
        synchronize()
        times.append(time.perf_counter() - begin)
    assert out.isfinite().all()
    return times


def synchronize():
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peer_seconds(args, geometry):
    device = torch.device(args.device)
    model = make_model(args.model, device, args.layers)
    patch = model.config.patch_size
    latents = [g * p for g, p in zip(geometry["latent_shape"], patch)]
    options = {"device": device, "dtype": torch.bfloat16}
    inputs = {"hidden_states": torch.randn(1, model.config.in_channels, *latents, **options),
              "timestep": torch.tensor([500], device=device),
              "encoder_hidden_states": torch.randn(1, TEXT_TOKENS, model.config.text_dim, **options)}
    found = {}
    with torch.inference_mode():
        found["diffusers dense"] = seconds_of(model, inputs, args.forwards)
        processor = VortaProcessor(geometry, device)
        for block in model.blocks:
            block.attn1.set_processor(processor)
        found["diffusers with VORTA's branches"] = seconds_of(model, inputs, args.forwards)
    print(f"mask of tiles made in {processor.mask_seconds:.1f} s, not counted", flush=True)
    return found


def own_seconds(args, geometry, attention):
    tokens = geometry["latent_shape"]
    size = [4 * (tokens[0] - 1) + 1, 16 * tokens[1], 16 * tokens[2]]
    with tempfile.TemporaryDirectory() as scratch:
        timings = Path(scratch) / "timings.json"
        command = [args.binary, "generate", "--model", args.model, "--random-weights", "--device", args.device, "--dtype", "bfloat16",
                   "--guidance", 1, "--attention", attention, "--steps", args.forwards + 1, "--prompt", "x", "--video-size", *size,
                   "--output-type", "latent", "--output", Path(scratch) / "x.safetensors", "--timings", timings]
        if attention == "vorta":
            command += ["--routers", args.model / "routers", "--route-fractions", FRACTIONS]
        subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return json.loads(timings.read_text())["step_seconds"][1:]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=ROOT / "suites/shapes/wan-2.1-t2v-14b",
                        help="folder with transformer/config.json and routers/config.json, whose sizes are taken")
    parser.add_argument("--binary", type=Path, default=ROOT / "build/bin/vorta-bench", help="'none' leaves vorta-bench out")
    parser.add_argument("--forwards", type=int, default=2, help="timed ones of each contender")
    parser.add_argument("--layers", type=int, help="of the peer's model: fewer than it has, for a trial")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--json", type=Path, help="write all samples here")
    args = parser.parse_args()
    geometry = json.loads((args.model / "routers/config.json").read_text())["self_attention_kwargs"]
    samples = {}
    if str(args.binary) != "none":
        for attention in ("dense", "vorta"):
            samples[f"vorta-bench {attention}"] = own_seconds(args, geometry, attention)
    samples.update(peer_seconds(args, geometry))
    machine = torch.cuda.get_device_name() if args.device == "cuda" else "CPU"
    print(f"{machine}, torch {torch.__version__}, {args.model.name}, tokens {geometry['latent_shape']}")
    for name, times in samples.items():
        print(f"{name:34} {statistics.median(times):8.3f} s  ({min(times):.3f} to {max(times):.3f}, {len(times)} forwards)")
    if args.json:
        args.json.write_text(json.dumps(samples, indent=1) + "\n")


if __name__ == "__main__":
    main()
