"""What the company has agreed on: terms, datasets' parameters, and who answers for them.

What belongs here: reading and judging what dbt's project declares, and the pages that show it (`site`). What does not:
building or publishing data (`lendloop`), sending it (`activation`), the terminal and Dagster (`orchestration`). See
docs/decisions/0011-governance.md.
"""
