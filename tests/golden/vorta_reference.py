# SPDX-License-Identifier: Apache-2.0
"""VORTA attention as a diffusers attention processor, written for clarity, not for speed.

Every branch is a brute-force dense computation: the sliding branch masks a full [L, L] score matrix, the coreset
branch loops over groups. Branch numbers: 0 dense, 1 coreset, 2 sliding tile.
"""
from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F

DENSE, CORESET, SLIDING = 0, 1, 2


@dataclass
class Geometry:
    """`self_attention_kwargs` of a router checkpoint."""

    lowres_window_size: list[int]
    lowres_reduction_rate: float
    window_size: list[int]
    tile_size: list[int]
    latent_shape: list[int]

    @property
    def tokens(self) -> int:
        return math.prod(self.latent_shape)

    def coreset_groups(self) -> torch.Tensor:
        """[G, members] token ids, both in raster order."""
        grid, win = self.latent_shape, self.lowres_window_size
        assert all(g % w == 0 for g, w in zip(grid, win)), "ragged coreset grid"
        groups = []
        for corner in itertools.product(*[range(0, g, w) for g, w in zip(grid, win)]):
            members = []
            for d in itertools.product(*[range(w) for w in win]):
                t, y, x = (c + o for c, o in zip(corner, d))
                members.append((t * grid[1] + y) * grid[2] + x)
            groups.append(members)
        return torch.tensor(groups)

    def center(self) -> int:
        a, b, c = self.lowres_window_size
        return ((a // 2) * b + b // 2) * c + c // 2

    def kept(self) -> int:
        return int(math.prod(self.lowres_window_size) * (1 - self.lowres_reduction_rate)) - 1

    def sliding_mask(self) -> torch.Tensor:
        """[L, L] bool in raster order: may query attend to key."""
        grid, tile = self.latent_shape, self.tile_size
        assert all(g % t == 0 for g, t in zip(grid, tile)), "ragged tile grid"
        counts = [g // t for g, t in zip(grid, tile)]
        tiles = torch.tensor([[p // t for p, t in zip(pos, tile)]
                              for pos in itertools.product(*[range(g) for g in grid])])  # [L, 3]
        mask = torch.ones(self.tokens, self.tokens, dtype=torch.bool)
        for axis in range(3):
            half = self.window_size[axis] // 2
            center = tiles[:, axis].clamp(min=half).clamp(max=counts[axis] - 1 - half)
            mask &= (center[:, None] - tiles[None, :, axis]).abs() <= half
        return mask


@dataclass
class RoutingState:
    """What the processors share: the forced mode or the routers, and a record of what was decided."""

    geometry: Geometry
    routers: dict[str, torch.Tensor]
    tau: float = 0.3
    mode: str = "vorta"
    temb: torch.Tensor | None = None
    blocks: list[str] | None = None  # names of the routed blocks; None: blocks.0, blocks.1, ..
    routes: list[tuple[int, torch.Tensor]] = field(default_factory=list)
    smallest_route_margin: float = math.inf
    smallest_coreset_gap: float = math.inf

    def route(self, layer: int, heads: int) -> torch.Tensor:
        """Branch of each head, [heads] int64."""
        if self.mode != "vorta":
            return torch.full((heads,), {"dense": DENSE, "coreset": CORESET, "sliding": SLIDING}[self.mode])
        name = f"blocks.{layer}" if self.blocks is None else self.blocks[layer]
        w = self.routers[f"{name}.router.linear.weight"].to(self.temb.dtype)
        b = self.routers[f"{name}.router.linear.bias"].to(self.temb.dtype)
        logits = F.linear(F.silu(self.temb), w, b).reshape(-1, heads, 3)
        scores = logits.softmax(dim=-1)[0]
        value, index = scores.topk(1, dim=-1)
        value, index = value[:, 0], index[:, 0].clone()
        two = scores.topk(2, dim=-1).values
        self.smallest_route_margin = min(
            self.smallest_route_margin, (two[:, 0] - two[:, 1]).min().item(), (value - self.tau).abs().min().item())
        index[value < self.tau] = DENSE
        self.routes.append((layer, index))
        return index


def attend(q, k, v, mask=None):
    """Softmax attention in plain matrix products, scale 1/sqrt(D). q, k, v: [N, L, D]."""
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return scores.softmax(dim=-1) @ v


def coreset_choice(x, state: RoutingState):
    """x [L, D] of one head: ids that stay (each group's center and its members least similar to it), ids of the others,
    and the center that each of those takes its output from."""
    groups, ci, keep = state.geometry.coreset_groups(), state.geometry.center(), state.geometry.kept()
    kept_ids, copy_to, copy_from = [], [], []
    for members in groups.tolist():
        center, margin = members[ci], members[:ci] + members[ci + 1:]
        similarity = F.normalize(x[margin], dim=-1) @ F.normalize(x[center], dim=-1)
        order = similarity.argsort().tolist()
        if 0 < keep < len(margin):
            gap = (similarity[order[keep]] - similarity[order[keep - 1]]).item()
            state.smallest_coreset_gap = min(state.smallest_coreset_gap, gap)
        kept_ids += [center] + [margin[i] for i in order[:keep]]
        copy_to += [margin[i] for i in order[keep:]]
        copy_from += [center] * (len(margin) - keep)
    return kept_ids, copy_to, copy_from


def coreset_attend(q, k, v, state: RoutingState):
    """One head, [L, D]: the queries choose for keys and values too."""
    kept_ids, copy_to, copy_from = coreset_choice(q, state)
    out = torch.zeros_like(q)
    out[kept_ids] = attend(q[None, kept_ids], k[None, kept_ids], v[None, kept_ids])[0]
    out[copy_to] = out[copy_from]
    return out


class VortaProcessor:
    """Replaces WanAttnProcessor2_0 on `attn1` of one block."""

    def __init__(self, layer: int, state: RoutingState):
        self.layer, self.state = layer, state
        self.mask = state.geometry.sliding_mask()

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, rotary_emb=None):
        x, heads = hidden_states, attn.heads
        q, k, v = attn.norm_q(attn.to_q(x)), attn.norm_k(attn.to_k(x)), attn.to_v(x)
        q, k, v = (z.unflatten(2, (heads, -1)).transpose(1, 2) for z in (q, k, v))
        q, k = self.rotate(q, rotary_emb), self.rotate(k, rotary_emb)
        routes = self.state.route(self.layer, heads)
        out = torch.empty_like(q)
        for b, n in itertools.product(range(q.shape[0]), range(heads)):
            qh, kh, vh = q[b, n], k[b, n], v[b, n]
            if routes[n] == CORESET:
                out[b, n] = coreset_attend(qh, kh, vh, self.state)
            else:
                mask = self.mask if routes[n] == SLIDING else None
                out[b, n] = attend(qh[None], kh[None], vh[None], mask)[0]
        return attn.to_out[0](out.transpose(1, 2).flatten(2, 3))

    @staticmethod
    def rotate(x, table):
        pairs = torch.view_as_complex(x.double().unflatten(3, (-1, 2)))
        return torch.view_as_real(pairs * table).flatten(3, 4).type_as(x)


def install(transformer, state: RoutingState) -> None:
    """Patches `transformer` in place; the router's input is the time embedding before `time_proj`."""
    def remember(module, args, output):
        state.temb = output[0]
    transformer.condition_embedder.register_forward_hook(remember)
    for layer, block in enumerate(transformer.blocks):
        block.attn1.set_processor(VortaProcessor(layer, state))


def joint_coreset_attend(q, k, v, state: RoutingState):
    """One head of HunyuanVideo, [L + n, D], n text rows last: queries choose theirs, keys theirs and the values'; text
    rows all stay."""
    video = state.geometry.tokens
    text = list(range(video, q.shape[0]))
    kept_q, copy_to, copy_from = coreset_choice(q[:video], state)
    kept_k, _, _ = coreset_choice(k[:video], state)
    out = torch.zeros_like(q)
    out[kept_q + text] = attend(q[None, kept_q + text], k[None, kept_k + text], v[None, kept_k + text])[0]
    out[copy_to] = out[copy_from]
    return out


class HunyuanVortaProcessor:
    """Replaces HunyuanVideoAttnProcessor2_0 of one dual- or single-stream block. Batch 1."""

    def __init__(self, layer: int, state: RoutingState):
        self.layer, self.state = layer, state
        self.video_mask = state.geometry.sliding_mask()

    def sliding_mask(self, text: int) -> torch.Tensor:
        """Every query sees the text; text queries see everything."""
        video = self.state.geometry.tokens
        mask = torch.ones(video + text, video + text, dtype=torch.bool)
        mask[:video, :video] = self.video_mask
        return mask

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, image_rotary_emb=None):
        video, text, heads = hidden_states, encoder_hidden_states, attn.heads
        dual = attn.add_q_proj is not None

        def split(x, norm, rotate):
            x = x.unflatten(2, (heads, -1)).transpose(1, 2)
            x = x if norm is None else norm(x)
            return self.rotate(x, image_rotary_emb) if rotate else x

        tq, tk, tv = (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj) if dual else (attn.to_q, attn.to_k, attn.to_v)
        nq, nk = (attn.norm_added_q, attn.norm_added_k) if dual else (attn.norm_q, attn.norm_k)
        q = torch.cat([split(attn.to_q(video), attn.norm_q, True), split(tq(text), nq, False)], 2)
        k = torch.cat([split(attn.to_k(video), attn.norm_k, True), split(tk(text), nk, False)], 2)
        v = torch.cat([split(attn.to_v(video), None, False), split(tv(text), None, False)], 2)
        assert q.shape[0] == 1
        valid = int(attention_mask.sum())  # the tokens that count come first
        n = video.shape[1]
        routes = self.state.route(self.layer, heads)
        out = torch.zeros_like(q)
        for h in range(heads):
            qh, kh, vh = q[0, h, :valid], k[0, h, :valid], v[0, h, :valid]
            if routes[h] == CORESET:
                out[0, h, :valid] = joint_coreset_attend(qh, kh, vh, self.state)
            else:
                mask = self.sliding_mask(valid - n) if routes[h] == SLIDING else None
                out[0, h, :valid] = attend(qh[None], kh[None], vh[None], mask)[0]
        out = out.transpose(1, 2).flatten(2, 3)
        video_out, text_out = out[:, :n], out[:, n:]
        if dual:
            return attn.to_out[0](video_out), attn.to_add_out(text_out)
        return video_out, text_out

    @staticmethod
    def rotate(x, tables):
        cos, sin = tables
        pairs = x.unflatten(-1, (-1, 2))
        turned = torch.stack([-pairs[..., 1], pairs[..., 0]], -1).flatten(-2)
        return (x.float() * cos + turned.float() * sin).to(x.dtype)


def install_hunyuan(transformer, state: RoutingState) -> None:
    """Patches `transformer` in place; the router's input is the embedding of the timestep alone."""
    def remember(module, args, output):
        state.temb = output
    transformer.time_text_embed.timestep_embedder.register_forward_hook(remember)
    named = [(f"transformer_blocks.{i}", b) for i, b in enumerate(transformer.transformer_blocks)]
    named += [(f"single_transformer_blocks.{i}", b) for i, b in enumerate(transformer.single_transformer_blocks)]
    state.blocks = [name for name, _ in named]
    for layer, (_, block) in enumerate(named):
        block.attn.processor = HunyuanVortaProcessor(layer, state)
