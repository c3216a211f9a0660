import numpy as np
import pyarrow as pa

from vae_core.schema import Column, Kind, Schema


def schema_of(table: pa.Table, **kinds: Kind) -> Schema:
    """Text is categorical, numbers are integers or reals; `kinds` overrides."""

    def kind(field: pa.Field) -> Kind:
        if field.name in kinds:
            return kinds[field.name]
        if pa.types.is_string(field.type) or pa.types.is_dictionary(field.type):
            return Kind.CATEGORICAL
        if pa.types.is_boolean(field.type):
            return Kind.BOOLEAN
        if pa.types.is_timestamp(field.type):
            return Kind.TIMESTAMP
        return Kind.INTEGER if pa.types.is_integer(field.type) else Kind.REAL

    return Schema(table.schema, tuple(Column(f.name, kind(f), "test") for f in table.schema), table.num_rows)


def shuffled(table: pa.Table) -> pa.Table:
    """The table with each column in an order of its own: same shapes, no relations."""
    return pa.table(
        {
            name: table.column(name).take(np.random.default_rng(i).permutation(table.num_rows))
            for i, name in enumerate(table.column_names)
        }
    )
