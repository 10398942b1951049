"""What a notebook shows live. Loaded when the first widget is shown, since ipywidgets takes a while to import."""
