"""Sources: how rows come in.

The front door is `etl_assets.sources.registry.open_reader`, which opens any kind of source, with
`etl_assets.sources.decode.decode`, which makes records of the pages that a reader gives.
"""
