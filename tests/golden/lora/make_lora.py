# SPDX-License-Identifier: Apache-2.0
"""Makes LoRA fixtures of tiny models in every key style, and what they change, by diffusers' names.

Usage: python make_lora.py OUT_DIR   (torch 2.11, safetensors 0.5, diffusers 0.33.1; seed below)
The changes themselves are drawn once for each model; the styles only name them differently. Where diffusers has a
converter of its own (original Wan, original HunyuanVideo) its result is checked against the expected changes.
"""
import sys
from pathlib import Path

import torch
from diffusers.loaders.lora_conversion_utils import (
    _convert_hunyuan_video_lora_to_diffusers,
    _convert_non_diffusers_wan_lora_to_diffusers,
)
from safetensors.torch import load_file, save_file

SEED, RANK, DIM, FFN = 5, 2, 8, 12

WAN = {  # diffusers module: (original module, out, in)
    **{f"blocks.0.attn{n}.{d}": (f"blocks.0.{kind}_attn.{o}", DIM, DIM)
       for n, kind in ((1, "self"), (2, "cross"))
       for d, o in (("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "o"))},
    "blocks.0.ffn.net.0.proj": ("blocks.0.ffn.0", FFN, DIM),
    "blocks.0.ffn.net.2": ("blocks.0.ffn.2", DIM, FFN),
}
WAN_MORE = {  # parameters that only whole differences change: diffusers name -> (key of the difference, shape)
    "blocks.0.norm2.weight": ("blocks.0.norm3.diff", (DIM,)),
    "blocks.0.norm2.bias": ("blocks.0.norm3.diff_b", (DIM,)),
    "blocks.0.attn1.norm_q.weight": ("blocks.0.self_attn.norm_q.diff", (DIM,)),
    "blocks.0.attn1.to_q.bias": ("blocks.0.self_attn.q.diff_b", (DIM,)),
    "blocks.0.scale_shift_table": ("blocks.0.diff_m", (1, 6, DIM)),
    "scale_shift_table": ("head.diff_m", (1, 2, DIM)),
    "proj_out.weight": ("head.head.diff", (16, DIM)),
    "proj_out.bias": ("head.head.diff_b", (16,)),
    "patch_embedding.weight": ("patch_embedding.diff", (DIM, 4, 1, 2, 2)),
    "condition_embedder.time_embedder.linear_1.weight": ("time_embedding.0.diff", (DIM, 6)),
    "condition_embedder.time_proj.bias": ("time_projection.1.diff_b", (6 * DIM,)),
    "condition_embedder.text_embedder.linear_2.weight": ("text_embedding.2.diff", (DIM, DIM)),
}
HUNYUAN = {  # original module: (diffusers modules in row order, rows of each, in, the file's halves are swapped)
    "double_blocks.0.img_attn_qkv": ([f"transformer_blocks.0.attn.to_{x}" for x in "qkv"], [DIM] * 3, DIM, False),
    "double_blocks.0.txt_attn_qkv": ([f"transformer_blocks.0.attn.add_{x}_proj" for x in "qkv"], [DIM] * 3, DIM, False),
    "double_blocks.0.img_attn_proj": (["transformer_blocks.0.attn.to_out.0"], [DIM], DIM, False),
    "double_blocks.0.txt_attn_proj": (["transformer_blocks.0.attn.to_add_out"], [DIM], DIM, False),
    "double_blocks.0.img_mod.linear": (["transformer_blocks.0.norm1.linear"], [6 * DIM], DIM, False),
    "double_blocks.0.img_mlp.fc1": (["transformer_blocks.0.ff.net.0.proj"], [FFN], DIM, False),
    "double_blocks.0.txt_mlp.fc2": (["transformer_blocks.0.ff_context.net.2"], [DIM], FFN, False),
    "single_blocks.0.linear1": ([f"single_transformer_blocks.0.attn.to_{x}" for x in "qkv"]
                                + ["single_transformer_blocks.0.proj_mlp"], [DIM] * 3 + [FFN], DIM, False),
    "single_blocks.0.linear2": (["single_transformer_blocks.0.proj_out"], [DIM], DIM + FFN, False),
    "single_blocks.0.modulation.linear": (["single_transformer_blocks.0.norm.linear"], [3 * DIM], DIM, False),
    "final_layer.adaLN_modulation.1": (["norm_out.linear"], [2 * DIM], DIM, True),
}
COMFY = {"img_attn_qkv": "img_attn.qkv", "txt_attn_qkv": "txt_attn.qkv", "img_attn_proj": "img_attn.proj",
         "txt_attn_proj": "txt_attn.proj", "img_mod.linear": "img_mod.lin", "modulation.linear": "modulation.lin",
         "img_mlp.fc1": "img_mlp.0", "txt_mlp.fc2": "txt_mlp.2"}


def pairs(shapes, generator):
    return {name: (torch.randn(RANK, i, generator=generator), torch.randn(o, RANK, generator=generator))
            for name, (o, i) in shapes.items()}


def styled(changes, name_of, down, up, alpha=None):
    """alpha: the file then holds it, and up is larger by rank / alpha: the same change."""
    out = {}
    for module, (a, b) in changes.items():
        name = name_of(module)
        out[name + down], out[name + up] = a.clone(), b.clone() * (RANK / alpha if alpha else 1)
        if alpha:
            out[name + ".alpha"] = torch.tensor(float(alpha))
    return out


def expected(changes):
    return {f"{module}.weight": b @ a for module, (a, b) in changes.items()}


def wan(out, generator):
    low = pairs({module: (o, i) for module, (_, o, i) in WAN.items()}, generator)
    more = {name: torch.randn(shape, generator=generator) for name, (_, shape) in WAN_MORE.items()}
    original = lambda module: WAN[module][0]
    kohya = lambda module: "lora_unet_" + original(module).replace(".", "_")
    processor = lambda m: "unet." + m.replace("to_out.0", "to_out").replace(".to_", ".processor.to_")
    attention = {m: low[m] for m in low if ".attn" in m}
    files = {
        "wan-diffusers": styled(low, lambda m: "transformer." + m, ".lora_A.weight", ".lora_B.weight"),
        "wan-peft-adapter": styled(low, lambda m: "base_model.model." + m, ".lora_A.default.weight", ".lora_B.default.weight"),
        "wan-bare": styled(low, lambda m: m, ".lora_A", ".lora_B"),
        "wan-original": styled(low, lambda m: "diffusion_model." + original(m), ".lora_A.weight", ".lora_B.weight"),
        "wan-comfy": styled(low, lambda m: "model.diffusion_model." + original(m), ".lora_down.weight", ".lora_up.weight", 4),
        "wan-musubi": styled(low, kohya, ".lora_down.weight", ".lora_up.weight", 1),
        "wan-linear-layer": styled(low, lambda m: "transformer." + m, ".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"),
        "wan-processor": styled(attention, processor, "_lora.down.weight", "_lora.up.weight"),
        "wan-lightx2v": styled(low, lambda m: "diffusion_model." + original(m), ".lora_down.weight", ".lora_up.weight", 4),
    }
    files["wan-lightx2v"].update({"diffusion_model." + WAN_MORE[name][0]: tensor for name, tensor in more.items()})
    converted = _convert_non_diffusers_wan_lora_to_diffusers(dict(files["wan-original"]))
    for module, delta in expected(low).items():
        key = "transformer." + module.removesuffix(".weight")
        assert torch.equal(converted[key + ".lora_B.weight"] @ converted[key + ".lora_A.weight"], delta), module
    model = {f"{m}.weight": torch.zeros(o, i) for m, (_, o, i) in WAN.items()}
    model |= {f"{m}.bias": torch.zeros(o) for m, (_, o, _) in WAN.items()}
    model |= {name: torch.zeros(shape) for name, (_, shape) in WAN_MORE.items()}
    save_file(model, out / "wan-model.safetensors")
    save_file({**expected(low), **more}, out / "wan-expected.safetensors")
    for name, tensors in files.items():
        save_file(tensors, out / f"{name}.safetensors")


def hunyuan(out, generator):
    fused = pairs({module: (sum(rows), i) for module, (_, rows, i, _) in HUNYUAN.items()}, generator)
    comfy = lambda module: next((module.replace(a, b) for a, b in COMFY.items() if a in module), module)
    files = {
        "hunyuan-original": styled(fused, lambda m: m, ".lora_A.weight", ".lora_B.weight"),
        "hunyuan-musubi": styled(fused, lambda m: "lora_unet_" + m.replace(".", "_"), ".lora_down.weight", ".lora_up.weight", 4),
        "hunyuan-comfy": styled(fused, lambda m: "diffusion_model." + comfy(m), ".lora_A.weight", ".lora_B.weight"),
    }
    changes = {}
    for module, (targets, rows, _, swapped) in HUNYUAN.items():
        a, b = fused[module]
        if swapped:
            b = torch.cat(list(reversed(b.chunk(2))))
        for target, part in zip(targets, b.split(rows)):
            changes[target] = (a, part.contiguous())
    files["hunyuan-diffusers"] = styled(changes, lambda m: "transformer." + m, ".lora_A.weight", ".lora_B.weight")
    # The converter supposes the published width in single_blocks.linear1, and swaps halves of both matrices.
    known = {k: v for k, v in files["hunyuan-original"].items() if "linear1" not in k and "final_layer" not in k}
    converted = _convert_hunyuan_video_lora_to_diffusers(dict(known))
    for target, (a, b) in changes.items():
        key = f"transformer.{target}.lora_B.weight"
        if "single" in target and "attn" in target or "proj_mlp" in target or "norm_out" in target:
            continue
        assert torch.equal(converted[key] @ converted[key.replace("lora_B", "lora_A")], b @ a), target
    model = {f"{t}.weight": torch.zeros(b.shape[0], a.shape[1]) for t, (a, b) in changes.items()}
    save_file(model, out / "hunyuan-model.safetensors")
    save_file(expected(changes), out / "hunyuan-expected.safetensors")
    for name, tensors in files.items():
        save_file(tensors, out / f"{name}.safetensors")


def whole(out, generator):
    """Whole checkpoints: every parameter of the models above with values of its own, original names."""
    values = {}
    named = {f"{m}.{e}": f"{original}.{e}" for m, (original, _, _) in WAN.items() for e in ("weight", "bias")}
    for name, (key, _) in WAN_MORE.items():
        module, _, kind = key.rpartition(".")
        named[name] = {"diff": f"{module}.weight", "diff_b": f"{module}.bias", "diff_m": f"{module}.modulation"}[kind]
    for name, tensor in load_file(out / "wan-model.safetensors").items():
        values[name] = torch.randn(tensor.shape, generator=generator)
    save_file(values, out / "wan-whole-expected.safetensors")
    save_file({"model.diffusion_model." + named[name]: tensor for name, tensor in values.items()}, out / "wan-whole.safetensors")
    training = {"model." + named[name]: tensor for name, tensor in values.items()}
    torch.save({"generator": {key: tensor + 1 for key, tensor in training.items()}, "generator_ema": training,
                "critic": {"model.head.weight": torch.zeros(2)}, "step": 1000}, out / "wan-whole.pt")
    fused, parts = {}, {}
    for module, (targets, rows, columns, swapped) in HUNYUAN.items():
        fused[f"{module}.weight"] = torch.randn(sum(rows), columns, generator=generator)
        weight = fused[f"{module}.weight"]
        weight = torch.cat(list(reversed(weight.chunk(2)))) if swapped else weight
        parts |= {f"{t}.weight": part.contiguous() for t, part in zip(targets, weight.split(rows))}
    save_file(fused, out / "hunyuan-whole.safetensors")
    torch.save({"module": fused}, out / "hunyuan-whole.pt")
    save_file(parts, out / "hunyuan-whole-expected.safetensors")


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    random = torch.Generator().manual_seed(SEED)
    wan(folder, random)
    hunyuan(folder, random)
    whole(folder, random)
