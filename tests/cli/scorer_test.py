# SPDX-License-Identifier: Apache-2.0
"""`vorta-bench train scorer` and `train examine` at the smallest size, and what `score` says of weights that are not the official
ones. Python 3, standard library only."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

BINARY = pathlib.Path(os.environ["VORTA_BENCH"]).resolve()
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PYTHON_HAS_TORCH = subprocess.run([sys.executable, "-c", "import numpy, torch"], capture_output=True, check=False).returncode == 0
GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden"


def call(*arguments, **environment):
    return subprocess.run([str(BINARY), *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=300, env=os.environ | {key: str(value) for key, value in environment.items()}, check=False)


class Scorers(unittest.TestCase):
    def setUp(self):
        self.tmp = pathlib.Path(tempfile.mkdtemp(prefix="vorta-scorers-"))
        self.addCleanup(shutil.rmtree, self.tmp, ignore_errors=True)

    def test_a_trained_scorer_is_whole_and_scores(self):
        out = self.tmp / "run"
        done = call("train", "scorer", "--out", out, "--batch", 2, "--memory", 2, "--render-ahead", 1, "--replay", 0, "--evaluation-clips", 2,
                   "--seed", 7, "--log-every", 1, "--steps", 1)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("1 of 1 steps", done.stdout)
        self.assertEqual(sorted(file.name for file in (out / "scorers").iterdir()), ["config.json", "scorers.safetensors", "tokenizer"])
        steps = [line for line in map(json.loads, (out / "log.jsonl").read_text().splitlines()) if line["kind"] == "step"]
        self.assertEqual([line["step"] for line in steps], [0])
        # A data folder with these networks is examined with them.
        data = self.tmp / "data"
        (data / "suites" / "embedded").mkdir(parents=True)
        shutil.copytree(out / "scorers", data / "suites" / "embedded" / "scorers")
        examined = call("train", "examine", "--out", self.tmp / "examined", "--clips", 1, "--corruptions", "freeze", "--device", "cpu", VORTA_DATA_DIR=data)
        self.assertEqual(examined.returncode, 0, examined.stdout)
        table = json.loads((self.tmp / "examined" / "examination.json").read_text())
        self.assertEqual(table["clips"], 1)
        self.assertEqual(sorted(table["means"]), ["clean", "freeze 0.5", "freeze 1"])

    def test_what_cannot_be_done_is_refused(self):
        for why, *arguments in (("--clips", "examine", "--out", self.tmp / "x", "--clips", 0), ("--batch", "scorer", "--out", self.tmp / "y", "--batch", 0),
                                ("--out", "scorer", "--steps", 1),
                                ("--videos_path", "examine", "--out", self.tmp / "u", "--profile", "vbench"),
                                ("--profile vbench", "examine", "--out", self.tmp / "t", "--videos_path", self.tmp),
                                ("one that files allow, found 'object_removal'", "examine", "--out", self.tmp / "s", "--profile", "vbench",
                                 "--videos_path", GOLDEN / "vbench", "--corruptions", "object_removal"),
                                ("expected frame, quality, video, text or flow, found 'vido'", "scorer", "--out", self.tmp / "w", "--only", "vido"),
                                ("freeze", "examine", "--out", self.tmp / "v", "--corruptions", "freze")):
            refused = call("train", *arguments)
            self.assertEqual(refused.returncode, 2, refused.stdout)
            self.assertIn(why, refused.stdout)
        lacking = call("train", "examine", "--out", self.tmp / "z", "--clips", 1, VORTA_DATA_DIR=self.tmp)
        self.assertEqual(lacking.returncode, 3, lacking.stdout)
        self.assertIn("scorers.safetensors", lacking.stdout)

    def test_official_networks_are_examined_on_files_as_far_as_their_weights_are_there(self):
        done = call("train", "examine", "--out", self.tmp / "out", "--profile", "vbench", "--videos_path", GOLDEN / "vbench", "--clips", 1,
                    "--corruptions", "noise", "flicker", "--device", "cpu", VBENCH_CACHE_DIR=self.tmp, HOME=self.tmp)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("falls         temporal_flickering with noise", done.stdout)
        self.assertIn("subject_consistency: not measured: ", done.stdout)
        table = json.loads((self.tmp / "out" / "examination.json").read_text())
        self.assertEqual([(row["corruption"], row["dimension"], row["falls"]) for row in table["expected"]],
                         [("flicker", "temporal_flickering", True), ("noise", "temporal_flickering", True)])
        self.assertEqual(sorted(table["means"]), ["clean", "flicker 0.5", "flicker 1", "noise 0.5", "noise 1"])
        self.assertIn("raft-things.pth", table["not_measured"]["dynamic_degree"])

    @unittest.skipUnless(PYTHON_HAS_TORCH, "needs a Python with torch and numpy")
    def test_the_converter_says_what_it_cannot_convert_and_goes_on(self):
        shutil.copy(GOLDEN / "checkpoints" / "not_a_checkpoint.pth", self.tmp / "text.pth")
        shutil.copy(GOLDEN / "checkpoints" / "plain.pth", self.tmp / "plain.pth")
        files = [self.tmp / name for name in ("text.pth", "absent.pth", "plain.pth")]
        done = subprocess.run([sys.executable, ROOT / "metrics" / "convert_checkpoint.py", *files], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("text.pth] expected a checkpoint of torch.save, found something else", done.stderr)
        self.assertIn("absent.pth] no such file", done.stderr)
        self.assertIn("plain.pth.safetensors: 3 tensors", done.stdout)
        self.assertTrue((self.tmp / "plain.pth.safetensors").exists())

    def test_all_is_what_the_mode_allows(self):
        (self.tmp / "clips").mkdir()
        shutil.copy(GOLDEN / "vbench" / "discs.mp4", self.tmp / "clips" / "discs.mp4")
        command = ["score", "--videos_path", self.tmp / "clips", "--dimension", "all", "--output_path", self.tmp / "out", "--name", "run"]
        done = call(*command, "--mode", "custom_input", VBENCH_CACHE_DIR=self.tmp, HOME=self.tmp)
        self.assertEqual(done.returncode, 1, done.stdout)  # some have no weights
        details = json.loads((self.tmp / "out" / "run_score_details.json").read_text())[0]["dimensions"]
        self.assertEqual(len(details), 10)  # the other six need what VBench's list says of its prompts
        self.assertNotIn("scene", details)
        self.assertEqual([name for name, row in details.items() if row["value"] is not None], ["temporal_flickering"])
        wrong = call(*command, "--mode", "custom_input", "--device", "tpu")
        self.assertEqual(wrong.returncode, 2, wrong.stdout)
        self.assertEqual(wrong.stdout.count("expected auto, cpu or cuda, found 'tpu'"), 1)

    def test_weights_of_another_hash_are_said(self):
        clips, weights = self.tmp / "clips", self.tmp / "weights" / "pyiqa_model" / "musiq_spaq_ckpt-358bb6af.pth"
        clips.mkdir()
        weights.parent.mkdir(parents=True)
        shutil.copy(GOLDEN / "vbench" / "discs.mp4", clips / "discs.mp4")
        shutil.copy(GOLDEN / "checkpoints" / "plain.pth", weights)
        done = call("score", "--videos_path", clips, "--dimension", "imaging_quality", "--mode", "custom_input", "--output_path",
                    self.tmp / "out", "--name", "run", VBENCH_CACHE_DIR=self.tmp / "weights", HOME=self.tmp)
        self.assertNotEqual(done.returncode, 0, done.stdout)
        self.assertRegex(done.stdout, r"musiq_spaq_ckpt-358bb6af\.pth\] is not the official file: its SHA-256 is [0-9a-f]{64}, the official one begins with 358bb6af")
        details = json.loads((self.tmp / "out" / "run_score_details.json").read_text())[0]["dimensions"]["imaging_quality"]
        self.assertIsNone(details["value"])
        self.assertEqual([file["official_hash"] for file in details["weights"]], [False])


if __name__ == "__main__":
    unittest.main(verbosity=2)
