# SPDX-License-Identifier: Apache-2.0
"""Router checkpoints: damaged archives, pickles that are programs, wrong keys, configurations that do not fit."""
import io
import os
import pickle
import zipfile

from bench import BenchTest, edit_json, edit_zip, main


class Bomb:
    """Unpickling this with Python's own reader would run a command."""

    def __init__(self, marker):
        self.command = f"touch {marker}"

    def __reduce__(self):
        return os.system, (self.command,)


class Routers(BenchTest):
    def setUp(self):
        super().setUp()
        self.folder = self.routers()
        self.file = self.folder / "ckpt" / "step-000100" / "router.pt"
        self.whole = self.file.read_bytes()

    def vorta(self, **changes):
        return self.generate(attention="vorta", routers=self.folder, **changes)

    def refused(self, *fragments):
        said = self.refuse(["router.pt", *fragments], *self.vorta())
        self.assertFalse((self.tmp / "out.safetensors").exists())
        return said

    def test_whole_copy_works(self):
        self.expect(0, [], *self.vorta())

    def test_truncated(self):
        for size in (0, 1, 4, 30, 100, len(self.whole) // 2, len(self.whole) - 30, len(self.whole) - 1):
            with self.subTest(size):
                self.file.write_bytes(self.whole[:size])
                self.refused()

    def test_not_an_archive(self):
        for content in (b"hello", b"PK\x03\x04" + b"\0" * 500, b"\x80\x02}q\x00.", b"\0" * 4096, self.whole[::-1]):
            with self.subTest(content[:8]):
                self.file.write_bytes(content)
                self.refused()

    def test_hostile_pickle(self):
        marker = self.tmp / "owned"
        for protocol in (0, 2, 4):
            program = pickle.dumps({"blocks.0.router.linear.weight": Bomb(marker)}, protocol=protocol)
            with self.subTest(protocol, kind="in the archive"):
                self.file.write_bytes(self.whole)
                edit_zip(self.file, lambda n, b: program if n.endswith("data.pkl") else b)
                self.refused("pickle")
            with self.subTest(protocol, kind="bare"):
                self.file.write_bytes(program)
                self.refused()
        self.assertFalse(marker.exists(), "the pickle was run")

    def test_pickles_that_eat_memory(self):
        deep = b"\x80\x02" + b"]" * 200000 + b"."
        unended = b"\x80\x02}" + b"(" * 500000
        huge_text = b"\x80\x02X\xff\xff\xff\x7fabc."
        memo = b"\x80\x02}r\xff\xff\xff\xff."
        for name, program in {"deep": deep, "marks": unended, "text": huge_text, "memo": memo, "empty": b"",
                              "underflow": b"\x80\x02s."}.items():
            with self.subTest(name):
                self.file.write_bytes(self.whole)
                edit_zip(self.file, lambda n, b: program if n.endswith("data.pkl") else b)
                self.refused()

    def replace_in_pickle(self, old, new):
        self.file.write_bytes(self.whole)

        def change(name, content):
            if not name.endswith("data.pkl"):
                return content
            self.assertIn(old, content)
            return content.replace(old, new, 1)

        edit_zip(self.file, change)

    def test_wrong_key(self):
        self.replace_in_pickle(b"blocks.0.router.linear.bias", b"blocks.9.router.linear.bias")
        self.refused("blocks.")

    def test_key_twice(self):
        self.replace_in_pickle(b"blocks.0.router.linear.bias", b"blocks.1.router.linear.bias")
        self.refused("blocks.")

    def test_view_outside_its_storage(self):
        self.replace_in_pickle(b"K\x0cK@", b"K\xffK@")  # 12 x 64 becomes 255 x 64
        self.refused("blocks.")

    def test_wrong_shape(self):
        self.replace_in_pickle(b"K\x0cK@", b"K\x0bK@")
        self.refused("blocks.", "shape")

    def test_not_finite(self):
        edit_zip(self.file, lambda n, b: b"\xff" * len(b) if "/data/" in n else b)
        self.refused("finite")

    def test_storage_cut_or_missing(self):
        for change in (lambda n, b: b[:-2] if n.endswith("data/0") else b,
                       lambda n, b: None if n.endswith("data/0") else b,
                       lambda n, b: None if n.endswith("data.pkl") else b):
            self.file.write_bytes(self.whole)
            edit_zip(self.file, change)
            self.refused()

    def test_compressed(self):
        edit_zip(self.file, lambda n, b: b, zipfile.ZIP_DEFLATED)
        self.refused("compress")

    def test_zip_of_something_else(self):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("../../etc/passwd", "x")
        self.file.write_bytes(buffer.getvalue())
        self.refused()

    def test_flipped_bytes(self):
        """Any damage is either noticed or harmless, never a crash."""
        for at in range(0, len(self.whole), 331):
            with self.subTest(at):
                self.file.write_bytes(self.whole[:at] + bytes([self.whole[at] ^ 0xFF]) + self.whole[at + 1:])
                self.expect((0, 1, 2), [], *self.vorta())


class Configuration(BenchTest):
    def setUp(self):
        super().setUp()
        self.folder = self.routers()
        self.file = self.folder / "config.json"
        self.whole = self.file.read_text()

    def vorta(self, **changes):
        return self.generate(attention="vorta", routers=self.folder, **changes)

    def test_geometry(self):
        for key, value in (("lowres_window_size", [2, 2]), ("lowres_window_size", [0, 2, 3]), ("lowres_window_size", [3, 2, 3]),
                           ("lowres_reduction_rate", 1.0), ("lowres_reduction_rate", -0.5), ("lowres_reduction_rate", "half"),
                           ("tile_size", [3, 2, 2]), ("tile_size", [-1, 2, 2]), ("window_size", [0, 1, 3]),
                           ("latent_shape", [4, 4, 5]), ("latent_shape", [10**12, 10**12, 10**12])):
            with self.subTest(f"{key}={value}"):
                self.file.write_text(self.whole)
                edit_json(self.file, lambda v: v["self_attention_kwargs"].__setitem__(key, value))
                self.refuse([], *self.vorta())

    def test_file(self):
        for content in ("", "{", "[]", '{"name": "WanTransformer3DModel"}'):
            with self.subTest(content):
                self.file.write_text(content)
                self.refuse(["config.json"], *self.vorta())
        self.file.unlink()
        self.refuse(["config.json"], *self.vorta())

    def test_other_video_size_than_trained(self):
        self.refuse(["4x4x6"], *self.vorta(frames=9))

    def test_missing(self):
        self.refuse(["nowhere"], *self.generate(attention="vorta", routers=self.tmp / "nowhere"))
        self.refuse(["--routers"], *self.generate(model=self.model(), attention="vorta"))

    def test_tau(self):
        self.expect(0, ["tau"], *self.vorta(tau=0.3))
        for tau in ("nan", "-1", "abc"):
            with self.subTest(tau):
                self.refuse(["tau"], *self.vorta(tau=tau))


if __name__ == "__main__":
    main()
