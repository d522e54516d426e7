# SPDX-License-Identifier: Apache-2.0
"""`vorta-bench train vae|base|router|adapt|distill` at the smallest size: a run that is stopped and called again takes the steps and
makes the weights of one that was not, and what it exports generates a video. Python 3, standard library only."""
import json
import os
import pathlib
import shutil
import signal
import struct
import subprocess
import tempfile
import unittest

BINARY = pathlib.Path(os.environ["VORTA_BENCH"]).resolve()
CLIP = ["--frames", 5, "--height", 32, "--width", 32]
STEPS = 4
COMMON = [*CLIP, "--steps", STEPS, "--seed", 7, "--log-every", 1]
POOL = ["--batch", 1, "--pool", 2, "--refresh", 1]
EACH_STEP = ["--checkpoint-minutes", 1e-6]
WEIGHTS = {".safetensors", ".pt"}


def start(*arguments):
    return subprocess.Popen([str(BINARY), *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)


def log_lines(folder):
    """log.jsonl without the one value that depends on the clock."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def latents(file):
    """The numbers of a safetensors file with one fp32 tensor."""
    data = file.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    return struct.unpack(f"<{(len(data) - start) // 4}f", data[start:])


def exported(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


class Train(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tmp = pathlib.Path(tempfile.mkdtemp(prefix="vorta-train-"))
        cls.addClassCleanup(shutil.rmtree, cls.tmp, ignore_errors=True)

    def call(self, *arguments):
        with start(*arguments) as process:
            said = process.communicate(timeout=300)[0]
        self.assertEqual(process.returncode, 0, f"{arguments}\n{said[-3000:]}")
        return said

    def stop_early(self, how, *arguments):
        """Sends the signal `how` when a step has been logged; True when that came before the end."""
        with start(*arguments) as process:
            for line in process.stdout:
                if f"/{STEPS} " in line:
                    process.send_signal(how)
                    break
            rest = process.communicate(timeout=300)[0]
        if how == signal.SIGKILL:
            return process.returncode == -how
        self.assertEqual(process.returncode, 0, rest)
        return "stopped, run the same command to go on" in rest

    def check_verb(self, verb, how, result, *options):
        """Trains in one go, and again with a stop by the signal `how`; `result` is the folder that is exported."""
        whole, pieces = self.tmp / verb, self.tmp / f"{verb}-pieces"
        command = ["train", verb, *COMMON, *options, "--out"]
        self.call(*command, whole)
        while not self.stop_early(how, *command, pieces, *EACH_STEP):
            shutil.rmtree(pieces)  # this machine was so busy that the run got to its end first
        self.call(*command, pieces)
        self.assertEqual([line["step"] for line in log_lines(whole) if line["kind"] == "step"], list(range(STEPS)))
        self.assertEqual(log_lines(pieces), log_lines(whole))
        files = exported(whole / result)
        self.assertTrue(WEIGHTS & {pathlib.Path(name).suffix for name in files}, files.keys())
        again = exported(pieces / result)  # and what the stopped run exported under its own step number
        self.assertEqual({name: again.get(name) for name in files}, files)

    def test_all_three_and_generate(self):
        self.check_verb("vae", signal.SIGINT, "vae", "--stage", "0:16x16:1", "--evaluation-clips", 1,
                        "--statistics-clips", 1)
        self.check_verb("base", signal.SIGKILL, "model", "--vae", self.tmp / "vae" / "vae", *POOL, "--heads", 2, "--head-dim", 24,
                        "--layers", 2, "--ffn", 32, "--evaluation-prompts", 1, "--sampling-steps", 2)
        self.check_verb("router", signal.SIGINT, "routers", "--model", self.tmp / "base" / "model", *POOL, "--accumulate", 1,
                        "--tile", 1, 2, 2, "--coreset-window", 1, 2, 2, "--window", 1, 1, 1)
        self.check_students(self.tmp / "base" / "model")
        video = self.tmp / "out.mp4"
        said = self.call("generate", "--model", self.tmp / "base" / "model", "--routers",
                         self.tmp / "router" / "routers", *CLIP, "--steps", 2, "--prompt", "a red circle",
                         "--output", video)
        self.assertIn("attention vorta", said)
        self.assertGreater(video.stat().st_size, 500)
        self.check_judge(self.tmp / "base" / "model")

    def check_students(self, model):
        """A student by both methods, and the model adapted to its routers' branches: each resumes, and is sampled."""
        small = ["--model", model, *POOL, "--average", 0.9]
        self.check_verb("distill", signal.SIGINT, "student", *small, "--method", "consistency", "--student-steps", 2,
                        "--teacher-steps", 4, "--hops", 1, "--evaluation-prompts", 1)
        first = exported(self.tmp / "distill" / "student")
        recipe = json.loads(first["recipe.json"])
        self.assertEqual((recipe["update"], recipe["guidance"], recipe["layers"], len(recipe["sigmas"])), ("euler", 1, 2, 3))
        shutil.rmtree(self.tmp / "distill")
        shutil.rmtree(self.tmp / "distill-pieces")
        self.check_verb("distill", signal.SIGKILL, "student", *small, "--method", "matching", "--student-steps", 2,
                        "--teacher-steps", 4, "--critic-steps", 2, "--evaluation-prompts", 0)
        second = exported(self.tmp / "distill" / "student")
        self.assertEqual(json.loads(second["recipe.json"])["update"], "renoise")
        weights = "diffusion_pytorch_model.safetensors"
        self.assertNotEqual(first[weights], second[weights])
        student = ["generate", "--model", model, "--transformer", self.tmp / "distill" / "student", *CLIP, "--prompt", "x"]
        self.assertIn("2 steps, 1 passes", self.call(*student, "--output", self.tmp / "student.mp4"))
        self.refused("--guidance", *student, "--guidance", 5, "--output", self.tmp / "x.mp4")
        self.refused("--teacher-steps", "train", "distill", *small, *CLIP, "--teacher-steps", 5, "--out", self.tmp / "no")
        low_rank = self.tmp / "low-rank"
        distill = ["train", "distill", *COMMON, *small, "--method", "consistency", "--student-steps", 4, "--teacher-steps", 4,
                   "--evaluation-prompts", 1, "--lora-rank", 2, "--warmup", 0, "--lr", 0.05, "--out"]
        self.call(*distill, low_rank)
        self.assertEqual({file.name for file in low_rank.iterdir()} & {"student", "student.safetensors", "student.recipe.json"},
                         {"student.safetensors", "student.recipe.json"})
        clips = {}
        for mode in ("merged", "runtime"):
            clips[mode] = self.tmp / f"{mode}.safetensors"
            said = self.call("generate", "--model", model, "--lora", low_rank / "student.safetensors", "--strict", "--lora-mode", mode,
                             *CLIP, "--prompt", "x", "--output-type", "latent", "--output", clips[mode])
            self.assertIn("4 steps, 1 passes", said)  # by the recipe beside the file
        merged, beside = (latents(clip) for clip in clips.values())
        self.assertLess(max(abs(a - b) for a, b in zip(merged, beside)), 1e-5)
        plain = self.tmp / "plain.safetensors"
        self.call("generate", "--model", model, "--recipe", low_rank / "student.recipe.json", *CLIP, "--prompt", "x",
                  "--output-type", "latent", "--output", plain)
        self.assertNotEqual(merged, latents(plain))  # it learnt something
        self.refused("--lora-rank", "train", "distill", *small, *CLIP, "--lora-rank", -1, "--student-steps", 4, "--out", self.tmp / "no")
        routers = ["--routers", self.tmp / "router" / "routers"]
        self.check_verb("adapt", signal.SIGINT, "transformer", *small, *routers, "--accumulate", 2)
        adapted = (self.tmp / "adapt" / "transformer" / weights).read_bytes()
        self.assertNotEqual(adapted, (model / "transformer" / weights).read_bytes())
        kinds = [set(line) & {"dense", "routed"} for line in log_lines(self.tmp / "adapt") if line["kind"] == "step"]
        self.assertEqual(kinds, [{"dense", "routed"}] * STEPS)
        self.refused("--dense-share", "train", "adapt", *small, *routers, *CLIP, "--dense-share", 2, "--out", self.tmp / "no")

    def refused(self, why, *arguments):
        with start(*arguments) as process:
            said = process.communicate(timeout=300)[0]
        self.assertEqual(process.returncode, 2, said)
        self.assertIn(why, said)

    def check_judge(self, model):
        """Two captions are judged; asked for a third, it makes the third clip alone."""
        out = self.tmp / "judge"
        command = ["train", "judge", "--model", model, "--out", out, *CLIP, "--steps", 2, "--prompts"]
        self.assertIn("of 2 held-out captions", self.call(*command, 2))
        first = (out / "verdicts.jsonl").read_text()
        self.assertIn("of 3 held-out captions", self.call(*command, 3))
        lines = (out / "verdicts.jsonl").read_text().splitlines()
        self.assertTrue("\n".join(lines).startswith(first.strip()))
        self.assertEqual([json.loads(line)["number"] for line in lines], [0, 1, 2])
        self.assertEqual(sorted(file.name for file in (out / "clips").iterdir()), ["000.png", "001.png", "002.png"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
