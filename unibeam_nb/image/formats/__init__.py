"""File formats, written by hand and pure: data in, bytes out, no programs."""
