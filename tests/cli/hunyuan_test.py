# SPDX-License-Identifier: Apache-2.0
"""The verbs of the command line on a HunyuanVideo of test size with its text encoders: the published command, training of
routers, calibration of caches, a profiled sweep and its report. Python 3, standard library only."""
import json
import os
import pathlib
import shutil
import sqlite3
import subprocess
import tempfile
import unittest

BINARY = pathlib.Path(os.environ["VORTA_BENCH"]).resolve()
GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
ROUTERS = GOLDEN / "hunyuan" / "routers"
SIZE = ["--frames", 21, "--height", 64, "--width", 96]
GEOMETRY = ["--tile", 2, 2, 2, "--coreset-window", 2, 2, 3, "--window", 3, 1, 3]
TRAINING = [*SIZE, *GEOMETRY, "--accumulate", 1, "--pool", 2, "--refresh", 0, "--log-every", 1, "--seed", 3]


class Hunyuan(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tmp = pathlib.Path(tempfile.mkdtemp(prefix="vorta-hunyuan-"))
        cls.addClassCleanup(shutil.rmtree, cls.tmp, ignore_errors=True)
        cls.model = cls.tmp / "model"  # transformer and VAE of one fixture, text encoders and tokenizers of the other
        shutil.copytree(GOLDEN / "hunyuan" / "model", cls.model)
        for part in ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"):
            shutil.copytree(GOLDEN / "text" / "hunyuan" / part, cls.model / part)

    def call(self, *arguments, code=0):
        done = subprocess.run([str(BINARY), *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=300, cwd=self.tmp)
        self.assertEqual(done.returncode, code, f"{arguments}\n{done.stdout[-3000:]}")
        return done.stdout

    def steps(self, run):
        lines = [json.loads(line) for line in (self.tmp / run / "log.jsonl").read_text().splitlines()]
        return [line for line in lines if line["kind"] == "step"]

    def test_published_command(self):
        (self.tmp / "captions.json").write_text('[{"caption": "A cat, asleep"}]\n')
        command = ["generate", "--pretrained_model_path", self.model, "--val_data_json_file", "captions.json",
                   "--output_dir", "published", "--resume_dir", ROUTERS, "--resume", "ckpt/step-000100", "--seed", 1234,
                   "--num_inference_steps", 2, "--cfg_scale", 6.0, "--video_size", 21, 64, 96, "--noise_scheduler_shift", 5.0,
                   "--tau_sparse", 0.3, "--output_fps", 24, "--log_level", "INFO", "--enable_cpu_offload"]
        said = self.call(*command)
        self.assertIn("attention vorta", said)
        self.assertGreater((self.tmp / "published" / "000-a-cat-asleep.mp4").stat().st_size, 500)
        self.assertIn("exists, skipped", self.call(*command))

    def test_warnings_come_once(self):
        size = ["--frames", 22, "--height", 32, "--width", 48, "--steps", 2]
        asked = ["generate", "--model", self.model, *size, "--prompt", "a cat", "--negative-prompt", "a dog",
                 "--output-type", "latent", "--output"]
        said = self.call(*asked, "ignored.safetensors")
        self.assertEqual(said.count("frames: expected 1 more than a multiple of 4, found 22; making 21"), 1, said)
        self.assertEqual(said.count("the negative prompt has no effect: expected true guidance (--true-guidance) above 1"), 1, said)
        said = self.call(*asked, "heeded.safetensors", "--true-guidance", 3)
        self.assertNotIn("no effect", said)
        self.assertNotEqual(*[(self.tmp / f"{name}.safetensors").read_bytes() for name in ("ignored", "heeded")])

    def test_tokenizer_without_the_template_is_warned_of(self):
        model = self.tmp / "plain"
        shutil.copytree(self.model, model)
        path = model / "tokenizer" / "tokenizer.json"
        content = json.loads(path.read_text())
        content["added_tokens"] = [one for one in content["added_tokens"] if one["content"] != "<|eot_id|>"]
        path.write_text(json.dumps(content))
        path = model / "tokenizer" / "tokenizer_config.json"
        content = json.loads(path.read_text())
        content["added_tokens_decoder"] = {key: one for key, one in content.get("added_tokens_decoder", {}).items()
                                           if one["content"] != "<|eot_id|>"}
        path.write_text(json.dumps(content))
        said = self.call("generate", "--model", model, *SIZE, "--prompt", "a cat", "--output-type", "latent", "--output", "x.safetensors")
        self.assertIn("spelled out", said)
        self.assertIn("tokenizer/tokenizer.json", said)
        self.assertIn("<|eot_id|>", said)

    def test_few_step_recipe(self):
        said = self.call("generate", "--model", self.model, *SIZE, "--prompt", "a cat", "--recipe", "fasthunyuan-6",
                         "--output-type", "latent", "--output", "few.safetensors")
        self.assertIn("6 steps, 1 passes each, by the recipe fasthunyuan-6", said)
        said = self.call("generate", "--model", self.model, *SIZE, "--prompt", "a cat", "--recipe", "fasthunyuan-6",
                         "--guidance", 1, "--output", "few.mp4", code=2)
        self.assertIn("expected 6, which recipe fasthunyuan-6 says", said)

    def test_routers_learn_and_serve(self):
        self.call("train", "router", "--model", self.model, *TRAINING, "--batch", 1, "--steps", 40, "--lr", 3e-2,
                  "--out", "router")
        steps = self.steps("router")
        self.assertEqual(len(steps), 40)
        # What the routers can change of the loss; its flow term is the frozen model's, which is random here.
        learnt = [20 * step["distillation"] + 0.02 * step["regularisation"] for step in steps]
        self.assertLess(sum(learnt[-8:]), 0.7 * sum(learnt[:8]))
        self.assertLess(sum(step["loss"] for step in steps[20:]), sum(step["loss"] for step in steps[:20]))
        said = self.call("generate", "--model", self.model, "--routers", "router/routers", *SIZE, "--steps", 2,
                         "--prompt", "a cat", "--output", "routed.mp4")
        self.assertIn("attention vorta", said)
        self.call("train", "router", "--model", GOLDEN / "hunyuan" / "model", "--random-weights", *TRAINING, "--batch", 1,
                  "--steps", 2, "--out", "random")  # this folder has no text encoder
        self.assertEqual(len(self.steps("random")), 2)
        said = self.call("train", "router", "--model", self.model, *TRAINING, "--batch", 2, "--out", "two", code=2)
        self.assertIn("--accumulate", said)
        for verb, more in (("distill", []), ("adapt", ["--routers", ROUTERS])):
            said = self.call("train", verb, "--model", self.model, *SIZE, *more, "--out", verb, code=2)
            self.assertIn("expected a WanTransformer3DModel", said)

    def test_calibrations_feed_their_caches(self):
        for cache, options in (("magcache", {"threshold": 0.5}), ("teacache", {"threshold": 0.3})):
            self.call("calibrate", cache, "--model", self.model, *SIZE, "--steps", 7, "--limit", 1, "--device", "cpu",
                      "--out", f"{cache}.json")
            options["calibration"] = str(self.tmp / f"{cache}.json")
            said = self.call("generate", "--model", self.model, *SIZE, "--steps", 7, "--prompt", "a cat", "--cache", cache,
                             "--cache-options", json.dumps(options), "--output-type", "latent", "--output", f"{cache}.safetensors")
            self.assertIn(f"cache {cache}", said)

    def test_profiled_sweep_and_report(self):
        options = [f"model={self.model}", f"routers={ROUTERS}", "weights=files", "frames=21", "height=64", "width=96",
                   "steps=3", "claims=[]", "device=cpu", 'prompts=[{"id": "a", "text": "a cat"}]']
        said = self.call("run", "--suite", "hunyuan-h100", *[part for one in options for part in ("--set", one)], "--out", "run")
        self.assertIn("extrapolated from 2 of 3 steps", said)
        self.assertNotIn('Audit "work as planned" is broken', said)
        for path in ("report.md", "report.html"):
            self.assertIn("coreset", (self.tmp / "run" / path).read_text())
        options = [*options, "variants=[{\"name\": \"dense\", \"attention\": {\"name\": \"dense\"}}]", "true_guidance=3", "negative_prompt=a dog", "timed_steps=1"]
        guided = self.call("run", "--suite", "hunyuan-h100", *[part for one in options for part in ("--set", one)], "--out", "guided")
        self.assertNotIn("no effect", guided)
        planned = sqlite3.connect(self.tmp / "guided" / "run.sqlite").execute(
            "SELECT DISTINCT predicted FROM prediction WHERE quantity = 'evaluations'").fetchall()
        self.assertEqual(planned, [(2.0,)])  # one step of two passes
        database = sqlite3.connect(self.tmp / "run" / "run.sqlite")
        failed = database.execute("SELECT count(*) FROM trial WHERE status <> 'ok'").fetchone()[0]
        self.assertEqual(failed, 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
