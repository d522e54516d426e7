# SPDX-License-Identifier: Apache-2.0
"""What a user types: prompts in odd Unicode, sizes that do not divide, flags that do not exist, damaged noise files."""
import struct

from bench import BAD_INPUT, COMMON, DONE, GOLDEN, MACHINE_LACKS, BenchTest, edit_safetensors, main, read_safetensors, safetensors_bytes


class Prompts(BenchTest):
    def test_odd_unicode_works(self):
        for prompt in ("🦊🏳️‍🌈 fox", "e\u0301 é ﬁ Ⅷ ½", "\u202eright to left\u202c", "\ufeffbom\u200bzero", "一只红色的猫", "a\x01\x1b[31mb",
                       "\U0010ffff\ue000", "&lt;&amp;lt;&#x1F98A;&#xD800;&notanentity;", "</s><pad><extra_id_0>",
                       "x" * 20000, "\u0301" * 3000, "%s%n{}{0}", "-dash first"):
            with self.subTest(ascii(prompt)[:60]):
                (self.tmp / "out.safetensors").unlink(missing_ok=True)
                args = self.generate(prompt=None) + ["--prompt=" + prompt]
                self.expect(DONE, [], *args)
                self.assertTrue((self.tmp / "out.safetensors").exists())

    def test_not_utf8(self):
        for raw in (b"\xff\xfe", b"abc\xc3", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf5\x80\x80\x80"):
            with self.subTest(raw):
                self.refuse(["--prompt", "UTF-8"], *self.generate(prompt=raw))
                self.refuse(["UTF-8"], *self.generate(guidance=5, negative_prompt=raw))

    def test_empty(self):
        for prompt in ("", "   \t\n", "\u00a0"):
            with self.subTest(ascii(prompt)):
                self.refuse(["--prompt", "empty"], *self.generate(prompt=prompt))
        self.refuse(["prompt"], *self.generate(prompt=None))


class Numbers(BenchTest):
    def test_sizes_that_do_not_divide(self):
        for name, value in (("height", 60), ("width", 97), ("height", 8), ("height", 0), ("width", -16), ("frames", 0),
                            ("frames", -3), ("width", "wide"), ("height", 1.5)):
            with self.subTest(f"{name}={value}"):
                self.refuse([name], *self.generate(**{name: value}))

    def test_more_than_any_machine_has(self):
        for changes in ({"height": 16 * 10**11}, {"width": 16 * 10**17}, {"frames": 1 + 4 * 10**17}):
            with self.subTest(changes):
                self.expect((BAD_INPUT, MACHINE_LACKS), [], *self.generate(**changes))

    def test_numbers_out_of_range(self):
        for name, value in (("steps", 0), ("steps", -1), ("steps", 10**15), ("guidance", "nan"), ("guidance", "inf"),
                            ("flow_shift", 0), ("flow_shift", "nan"), ("flow_shift", -3), ("seed", "x"), ("seed", -1),
                            ("seed", 2**64), ("max_sequence_length", 10**9), ("max_sequence_length", 0), ("fps", 0)):
            with self.subTest(f"{name}={value}"):
                self.refuse(["--" + name.replace("_", "-")], *self.generate(**{name: value}))

    def test_names(self):
        self.refuse(["vortex", "vorta"], *self.generate(attention="vortex"))
        self.refuse(["float8"], *self.generate(dtype="float8"))
        self.refuse(["--promt", "--prompt"], *self.generate("--promt", "x"))
        self.refuse(["gif"], *self.generate(output_type="gif"))
        self.refuse([], "no-such-verb")

    def test_repeated_and_valueless(self):
        self.refuse(["--steps"], "generate", "--steps")
        self.refuse([], "generate")


class Noise(BenchTest):
    def setUp(self):
        super().setUp()
        self.file = self.tmp / "noise.safetensors"
        self.header, self.data = read_safetensors(GOLDEN / "latents.safetensors")

    def refused(self, *fragments, **changes):
        """The message names the file or the flag, and what is wrong."""
        self.refuse(["latents" if fragments else "noise.safetensors", *fragments],
                    *self.generate(latents=self.file, **changes))

    def write(self, header, data=None):
        self.file.write_bytes(safetensors_bytes(header, self.data if data is None else data))

    def test_whole_file_works(self):
        self.write(self.header)
        self.expect(DONE, [], *self.generate(latents=self.file))

    def test_wrong_key(self):
        self.write({"noise": self.header["latents"]})
        self.refused("latents")

    def test_wrong_shape(self):
        shape = self.header["latents"]["shape"]
        for wrong in ([shape[0], *shape[2:], shape[1]], shape[1:], [2, 2, *shape[2:]], [1] + shape):
            with self.subTest(wrong):
                self.write({"latents": dict(self.header["latents"], shape=wrong)})
                self.refused("latents")
        self.write({"latents": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}}, self.data[:4])
        self.refused("single number")

    def test_two_videos_for_one_mp4(self):
        two = dict(self.header["latents"], shape=[2, *self.header["latents"]["shape"][1:]])
        two["data_offsets"] = [0, 2 * len(self.data)]
        self.write({"latents": two}, self.data * 2)
        self.refuse(["latents", "batch of 1"], *self.generate(latents=self.file, output=self.tmp / "two.mp4", output_type="video"))

    def test_other_size_than_asked(self):
        self.write(self.header)
        self.refused("latents", frames=COMMON["frames"] + 4)

    def test_wrong_type(self):
        self.write({"latents": dict(self.header["latents"], dtype="I32")})
        self.refused("latents")

    def test_not_finite(self):
        self.write(self.header, struct.pack("<f", float("inf")) + self.data[4:])
        self.expect((1, BAD_INPUT), [], *self.generate(latents=self.file))
        self.assertFalse((self.tmp / "out.safetensors").exists())

    def test_truncated(self):
        self.write(self.header)
        self.file.write_bytes(self.file.read_bytes()[:-100])
        self.refused()

    def test_lying(self):
        self.write(self.header)
        edit_safetensors(self.file, lambda h: h["latents"].__setitem__("data_offsets", [0, 1 << 50]))
        self.refused()


if __name__ == "__main__":
    main()
