#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Shows what the gate finds, on real builds: a kernel slowed by 3 %, a planted loss of quality, and a build against itself.

    demonstrate.py build --out D                     builds this tree three times: base, slow, lossy (the patches beside this file)
    demonstrate.py run --programs D --out R          gates them, pairs of builds side by side on cores of their own

Every gate is `vorta-bench gate` as CI calls it. R/demonstration.json and .md hold what was found, after every gate anew; R/<gate>/ holds
the runs. A later call into R goes on with the gates that are missing. Exit code 0 when both plants are found by name and at most one pair of equal builds fails; else 1.
"""
import argparse
import collections
import json
import os
import pathlib
import platform
import queue
import shutil
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
# Build: patch, and what the gate must say regressed (all of one of these), as beginnings of "variant quantity".
PLANTS = {
    "slow": ("slow_attention.patch", [(f"{variant} {kind}/vorta::grouped_attention",) for variant in ("dense", "vorta") for kind in ("fastest", "operator")] +
             [(f"{variant} kernel/vorta::kernels::(anonymous namespace)::attention_kernel",) for variant in ("dense", "vorta")]),
    "lossy": ("lossy_coreset.patch", [("vorta output", "vorta score/")]),
}
OUTCOMES = {0: "pass", 1: "regression", 2: "error", 3: "inconclusive"}


def call(*words):
    subprocess.run([str(word) for word in words], cwd=ROOT, check=True)


def build(options):
    """In place: a patch is taken back whatever happens, and refused where it does not apply."""
    options.out.mkdir(parents=True, exist_ok=True)
    binary = ROOT / "build" / "bin" / "vorta-bench"

    def keep(name):
        if options.build:
            call("sh", "-c", options.build)
        else:
            call(ROOT / "vorta-bench", "--version")
        shutil.copy2(binary, options.out / name)
        print(options.out / name, flush=True)

    for patch, _ in PLANTS.values():
        call("git", "apply", "--check", HERE / patch)
    keep("base")
    for name, (patch, _) in PLANTS.items():
        call("git", "apply", HERE / patch)
        try:
            keep(name)
        finally:
            call("git", "apply", "--reverse", HERE / patch)


def core_groups(size):
    """Groups of `size` CPUs, those of one physical core beside each other."""
    def siblings(cpu):
        try:
            text = pathlib.Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text()
        except OSError:
            return cpu
        return int(text.replace("-", ",").split(",")[0])
    cpus = sorted(os.sched_getaffinity(0), key=lambda cpu: (siblings(cpu), cpu))
    return [cpus[i:i + size] for i in range(0, len(cpus) - size + 1, size)]


def cpu_name():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def policy_file(options):
    """The policy as it is, or with other limits on rounds; in the output folder, so that it is kept."""
    policy = json.loads(options.policy.read_text())
    policy["rounds"].update({key: value for key, value in (("minutes", options.minutes), ("max", options.most_rounds)) if value})
    path = options.out / "policy.json"
    path.write_text(json.dumps(policy, indent=2))
    return path


class Demonstration:
    def __init__(self, options):
        self.options = options
        self.begin = time.monotonic()
        self.policy = policy_file(options)
        self.jobs = queue.Queue()
        self.results = self.earlier()
        self.lock = threading.Lock()
        self.command = ""
        for seed, name in enumerate([*options.plants, *(f"same-{i + 1:02}" for i in range(options.pairs))]):
            if name not in self.results:
                self.jobs.put((name, seed))

    def earlier(self):
        """Gates that an earlier call into the same folder has finished."""
        path = self.options.out / "demonstration.json"
        return json.loads(path.read_text())["gates"] if path.exists() else {}

    def words(self, name, folder, seed):
        options = self.options
        head = options.programs / (name if name in PLANTS else "base")
        words = [options.programs / "base", "gate", "--policy", self.policy, "--suite", options.suite, "--base-program", options.programs / "base",
                 "--head-program", head, "--base", folder / "base", "--head", folder / "head", "--out", folder, "--format", "json,md",
                 "--seed", seed]
        for change in options.set:
            words += ["--set", change]
        return [str(word) for word in words]

    def gate(self, name, cpus, gpu, seed):
        folder = self.options.out / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        environment = dict(os.environ, OMP_NUM_THREADS=str(self.options.threads))
        environment.setdefault("VORTA_DATA_DIR", str(ROOT))
        if gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = str(gpu)
        words = self.words(name, folder, seed)
        self.command = self.command or " ".join(["OMP_NUM_THREADS=" + str(self.options.threads), *words])
        begin = time.monotonic()
        with open(folder / "said.txt", "w") as said:
            code = subprocess.run(words, env=environment, stdout=said, stderr=subprocess.STDOUT,
                                  preexec_fn=lambda: os.sched_setaffinity(0, cpus)).returncode
        gate = folder / "gate.json"
        self.note(name, code, json.loads(gate.read_text()) if gate.exists() else {}, time.monotonic() - begin, cpus)

    def note(self, name, code, gate, seconds, cpus):
        findings = gate.get("findings", [])
        regressed = [f for f in findings if f["outcome"] == "regression"]
        kernel = [f for f in findings if f["quantity"].startswith(("operator/", "fastest/", "kernel/"))]
        with self.lock:
            self.results[name] = {
                "exit_code": code, "outcome": OUTCOMES.get(code, "error"), "look": gate.get("look"), "stopped": gate.get("stopped"),
                "rounds": max((f.get("units") or 0 for f in kernel), default=0), "checked": len(findings), "seconds": round(seconds, 1), "cpus": cpus,
                "regressed": [{key: f.get(key) for key in ("variant", "quantity", "harm", "low", "high", "words")} for f in regressed],
                "open": [f"{f['variant']} {f['quantity']}: {f['words']}" for f in findings if f["outcome"] in ("inconclusive", "incomparable")],
                "noise": {f"{f['variant']} {f['quantity']}": f.get("noise_floor") for f in findings if f.get("noise_floor") is not None},
            }
            self.write()
            print(f"{name}: {self.results[name]['outcome']}, {self.results[name]['rounds']} rounds, {seconds:.0f} s", flush=True)

    def slot(self, cpus, gpu):
        while not (self.options.stop_after and time.monotonic() - self.begin > self.options.stop_after):
            try:
                name, seed = self.jobs.get_nowait()
            except queue.Empty:
                return
            self.gate(name, cpus, gpu, seed)

    def run(self):
        groups = core_groups(self.options.threads)[:self.options.gpus or self.options.side_by_side or None]
        slots = [threading.Thread(target=self.slot, args=(cpus, i if self.options.gpus else None)) for i, cpus in enumerate(groups)]
        for slot in slots:
            slot.start()
        for slot in slots:
            slot.join()
        self.write()
        return self.is_well()

    def found(self, name):
        """Whether the gate named the planted change."""
        regressed = {f"{f['variant']} {f['quantity']}" for f in self.results.get(name, {}).get("regressed", [])}
        return any(all(any(entry.startswith(start) for entry in regressed) for start in wanted) for wanted in PLANTS[name][1])

    def alarms(self):
        same = [result for name, result in self.results.items() if name not in PLANTS]
        return sum(result["exit_code"] == 1 for result in same), sum(result["exit_code"] == 3 for result in same), len(same)

    def is_well(self):
        alarms, _, pairs = self.alarms()
        wrong = [name for name, result in self.results.items() if result["outcome"] == "error"]
        return not wrong and all(self.found(name) for name in self.options.plants) and pairs == self.options.pairs and alarms <= 1

    def write(self):
        alarms, undecided, pairs = self.alarms()
        summary = {"machine": {"cpu": cpu_name(), "cpus": os.cpu_count(), "kernel": platform.release()}, "threads": self.options.threads,
                   "command": self.command, "seconds": round(time.monotonic() - self.begin, 1), "found": {n: self.found(n) for n in self.options.plants},
                   "pairs": pairs, "false_alarms": alarms, "undecided": undecided, "gates": self.results}
        (self.options.out / "demonstration.json").write_text(json.dumps(summary, indent=1))
        lines = [f"{cpu_name()}, {os.cpu_count()} CPUs, {self.options.threads} threads a program. `{self.command}`", "",
                 "| head | gates | exit codes | rounds | what regressed |", "|---|---:|---|---|---|"]
        kinds = [(name, [name]) for name in self.options.plants] + [("the base itself", [n for n in self.results if n not in PLANTS])]
        for title, names in kinds:
            rows = [self.results[name] for name in names if name in self.results]
            codes = collections.Counter(row["exit_code"] for row in rows)
            said = "; ".join(f"{f['variant']} `{f['quantity']}`: {f['words']}" for row in rows for f in row["regressed"])
            rounds = sorted({row["rounds"] for row in rows})
            lines.append(f"| {title} | {len(rows)} | {', '.join(f'{n} x {code}' for code, n in sorted(codes.items()))} | "
                         f"{' to '.join(map(str, dict.fromkeys((rounds[0], rounds[-1])) if rounds else ''))} | {said or 'nothing'} |")
        (self.options.out / "demonstration.md").write_text("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    builder = verbs.add_parser("build", help="build base, slow and lossy in this tree")
    builder.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/demonstration/programs"))
    builder.add_argument("--build", help="shell command that builds build/bin/vorta-bench (default: ./vorta-bench --version)")
    runner = verbs.add_parser("run", help="gate them")
    runner.add_argument("--programs", type=pathlib.Path, default=pathlib.Path("runs/demonstration/programs"))
    runner.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/demonstration"))
    runner.add_argument("--policy", type=pathlib.Path, default=ROOT / "suites/gates/cpu.json")
    runner.add_argument("--suite", default=str(ROOT / "suites/gate-cpu.json"))
    runner.add_argument("--set", action="append", default=[], help="as of gate")
    runner.add_argument("--pairs", type=int, default=20, help="gates of the base against itself")
    runner.add_argument("--plants", nargs="*", choices=list(PLANTS), default=list(PLANTS))
    runner.add_argument("--threads", type=int, default=2, help="CPUs and threads of a program")
    runner.add_argument("--side-by-side", type=int, default=0, help="gates at once (default: as many as CPUs allow)")
    runner.add_argument("--gpus", type=int, default=0, help="gates at once, each on a GPU of its own, with --policy and --suite for GPUs")
    runner.add_argument("--minutes", type=float, default=0, help="in place of the policy's")
    runner.add_argument("--most-rounds", type=int, default=0, help="in place of the policy's")
    runner.add_argument("--stop-after", type=float, default=0, help="begin no gate after so many seconds")
    options = parser.parse_args()
    options.out = options.out.resolve()
    if options.verb == "build":
        build(options)
        return 0
    options.programs = options.programs.resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    return 0 if Demonstration(options).run() else 1


if __name__ == "__main__":
    sys.exit(main())
