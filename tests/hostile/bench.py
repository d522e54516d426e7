# SPDX-License-Identifier: Apache-2.0
"""What the hostile-input tests share: running the program, copies of the golden pipeline with one broken file, and the
two binary formats that are attacked. Standard library only."""
import json
import os
import pathlib
import shutil
import struct
import subprocess
import tempfile
import unittest
import zipfile

BINARY = pathlib.Path(os.environ["VORTA_BENCH"]).resolve()
SOURCE = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = SOURCE / "tests" / "golden" / "pipeline"
COMMON = json.loads((GOLDEN / "cases.json").read_text(encoding="utf-8"))["common"]

DONE, CASE_FAILED, BAD_INPUT, MACHINE_LACKS = 0, 1, 2, 3


class BenchTest(unittest.TestCase):
    """`self.tmp` is an empty folder for each test."""

    def setUp(self):
        self.tmp = pathlib.Path(tempfile.mkdtemp(prefix="vorta-hostile-"))
        self.addCleanup(shutil.rmtree, self.tmp, ignore_errors=True)

    def run_bench(self, *args, stdout=subprocess.PIPE, cwd=None):
        command = [os.fsencode(BINARY)] + [a if isinstance(a, bytes) else os.fsencode(str(a)) for a in args]
        return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE, timeout=120,
                              cwd=cwd or self.tmp)

    def expect(self, code, fragments, *args, **kwargs):
        """Runs and checks the exit code (a signal is a negative one) and that stderr has all fragments, in any case."""
        codes = code if isinstance(code, tuple) else (code,)
        done = self.run_bench(*args, **kwargs)
        said = done.stderr.decode("utf-8", errors="strict")
        shown = f"\ncommand: {args}\nexit code {done.returncode}, stderr:\n{said[-2000:]}"
        self.assertIn(done.returncode, codes, shown)
        for fragment in fragments:
            self.assertIn(fragment.lower(), said.lower(), shown)
        self.assertNotIn("terminate called", said)
        self.assertNotIn("[internal]", said)
        return said

    def refuse(self, fragments, *args, **kwargs):
        return self.expect(BAD_INPUT, fragments, *args, **kwargs)

    def model(self, part=None, variant="model"):
        """A folder like the golden model; `part` ("vae", ...) is a copy that may be damaged, the rest are links."""
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.tmp, prefix="model-"))
        for entry in (GOLDEN / variant).iterdir():
            if entry.name == part:
                shutil.copytree(entry.resolve(), folder / entry.name)
            elif entry.is_dir():
                (folder / entry.name).symlink_to(entry.resolve())
            else:
                shutil.copy(entry, folder / entry.name)
        return folder

    def routers(self):
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.tmp, prefix="routers-"))
        shutil.copytree(GOLDEN / "routers", folder, dirs_exist_ok=True)
        return folder

    def generate(self, *extra, **changes):
        """The arguments of a one-step generation; keywords replace flags (None drops one)."""
        flags = {"model": GOLDEN / "model", "attention": "dense", "prompt": "a red circle", "frames": COMMON["frames"],
                 "height": COMMON["height"], "width": COMMON["width"], "steps": 1, "guidance": 1.0, "seed": 1,
                 "dtype": "float32", "output_type": "latent", "output": self.tmp / "out.safetensors"}
        flags.update(changes)
        args = ["generate"]
        for name, value in flags.items():
            if value is not None:
                args += ["--" + name.replace("_", "-"), value]
        return args + list(extra)

    def leave_nothing(self, folder, *allowed):
        """No half-written or temporary file stays behind."""
        self.assertEqual(sorted(p.name for p in folder.iterdir()), sorted(allowed))


def read_safetensors(path):
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8:8 + length]), raw[8 + length:]


def safetensors_bytes(header, data, announced=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if announced is None else announced) + text + data


def edit_safetensors(path, change):
    """`change(header)` edits the header in place; the data stays."""
    header, data = read_safetensors(path)
    change(header)
    path.write_bytes(safetensors_bytes(header, data))


def edit_json(path, change):
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    path.write_text(json.dumps(value), encoding="utf-8")


def edit_zip(path, change, compression=zipfile.ZIP_STORED):
    """Rewrites a torch.save archive; `change(name, bytes)` returns the new bytes, or None to leave the entry out."""
    with zipfile.ZipFile(path) as archive:
        entries = [(info.filename, archive.read(info)) for info in archive.infolist()]
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries:
            content = change(name, content)
            if content is not None:
                archive.writestr(name, content)


def main():
    unittest.main(verbosity=2)
