#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes a run of many cases out of a small one: every variant again and again under other names, all rows of its trials with it.

    many_cases.py runs/smoke/run.sqlite many.sqlite --cases 500 && vorta-bench report many.sqlite --out many

For tests of what reads results; nothing in such a database was measured.
"""
import argparse
import pathlib
import sqlite3


def columns(database, table):
    return [row[1] for row in database.execute(f"PRAGMA table_info({table})")]


def copy(database, table, where, values, changed):
    """Copies rows, with expressions in place of some columns."""
    names = columns(database, table)
    picked = ", ".join(changed.get(name, name) for name in names)
    database.execute(f"INSERT INTO {table} ({', '.join(names)}) SELECT {picked} FROM {table} WHERE {where}", values)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=pathlib.Path)
    parser.add_argument("target", type=pathlib.Path)
    parser.add_argument("--cases", type=int, default=500)
    options = parser.parse_args()
    options.target.unlink(missing_ok=True)
    with sqlite3.connect(options.source) as source, sqlite3.connect(options.target) as target:
        source.backup(target)
    database = sqlite3.connect(options.target)
    tables = [row[0] for row in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    of_case = [table for table in tables if table != "trial" and "case_id" in columns(database, table) and table != "case_row"]
    of_trial = [table for table in tables if table != "trial" and "trial_id" in columns(database, table)]
    cases = [row[0] for row in database.execute("SELECT case_id FROM case_row ORDER BY ordinal")]
    trials = {case: [row[0] for row in database.execute("SELECT trial_id FROM trial WHERE case_id = ?", (case,))] for case in cases}
    next_case = database.execute("SELECT max(case_id) FROM case_row").fetchone()[0]
    next_trial = database.execute("SELECT max(trial_id) FROM trial").fetchone()[0]
    for number in range(options.cases - len(cases)):
        case = cases[number % len(cases)]
        next_case += 1
        copy(database, "case_row", "case_id = ?", (case,), {"case_id": str(next_case), "case_hash": f"case_hash || '-{number}'",
                                                             "variant": f"variant || '-{number}'", "ordinal": str(1000 + number)})
        for table in of_case:
            copy(database, table, "case_id = ?", (case,), {"case_id": str(next_case)})
        for trial in trials[case]:
            next_trial += 1
            copy(database, "trial", "trial_id = ?", (trial,), {"trial_id": str(next_trial), "case_id": str(next_case),
                                                                "trial_key": f"trial_key || '-{number}'"})
            for table in of_trial:
                own = [row[1] for row in database.execute(f"PRAGMA table_info({table})") if row[5] == 1 and row[1] not in ("trial_id",) and row[2] == "INTEGER"
                       and sum(column[5] > 0 for column in database.execute(f"PRAGMA table_info({table})")) == 1]
                changed = {"trial_id": str(next_trial)}
                changed.update({name: "NULL" for name in own})
                copy(database, table, "trial_id = ?", (trial,), changed)
    database.commit()
    print(f"{options.target}: {database.execute('SELECT count(*) FROM case_row').fetchone()[0]} cases, "
          f"{database.execute('SELECT count(*) FROM trial').fetchone()[0]} trials")


if __name__ == "__main__":
    main()
