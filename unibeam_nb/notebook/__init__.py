"""The face: the magic, its parser, completion and displays. Importing this package loads none of them."""
