"""The Environmental Information Data Centre: metadata of research datasets, document by document."""
