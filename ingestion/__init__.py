"""Sources into the raw zone: what each source is, how it is read, what is refused.

Imports neither dagster nor the other rooms; stands on `lendloop` alone.
"""
