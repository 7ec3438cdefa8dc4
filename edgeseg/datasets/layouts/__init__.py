"""Datasets of the field in their official layouts, one file each: `open_NAME(root)`, None for another layout."""
