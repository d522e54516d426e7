# SPDX-License-Identifier: Apache-2.0
"""Writes the fixtures of engine/text: tokenizer folders, expected ids, cleaned prompts, a tiny UMT5 encoder.

Run: python tests/golden/text/make_text_fixtures.py [--charsmap RULE] [OUT]
With transformers 4.49, tokenizers 0.21.4, sentencepiece 0.2, ftfy 6.3.1, torch 2.11. Seeds are in the code.
The default rule file keeps the fixture small; --charsmap nmt_nfkc makes the same with SentencePiece's full rules.
"""
import argparse
import html
import io
import json
import pathlib
import random
import shutil
import tempfile

import ftfy
import regex
import sentencepiece
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import T5Tokenizer, T5TokenizerFast, UMT5Config, UMT5EncoderModel

ADJECTIVES = "red green blue small large bright striped dotted spinning bouncing sliding falling slow fast".split()
NOUNS = "circle square triangle star cube sphere ring river mountain cat robot lantern sky city forest".split()
ODD = [
    "", " ", "   ", "\n", "\t\t", "a", " a", "a ", "  a  b   c  ", "</s>", "a </s> b", "a</s>b", "<pad>", "<unk>", "x<unk>y",
    "<extra_id_0>", "a <extra_id_1> b", "<extra_id_99>", "<s>", "<0x41>", "▁", "▁▁a", "a▁b", "▁ a", "caf\u00e9", "cafe\u0301",
    "\u00e9\u0301\u0302", "\u4e00\u53ea\u732b", "\u732b cat \u732b", "\u3042\u308a\u304c\u3068\u3046", "\ud55c\uad6d\uc5b4",
    "\U0001F600", "a\U0001F600b", "\U0001F468\u200d\U0001F469\u200d\U0001F467", "\U0001F1E9\U0001F1EA flag", "na\u00efve",
    "\uff21\uff22\uff23", "\ufb01sh", "\u2460 one", "a\u00a0b", "a\u3000b", "a\u200bb", "tab\there", "line\nbreak", "cr\r\nlf",
    "\u0645\u0631\u062d\u0628\u0627", "\u05e9\u05dc\u05d5\u05dd", "\u0928\u092e\u0938\u094d\u0924\u0947", "1234567890", "3.14", "$5",
    "don't", "\u201cquoted\u201d", "a--b", "UPPER lower", "ZZZQQQ", "qqqq zzzz", "\u0000", "a\u0000b", "\ufffd", "x" * 300,
    "\u1100\u1161\u11a8", "e\u0301 e\u0301", "\u01c6", "\u00bd cup", "H\u2082O", "\u2122", "\u212b", "a\u0338b", "\u00df",
]
DIRTY = [
    "plain text", "", "   ", " a  b ", "a\u00a0b", "a\u2003b\u3000c", "&amp;", "&amp;amp;", "&amp;amp;amp;", "&lt;b&gt;", "<b>&amp;</b>",
    "&eacute;", "&EACUTE;", "&eacute", "&notit;", "&not a", "this&not that", "&#65;", "&#x41;", "&#65", "&#128;", "&#0;", "&#xD800;",
    "&#x110000;", "&#59;", "&#;", "&;", "&", "&&amp;", "&hellip;", "&unknown;", "&CounterClockwiseContourIntegral;", "&#x1F600;",
    "\ufb01sh \ufb02y", "\uff21\uff22\uff23\u3000\uff01", "\uff76\uff9e", "\uff9c\uff70", "\u201cquoted\u201d \u2018x\u2019", "it\u02bcs",
    "a\r\nb\rc\nd", "a\u2028b\u2029c", "\u001b[31mred\u001b[0m", "\u001b[x", "\u001b[1", "a\u0007b\u0000c", "\ufeffbom",
    "cafe\u0301", "\u01c6", "\u0149", "\ufb05", "\u0132", "a\u200bb", "\u202eabc", "\u1d173x", "\u4e00\u53ea\u732b", "\U0001F600",
    "\u2126", "\u212b", "\u1100\u1161", "a\u0338", "&lt;p&gt; &amp;lt;", "x < y &amp; z\nq &eacute;", "q &eacute;\nx < y &amp; z\nr &eacute;",
    "&nbsp;a&nbsp;", "&copy;2020", "&AMP", "&ampx", "&sup2;", "&Sup2;", "&NotEqualTilde;", "&amp;#65;", "&\u00e9;", "tab\tx", "\u000bv\u000cf",
    "\ufffc\ufff9", "\u206a", "caf\u00e9 na\u00efve", "\u00a92024", "\u3042\uff21", "\uffe0\uffe6", "\uffe8",
]


def sentences(count, seed):
    rng = random.Random(seed)
    for _ in range(count):
        yield (f"A {rng.choice(ADJECTIVES)} {rng.choice(ADJECTIVES)} {rng.choice(NOUNS)} is {rng.choice(ADJECTIVES)} "
               f"near the {rng.choice(NOUNS)}, {rng.choice(['left', 'right'])} of a {rng.choice(NOUNS)}.")


def random_strings(count, seed):
    rng = random.Random(seed)
    letters = list("abcdefgimnorst  ABC.,!?-'\u00e9\u00fc\u0301\u4e00\u732b\uff21\ufb01\u00a0\U0001F600\u200d\n</s>\u2581")
    for _ in range(count):
        yield "".join(rng.choice(letters) for _ in range(rng.randrange(1, 40)))


def train(rule, out):
    model = io.BytesIO()
    options = {"normalization_rule_name": rule}
    if rule is None:
        rules = [("\uff21", "A"), ("\uff22", "B"), ("\ufb01", "fi"), ("\u00a0", " "), ("\n", " "), ("\t", " "), ("\r", " "),
                 ("e\u0301", "\u00e9"), ("\u200b", " "), ("\u3000", " "), ("\u2460", "1")]
        path = pathlib.Path(tempfile.mkdtemp()) / "rules.tsv"
        path.write_text("".join(" ".join(f"{ord(c):X}" for c in a) + "\t" + " ".join(f"{ord(c):X}" for c in b) + "\n" for a, b in rules))
        options = {"normalization_rule_tsv": str(path)}
    licence = (pathlib.Path(__file__).parents[3] / "LICENSE").read_text().split("\n")
    corpus = list(sentences(500, 0)) + licence + ["caf\u00e9 na\u00efve \u732b cat, don't stop: 3.14 A B 1 fi"] * 20
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus), model_writer=model, vocab_size=300, model_type="unigram", character_coverage=1.0,
        pad_id=0, eos_id=1, bos_id=2, unk_id=3, pad_piece="<pad>", eos_piece="</s>", bos_piece="<s>", unk_piece="<unk>",
        num_threads=1, minloglevel=2, **options)
    out.mkdir(parents=True, exist_ok=True)
    (out / "spiece.model").write_bytes(model.getvalue())


def write_json(path, value):
    path.write_text(json.dumps(value, ensure_ascii=True, indent=0) + "\n")


def tokenizers(out, rule):
    texts = ODD + list(sentences(40, 1)) + list(random_strings(400, 2))
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        train(rule, folder)
        fast = T5TokenizerFast(str(folder / "spiece.model"), extra_ids=100)
        slow = T5Tokenizer(str(folder / "spiece.model"), extra_ids=100, legacy=True)
        fast.save_pretrained(out / "fast")
        slow.save_pretrained(out / "spiece")
    for unwanted in ["fast/spiece.model", "fast/special_tokens_map.json", "fast/tokenizer_config.json",
                     "spiece/special_tokens_map.json", "spiece/added_tokens.json"]:
        (out / unwanted).unlink(missing_ok=True)
    write_json(out / "fast/ids.json", [[t, fast(t, max_length=64, truncation=True).input_ids] for t in texts])
    write_json(out / "spiece/ids.json", [[t, slow(t, max_length=64, truncation=True).input_ids] for t in texts])

    words = {w: i for i, w in enumerate(["<pad>", "</s>", "<unk>", "a", "the", "is", ",", ".", "caf\u00e9"] + ADJECTIVES + NOUNS)}
    for name, pre in [("word_level", pre_tokenizers.Whitespace()), ("word_split", pre_tokenizers.WhitespaceSplit())]:
        tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre
        tokenizer.add_special_tokens(["<pad>", "</s>"])
        tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
        (out / name).mkdir(exist_ok=True)
        tokenizer.save(str(out / name / "tokenizer.json"))
        write_json(out / name / "ids.json", [[t, tokenizer.encode(t).ids] for t in texts if len(tokenizer.encode(t).ids) <= 64])


def clean(text):
    text = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
    return regex.sub(r"\s+", " ", text).strip()


def encoder(out):
    torch.manual_seed(3)
    config = UMT5Config(vocab_size=408, d_model=24, d_kv=8, d_ff=40, num_layers=3, num_heads=4, dropout_rate=0.0)
    model = UMT5EncoderModel(config).eval()
    folder = out / "model"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "text_encoder").mkdir(parents=True)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "layer_norm" in name:
                value.add_(0.2 * torch.randn_like(value))
            if "relative_attention_bias" in name:
                value.add_(torch.randn_like(value))
    model.bfloat16().float()
    weights = {k: v.bfloat16().contiguous() for k, v in model.state_dict().items() if k != "encoder.embed_tokens.weight"}
    save_file(weights, folder / "text_encoder/model.safetensors", {"format": "pt"})
    config.save_pretrained(folder / "text_encoder")
    shutil.copytree(out / "fast", folder / "tokenizer", ignore=shutil.ignore_patterns("ids.json"))
    tokenizer = T5TokenizerFast.from_pretrained(folder / "tokenizer")
    prompts = ["", "A red circle is bouncing near the river.", "  A  star &amp; a cat\n\ud55c\uad6d " + "very slow " * 60]
    encoded = tokenizer([clean(p) for p in prompts], padding="max_length", max_length=96, truncation=True, return_tensors="pt")
    with torch.no_grad():
        for dtype, name in [(torch.float32, "float32"), (torch.bfloat16, "bfloat16")]:
            features = model.to(dtype)(encoded.input_ids, encoded.attention_mask).last_hidden_state
            features = features * encoded.attention_mask.unsqueeze(-1)
            save_file({"features": features.contiguous(), "ids": encoded.input_ids, "mask": encoded.attention_mask},
                      out / f"features_{name}.safetensors")
            model.float()
    write_json(out / "prompts.json", prompts)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out", nargs="?", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    parser.add_argument("--charsmap", default=None)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    tokenizers(arguments.out, arguments.charsmap)
    write_json(arguments.out / "cleaned.json", [[text, clean(text)] for text in DIRTY])
    encoder(arguments.out)


main()
