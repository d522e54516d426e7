# SPDX-License-Identifier: Apache-2.0
"""Writes the rows of an SQL query on a result database to a Parquet file: DATABASE SQL FILE. Exit code 3: no pyarrow."""
import sqlite3
import sys

try:
    import pyarrow
    import pyarrow.parquet
except ImportError:
    sys.exit(3)

BATCH = 50_000


def schema_of(connection, sql, names):
    """A column's Arrow type from the SQLite types of all its values."""
    kinds = {"integer": pyarrow.int64(), "real": pyarrow.float64(), "text": pyarrow.string(), "blob": pyarrow.binary()}
    fields = []
    for name in names:
        found = {row[0] for row in connection.execute(f'SELECT DISTINCT typeof("{name}") FROM ({sql})')} - {"null"}
        mixed_numbers = found == {"integer", "real"}
        kind = pyarrow.float64() if mixed_numbers else kinds[found.pop()] if len(found) == 1 else pyarrow.string()
        fields.append(pyarrow.field(name, kind))
    return pyarrow.schema(fields)


def main(database, sql, file):
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    cursor = connection.execute(sql)
    names = [column[0] for column in cursor.description]
    schema = schema_of(connection, sql, names)
    with pyarrow.parquet.ParquetWriter(file, schema) as writer:
        while rows := cursor.fetchmany(BATCH):
            columns = []
            for field, values in zip(schema, zip(*rows)):
                text = pyarrow.types.is_string(field.type)
                columns.append(pyarrow.array([None if v is None else str(v) if text else v for v in values], field.type))
            writer.write_batch(pyarrow.record_batch(columns, schema=schema))


main(*sys.argv[1:])
