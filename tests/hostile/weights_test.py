# SPDX-License-Identifier: Apache-2.0
"""Model folders with one damaged file: refused with exit code 2 and a message that names the file and the fault."""
import shutil
import struct

from bench import GOLDEN, BenchTest, edit_json, edit_safetensors, main, read_safetensors, safetensors_bytes


def first(header):
    return sorted(k for k in header if k != "__metadata__")[0]


def changed(key, value):
    return lambda header: header[first(header)].__setitem__(key, value)


def overlap(header):
    names = sorted((k for k in header if k != "__metadata__"), key=lambda k: header[k]["data_offsets"])
    a, b = header[names[0]], header[names[1]]
    size = b["data_offsets"][1] - b["data_offsets"][0]
    b["data_offsets"] = [a["data_offsets"][0], a["data_offsets"][0] + size]


def swap_shape(header):
    for name, entry in header.items():
        if name != "__metadata__" and len(set(entry["shape"])) == 2 and len(entry["shape"]) == 2:
            entry["shape"].reverse()
            return
    raise AssertionError("no matrix that is not square")


HEADER_FAULTS = {
    "overlapping ranges": (overlap, ["data begins at"]),
    "range past the end": (changed("data_offsets", [0, 1 << 40]), ["bytes"]),
    "range backwards": (changed("data_offsets", [400, 0]), ["bytes"]),
    "negative offset": (changed("data_offsets", [-4, 4]), ["data_offsets"]),
    "offset as text": (changed("data_offsets", ["0", "4"]), ["data_offsets"]),
    "fractional size": (changed("shape", [1.5]), ["shape"]),
    "overflowing shape": (changed("shape", [1 << 40, 1 << 40]), ["shape"]),
    "wrapping shape": (changed("shape", [(1 << 63) + 1, 2]), ["shape"]),
    "size of zero": (changed("shape", [0, 3]), ["shape"]),
    "unknown dtype": (changed("dtype", "F31"), ["dtype", "F31"]),
    "half the dtype": (changed("dtype", "F16"), ["dtype"]),
    "whole numbers of the same size": (changed("dtype", "I32"), ["floating-point"]),
    "unknown key": (changed("stride", [1]), ["stride"]),
    "no dtype": (lambda h: h[first(h)].pop("dtype"), ["dtype"]),
    "entry is a list": (lambda h: h.__setitem__(first(h), [1]), ["object"]),
    "metadata of numbers": (lambda h: h.__setitem__("__metadata__", {"a": 1}), ["__metadata__"]),
    "renamed tensor": (lambda h: h.__setitem__("surplus.weight", h.pop(first(h))), ["missing"]),
    "transposed weight": (swap_shape, ["expected shape"]),
}


class Safetensors(BenchTest):
    """The text encoder is read first and is the smallest."""

    def setUp(self):
        super().setUp()
        self.folder = self.model("text_encoder")
        self.file = self.folder / "text_encoder" / "model.safetensors"

    def refused(self, *fragments):
        self.refuse(["text_encoder", *fragments], *self.generate(model=self.folder))
        self.assertFalse((self.tmp / "out.safetensors").exists())

    def test_whole_copy_works(self):
        self.expect(0, [], *self.generate(model=self.folder))

    def test_header_faults(self):
        whole = self.file.read_bytes()
        for name, (change, fragments) in HEADER_FAULTS.items():
            with self.subTest(name):
                self.file.write_bytes(whole)
                edit_safetensors(self.file, change)
                self.refused(*fragments)

    def test_lengths(self):
        header, data = read_safetensors(self.file)
        whole = self.file.read_bytes()
        text = whole[8:8 + struct.unpack("<Q", whole[:8])[0]]
        for name, content in {
            "empty": b"", "five bytes": b"\x10\0\0\0\0", "length alone": whole[:8], "half a header": whole[:200],
            "data cut": whole[:-1], "data cut to nothing": whole[:len(whole) - len(data)], "one byte more": whole + b"\0",
            "length 2^63": safetensors_bytes(text, data, 1 << 63), "length 2^64-1": safetensors_bytes(text, data, 2**64 - 1),
            "longer than the file": safetensors_bytes(text, data, len(whole) + 1),
            "shorter than the header": safetensors_bytes(text, data, len(text) // 2), "no header": safetensors_bytes(b"", data),
        }.items():
            with self.subTest(name):
                self.file.write_bytes(content)
                self.refused()

    def test_not_json(self):
        _, data = read_safetensors(self.file)
        entry = b'{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
        for name, header in {
            "list": b"[]", "words": b"hello, world", "unfinished": b'{"a":', "invalid UTF-8": b'{"\xff\xfe":' + entry + b"}",
            "deep": b'{"a":' + b"[" * 100000 + b"]" * 100000 + b"}", "twice": b'{"a":' + entry + b',"a":' + entry + b"}",
            "comment": b'{/**/"a":' + entry + b"}", "NaN": b'{"a":NaN}', "null bytes": b"\0" * 64,
        }.items():
            with self.subTest(name):
                self.file.write_bytes(safetensors_bytes(header, data))
                self.refused()

    def test_not_a_file(self):
        self.file.unlink()
        self.refuse(["text_encoder"], *self.generate(model=self.folder))
        self.file.mkdir()
        self.refuse(["text_encoder"], *self.generate(model=self.folder))

    def test_numbers_that_blow_up(self):
        header, data = read_safetensors(self.file)
        begin, end = header["encoder.final_layer_norm.weight"]["data_offsets"]
        broken = data[:begin] + struct.pack("<f", float("nan")) * ((end - begin) // 4) + data[end:]
        self.file.write_bytes(safetensors_bytes(header, broken))
        self.expect((1, 2), ["nan"], *self.generate(model=self.folder))
        self.assertFalse((self.tmp / "out.safetensors").exists())


class Folder(BenchTest):
    def setUp(self):
        super().setUp()
        self.folder = self.model("transformer")
        self.part = self.folder / "transformer"
        self.index = self.part / "diffusion_pytorch_model.safetensors.index.json"

    def refused(self, *fragments):
        self.refuse(fragments, *self.generate(model=self.folder))

    def test_shard_missing(self):
        next(self.part.glob("*-00002-of-*.safetensors")).unlink()
        self.refused("00002-of", "missing")

    def test_shard_outside_the_folder(self):
        edit_json(self.index, lambda v: v["weight_map"].__setitem__("proj_out.bias", "../vae/config.json"))
        self.refused("index.json", "../vae")

    def test_index_names_a_tensor_nobody_has(self):
        edit_json(self.index, lambda v: v["weight_map"].__setitem__("proj_out.bias2", v["weight_map"]["proj_out.bias"]))
        self.refused("proj_out.bias2")

    def test_index_lacks_a_tensor(self):
        edit_json(self.index, lambda v: v["weight_map"].pop("proj_out.bias"))
        self.refused("proj_out.bias", "missing")

    def test_index_is_not_json(self):
        self.index.write_text('{"weight_map": {')
        self.refused("index.json")

    def test_configurations(self):
        config = self.part / "config.json"
        whole = config.read_text()
        for name, key, value in (("no such class", "_class_name", "WanTransformer4DModel"), ("text", "num_layers", "three"),
                                 ("negative", "num_layers", -1), ("zero heads", "num_attention_heads", 0),
                                 ("huge", "num_layers", 10**18), ("odd head", "attention_head_dim", 7),
                                 ("other size", "ffn_dim", 97), ("short patch", "patch_size", [1, 2]),
                                 ("zero patch", "patch_size", [1, 0, 2]), ("unknown norm", "qk_norm", "layer_norm"),
                                 ("fraction", "num_attention_heads", 2.5)):
            with self.subTest(name):
                config.write_text(whole)
                edit_json(config, lambda v: v.__setitem__(key, value))
                self.refused("transformer")
        config.write_text("{]")
        self.refused("config.json")
        config.unlink()
        self.refused("config.json")

    def test_not_a_model_folder(self):
        self.refuse(["nowhere"], *self.generate(model=self.tmp / "nowhere"))
        (self.tmp / "empty").mkdir()
        self.refuse(["empty"], *self.generate(model=self.tmp / "empty"))
        self.refuse(["model_index.json"], *self.generate(model=GOLDEN / "model" / "model_index.json"))


class OtherParts(BenchTest):
    def damaged(self, part, name, content, *fragments):
        folder = self.model(part)
        path = folder / part / name
        path.write_bytes(content(path.read_bytes()))
        self.refuse([name, *fragments], *self.generate(model=folder, output_type="video"))
        shutil.rmtree(folder)

    def test_tokenizer(self):
        self.damaged("tokenizer", "tokenizer.json", lambda b: b[:len(b) // 2])
        self.damaged("tokenizer", "tokenizer.json", lambda b: b.replace(b'"Unigram"', b'"Bigram"'), "Bigram")
        self.damaged("tokenizer", "tokenizer.json", lambda b: b.replace(b'"unk_id": 3', b'"unk_id": 300000'))
        self.damaged("tokenizer", "tokenizer.json", lambda b: b"\xff\xfe\x00")

    def test_scheduler(self):
        name = "scheduler_config.json"
        self.damaged("scheduler", name, lambda b: b.replace(b"flow_prediction", b"epsilon"), "prediction_type")
        self.damaged("scheduler", name, lambda b: b.replace(b"UniPCMultistepScheduler", b"DDIMScheduler"), "DDIMScheduler")
        self.damaged("scheduler", name, lambda b: b.replace(b'"solver_order": 2', b'"solver_order": "two"'), "solver_order")

    def test_vae(self):
        self.damaged("vae", "diffusion_pytorch_model.safetensors", lambda b: b[:-5])
        self.damaged("vae", "config.json", lambda b: b.replace(b'"z_dim": 4', b'"z_dim": 5'), "vae")


if __name__ == "__main__":
    main()
