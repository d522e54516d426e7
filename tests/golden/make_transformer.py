# SPDX-License-Identifier: Apache-2.0
"""Reference values for engine/models: a tiny random Wan transformer through diffusers, and through VORTA's three branches.

Run: python tests/golden/make_transformer.py   (torch 2.11.0, diffusers 0.33.1, safetensors; CPU)
Writes tests/golden/transformer/{config.json, diffusion_pytorch_model.safetensors, reference.safetensors}.
The branch functions are derived from the specification with masks and loops, not with the engine's gathers.
"""

import pathlib

import torch
from diffusers import WanTransformer3DModel
from diffusers.models.embeddings import apply_rotary_emb  # noqa: F401  (documents the layout: adjacent pairs)
from safetensors.torch import save_file

OUT = pathlib.Path(__file__).parent / "transformer"
HEADS, DIM, LAYERS, STEPS = 2, 16, 2, 3
GRID = (4, 6, 4)  # tokens
WINDOW, RATE = (2, 3, 2), 0.5
TILE, TILES_SEEN = (1, 3, 2), (3, 1, 1)
TIMESTEPS = [999, 500, 21]


def build():
    torch.manual_seed(7)
    model = WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=HEADS, attention_head_dim=DIM, in_channels=4, out_channels=4,
        text_dim=12, freq_dim=16, ffn_dim=48, num_layers=LAYERS, cross_attn_norm=True, eps=1e-6)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "norm" in name and name.endswith("weight"):
                p.add_(0.3 * torch.randn_like(p))  # parameters that would otherwise be ones and zeros
            elif "norm" in name or name.endswith("bias"):
                p.add_(0.1 * torch.randn_like(p))
            elif name.endswith("weight"):
                p.mul_(1.7)
    return model.eval()


def sdpa(q, k, v, mask=None):
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(-1) @ v


def coordinates():
    t, h, w = GRID
    return [(a, b, c) for a in range(t) for b in range(h) for c in range(w)]


def sliding_mask():
    n = [g // s for g, s in zip(GRID, TILE)]
    tiles = [tuple(x // s for x, s in zip(c, TILE)) for c in coordinates()]
    mask = torch.zeros(len(tiles), len(tiles), dtype=torch.bool)
    for i, a in enumerate(tiles):
        for j, b in enumerate(tiles):
            ok = True
            for z in range(3):
                half = TILES_SEEN[z] // 2
                center = min(max(a[z], half), n[z] - 1 - half)
                ok &= abs(center - b[z]) <= half
            mask[i, j] = ok
    return mask


def coreset(q, k, v):
    """One token list a window; loops over everything."""
    groups = {}
    for i, c in enumerate(coordinates()):
        groups.setdefault(tuple(x // s for x, s in zip(c, WINDOW)), []).append(i)
    groups = [groups[g] for g in sorted(groups)]
    size = WINDOW[0] * WINDOW[1] * WINDOW[2]
    center = ((WINDOW[0] // 2) * WINDOW[1] + WINDOW[1] // 2) * WINDOW[2] + WINDOW[2] // 2
    kept_count = int(size * (1 - RATE)) - 1
    out = torch.empty_like(q)
    for b in range(q.shape[0]):
        for n in range(q.shape[1]):
            unit = torch.nn.functional.normalize(q[b, n], dim=-1)
            pooled, owner = [], {}
            for g in groups:
                others = [m for j, m in enumerate(g) if j != center]
                order = torch.argsort(unit[others] @ unit[g[center]])
                ranked = [others[int(j)] for j in order]
                pooled += [g[center]] + ranked[:kept_count]
                owner.update({m: m for m in [g[center]] + ranked[:kept_count]})
                owner.update({m: g[center] for m in ranked[kept_count:]})
            o = sdpa(q[b, n][pooled], k[b, n][pooled], v[b, n][pooled])
            row = {token: r for r, token in enumerate(pooled)}
            out[b, n] = torch.stack([o[row[owner[i]]] for i in range(q.shape[2])])
    return out


class Processor:
    """diffusers' Wan attention processor with the self attention replaced by `mix(q, k, v, layer)`."""

    def __init__(self, layer, mix):
        self.layer, self.mix = layer, mix

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, rotary_emb=None):
        q = attn.norm_q(attn.to_q(hidden_states)).unflatten(2, (attn.heads, -1)).transpose(1, 2)
        k = attn.norm_k(attn.to_k(hidden_states)).unflatten(2, (attn.heads, -1)).transpose(1, 2)
        v = attn.to_v(hidden_states).unflatten(2, (attn.heads, -1)).transpose(1, 2)

        def rotate(x):
            pairs = torch.view_as_complex(x.double().unflatten(3, (-1, 2)))
            return torch.view_as_real(pairs * rotary_emb).flatten(3, 4).type_as(x)

        out = self.mix(rotate(q), rotate(k), v, self.layer)
        return attn.to_out[0](out.transpose(1, 2).flatten(2))


def routers():
    gen = torch.Generator().manual_seed(11)
    e = HEADS * DIM
    out = {}
    for i in range(LAYERS):
        out[f"blocks.{i}.router.linear.weight"] = torch.randn(3 * HEADS, e, generator=gen) * 0.8
        out[f"blocks.{i}.router.linear.bias"] = torch.randn(3 * HEADS, generator=gen) * 0.8
    return out


def scores_of(model, weights, timestep, layer):
    sinusoid = model.condition_embedder.timesteps_proj(timestep)
    temb = model.condition_embedder.time_embedder(sinusoid)
    logits = torch.nn.functional.linear(torch.nn.functional.silu(temb), weights[f"blocks.{layer}.router.linear.weight"],
                                        weights[f"blocks.{layer}.router.linear.bias"])
    return logits.view(len(timestep), HEADS, 3).softmax(-1)


def with_branches(model, mix, latents, timestep, text):
    native = [b.attn1.processor for b in model.blocks]
    for i, block in enumerate(model.blocks):
        block.attn1.processor = Processor(i, mix)
    try:
        return model(latents, timestep, text, return_dict=False)[0]
    finally:
        for block, processor in zip(model.blocks, native):
            block.attn1.processor = processor


@torch.no_grad()
def main():
    OUT.mkdir(exist_ok=True)
    model = build()
    model.save_pretrained(OUT, safe_serialization=True)
    gen = torch.Generator().manual_seed(3)
    ref = {"latents": torch.randn(2, 4, GRID[0], GRID[1] * 2, GRID[2] * 2, generator=gen),
           "text": torch.randn(2, 7, 12, generator=gen), "timesteps": torch.tensor(TIMESTEPS)}
    ref["text"][1, 4:] = 0
    mask, weights = sliding_mask(), routers()
    ref.update(weights)
    branches = [sdpa, coreset, lambda q, k, v: sdpa(q, k, v, mask)]
    routes = torch.zeros(STEPS, LAYERS, HEADS, dtype=torch.int64)
    for s, t in enumerate(TIMESTEPS):
        time = torch.tensor([t, t])
        args = (ref["latents"], time, ref["text"])
        ref[f"dense.{s}"] = model(*args, return_dict=False)[0]
        scores = [scores_of(model, weights, time, i) for i in range(LAYERS)]
        ref[f"scores.{s}"] = torch.stack(scores)
        for i in range(LAYERS):
            routes[s, i] = scores[i][0].argmax(-1)

        def routed(q, k, v, layer):
            return torch.stack([branches[routes[s, layer, n]](q[:, n:n + 1], k[:, n:n + 1], v[:, n:n + 1])[:, 0]
                                for n in range(HEADS)], 1)

        def mixed(q, k, v, layer):
            return sum(scores[layer][:, :, e, None, None] * branches[e](q, k, v) for e in range(3))

        ref[f"routed.{s}"] = with_branches(model, routed, *args)
        ref[f"mixed.{s}"] = with_branches(model, mixed, *args)
        if s == 0:
            ref["coreset.0"] = with_branches(model, lambda q, k, v, _: branches[1](q, k, v), *args)
            ref["sliding.0"] = with_branches(model, lambda q, k, v, _: branches[2](q, k, v), *args)
    ref["routes"] = routes
    print("routes", routes.tolist())
    fine = WanTransformer3DModel.from_pretrained(OUT, torch_dtype=torch.bfloat16)
    ref["dense.bf16"] = fine(ref["latents"].bfloat16(), torch.tensor([500, 500]), ref["text"].bfloat16(),
                             return_dict=False)[0]
    save_file({k: v.contiguous() for k, v in ref.items()}, OUT / "reference.safetensors")


if __name__ == "__main__":
    main()
