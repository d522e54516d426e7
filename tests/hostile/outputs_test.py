# SPDX-License-Identifier: Apache-2.0
"""Places that cannot be written: a message with the path, a documented exit code, and what was there stays."""
import os
import subprocess
import unittest

from bench import BAD_INPUT, DONE, MACHINE_LACKS, BenchTest, main

REFUSED = (BAD_INPUT, MACHINE_LACKS)


class Outputs(BenchTest):
    def mount(self, *options):
        """A mount below the test's folder, or a skipped test where mounting is not allowed."""
        where = self.tmp / "mounted"
        where.mkdir()
        done = subprocess.run(["mount", *options, str(where)], capture_output=True, text=True)
        if done.returncode != 0:
            raise unittest.SkipTest(f"cannot mount here: {done.stderr.strip()}")
        self.addCleanup(subprocess.run, ["umount", "-l", str(where)], check=True)
        return where

    def test_below_a_file(self):
        (self.tmp / "plain").write_text("mine")
        for kind, name in (("latent", "out.safetensors"), ("video", "out.safetensors")):
            self.expect(REFUSED, ["plain"], *self.generate(output_type=kind, output=self.tmp / "plain" / name))
        self.assertEqual((self.tmp / "plain").read_text(), "mine")

    def test_mp4_below_a_file(self):
        (self.tmp / "plain").write_text("mine")
        self.expect(REFUSED, ["plain"], *self.generate(output_type=None, output=self.tmp / "plain" / "out.mp4"))

    def test_output_is_a_folder(self):
        (self.tmp / "out.safetensors").mkdir()
        self.expect(REFUSED, ["out.safetensors"], *self.generate())
        self.leave_nothing(self.tmp, "out.safetensors")

    def test_unknown_extension(self):
        self.refuse(["--output"], *self.generate(output_type=None, output=self.tmp / "out.xyz"))
        self.leave_nothing(self.tmp)

    def test_missing_permission(self):
        if os.geteuid() == 0:
            self.skipTest("root ignores permissions; the read-only mount covers this")
        folder = self.tmp / "locked"
        folder.mkdir()
        folder.chmod(0o500)
        self.expect(REFUSED, ["locked"], *self.generate(output=folder / "out.safetensors"))

    def test_read_only_mount(self):
        where = self.mount("-t", "tmpfs", "-o", "ro,size=64k", "tmpfs")
        self.expect(REFUSED, ["mounted"], *self.generate(output=where / "out.safetensors"))
        self.expect(REFUSED, ["mounted"], *self.generate(output_type=None, output=where / "out.mp4"))

    def test_full_disk(self):
        where = self.mount("-t", "tmpfs", "-o", "size=16k", "tmpfs")
        old = where / "out.safetensors"
        old.write_bytes(b"the old result")
        (where / "filler").write_bytes(b"x" * 8192)
        self.expect(MACHINE_LACKS, ["out.safetensors", "space"], *self.generate(output=old, output_type="video"))
        self.assertEqual(old.read_bytes(), b"the old result")
        self.leave_nothing(where, "filler", "out.safetensors")
        self.expect(MACHINE_LACKS, ["out.mp4"], *self.generate(output_type=None, output=where / "out.mp4"))
        self.leave_nothing(where, "filler", "out.safetensors")

    def test_standard_output_is_full(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full here")
        with open("/dev/full", "wb") as full:
            done = self.run_bench("list", stdout=full)
        self.assertIn(done.returncode, REFUSED, done.stderr)
        self.assertIn(b"stdout", done.stderr)

    def test_failure_keeps_the_old_output(self):
        old = self.tmp / "out.safetensors"
        old.write_bytes(b"the old result")
        self.refuse([], *self.generate(model=self.tmp / "nowhere"))
        self.assertEqual(old.read_bytes(), b"the old result")
        self.expect(DONE, [], *self.generate())
        self.assertNotEqual(old.read_bytes(), b"the old result")
        self.leave_nothing(self.tmp, "out.safetensors")


if __name__ == "__main__":
    main()
