# SPDX-License-Identifier: Apache-2.0
"""Makes tests/golden/pipeline: a tiny random Wan 2.1 pipeline in the diffusers layout and what it must produce.

    pip install -r requirements.txt && python make_pipeline.py [OUTPUT_DIR]

Everything is float32 on the CPU and follows from the seeds below. Other configurations: see `Recipe`.
"""
from __future__ import annotations

import json
import math
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

import diffusers
import sentencepiece
import torch
import transformers
from diffusers import (AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler, WanPipeline,
                       WanTransformer3DModel)
from safetensors.torch import save_file
from transformers import T5TokenizerFast, UMT5Config, UMT5EncoderModel

from vorta_reference import Geometry, RoutingState, install

SUBJECTS = ("a red circle", "two blue squares", "one green triangle", "a yellow star", "three white rings")
MOTIONS = ("slides left", "bounces up and down", "spins slowly", "falls", "orbits the centre", "grows and shrinks")
PLACES = ("on a black background", "over the sea at dusk", "in a bright room", "behind a wooden fence")


@dataclass
class Case:
    """One call of `generate`; every field is a command line flag."""

    name: str
    scheduler: str = "unipc"
    attention: str = "dense"
    guidance: float = 5.0
    tau: float = 0.3
    keep_video: bool = False


@dataclass
class Recipe:
    """All sizes of one fixture. `grid` is the token grid (T, H, W); latents have twice its height and width."""

    seed: int = 20261124
    heads: int = 4
    head_dim: int = 16
    layers: int = 3
    ffn_dim: int = 96
    freq_dim: int = 32
    latent_channels: int = 4
    text: dict = field(default_factory=lambda: dict(d_model=24, d_kv=8, num_heads=3, d_ff=40, num_layers=2))
    vae: dict = field(default_factory=lambda: dict(base_dim=4, dim_mult=[1, 2, 4, 4], num_res_blocks=1,
                                                   temperal_downsample=[False, True, True]))
    geometry: Geometry = field(default_factory=lambda: Geometry([2, 2, 3], 0.5, [3, 1, 3], [1, 2, 2], [4, 4, 6]))
    pieces: int = 320
    byte_fallback: bool = False
    shard_size: str = "200KB"
    router_dtype: torch.dtype = torch.bfloat16
    steps: int = 8
    flow_shift: float = 5.0
    prompt: str = "A red  circle bounces up and down \n on a black background &amp; the camera pans left"
    negative_prompt: str = "blurred, two squares"
    noise_seed: int = 42
    video_stride: int = 4
    cases: list[Case] = field(default_factory=lambda: [
        Case("dense", keep_video=True), Case("dense_no_guidance", guidance=1.0), Case("dense_euler", scheduler="euler"),
        Case("vorta", attention="vorta", keep_video=True), Case("vorta_no_guidance", attention="vorta", guidance=1.0),
        Case("vorta_euler", scheduler="euler", attention="vorta"), Case("vorta_tau", attention="vorta", tau=0.5),
        Case("sliding", attention="sliding"), Case("coreset", attention="coreset")])


def make_tokenizer(recipe: Recipe, folder: Path) -> T5TokenizerFast:
    """A sentencepiece unigram model with the special ids of UMT5, through transformers' own conversion."""
    lines = [f"{s} {m} {p}" for s in SUBJECTS for m in MOTIONS for p in PLACES]
    lines += ["the camera pans left & right", "blurred, two squares, low quality", "Füße – café, naïve “quotes” №5",
              "一只红色的猫 在 跑", "привет мир", "0123456789 +-*/=() [] {} !?.,;:'\"", "A Quick Brown Fox Jumps"] * 4
    corpus = folder / "corpus.txt"
    corpus.write_text("\n".join(lines), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus), model_prefix=str(folder / "spiece"), vocab_size=recipe.pieces, model_type="unigram",
        pad_id=0, eos_id=1, bos_id=2, unk_id=3, byte_fallback=recipe.byte_fallback, num_threads=1,
        character_coverage=1.0, hard_vocab_limit=False, minloglevel=2)
    return T5TokenizerFast(str(folder / "spiece.model"), extra_ids=8)


@torch.no_grad()
def roughen(module: torch.nn.Module, generator: torch.Generator) -> None:
    """Norm weights and biases start as ones and zeros, which would hide a missing or swapped one."""
    for name, p in module.named_parameters():
        if "norm" in name and p.shape.numel() == max(p.shape):
            p.add_(torch.randn(p.shape, generator=generator), alpha=0.2)
        elif any(key in name for key in ("to_v.weight", "to_out.0.weight", "proj_out.weight")):
            p.mul_(2.0)


def make_vae(recipe: Recipe, generator: torch.Generator) -> AutoencoderKLWan:
    n = recipe.latent_channels
    vae = AutoencoderKLWan(z_dim=n, latents_mean=[round(0.3 * math.sin(i + 1), 4) for i in range(n)],
                           latents_std=[round(1.0 + 0.5 * math.cos(i), 4) for i in range(n)], **recipe.vae)
    roughen(vae, generator)
    with torch.no_grad():  # bring the decoded contrast to a useful range, well inside the clamp
        t, h, w = recipe.geometry.latent_shape
        sample = vae.decode(torch.randn(1, n, t, 2 * h, 2 * w, generator=generator)).sample
        vae.decoder.conv_out.weight.mul_(0.35 / sample.std())
        vae.decoder.conv_out.bias.zero_().add_(torch.tensor([0.1, -0.1, 0.05]))
    return vae.eval()


def make_pipeline(recipe: Recipe, scratch: Path) -> WanPipeline:
    torch.manual_seed(recipe.seed)
    generator = torch.Generator().manual_seed(recipe.seed + 1)
    tokenizer = make_tokenizer(recipe, scratch)
    vocab = (len(tokenizer) + 31) // 32 * 32
    text_encoder = UMT5EncoderModel(UMT5Config(
        vocab_size=vocab, relative_attention_num_buckets=32, relative_attention_max_distance=128, dropout_rate=0.0,
        feed_forward_proj="gated-gelu", pad_token_id=0, eos_token_id=1, **recipe.text)).eval()
    roughen(text_encoder, generator)
    transformer = WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=recipe.heads, attention_head_dim=recipe.head_dim,
        in_channels=recipe.latent_channels, out_channels=recipe.latent_channels, text_dim=recipe.text["d_model"],
        freq_dim=recipe.freq_dim, ffn_dim=recipe.ffn_dim, num_layers=recipe.layers).eval()
    roughen(transformer, generator)
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True,
                                        flow_shift=recipe.flow_shift, num_train_timesteps=1000)
    return WanPipeline(tokenizer, text_encoder, transformer, make_vae(recipe, generator), scheduler)


def save_model(recipe: Recipe, pipe: WanPipeline, out: Path) -> dict:
    """`model` (UniPC) and `euler`, the two files in which a pipeline with the Euler scheduler differs. Returns schedulers."""
    pipe.save_pretrained(out / "model", safe_serialization=True)
    shutil.rmtree(out / "model" / "transformer")
    pipe.transformer.save_pretrained(out / "model" / "transformer", max_shard_size=recipe.shard_size)
    schedulers = {"unipc": pipe.scheduler, "euler": FlowMatchEulerDiscreteScheduler(shift=recipe.flow_shift)}
    euler = out / "euler"
    schedulers["euler"].save_pretrained(euler / "scheduler")
    index = json.loads((out / "model" / "model_index.json").read_text())
    index["scheduler"][1] = "FlowMatchEulerDiscreteScheduler"
    (euler / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    return schedulers


def save_routers(recipe: Recipe, out: Path) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(recipe.seed + 2)
    width, weights = recipe.heads * recipe.head_dim, {}
    for i in range(recipe.layers):
        w = torch.randn(3 * recipe.heads, width, generator=generator) * (8.0 / math.sqrt(width))
        b = torch.randn(3 * recipe.heads, generator=generator) * 0.3
        weights[f"blocks.{i}.router.linear.weight"] = w.to(recipe.router_dtype)
        weights[f"blocks.{i}.router.linear.bias"] = b.to(recipe.router_dtype)
    ckpt = out / "ckpt" / "step-000100"
    ckpt.mkdir(parents=True)
    torch.save(weights, ckpt / "router.pt")
    config = dict(name="WanTransformer3DModel", pretrained_model_path="../model", revision=None,
                  train_video_size=list(pixel_size(recipe)), self_attention_kwargs=asdict(recipe.geometry))
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    return weights


def pixel_size(recipe: Recipe) -> tuple[int, int, int]:
    space = 2 ** len(recipe.vae["temperal_downsample"])
    time = 2 ** sum(recipe.vae["temperal_downsample"])
    t, h, w = recipe.geometry.latent_shape
    return (t - 1) * time + 1, 2 * h * space, 2 * w * space


def run_case(recipe: Recipe, case: Case, pipe: WanPipeline, noise: torch.Tensor, state: RoutingState) -> dict:
    frames, height, width = pixel_size(recipe)
    state.mode, state.tau, state.routes = case.attention, case.tau, []
    call = dict(prompt=recipe.prompt, negative_prompt=recipe.negative_prompt, num_frames=frames, height=height,
                width=width, num_inference_steps=recipe.steps, guidance_scale=case.guidance, latents=noise.clone(),
                max_sequence_length=512, return_dict=False)
    out = {f"latents.{case.name}": pipe(**call, output_type="latent")[0]}
    if case.attention == "vorta":
        passes = 2 if case.guidance > 1 else 1
        table = torch.stack([r for _, r in state.routes]).reshape(recipe.steps, passes, recipe.layers, recipe.heads)
        out[f"routes.{case.name}"] = table[:, 0].to(torch.uint8)
        shares = [(table == b).float().mean().item() for b in range(3)]
        print(f"  {case.name}: shares dense/coreset/sliding {shares}")
        assert min(shares) > 0.04, "a branch hardly occurs: change the seed"
    if case.keep_video:
        video = pipe(**call, output_type="pt")[0][0]  # [F, 3, Y, X] in 0..1
        s = recipe.video_stride
        out[f"video.{case.name}"] = video[:, :, ::s, ::s]
        print(f"  {case.name}: video mean {video.mean():.3f} std {video.std():.3f} of {tuple(video.shape)}, "
              f"clamped {((video == 0) | (video == 1)).float().mean():.3f}")
    return out


@torch.no_grad()
def build(recipe: Recipe, out: Path) -> None:
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        pipe = make_pipeline(recipe, Path(scratch))
        schedulers = save_model(recipe, pipe, out)
    pipe.set_progress_bar_config(disable=True)
    state = RoutingState(recipe.geometry, save_routers(recipe, out / "routers"))
    t, h, w = recipe.geometry.latent_shape
    shape = (1, recipe.latent_channels, t, 2 * h, 2 * w)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(recipe.noise_seed))
    save_file({"latents": noise}, out / "latents.safetensors")

    expected = {}
    for key, prompt in (("prompt_embeds", recipe.prompt), ("negative_prompt_embeds", recipe.negative_prompt)):
        embeds = pipe.encode_prompt(prompt, do_classifier_free_guidance=False, max_sequence_length=512)[0]
        live = int((embeds[0].abs().amax(-1) > 0).sum())
        assert (embeds[:, live:] == 0).all()
        expected[key] = embeds[:, :live]  # the rows up to 512 are zero
    for name, scheduler in schedulers.items():
        scheduler.set_timesteps(recipe.steps)
        expected[f"timesteps.{name}"] = scheduler.timesteps
        expected[f"sigmas.{name}"] = scheduler.sigmas
    # The plain pipeline, before any patch: what the brute-force processor must reproduce in its dense mode.
    guidance = next((c.guidance for c in recipe.cases if c.name == "dense"), 5.0)
    plain = run_case(recipe, Case("plain", guidance=guidance), pipe, noise, state)["latents.plain"]
    install(pipe.transformer, state)
    for case in recipe.cases:
        pipe.scheduler = schedulers[case.scheduler]
        expected |= run_case(recipe, case, pipe, noise, state)
    if "latents.dense" in expected:
        difference = ((expected["latents.dense"] - plain).norm() / plain.norm()).item()
        assert difference < 1e-5, difference
        expected["latents.dense"] = plain
    for key, value in expected.items():
        if key.startswith("latents."):
            print(f"  {key}: norm {value.norm():.3f}, apart from plain {(value - plain).norm() / plain.norm():.2e}")
    assert state.smallest_route_margin > 2e-4, state.smallest_route_margin
    assert state.smallest_coreset_gap > 2e-5, state.smallest_coreset_gap
    save_file({k: v.contiguous() for k, v in expected.items()}, out / "expected.safetensors")
    write_cases(recipe, out, state)


def write_cases(recipe: Recipe, out: Path, state: RoutingState) -> None:
    frames, height, width = pixel_size(recipe)
    common = dict(frames=frames, height=height, width=width, steps=recipe.steps, flow_shift=recipe.flow_shift,
                  prompt=recipe.prompt, negative_prompt=recipe.negative_prompt, seed=recipe.noise_seed,
                  video_stride=recipe.video_stride)
    made_with = dict(torch=torch.__version__, diffusers=diffusers.__version__, transformers=transformers.__version__,
                     sentencepiece=sentencepiece.__version__, seed=recipe.seed,
                     smallest_route_margin=state.smallest_route_margin,
                     smallest_coreset_gap=state.smallest_coreset_gap)
    cases = [dict(asdict(c), model="model" if c.scheduler == "unipc" else "euler") for c in recipe.cases]
    text = json.dumps(dict(common=common, cases=cases, made_with=made_with), indent=2, ensure_ascii=False)
    (out / "cases.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    build(Recipe(), Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "pipeline")
