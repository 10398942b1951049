"""Image -> bill of materials: what it is made of, where each thing comes from, and what needs what.

    contents.json, manifest.json ─► inventory.py ─► Bom (bom.py) ─► cyclonedx.py: CycloneDX JSON, validated
                                       ▲
                     debian.py (which package a file came from)
"""
