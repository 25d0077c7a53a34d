"""The report of a period as one HTML file: `page` writes it, `plots` draws what stands in it."""
