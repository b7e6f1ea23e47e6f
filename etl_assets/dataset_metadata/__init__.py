"""Reading metadata of datasets: one parser per format, and the one record that all of them give.

What belongs here: from a document's bytes to a record of plain values, with what the format loses. What does not:
asking for documents (`etl_assets.sources`), and judging records (the contract of the stream that uses them).
"""
