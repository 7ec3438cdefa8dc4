"""The networks in the box: NAME.keras (float), NAME.edgeseg (int8 bundle), NAME.md (model card)."""

from edgeseg.zoo import zoo_bundle, zoo_names, zoo_network

__all__ = ["zoo_bundle", "zoo_names", "zoo_network"]
