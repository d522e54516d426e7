# SPDX-License-Identifier: Apache-2.0
"""compare, gate, db and sweeps as a user calls them, on a model of a few thousand weights."""
import csv
import io
import json
import os
import pathlib
import signal
import sqlite3
import subprocess
import tempfile
import time
import unittest
import xml.etree.ElementTree as xml

PROGRAM = os.environ["VORTA_BENCH"]
GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "pipeline"
SUITE = {
    "name": "tiny", "title": "Tiny", "model": str(GOLDEN / "model"), "routers": str(GOLDEN / "routers"),
    "prompts": [{"id": "a", "text": "a red circle"}, {"id": "b", "text": "a blue square"}, {"id": "c", "text": "a star"}],
    "seeds": [0], "base": {"steps": 2, "frames": 13, "height": 64, "width": 96, "device": "cpu"},
    "variants": [{"name": "dense", "attention": {"name": "dense"}}, {"name": "vorta", "attention": {"name": "vorta"}}],
    "reference": "dense", "measurement": {"warmup": 0, "trials": 1, "profile": True}, "metrics": ["psnr"],
}
POLICY = {
    "name": "deterministic", "rounds": {"min": 3, "max": 4, "looks": 1},
    "checks": [{"quantity": "flops/*", "tolerance": 1e-9}, {"quantity": "calls/vorta::*", "tolerance": 0},
               {"quantity": "output", "tolerance": 0}, {"quantity": "routes", "tolerance": 0},
               {"quantity": "score/*", "margin": 0.1}],
}


class Gate(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.tmp = pathlib.Path(cls.folder.name)
        (cls.tmp / "tiny.json").write_text(json.dumps(SUITE))
        (cls.tmp / "policy.json").write_text(json.dumps(POLICY, indent=1))
        cls.call("run", "--suite", cls.tmp / "tiny.json", "--out", cls.tmp / "one", "--no-report", "--build", '{"commit": "1"}')

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    @classmethod
    def call(cls, *words, code=0):
        done = subprocess.run([PROGRAM, *map(str, words)], capture_output=True, text=True, cwd=cls.tmp, timeout=500)
        said = done.stdout + done.stderr
        if done.returncode != code:
            raise AssertionError(f"expected exit code {code}, found {done.returncode}: {words}\n{said}")
        return said

    def copy(self, name, change=""):
        """A run's folder with a changed database, of a key of its own."""
        (self.tmp / name).mkdir(exist_ok=True)
        (self.tmp / name / "run.sqlite").unlink(missing_ok=True)
        self.call("db", "publish", self.tmp / "one", self.tmp / name / "run.sqlite")
        with sqlite3.connect(self.tmp / name / "run.sqlite") as database:
            database.execute(f"UPDATE run SET run_key = '{name}', started_unix_ns = started_unix_ns + 1000")
            database.execute(f"UPDATE trial SET trial_key = '{name}' || trial_key")
            database.execute("DELETE FROM artefact")  # the files stay behind
            if change:
                database.execute(change)
        database.close()
        return self.tmp / name

    def test_compare_and_its_formats(self):
        same = self.copy("same")
        self.call("compare", "one", same, "--policy", "policy.json")
        changed = self.copy("changed", "UPDATE trial SET output_sha256 = 'other' WHERE role = 'timing'")
        said = self.call("compare", "one", changed, "--policy", "policy.json", "--out", "out", "--format", "md,json,junit,sarif,github",
                         "--summary", "summary.md", code=1)
        self.assertIn("::error file=policy.json,line=", said)
        suites = xml.parse(self.tmp / "out" / "gate.junit.xml").getroot()
        self.assertEqual(suites.get("failures"), "2")
        self.assertEqual(json.loads((self.tmp / "out" / "gate.sarif").read_text())["runs"][0]["results"][0]["level"], "error")
        self.assertIn("| regression | dense | output |", (self.tmp / "summary.md").read_text())
        findings = json.loads((self.tmp / "out" / "gate.json").read_text())
        self.assertEqual(findings["head"]["build"], {"commit": "1"})
        worse = self.copy("worse", "UPDATE metric_score SET value = value - 3")
        self.assertIn("regression   vorta score/fidelity/psnr", self.call("compare", "one", worse, "--policy", "policy.json", code=1))
        other = self.copy("other", "UPDATE environment SET identity_json = json_set(identity_json, '$.cpu', 'another')")
        self.assertIn("environment/cpu", self.call("compare", "one", other, "--policy", "policy.json", code=3))
        self.call("compare", "one", "nowhere", code=2)
        self.call("compare", "one", same, "--policy", "tiny.json", code=2)
        self.call("compare", "one", same, "--format", "html", code=2)

    def test_two_builds_in_turns(self):
        said = self.call("gate", "--policy", "policy.json", "--suite", "tiny.json", "--base-program", PROGRAM, "--head-program", PROGRAM,
                         "--base", "turns/base", "--head", "turns/head", "--base-build", '{"commit": "before"}',
                         "--head-build", '{"commit": "after"}', "--summary", "turns.md")
        self.assertIn("measuring ended:", said)
        self.assertRegex((self.tmp / "turns.md").read_text(), r"before.*, head .*after")
        self.call("gate", "--policy", "policy.json", "--suite", "tiny.json", "--base-program", PROGRAM, "--head-program", PROGRAM,
                  "--head-build", "after", code=2)
        with sqlite3.connect(self.tmp / "turns" / "head" / "run.sqlite") as database:
            rounds, = database.execute("SELECT max(repeat) + 1 FROM trial WHERE role = 'timing' AND status = 'ok'").fetchone()
            profiles, = database.execute("SELECT count(*) FROM trial WHERE role = 'profile' AND status = 'ok'").fetchone()
        self.assertGreaterEqual(rounds, 3)
        self.assertEqual(profiles, 2 * rounds)
        self.assertIn("holds", self.call("db", "audit", "turns/head"))
        self.assertNotIn("broken", self.call("db", "audit", "turns/head"))

    def test_history_baseline_and_accepted_change(self):
        gate = ["gate", "--policy", "policy.json", "--history", "history.sqlite"]
        self.assertIn("the first", self.call(*gate, "--head", "one", "--record", code=3))
        self.call(*gate, "--head", self.copy("second"), "--record")
        changed = self.copy("third", "UPDATE trial SET output_sha256 = 'other' WHERE role = 'timing'")
        self.call(*gate, "--head", changed, "--record", code=1)
        runs = self.call("db", "runs", "history.sqlite")
        self.assertEqual(len(runs.strip().splitlines()), 2)  # a regression is not recorded
        self.call("db", "merge", "history.sqlite", changed)
        self.call("db", "accept", "history.sqlite", "--run", "third", "--quantity", "output", "--author", "me", "--reason", "a new sampler")
        self.assertIn("accepted by me: a new sampler", self.call(*gate, "--head", changed))
        self.call("db", "freeze", "history.sqlite", "--run", "third", "--author", "me", "--reason", "release")
        self.call(*gate, "--head", changed)
        self.call(*gate, "--head", "one", code=1)
        self.assertIn("third", self.call("db", "history", "history.sqlite", "--quantity", "time/step"))
        with sqlite3.connect(self.tmp / "history.sqlite") as database:
            self.assertGreater(database.execute("SELECT count(*) FROM comparison WHERE outcome = 'regression'").fetchone()[0], 0)

    def test_databases(self):
        a, b = self.copy("a"), self.copy("b")
        self.call("db", "merge", "ab.sqlite", a, b)
        self.call("db", "merge", "ba.sqlite", b, a)
        digest = [line for line in self.call("db", "verify", "--digest", "ab.sqlite").splitlines() if line.startswith("digest")]
        self.assertIn(digest[0], self.call("db", "verify", "--digest", "ba.sqlite"))
        rows = list(csv.DictReader(io.StringIO(self.call("db", "export", "one"))))
        self.assertGreater(len(rows), 20)
        self.assertEqual(len(json.loads(self.call("db", "export", "one", "--format", "json"))), len(rows))
        self.call("db", "export", "one", "--table", "trail", code=2)
        self.call("db", "export", "one", "--format", "xml", code=2)
        self.call("db", "export", "one", "--format", "parquet", code=2)  # to a file only
        self.call("db", "export", "one", "--format", "parquet", "--out", "x.parquet", "--python", "/no/such/python", code=3)
        self.call("db", "verify", "nowhere.sqlite", code=2)
        self.call("db", "migrate", "one")
        (self.tmp / "text.sqlite").write_text("not a database " * 100)
        self.call("db", "verify", "text.sqlite", code=2)
        self.call("db", code=2)
        self.assertIn("did you mean 'time/step'", self.call("db", "history", "one", "--quantity", "time/stepp", code=2))
        self.assertIn("did you mean 'dense'", self.call("db", "history", "one", "--variant", "dens", code=2))
        self.assertRegex(self.call("db", "runs", "one"), r"  20\d\d-\d\d-\d\d \d\d:\d\d:\d\d  tiny  class ")

    def test_damage_is_said_and_leaves_nothing(self):
        torn = self.copy("torn") / "run.sqlite"
        raw = bytearray(torn.read_bytes())
        middle = len(raw) // 8192 * 4096
        raw[middle:middle + 4096 * 4] = b"\x5a" * 4096 * 4
        torn.write_bytes(raw)
        for words in (["runs"], ["migrate"], ["export"], ["publish", "half.sqlite"], ["export", "--out", "half.csv"],
                      ["freeze", "--author", "me", "--reason", "x"]):
            said = self.call("db", words[0], torn, *words[1:], code=2)
            self.assertIn("db verify", said)
        self.assertIn("problem: integrity", self.call("db", "verify", torn, code=1))
        self.call("db", "merge", "half.sqlite", "one", torn, code=2)
        self.call("db", "merge", "half.sqlite", "one", "nowhere.sqlite", code=2)
        self.call("db", "publish", "one", "no/half.sqlite", code=2)
        self.assertEqual([path.name for path in self.tmp.glob("half*")], [])

    def test_shards_merge_into_one_run(self):
        for part in ("1/2", "2/2"):
            self.call("run", "--suite", "tiny.json", "--out", "part" + part[0], "--no-report", "--shard", part)
        self.call("db", "merge", "parts.sqlite", "part1", "part2")
        self.assertEqual(len(self.call("db", "runs", "parts.sqlite").strip().splitlines()), 1)
        self.call("compare", "one", "parts.sqlite", "--policy", "policy.json")
        self.call("run", "--suite", "tiny.json", "--out", "x", "--shard", "3/2", code=2)
        self.assertIn("PART/PARTS", self.call("run", "--suite", "tiny.json", "--out", "x", "--shard", "", code=2))
        empty = next(f"{part}/9" for part in range(1, 10) if "none of the 3 items" in
                     self.call("run", "--suite", "tiny.json", "--dry-run", "--shard", f"{part}/9"))
        self.assertIn("none of the 3 items: nothing to do", self.call("run", "--suite", "tiny.json", "--out", "none", "--shard", empty))

    def test_isolated_run_survives_a_kill_and_goes_on(self):
        words = ["run", "--suite", "tiny.json", "--out", "isolated", "--isolate", "--no-report", "--trial-timeout", "300"]
        running = subprocess.Popen([PROGRAM, *words], cwd=self.tmp, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        time.sleep(1.0)
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        self.assertIn("1 workers started, 0 crashed", self.call(*words))
        self.assertIn("0 problems", self.call("db", "verify", "isolated"))
        with sqlite3.connect(self.tmp / "isolated" / "run.sqlite") as database:
            self.assertEqual(database.execute("SELECT count(*) FROM trial WHERE status = 'ok' AND role = 'timing'").fetchone()[0], 6)
        self.call("compare", "one", "isolated", "--policy", "policy.json")

    def test_sweep_and_forecast(self):
        sweep = dict(SUITE, name="swept", variants=SUITE["variants"][:1],
                     sweep={"axes": {"attention": ["dense", "vorta"], "steps": [1, 2]}, "where": "not (attention == 'dense' and steps == 2)"})
        (self.tmp / "swept.json").write_text(json.dumps(sweep))
        said = self.call("check", "swept.json", "--history", "one")
        for name in ("dense[", "dense-steps1[", "vorta-steps1[", "vorta-steps2["):
            self.assertIn(name, said)
        self.assertIn("trials of the same configuration", said)
        self.assertIn("operations at the rate of", said)
        self.assertIn("GiB at most, loading apart", said)
        self.assertIn("nothing at nowhere", self.call("check", "swept.json", "--history", "nowhere", code=2))
        self.assertIn("nothing at nowhere", self.call("run", "--suite", "swept.json", "--dry-run", "--history", "nowhere", code=2))
        sweep["sweep"]["where"] = "stepz == 2"
        (self.tmp / "wrong.json").write_text(json.dumps(sweep))
        self.assertIn("#/sweep/where/0", self.call("check", "wrong.json", code=2))

    def test_typed_axes_change_what_is_generated(self):
        """The routers' own window and rate give the outputs of a variant without either; others do not."""
        sweep = dict(SUITE, name="axes", measurement={"warmup": 0, "trials": 1, "profile": False}, sweep={
            "template": {"attention": {"name": "vorta"}},
            "axes": {"window": [None, "3x1x3", "1x1x1"], "reduction_rate": [None, 0.5, 0.25], "seeds": [0, 1], "model": [str(GOLDEN / "model")]},
            "zip": [["window", "reduction_rate"]], "where": "seeds == 0 or window == null", "name": "a-very-long-name-of-a-variant.{window}"})
        sweep["variants"] = SUITE["variants"][:1]
        (self.tmp / "axes.json").write_text(json.dumps(sweep))
        said = self.call("check", "axes.json", "--history", "one")
        self.assertIn("vorta, window 1x1x1, reduction rate 0.25, model ", said)
        self.assertIn(", float32, seed 0", said)
        columns = {line.index("about") for line in said.splitlines() if " a video" in line}
        self.assertEqual(len(columns), 1, said)  # names of any length
        self.call("run", "--suite", "axes.json", "--out", "axes", "--no-report")
        with sqlite3.connect(self.tmp / "axes" / "run.sqlite") as database:
            rows = database.execute("SELECT variant, seed, text, output_sha256 FROM trial JOIN case_row USING (case_id) JOIN item "
                                    "USING (item_id) JOIN prompt USING (prompt_id) WHERE role = 'timing'").fetchall()
        outputs = {(variant.rpartition(".")[2], seed, text): output for variant, seed, text, output in rows}
        self.assertEqual(len(outputs), 3 * (2 + 2 + 1 + 1))
        for prompt in SUITE["prompts"]:
            own, same, other = (outputs[window, 0, prompt["text"]] for window in ("", "3x1x3", "1x1x1"))
            self.assertEqual(own, same)
            self.assertNotEqual(own, other)

    def test_sizes_are_not_compared_and_reports_choose_their_run(self):
        """Frames of two sizes have no PSNR, which fails nothing; of two runs in one database each has its report."""
        sweep = dict(SUITE, name="sizes", variants=SUITE["variants"][:1], prompts=SUITE["prompts"][:1],
                     measurement={"warmup": 0, "trials": 1, "profile": False}, sweep={"axes": {"resolution": ["32x48"]}})
        (self.tmp / "sizes.json").write_text(json.dumps(sweep))
        self.assertIn("0 scores missing", self.call("run", "--suite", "sizes.json", "--out", "sizes"))
        with sqlite3.connect(self.tmp / "sizes" / "run.sqlite") as database:
            details = database.execute("SELECT detail FROM metric_score WHERE value IS NULL").fetchall()
        self.assertEqual(details, [("not compared: 13 frames of 32x48 against 13 of 64x96",)])
        self.call("db", "merge", "two.sqlite", "one", "sizes")
        first, second = (line.split()[0] for line in self.call("db", "runs", "two.sqlite").strip().splitlines())
        for key, suite in ((first, "tiny"), (second, "sizes")):
            self.call("report", "two.sqlite", "--run", key, "--out", "which", "--format", "json")
            self.assertEqual(json.loads((self.tmp / "which" / "report.json").read_text())["suite"], suite)
        self.call("report", "two.sqlite", "--run", "none", "--out", "which", code=2)


if __name__ == "__main__":
    unittest.main()
