# SPDX-License-Identifier: Apache-2.0
"""Writes hunyuan/: tokenizers of LLaMA 3's and CLIP's kind, their ids of 1,000 strings, tiny LLaMA and CLIP text encoders,
and what diffusers' HunyuanVideoPipeline makes of prompts with them.

Run: python tests/golden/text/make_hunyuan_text.py [OUT]
With transformers 4.49, tokenizers 0.21.4, diffusers 0.33.1, ftfy 6.3.1, regex 2026.11, torch 2.11. Seeds are in the code.
"""
import json
import pathlib
import shutil
import sys

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, HunyuanVideoPipeline
from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, CLIPTokenizerFast, LlamaConfig, LlamaModel
from transformers import LlamaTokenizerFast, PreTrainedTokenizerFast
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from varied_strings import WORDS, WRITTEN, varied

LLAMA3_WORDS = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
                r"\s*[\r\n]+|\s+(?!\S)|\s+")
CLIP_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
MARKERS = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
PROMPTS = [
    "", "A cat walks on the grass, realistic style.", "  Two  robots\ndance &amp; sing \u732b \U0001f600 <|eot_id|> it\u2019s  ",
    "slow motion camera pans over red mountains at dawn while " * 12,
]


def corpus():
    licence = (pathlib.Path(__file__).parents[3] / "LICENSE").read_text().split("\n")[:60]
    template = DEFAULT_PROMPT_TEMPLATE["template"]
    for marker in MARKERS:
        template = template.replace(marker, " ")
    return licence + [" ".join(WORDS), " ".join(WORDS).lower()] * 20 + [template] * 30 + [t for t in WRITTEN if t.isprintable()]


def llama_tokenizer(out, size):
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(LLAMA3_WORDS), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False))
    tokenizer.add_special_tokens(MARKERS)
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|> $B",
                                      special_tokens=[("<|begin_of_text|>", tokenizer.token_to_id("<|begin_of_text|>"))])])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=MARKERS[0], eos_token=MARKERS[1])
    fast.save_pretrained(out / "plain")
    llama = LlamaTokenizerFast(tokenizer_object=tokenizer, bos_token=MARKERS[0], eos_token=MARKERS[1], pad_token="<pad>",
                               padding_side="right", additional_special_tokens=["<image>"])
    llama.save_pretrained(out / "tokenizer")
    (out / "plain/special_tokens_map.json").unlink()


def clip_files(out, merges_wanted):
    """CLIP's vocabulary: bytes, bytes at a word's end, merges, two markers; merges trained with the end of words."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(CLIP_WORDS), behavior="removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.train_from_iterator([t.lower() for t in corpus()], trainers.BpeTrainer(
        vocab_size=512 + merges_wanted, end_of_word_suffix="</w>", initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False))
    merges = [tuple(m) if not isinstance(m, str) else tuple(m.split(" ")) for m in json.loads(tokenizer.to_str())["model"]["merges"]]
    points = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    letters = [chr(p) for p in points] + [chr(256 + i) for i in range(256 - len(points))]
    tokens = letters + [c + "</w>" for c in letters] + ["".join(m) for m in merges] + ["<|startoftext|>", "<|endoftext|>"]
    out.mkdir(parents=True, exist_ok=True)
    (out / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(dict.fromkeys(tokens))}, ensure_ascii=False))
    (out / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(m) for m in merges) + "\n")


def clip_tokenizers(out, merges_wanted):
    folder = out / "tokenizer_2"
    clip_files(folder, merges_wanted)
    CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt")).save_pretrained(folder)
    CLIPTokenizerFast(str(folder / "vocab.json"), str(folder / "merges.txt")).save_pretrained(out / "clip_fast")
    for unwanted in ["vocab.json", "merges.txt", "special_tokens_map.json"]:
        (out / "clip_fast" / unwanted).unlink(missing_ok=True)


def tokenizer_ids(out, count):
    texts = varied(count, 11)
    (out / "strings.json").write_text(json.dumps(texts, ensure_ascii=True, separators=(",", ":")) + "\n")
    cases = {"tokenizer": LlamaTokenizerFast, "plain": PreTrainedTokenizerFast, "tokenizer_2": CLIPTokenizer,
             "clip_fast": CLIPTokenizerFast}
    tensors = {}
    for folder, loader in cases.items():
        tokenizer = loader.from_pretrained(out / folder)
        rows = [tokenizer(t, max_length=77, truncation=True).input_ids for t in texts]
        tensors[folder + ".ids"] = torch.tensor([i for row in rows for i in row], dtype=torch.int16)
        tensors[folder + ".lengths"] = torch.tensor([len(row) for row in rows], dtype=torch.uint8)
    # CLIPTokenizerFast made from the Python class's files, as transformers does without tokenizer.json.
    fast = CLIPTokenizerFast.from_pretrained(out / "tokenizer_2")
    rows = [fast(t, max_length=77, truncation=True).input_ids for t in texts]
    assert [i for row in rows for i in row] == tensors["clip_fast.ids"].tolist()
    save_file(tensors, out / "ids.safetensors")


def shaken(model):
    """Weights that show every mistake: norms away from 1, biases away from 0, all of them bfloat16 numbers.

    Parameters alone are rounded: from_pretrained leaves the rotary frequencies in float32, Module.bfloat16 does not.
    """
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "norm" in name or name.endswith("bias"):
                value.add_(0.2 * torch.randn_like(value))
            else:
                value.mul_(8)
            value.copy_(value.bfloat16().float())
    return model.eval()


def save_model(model, folder):
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.bfloat16().contiguous() for k, v in model.state_dict().items()}, folder / "model.safetensors", {"format": "pt"})
    model.config.save_pretrained(folder)


def encoders(out):
    torch.manual_seed(5)
    tokenizer = LlamaTokenizerFast.from_pretrained(out / "tokenizer")
    tokenizer_2 = CLIPTokenizer.from_pretrained(out / "tokenizer_2")
    scaling = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 64}
    llama = shaken(LlamaModel(LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=20, intermediate_size=28, num_hidden_layers=4, num_attention_heads=6,
        num_key_value_heads=2, head_dim=8, rms_norm_eps=1e-5, rope_theta=500.0, rope_scaling=scaling,
        max_position_embeddings=512, pad_token_id=tokenizer.pad_token_id)))
    clip = shaken(CLIPTextModel(CLIPTextConfig(
        vocab_size=len(tokenizer_2), hidden_size=12, intermediate_size=20, num_hidden_layers=2, num_attention_heads=3,
        bos_token_id=tokenizer_2.bos_token_id, eos_token_id=tokenizer_2.eos_token_id, pad_token_id=tokenizer_2.pad_token_id)))
    save_model(llama, out / "text_encoder")
    save_model(clip, out / "text_encoder_2")
    index = {"_class_name": "HunyuanVideoPipeline", "text_encoder": ["transformers", "LlamaModel"],
             "text_encoder_2": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "LlamaTokenizerFast"],
             "tokenizer_2": ["transformers", "CLIPTokenizer"]}
    (out / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    expected = {}

    def encode(dtype):
        pipe = HunyuanVideoPipeline(
            text_encoder=LlamaModel.from_pretrained(out / "text_encoder", torch_dtype=dtype), tokenizer=tokenizer,
            transformer=None, vae=None, scheduler=FlowMatchEulerDiscreteScheduler(), tokenizer_2=tokenizer_2,
            text_encoder_2=CLIPTextModel.from_pretrained(out / "text_encoder_2", torch_dtype=dtype))
        with torch.no_grad():
            return pipe.encode_prompt(PROMPTS, max_sequence_length=40, device="cpu")

    for name, dtype in [("float32", torch.float32), ("bfloat16", torch.bfloat16)]:
        tokens, pooled, mask = encode(dtype)
        expected |= {f"tokens.{name}": tokens, f"pooled.{name}": pooled, f"mask.{name}": mask}
    tokenizer.padding_side = "left"
    tokens, _, mask = encode(torch.float32)
    expected |= {"tokens.left": tokens, "mask.left": mask}
    save_file({k: v.contiguous() for k, v in expected.items()}, out / "features.safetensors")
    (out / "prompts.json").write_text(json.dumps(PROMPTS, indent=0) + "\n")


def variants(out):
    """Other configurations: weights, ids and the hidden states that transformers gives; frequencies of each rope type."""
    torch.manual_seed(6)
    tensors, configs = {}, {}
    ids = torch.randint(0, 30, (2, 13))
    mask = torch.ones_like(ids)
    mask[1, 9:] = 0
    small = dict(vocab_size=30, hidden_size=12, intermediate_size=10, num_hidden_layers=2, num_attention_heads=3)
    llamas = {"biased": dict(attention_bias=True, mlp_bias=True, num_key_value_heads=1, hidden_act="gelu"),
              "yarn": dict(rope_scaling={"rope_type": "yarn", "factor": 2.0}, max_position_embeddings=32),
              "dynamic": dict(rope_scaling={"type": "dynamic", "factor": 2.0}, max_position_embeddings=8)}
    clips = {"legacy": dict(eos_token_id=2, hidden_act="gelu"), "missing": dict(eos_token_id=31, hidden_act="gelu_new"),
             "found": dict(eos_token_id=int(ids[0, 5]), hidden_act="gelu_pytorch_tanh")}
    with torch.no_grad():
        for name, options in llamas.items():
            model = shaken(LlamaModel(LlamaConfig(**small, **options)))
            configs["llama." + name] = model.config.to_dict()
            tensors |= {f"llama.{name}.{k}": v for k, v in model.state_dict().items()}
            states = model(ids, mask, output_hidden_states=True).hidden_states
            tensors |= {f"{name}.state{skip}": states[-(skip + 1)] for skip in (0, 1, 2)}
        for name, options in clips.items():
            model = shaken(CLIPTextModel(CLIPTextConfig(**small, max_position_embeddings=16, **options)))
            configs["clip." + name] = model.config.to_dict()
            tensors |= {f"clip.{name}.{k}": v for k, v in model.state_dict().items()}
            result = model(ids)
            tensors |= {f"{name}.state": result.last_hidden_state, f"{name}.pooled": result.pooler_output}
    ropes = {"default": {}, "linear": {"factor": 3.0}, "dynamic": {"factor": 2.0}, "yarn": {"factor": 8.0, "beta_fast": 16.0},
             "yarn_fixed": {"factor": 8.0, "attention_factor": 0.7},
             "llama3": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}}
    for name, options in ropes.items():
        kind = name.split("_")[0]
        config = LlamaConfig(hidden_size=256, num_attention_heads=2, rope_theta=500000.0, max_position_embeddings=128,
                             rope_scaling={"rope_type": kind, **options})
        inverse, factor = ROPE_INIT_FUNCTIONS[kind](config, "cpu", seq_len=300)
        configs["rope." + name] = config.to_dict()
        tensors |= {f"rope.{name}": inverse, f"rope.{name}.scaling": torch.tensor(factor, dtype=torch.float64)}
    tensors |= {"ids": ids, "mask": mask}
    save_file({k: v.contiguous() for k, v in tensors.items()}, out / "variants.safetensors")
    (out / "variants.json").write_text(json.dumps(configs, indent=0) + "\n")


def main():
    out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent / "hunyuan")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    llama_tokenizer(out, 620)
    clip_tokenizers(out, 240)
    tokenizer_ids(out, 1000)
    encoders(out)
    variants(out)


main()
