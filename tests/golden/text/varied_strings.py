# SPDX-License-Identifier: Apache-2.0
"""Strings that tokenizers disagree about: varied(count, seed) gives `count` of them, the written-out ones first."""
import random

WORDS = ("a cat walks on the grass realistic style cinematic slow motion camera pans over red mountains at dawn while two "
         "robots dance under neon lights The Quick BROWN fox jumped over 12 lazy dogs in 1999 and 2,048 stars").split()
WRITTEN = [
    "", " ", "  ", "\n", "\r\n", "\t", " \n \n", "a", " a", "a ", "a  b   c", "a\n\nb", "a \n b", "\n\n\na", "a\u00a0b", "a\u3000b", "a\u200bb",
    "a\u180eb", "a\u0085b", "a\u2028b\u2029c", "\ufeffa", "a\u00adb", "it's", "IT'S", "it\u2019s", "we'll we're we've I'm I'd can't", "'s's 's",
    "WE'LL WE'RE", "'\u017f", "'\u017fa 'T 'Re", "rock'n'roll", "''''", "don''t", "'tis", "o'clock's'll", "1", "12", "123", "1234", "12345678901",
    "3.14159", "1,000,000.00", "\u0661\u0662\u0663", "\u00bd\u00b2\u2167\u2460", "\u0967\u0968", "10\u2070", "x2y3", "4K 60fps 16:9", "$5.00 \u20ac7 \u00a38",
    "<|begin_of_text|>", "<|eot_id|>", "<|EOT_ID|>", "<|eot_id", "a<|eot_id|>b", "<|eot_id|><|eot_id|>", " <|eot_id|> ", "<|start_header_id|>user<|end_header_id|>\n\nhi",
    "<|startoftext|>", "<|endoftext|>", "<|StartOfText|>", "a <|endoftext|> b", "<|endoftext|>a", "<| endoftext |>", "</w>", "a</w>b", "<unk>", "<pad>",
    "<s>", "</s>", "<image>", "a<image>b", "[PAD]", "[INST]", "<0x0A>", "\u2581", "\u0120a", "\u010a", "##a", "{}", "{0} {name} %s", "\\n \\t \\u0041",
    "\U0001f600", "a\U0001f600b", "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466", "\U0001f44d\U0001f3fd", "\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7",
    "\u2764\ufe0f\u200d\U0001f525", "1\ufe0f\u20e3", "\u263a\u263b", "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645",
    "\u0627\u0644\u0652\u0642\u064f\u0631\u0652\u0622\u0646", "\u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd", "\u202eabc\u202c", "\u200fa\u200eb", "abc \u05d0\u05d1\u05d2 123",
    "e\u0301", "\u00e9", "e\u0301\u0302\u0303", "a\u0300\u0316b", "\u0301a", "Z\u0351\u036b\u0343a\u0321\u0322l\u0335go", "\u1100\u1161\u11a8", "\uac01", "\u212b\u2126\u212a",
    "\ufb01\ufb02\ufb05", "\uff21\uff22\uff43\uff11", "\u4f60\u597d\u4e16\u754c", "\u732b\u304c\u6b69\u304f", "\u30ab\u3099\u30ac\uff76\uff9e", "\ud55c\uad6d\uc5b4 \ud14d\uc2a4\ud2b8",
    "\u4e2d\u6587abc123\u6df7\u5408", "\u3001\u3002\uff01\uff1f", "\U00020000\U0002a6d6", "\U00031350\U000323af\U0002ebf0", "\u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22",
    "\u0928\u092e\u0938\u094d\u0924\u0947", "\u1019\u103c\u1014\u103a\u1019\u102c", "\u10d0\u10d1\u10d2 \u1c90\u1c91", "\u0531\u0532 \u0561\u0562", "\u13a0\u13a1 \uab70",
    "\u03a3", "\u0391\u03a3", "\u039f\u0394\u039f\u03a3 \u039f\u0394\u039f\u03a3.", "\u03a3\u0391", "A\u03a3'B", "A\u03a3'", "A\u0345\u03a3", "\u0130stanbul", "I\u0307", "\u00dfSS\u1e9e",
    "\u01c5\u01c4\u01c6", "\u0149\u01f0", "\u24b6\u24d0\u2160\u2170", "\U0001f130\U0001d400\U0001d7d8\u2102", "\u00aa\u00ba\u1d2c\u02b0", "\U00010400\U00010428",
    "\x00", "a\x00b", "\x01\x02", "a\x07\x08b", "\x1b[31mred\x1b[0m", "\x7f\x80\x9f", "\x1c\x1d\x1e\x1f", "a\x0bb\x0cc", "\ufffd", "\ufffe\uffff", "\ue000\U000f0000",
    "\U0010ffff", "\u0378\u0380", "&amp; &lt;b&gt; &eacute;", "&amp;amp;", "<b>&amp;</b>", "caf\u00c3\u00a9", "\u00e2\u20ac\u0153quoted\u00e2\u20ac\u009d",
    "\u201cq\u201d \u2018r\u2019 \u2026 \u2013 \u2014", "a--b---c", "!!!???", "...", "@user #tag https://x.org/?a=b&c=d_e", "foo_bar-baz", "_a__b_", "x^2+y=z*3/4", "a\\b|c~d`e",
    "\u00d7\u00f7\u221a\u2211", "\u2192\u21d2\u2713", "x" * 70, "ab" * 40, " " * 30, " " * 30 + "x", "\n" * 9, "\t \t \t x", "supercalifragilisticexpialidocious", "AaBbCcDd", "iPhone15ProMax",
    "\u0640\u0640", "\u0f0b\u0f40", "\u1e00\u0323", "\u0344", "\u2000\u2001", "\u0958", "\ufb1d", "\U0001d15e", "\u0cca\u0cd5", "\U0001e900\U0001e922", "\ua7cb\ua7cc", "\u1c89",
]
ALPHABETS = [
    "abcdefghijklmnopqrstuvwxyz  ", "ABCDEFGHIJ abcdefghij 0123456789", " \t\n\r\u00a0\u3000\u2003ab", "'\u2019stmdlrve STMDLRVE\u017f ", "0123456789 .,", "<|>/_eotidstarxunkpw ",
    "\u0627\u0628\u062a\u062b\u064b\u064c\u0650 \u05d0\u05d1\u05b0\u05b1", "aeoun\u0300\u0301\u0302\u0308\u0327\u0328\u0345 ", "\u4e00\u4e8c\u4e09\u3042\u30a2\uac00\ud7a3a1 ",
    "\U0001f600\U0001f468\u200d\ufe0f\U0001f3fd\U0001f1e6\U0001f1fa\u2764 a", "\x00\x01\x08\x0b\x0c\x0e\x1b\x1f\x7f\x85\x9f ab", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ ",
    "\u0391\u03a3\u03c3\u03c2\u03a9\u0130I\u0131\u00df\u1e9e\u01c5 '.", "\u00c3\u00a9\u00e2\u20ac\u2122\u0153\u00c2\u00a0\u00d0\u00b0 ",
]


def random_point(rng):
    limit = rng.choice([0x250, 0x800, 0x3000, 0x10000, 0x20000, 0x110000])
    while True:
        point = rng.randrange(1, limit)
        if not 0xD800 <= point < 0xE000:
            return chr(point)


def one(rng):
    kind = rng.randrange(10)
    if kind < 3:
        return " ".join(rng.choice(WORDS) for _ in range(rng.randrange(1, 8))) + rng.choice(["", ".", "!", ", ok?", "\n"])
    if kind < 7:
        letters = rng.choice(ALPHABETS)
        return "".join(rng.choice(letters) for _ in range(rng.randrange(1, 16)))
    if kind < 8:
        return "".join(random_point(rng) for _ in range(rng.randrange(1, 8)))
    return "".join(rng.choice([rng.choice(WRITTEN), rng.choice(WORDS), random_point(rng), " "]) for _ in range(3))[:40]


def varied(count, seed):
    rng = random.Random(seed)
    texts = dict.fromkeys(WRITTEN)
    while len(texts) < count:
        texts[one(rng)] = None
    return list(texts)[:count]
