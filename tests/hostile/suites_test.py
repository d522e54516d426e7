# SPDX-License-Identifier: Apache-2.0
"""Suite files and result databases that are not what they claim to be."""
import copy
import fcntl
import json
import os
import sqlite3

from bench import BAD_INPUT, BenchTest, COMMON, GOLDEN, SOURCE, main

SUITE = json.loads((SOURCE / "suites" / "smoke.json").read_text())
APPLICATION_ID = 0x56425331


def put(pointer, value):
    def change(suite):
        *path, last = pointer
        for key in path:
            suite = suite[key]
        suite[last] = value
    return change


# What is wrong, and what the message must say: the JSON pointer, and where it helps the nearest known name.
FAULTS = {
    "unknown key": (put(["sedes"], [1]), ["#/sedes", "seeds"]),
    "unknown key inside": (put(["base", "stpes"], 4), ["#/base/stpes", "steps"]),
    "unknown key in a variant": (put(["variants", 1, "atention"], {}), ["#/variants/1/atention", "attention"]),
    "text for a number": (put(["base", "steps"], "two"), ["#/base/steps"]),
    "fraction for an integer": (put(["base", "steps"], 2.5), ["#/base/steps"]),
    "out of range": (put(["base", "steps"], 0), ["#/base/steps"]),
    "huge number": (put(["base", "frames"], 10**30), ["#/base/frames"]),
    "list for an object": (put(["base"], []), ["#/base"]),
    "object for a list": (put(["variants"], {}), ["#/variants"]),
    "no variants": (put(["variants"], []), ["#/variants"]),
    "null": (put(["model"], None), ["#/model"]),
    "unknown dtype": (put(["base", "dtype"], "float61"), ["#/base/dtype"]),
    "unknown attention": (put(["variants", 1, "attention", "name"], "vortex"),
                          ["#/variants/1/attention/name", "vorta"]),
    "unknown metric": (put(["metrics", 2], "temporal_flikering"), ["#/metrics/2", "temporal_flickering"]),
    "unknown reference": (put(["reference"], "dens"), ["#/reference", "dense"]),
    "unknown model": (put(["model"], "embeded"), ["#/model", "embedded"]),
    "a model folder that is not there": (put(["model"], "/nowhere/model"), ["#/model", "/nowhere/model"]),
    "unknown routers": (put(["routers"], "embeded"), ["#/routers", "embedded"]),
    "unknown routers of a variant": (put(["variants", 1, "attention", "options"], {"routers": "mine"}),
                                     ["#/variants/1/attention/options/routers", "embedded"]),
    "unknown sampler": (put(["base", "sampler"], "unipcc"), ["#/base/sampler", "unipc"]),
    "unknown sampler of a variant": (put(["variants", 1, "config"], {"sampler": "oiler"}),
                                     ["#/variants/1/config/sampler", "euler"]),
    "unknown cache": (put(["variants", 1, "cache"], {"name": "teacach"}), ["#/variants/1/cache/name", "teacache"]),
    "unknown option of a cache": (put(["variants", 1, "cache"], {"name": "pab", "options": {"self_rang": 2}}),
                                  ["#/variants/1/cache/options/self_rang", "self_range"]),
    "an option of a cache out of range": (put(["variants", 1, "cache"], {"name": "pab", "options": {"self_range": 0}}),
                                          ["#/variants/1/cache/options/self_range"]),
    "a calibration that is not there": (put(["variants", 1, "cache"],
                                            {"name": "magcache", "options": {"calibration": "wan2.1-t2v-1.3"}}),
                                        ["#/variants/1/cache/options/calibration", "wan2.1-t2v-1.3b"]),
    "same name twice": (put(["variants", 1, "name"], "dense"), ["#/variants/1/name"]),
    "negative seed": (put(["seeds"], [-1]), ["#/seeds"]),
    "empty prompt": (put(["prompts"], [{"text": ""}]), ["#/prompts/0/text"]),
    "prompts elsewhere": (put(["prompts"], "nowhere.json"), ["#/prompts", "nowhere.json"]),
}

BROKEN = {
    "empty": b"", "unfinished": b'{"name": "x"', "comment": b'{// no\n}', "list": b"[]", "text": b'"suite"',
    "bytes": b"\xff\xfe\x00",
    "duplicate key": json.dumps(SUITE).encode()[:-1] + b', "name": "again"}', "trailing comma": b'{"name": "x",}',
    "nested deeply": b"[" * 100000 + b"]" * 100000, "two values": b"{}{}", "not a number": b'{"seeds": [NaN]}',
}


class Suites(BenchTest):
    def check_both(self, fragments, content):
        """`check FILE` and `--suite FILE` refuse alike."""
        file = self.tmp / "mine.json"
        file.write_bytes(content)
        self.refuse(["mine.json", *fragments], "check", file)
        self.refuse(["mine.json", *fragments], "--suite", file, "--out", self.tmp / "out")
        self.leave_nothing(self.tmp, "mine.json")

    def test_the_original_is_accepted(self):
        file = self.tmp / "mine.json"
        suite = copy.deepcopy(SUITE)
        suite["model"], suite["routers"] = str(GOLDEN / "model"), str(GOLDEN / "routers")
        suite["base"] |= {key: COMMON[key] for key in ("frames", "height", "width")}
        file.write_text(json.dumps(suite))
        self.expect(0, [], "check", file)

    def test_faults(self):
        for name, (change, fragments) in FAULTS.items():
            with self.subTest(name):
                suite = copy.deepcopy(SUITE)
                change(suite)
                self.check_both(fragments, json.dumps(suite).encode())

    def test_broken_files(self):
        for name, content in BROKEN.items():
            with self.subTest(name):
                self.check_both([], content)

    def test_missing_key(self):
        for key in ("name", "variants", "prompts", "reference"):
            with self.subTest(key):
                self.check_both([key], json.dumps({k: v for k, v in SUITE.items() if k != key}).encode())

    def test_no_such_suite(self):
        self.refuse(["vbench-spedup", "vbench-speedup"], "--suite", "vbench-spedup")
        self.refuse(["no such file"], "--suite", self.tmp / "nowhere.json")
        self.refuse([], "--suite", self.tmp)


class Databases(BenchTest):
    def setUp(self):
        super().setUp()
        self.file = self.tmp / "run.sqlite"

    def database(self, application, version, sql="CREATE TABLE run (id INTEGER PRIMARY KEY)"):
        connection = sqlite3.connect(self.file)
        connection.executescript(f"{sql}; PRAGMA application_id = {application}; PRAGMA user_version = {version};")
        connection.close()

    def refused(self, *fragments):
        """The report and a run that would write into the folder both refuse, and not one byte changes."""
        before = self.file.read_bytes()
        self.expect(BAD_INPUT, ["run.sqlite", *fragments], "report", self.file)
        self.expect(BAD_INPUT, ["run.sqlite", *fragments], "--suite", "smoke", "--out", self.tmp)
        self.assertEqual(self.file.read_bytes(), before)

    def test_newer_version(self):
        self.database(APPLICATION_ID, 999)
        self.refused("999", "version")

    def test_another_run_in_the_folder(self):
        folder = os.open(self.tmp, os.O_RDONLY)
        self.addCleanup(os.close, folder)
        fcntl.flock(folder, fcntl.LOCK_EX)
        for part in ([], ["--shard", "1/2"]):
            self.expect(BAD_INPUT, ["--out", "another run"], "--suite", "smoke", "--out", self.tmp, *part)
        fcntl.flock(folder, fcntl.LOCK_SH)  # what a run of a part holds
        self.expect(BAD_INPUT, ["--out", "another run"], "--suite", "smoke", "--out", self.tmp)
        self.assertFalse(self.file.exists())

    def test_another_program(self):
        self.database(12345, 1)
        self.refused("vorta-bench")

    def test_no_database(self):
        self.file.write_bytes(b"these are my notes, not a database" * 100)
        self.refused("database")

    def test_damaged(self):
        rows = "INSERT INTO run SELECT value, hex(zeroblob(900)) FROM json_each('[1,2,3,4,5,6,7,8,9]')"
        self.database(APPLICATION_ID, 1, f"CREATE TABLE run (id INTEGER PRIMARY KEY, text TEXT); {rows}")
        raw = self.file.read_bytes()
        self.file.write_bytes(raw[:20] + b"\xff" * (len(raw) - 20))
        self.expect(BAD_INPUT, ["run.sqlite"], "report", self.file)

    def test_missing(self):
        self.refuse(["run.sqlite"], "report", self.file)


if __name__ == "__main__":
    main()
