"""The company's site: dictionary, KPIs, datasets, lineage and sources as pages that any browser opens, from any folder.

What belongs here: which pages there are and how they look. What does not: what is agreed (the rest of `governance`),
when the site is made and who links to it (`orchestration`). Pages hold definitions and figures that are added up: no row
of a person, no sample, no message that could quote one. See docs/decisions/0016-site.md.
"""

from governance.site.figures import Figures, read_figures
from governance.site.pages import Content, End, build_site, dataset_page, kpi_page, made_of, term_page, zone_of

__all__ = [
    "Content", "End", "Figures", "build_site", "dataset_page", "kpi_page", "made_of", "read_figures", "term_page", "zone_of",
]  # fmt: skip
