# SPDX-License-Identifier: Apache-2.0
"""Makes tests/golden/hunyuan: a tiny random HunyuanVideo pipeline without text encoders and what it must produce.

    pip install -r requirements.txt && python make_hunyuan.py [OUTPUT_DIR]

Prompts are given as embeddings (`text.safetensors`), but for the cases `prompt*`, whose text encoders and tokenizers are
those of `text/hunyuan` (make_hunyuan_text.py). Everything is float32 on the CPU; weights are stored as bfloat16, which they
are rounded to first.
"""
from __future__ import annotations

import json
import math
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import diffusers
import torch
from diffusers import (AutoencoderKLHunyuanVideo, FlowMatchEulerDiscreteScheduler, HunyuanVideoPipeline,
                       HunyuanVideoTransformer3DModel)
from safetensors.torch import save_file
from transformers import CLIPTextModel, CLIPTokenizer, LlamaModel, LlamaTokenizerFast

from vorta_reference import Geometry, RoutingState, install_hunyuan

SEED, NOISE_SEED, STEPS, SHIFT, GUIDANCE = 20261123, 42, 8, 5.0, 6.0
GEOMETRY = Geometry([2, 2, 3], 0.5, [3, 1, 3], [2, 2, 2], [6, 4, 6])
TRANSFORMER = dict(in_channels=4, out_channels=4, num_attention_heads=3, attention_head_dim=16, num_layers=2,
                   num_single_layers=2, num_refiner_layers=2, mlp_ratio=2.0, patch_size=2, patch_size_t=1,
                   guidance_embeds=True, text_embed_dim=20, pooled_projection_dim=12, rope_theta=256.0,
                   rope_axes_dim=(4, 6, 6))
VAE = dict(latent_channels=4, block_out_channels=(4, 8, 8, 8), layers_per_block=1, norm_num_groups=2)
TEXT_ROWS, POSITIVE, NEGATIVE = 11, 7, 4  # rows, and how many of them count
VIDEO_STRIDE = 4
TEXT = Path(__file__).parent / "text" / "hunyuan"
PROMPT, NEGATIVE_PROMPT = "A cat walks on the grass, realistic style.", "blurred, two dogs"
TIMESTEPS = [999.0, 500.0, 21.0]


@dataclass
class Case:
    name: str
    attention: str = "dense"
    tau: float = 0.3
    true_guidance: float = 1.0
    keep_video: bool = False
    prompt: str | None = None
    negative_prompt: str | None = None


CASES = [Case("dense", keep_video=True), Case("dense_true_guidance", true_guidance=3.0),
         Case("vorta", "vorta", keep_video=True), Case("vorta_tau", "vorta", tau=0.5),
         Case("vorta_true_guidance", "vorta", true_guidance=3.0), Case("sliding", "sliding"),
         Case("coreset", "coreset"), Case("prompt", keep_video=True, prompt=PROMPT),
         Case("prompt_vorta", "vorta", true_guidance=2.0, prompt=PROMPT, negative_prompt=NEGATIVE_PROMPT)]


@torch.no_grad()
def roughen(module: torch.nn.Module, generator: torch.Generator) -> None:
    """Norms start as ones and zeros, which would hide a missing or swapped one; the rest is made larger."""
    for name, p in module.named_parameters():
        if "norm" in name and p.dim() == 1:
            p.add_(torch.randn(p.shape, generator=generator), alpha=0.2)
        elif p.dim() > 1:
            p.mul_(1.5)
        p.copy_(p.bfloat16().float())


def make_vae(generator: torch.Generator) -> AutoencoderKLHunyuanVideo:
    vae = AutoencoderKLHunyuanVideo(**VAE)
    roughen(vae, generator)
    with torch.no_grad():
        sample = vae.decode(torch.randn(1, 4, 6, 8, 12, generator=generator) / vae.config.scaling_factor).sample
        vae.decoder.conv_out.conv.weight.mul_(0.35 / sample.std())
        vae.decoder.conv_out.conv.bias.zero_().add_(torch.tensor([0.1, -0.1, 0.05]))
        for p in vae.decoder.conv_out.parameters():
            p.copy_(p.bfloat16().float())
    return vae.eval()


def make_pipeline() -> HunyuanVideoPipeline:
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED + 1)
    transformer = HunyuanVideoTransformer3DModel(**TRANSFORMER).eval()
    roughen(transformer, generator)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=SHIFT)
    pipe = HunyuanVideoPipeline(text_encoder=None, tokenizer=None, transformer=transformer, vae=make_vae(generator),
                                scheduler=scheduler, text_encoder_2=None, tokenizer_2=None)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def save_model(pipe: HunyuanVideoPipeline, out: Path) -> None:
    for name in ("transformer", "vae"):
        part = getattr(pipe, name)
        part.bfloat16().save_pretrained(out / name, max_shard_size="200KB")
        part.float()
    pipe.scheduler.save_pretrained(out / "scheduler")
    index = {"_class_name": "HunyuanVideoPipeline", "_diffusers_version": diffusers.__version__,
             "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
             "text_encoder": ["transformers", "LlamaModel"], "text_encoder_2": ["transformers", "CLIPTextModel"],
             "tokenizer": ["transformers", "LlamaTokenizerFast"], "tokenizer_2": ["transformers", "CLIPTokenizer"],
             "transformer": ["diffusers", "HunyuanVideoTransformer3DModel"],
             "vae": ["diffusers", "AutoencoderKLHunyuanVideo"]}
    (out / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


def save_routers(pipe: HunyuanVideoPipeline, out: Path) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(SEED + 2)
    heads, width = TRANSFORMER["num_attention_heads"], pipe.transformer.inner_dim if hasattr(
        pipe.transformer, "inner_dim") else TRANSFORMER["num_attention_heads"] * TRANSFORMER["attention_head_dim"]
    names = [f"transformer_blocks.{i}" for i in range(TRANSFORMER["num_layers"])]
    names += [f"single_transformer_blocks.{i}" for i in range(TRANSFORMER["num_single_layers"])]
    weights = {}
    for name in names:
        weights[f"{name}.router.linear.weight"] = (
            torch.randn(3 * heads, width, generator=generator) * (10.0 / math.sqrt(width))).bfloat16()
        weights[f"{name}.router.linear.bias"] = (torch.randn(3 * heads, generator=generator) * 0.3).bfloat16()
    ckpt = out / "ckpt" / "step-000100"
    ckpt.mkdir(parents=True)
    torch.save(weights, ckpt / "router.pt")
    config = dict(name="HunyuanVideoTransformer3DModel", pretrained_model_path="../model", revision=None,
                  train_video_size=[21, 64, 96], self_attention_kwargs=asdict(GEOMETRY))
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    return weights


def make_text(out: Path) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(SEED + 3)
    text = {}
    for prefix, count in (("", POSITIVE), ("negative_", NEGATIVE)):
        text[prefix + "prompt_embeds"] = torch.randn(1, TEXT_ROWS, TRANSFORMER["text_embed_dim"], generator=generator)
        text[prefix + "prompt_attention_mask"] = (torch.arange(TEXT_ROWS) < count).long()[None]
        text[prefix + "pooled_prompt_embeds"] = torch.randn(1, TRANSFORMER["pooled_projection_dim"], generator=generator)
    save_file(text, out / "text.safetensors")
    return text


def run_case(case: Case, pipe: HunyuanVideoPipeline, text: dict, noise: torch.Tensor, state: RoutingState) -> dict:
    state.mode, state.tau, state.routes = case.attention, case.tau, []
    if case.prompt is not None:
        text = dict(prompt=case.prompt, negative_prompt=case.negative_prompt)
    call = dict(text, num_frames=21, height=64, width=96, num_inference_steps=STEPS, guidance_scale=GUIDANCE,
                true_cfg_scale=case.true_guidance, latents=noise.clone(), return_dict=False)
    out = {f"latents.{case.name}": pipe(**call, output_type="latent")[0]}
    if case.attention == "vorta":
        layers, heads = TRANSFORMER["num_layers"] + TRANSFORMER["num_single_layers"], TRANSFORMER["num_attention_heads"]
        passes = 2 if case.true_guidance > 1 else 1
        table = torch.stack([r for _, r in state.routes]).reshape(STEPS, passes, layers, heads)
        out[f"routes.{case.name}"] = table[:, 0].to(torch.uint8)
        shares = [(table == b).float().mean().item() for b in range(3)]
        print(f"  {case.name}: shares dense/coreset/sliding {shares}")
        assert min(shares) > 0.04, "a branch hardly occurs: change the seed"
    if case.keep_video:
        pixels = pipe.vae.decode(out[f"latents.{case.name}"] / pipe.vae.config.scaling_factor, return_dict=False)[0]
        video = pipe.video_processor.postprocess_video(pixels, output_type="pt")[0]  # [F, 3, Y, X] in 0..1
        out[f"video.{case.name}"] = video[:, :, ::VIDEO_STRIDE, ::VIDEO_STRIDE]
        print(f"  {case.name}: video mean {video.mean():.3f} std {video.std():.3f} of {tuple(video.shape)}")
    return out


def transformer_values(pipe: HunyuanVideoPipeline, text: dict, noise: torch.Tensor, state: RoutingState) -> dict:
    """Single forwards, before and after the processors are replaced, and the refiner alone."""
    model, out = pipe.transformer, {}
    plain = model.transformer_blocks[0].attn.processor.__class__.__name__ == "HunyuanVideoAttnProcessor2_0"
    args = dict(encoder_hidden_states=text["prompt_embeds"], encoder_attention_mask=text["prompt_attention_mask"],
                pooled_projections=text["pooled_prompt_embeds"], guidance=torch.tensor([GUIDANCE * 1000.0]),
                return_dict=False)
    if plain:
        out["refined"] = model.context_embedder(text["prompt_embeds"], torch.tensor([500.0]),
                                                text["prompt_attention_mask"])
        for i, t in enumerate(TIMESTEPS):
            out[f"forward.dense.{i}"] = model(noise, torch.tensor([t]), **args)[0]
        half = model.bfloat16()
        cast = {k: v.bfloat16() if isinstance(v, torch.Tensor) and v.is_floating_point() else v for k, v in args.items()}
        out["forward.bf16"] = half(noise.bfloat16(), torch.tensor([TIMESTEPS[1]]), **cast)[0]
        model.float()
        return out
    for mode in ("coreset", "sliding", "vorta"):
        state.mode, state.tau = mode, 0.3
        for i, t in enumerate(TIMESTEPS if mode == "vorta" else TIMESTEPS[:1]):
            out[f"forward.{mode}.{i}"] = model(noise, torch.tensor([t]), **args)[0]
    return out


@torch.no_grad()
def build(out: Path) -> None:
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    pipe = make_pipeline()
    save_model(pipe, out / "model")
    text = make_text(out)
    state = RoutingState(GEOMETRY, save_routers(pipe, out / "routers"))
    t, h, w = GEOMETRY.latent_shape
    noise = torch.randn((1, 4, t, 2 * h, 2 * w), generator=torch.Generator().manual_seed(NOISE_SEED))
    expected = transformer_values(pipe, text, noise, state)
    plain = run_case(Case("plain"), pipe, text, noise, state)["latents.plain"]
    expected["sigmas"] = pipe.scheduler.sigmas
    pipe = HunyuanVideoPipeline(
        text_encoder=LlamaModel.from_pretrained(TEXT / "text_encoder", torch_dtype=torch.float32).eval(),
        tokenizer=LlamaTokenizerFast.from_pretrained(TEXT / "tokenizer"), transformer=pipe.transformer, vae=pipe.vae,
        scheduler=pipe.scheduler,
        text_encoder_2=CLIPTextModel.from_pretrained(TEXT / "text_encoder_2", torch_dtype=torch.float32).eval(),
        tokenizer_2=CLIPTokenizer.from_pretrained(TEXT / "tokenizer_2"))
    pipe.set_progress_bar_config(disable=True)
    install_hunyuan(pipe.transformer, state)
    expected |= transformer_values(pipe, text, noise, state)
    for case in CASES:
        expected |= run_case(case, pipe, text, noise, state)
    difference = ((expected["latents.dense"] - plain).norm() / plain.norm()).item()
    assert difference < 1e-5, difference
    expected["latents.dense"] = plain
    for key, value in expected.items():
        if key.startswith("latents."):
            print(f"  {key}: norm {value.norm():.3f}, apart from plain {(value - plain).norm() / plain.norm():.2e}")
    assert state.smallest_route_margin > 2e-4, state.smallest_route_margin
    assert state.smallest_coreset_gap > 5e-6, state.smallest_coreset_gap
    save_file({k: v.contiguous() for k, v in expected.items()}, out / "expected.safetensors")
    common = dict(frames=21, height=64, width=96, steps=STEPS, flow_shift=SHIFT, guidance=GUIDANCE, seed=NOISE_SEED,
                  video_stride=VIDEO_STRIDE, timesteps=TIMESTEPS)
    made_with = dict(torch=torch.__version__, diffusers=diffusers.__version__, seed=SEED,
                     smallest_route_margin=state.smallest_route_margin, smallest_coreset_gap=state.smallest_coreset_gap)
    cases = dict(common=common, cases=[asdict(c) for c in CASES], made_with=made_with)
    (out / "cases.json").write_text(json.dumps(cases, indent=2) + "\n")


if __name__ == "__main__":
    build(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "hunyuan")
