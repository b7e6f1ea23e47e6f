"""The shop's API as a source: how it is opened and how patiently it is asked."""

from etl_assets.streams.base import BearerToken, RestSource

SHOP = RestSource(name="shop", authentication=BearerToken())
