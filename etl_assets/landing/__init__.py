"""Landing: immutable raw payloads of a partition, byte for byte as they came, with a manifest.

The front door is `etl_assets.landing.store.Landing`; `etl_assets.landing.files` has the way of writing that
it shares with other immutable files.
"""
