"""PICTURE → MOUTH: faces found, followed, chosen and cut out."""
