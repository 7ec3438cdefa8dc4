"""Folders of images and labels that people make themselves, and the files in which they list classes."""
