"""What Dagster loads."""

from etl_assets.importing import importing

with importing():
    from etl_assets.build import build_definitions

    defs = build_definitions()
